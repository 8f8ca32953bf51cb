#include "language/values.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "language/suggest.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

struct Service {
  std::string_view name;
  std::uint16_t port;
};
constexpr Service kServices[] = {
    {"http", 80},         {"https", 443},  {"ssh", 22},         {"git", 9418},  {"ftp", 21},     {"smtp", 25},
    {"dns", 53},          {"imaps", 993},  {"submission", 587}, {"ldaps", 636}, {"mysql", 3306}, {"postgres", 5432},
    {"postgresql", 5432}, {"redis", 6379}, {"ntp", 123},        {"wss", 443},   {"ws", 80}};

std::optional<std::uint16_t> service_port(std::string_view name) {
  for (const Service& service : kServices) {
    if (service.name == name) return service.port;
  }
  return std::nullopt;
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Decimal, 1 to 65535, no leading zero.
std::optional<std::uint16_t> port_number(std::string_view text) {
  if (!all_digits(text) || text[0] == '0' || text.size() > 5) return std::nullopt;
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  if (value == 0 || value > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(value);
}

bool is_address(std::string_view text) { return Address::parse(text).ok(); }

// The part of a URL that the language can say, as keys of a rule.
Problem url_problem(std::string_view text, const Target& target) {
  Problem problem{"P007", "expected a domain, found a URL", {}, {}, 0, target.scheme.size() + 3};
  const std::string host(target.host);
  std::string port(target.port);
  if (port.empty()) {
    if (const auto known = service_port(target.scheme)) port = std::to_string(*known);
  }
  problem.repair = (is_address(host) ? "write addresses: [" : "write domains: [") + host + "]";
  if (!port.empty()) problem.repair += ", ports: [" + port + "]";
  if (!target.path.empty() && target.path != "/") {
    problem.repair += ", paths: [" + std::string(target.path.substr(0, target.path.find_first_of("?#"))) + "]";
    if (port != "80") problem.note = "of TLS nobody sees the path: on port " + port + " leave it out";
  }
  if (target.host.empty()) problem.repair = "write the host name alone";
  problem.length = std::min(problem.length, text.size());
  return problem;
}

// Everything that is plainly no domain, said by what it is.
std::optional<Problem> other_than_domain(std::string_view text) {
  const Target target = split_target(text);
  if (!target.scheme.empty()) return url_problem(text, target);
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
    return Problem{"P007",
                   "expected a domain, found an account in " + in_ticks(text),
                   "write " + in_ticks(text.substr(at + 1)),
                   {},
                   0,
                   at + 1};
  }
  if (const std::size_t blank = text.find_first_of(" \t\r\n\v\f"); blank != std::string_view::npos) {
    return Problem{"P008", "a blank inside " + in_ticks(text), "write two names as two entries", {}, blank, 1};
  }
  if (Prefix::parse(text).ok() || is_address(target.host)) {
    const bool with_port = target.has_port && !is_address(text);
    const std::string_view host = with_port || target.bracketed ? target.host : text;
    std::string repair = "write addresses: [" + std::string(host) + "]";
    if (with_port) repair += ", ports: [" + std::string(target.port) + "]";
    return Problem{"P007", "expected a domain, found the address " + in_ticks(text), std::move(repair), {}, 0, 0};
  }
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view host = text.substr(0, slash);
    if (all_digits(text.substr(slash + 1)) &&
        host.find_first_not_of("0123456789.:abcdefABCDEF") == std::string_view::npos) {
      return Problem{
          "P007", "expected a domain, found the address block " + in_ticks(text), "write it in addresses", {}, 0, 0};
    }
    return Problem{"P007",
                   "expected a domain, found a path in " + in_ticks(text),
                   "write " + in_ticks(host),
                   "a rule covers the whole of a name; for some paths of clear HTTP add paths: [" +
                       std::string(text.substr(slash)) + "]",
                   slash,
                   text.size() - slash};
  }
  if (target.has_port) {
    const std::size_t colon = target.host.size();
    const bool usable = port_number(target.port).has_value();
    return Problem{"P007",
                   "a port does not belong in a domain: " + in_ticks(text),
                   usable
                       ? "write domains: [" + std::string(target.host) + "], ports: [" + std::string(target.port) + "]"
                       : "write the port in ports; it must be 1 to 65535",
                   {},
                   colon,
                   text.size() - colon};
  }
  return std::nullopt;
}

// What was most likely meant by a `*` that is no whole label in front, if the language takes it.
std::string star_repair(std::string_view text, std::size_t star) {
  // "*foo.com" lacks a dot, and "**foo.com" too; "a*.foo.com" and "a.*.foo.com" mean names below foo.com.
  const std::size_t word = text.find_first_not_of('*');
  const bool in_front = star < word && word != std::string_view::npos;
  const std::size_t dot = text.find('.', star);
  std::string meant = in_front                        ? "*." + std::string(text.substr(word))
                      : dot != std::string_view::npos ? "*" + std::string(text.substr(dot))
                                                      : "";
  if (!meant.empty() && Pattern::parse(meant).ok() && std::holds_alternative<Pattern>(read_domain(meant, {}))) {
    return "did you mean " + in_ticks(meant) + "?";
  }
  return "list the names, or what they lie below (*.example.com)";
}

// What to write instead of a name that Pattern::parse() refused.
std::string name_repair(std::string_view text, const Error& error) {
  const std::string_view message = error.message;
  if (text.find("..") != std::string_view::npos) return "remove the extra dot";
  if (text.find_first_of(",;|") != std::string_view::npos) return "write two names as two entries";
  if (message.find("A-label") != std::string_view::npos || message.find("xn--") != std::string_view::npos) {
    return "write the name in Unicode, such as b\xc3\xbc"
           "cher.example: it is mapped here";
  }
  if (message.find("more than 63") != std::string_view::npos) return "63 is the most: is this a name?";
  if (message.find("more than 253") != std::string_view::npos) return "253 is the most: is this a name?";
  if (message.find("is a number") != std::string_view::npos) {
    return "write a name, or in addresses an address of four decimal numbers";
  }
  if (message.find("empty") != std::string_view::npos) return "write a name, such as example.com";
  return "a name has letters, digits, `-` and `_`, with dots between labels";
}

Problem address_problem(std::string_view text) {
  Problem problem{"P010", in_ticks(text) + " is no address", {}, {}, 0, 0};
  const Target target = split_target(text);
  const std::size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  if (!target.scheme.empty()) {
    problem.message = "expected an address, found a URL";
    problem.repair = is_address(target.host) ? "write " + in_ticks(target.host) : "write the name in domains";
  } else if (host.starts_with('[')) {
    problem.message = "brackets around the address " + in_ticks(text);
    problem.repair = "write " + in_ticks(std::string(target.host) +
                                         (slash == std::string_view::npos ? "" : std::string(text.substr(slash))));
  } else if (target.has_port && is_address(target.host)) {
    problem.message = "a port does not belong in an address: " + in_ticks(text);
    problem.repair = "write " + in_ticks(target.host) + ", and the port in ports";
  } else if (text.find('-') != std::string_view::npos && is_address(text.substr(0, text.find('-')))) {
    problem.message = "a range of addresses: " + in_ticks(text);
    problem.repair = "write CIDR blocks, such as 203.0.113.0/24";
  } else if (host.find('%') != std::string_view::npos) {
    problem.message = in_ticks(text) + " has a zone";
    problem.repair = "remove `%` and what follows: a zone has no meaning outside one host";
  } else if (slash != std::string_view::npos && is_address(host)) {
    const bool v4 = Address::parse(host)->is_v4();
    problem.message = in_ticks(text.substr(slash + 1)) + " is no prefix length";
    problem.repair = std::string("write /0 to /") + (v4 ? "32" : "128");
    problem.offset = slash + 1;
    problem.length = text.size() - slash - 1;
  } else if (host.find_first_not_of("0123456789.xX") == std::string_view::npos && !host.empty()) {
    problem.message = in_ticks(text) + " is no address of four decimal numbers";
    problem.repair = "legacy spellings are refused: write all four, without leading zeros";
  } else if (Pattern::parse(text).ok()) {
    problem.message = "expected an address, found the name " + in_ticks(text);
    problem.repair = "write it in domains";
  } else {
    problem.repair = "write an address such as 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32";
  }
  return problem;
}

}  // namespace

Target split_target(std::string_view text) {
  Target target;
  if (const std::size_t colon = text.find("://"); colon != std::string_view::npos) {
    target.scheme = text.substr(0, colon);
    text.remove_prefix(colon + 3);
    const std::size_t end = text.find_first_of("/?#");
    if (end != std::string_view::npos) target.path = text.substr(end);
    text = text.substr(0, end);
    if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) text.remove_prefix(at + 1);
  }
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close != std::string_view::npos) {
      target.bracketed = true;
      target.host = text.substr(1, close - 1);
      text.remove_prefix(close + 1);
      target.has_port = text.starts_with(':');
      if (target.has_port) target.port = text.substr(1);
      return target;
    }
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos) {
    target.host = text;  // none, or the many of a bare IPv6 address
    return target;
  }
  target.host = text.substr(0, colon);
  target.port = text.substr(colon + 1);
  target.has_port = true;
  return target;
}

Parsed<Pattern> read_domain(std::string_view text, const DomainPermissions& permissions) {
  if (text.empty()) return Problem{"P008", "an empty domain", "write a name, or remove the entry", {}, 0, 0};
  if (text == "*" || text == "**" || text == "." || text == "*.") {
    return Problem{"P014",
                   in_ticks(text) + " covers every name there is",
                   "name the organisations (*.example.com); to allow everything, set default: allow",
                   {},
                   0,
                   0};
  }
  if (std::optional<Problem> other = other_than_domain(text)) return *std::move(other);
  Result<Pattern> pattern = Pattern::parse(text);
  if (!pattern.ok()) {
    const Error& error = pattern.error();
    Problem problem{"P008", in_ticks(text) + ": " + error.message, {}, {}, std::min(error.offset, text.size()), 1};
    if (const std::size_t star = text.rfind('*'); star != std::string_view::npos) {
      problem.message = in_ticks(text) + ": `*` stands for whole labels, and only in front";
      problem.offset = star;
      problem.repair = star_repair(text, star);
    } else {
      problem.repair = name_repair(text, error);
      // The parser points at where a long label starts, and behind an empty one.
      if (problem.offset >= text.size()) problem.offset = problem.length = 0;
    }
    return problem;
  }
  switch (breadth(*pattern)) {
    case Breadth::kOrganisation:
      return *pattern;
    case Breadth::kMultiTenant: {
      if (permissions.multi_tenant) return *pattern;
      const std::string name(pattern->name.text());
      return Problem{"P015",
                     in_ticks(text) + " is shared by many tenants: anyone can have a name there",
                     "name the tenant (yours." + name + "), or set multi_tenant: true",
                     {},
                     0,
                     0};
    }
    case Breadth::kPublicSuffix:
    case Breadth::kTooBroad:
      break;
  }
  if (permissions.allow_public_suffix) return *pattern;
  const std::string name(pattern->name.text());
  const bool exact = pattern->kind == PatternKind::kExact;
  const std::string what = pattern->name.labels() == 1 ? "top-level name" : "public suffix";
  return Problem{"P014",
                 exact ? in_ticks(text) + " is a " + what : in_ticks(text) + " covers every registrant below a " + what,
                 std::string("name the organisation (") + (exact ? "" : "*.") + "example." + name +
                     "), or set allow_public_suffix: true",
                 {},
                 0,
                 0};
}

Parsed<Prefix> read_prefix(std::string_view text) {
  Result<Prefix> prefix = Prefix::parse(text);
  if (!prefix.ok()) {
    // The same text with its host bits cleared tells whether they were all that was wrong.
    const std::size_t slash = text.find('/');
    const Result<Address> address = Address::parse(text.substr(0, slash));
    if (slash != std::string_view::npos && address.ok() && all_digits(text.substr(slash + 1)) &&
        text.size() - slash <= 4) {
      unsigned bits = 0;
      std::from_chars(text.data() + slash + 1, text.data() + text.size(), bits);
      const unsigned most = address->is_v4() ? 32 : 128;
      const Prefix network = Prefix::of(*address, std::min(bits, most));
      if (bits <= most && (text[slash + 1] != '0' || text.size() - slash == 2) && network.network() != *address) {
        return Problem{"P009",
                       in_ticks(text) + " has host bits set",
                       "did you mean " + network.text() + " (the network) or " + Prefix::of(*address, most).text() +
                           " (one host)?",
                       {},
                       0,
                       0};
      }
    }
    return address_problem(text);
  }
  if (prefix->bits() >= 96 && prefix->network().text().starts_with("::ffff:")) {
    const std::optional<Address> inner = embedded_v4(prefix->network());
    if (inner) {
      return Problem{"P010",
                     in_ticks(text) + " is an IPv4 address in IPv6 clothes",
                     "write " + Prefix::of(*inner, prefix->bits() - 96).text(),
                     {},
                     0,
                     0};
    }
  }
  return *prefix;
}

std::optional<Problem> wide_block(const Prefix& block) {
  if (block.bits() >= (block.network().is_v4() ? 8u : 16u)) return std::nullopt;
  return Problem{"P041",
                 in_ticks(block.text()) + " lifts the address guard for all it covers, private networks included",
                 "name smaller blocks",
                 {},
                 0,
                 0};
}

Parsed<PortRange> read_port(std::string_view text) {
  Problem problem{"P011", in_ticks(text) + " is no port", "write 443, 22/tcp, 123/udp or 8000-8010", {}, 0, 0};
  std::string_view numbers = text;
  PortRange range;
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view proto = text.substr(slash + 1);
    numbers = text.substr(0, slash);
    if (proto == "udp") {
      range.proto = kProtoUdp;
    } else if (proto != "tcp") {
      if (numbers == "tcp" || numbers == "udp") {
        problem.repair = "did you mean " + in_ticks(std::string(proto) + "/" + std::string(numbers)) + "?";
      } else {
        problem.message = in_ticks(proto) + " is no protocol";
        problem.repair = "write tcp or udp, in lower case";
        problem.offset = slash + 1;
        problem.length = std::max<std::size_t>(proto.size(), 1);
      }
      return problem;
    }
  }
  const std::size_t dash = numbers.find('-');
  const std::string_view first = numbers.substr(0, dash);
  const std::string_view last = dash == std::string_view::npos ? first : numbers.substr(dash + 1);
  const std::optional<std::uint16_t> low = port_number(first);
  const std::optional<std::uint16_t> high = port_number(last);
  if (low && high) {
    if (*low > *high) {
      problem.message = "the range " + in_ticks(text) + " runs backwards";
      problem.repair = "did you mean " + in_ticks(std::string(last) + "-" + std::string(first)) + "?";
      return problem;
    }
    range.first = *low;
    range.last = *high;
    return range;
  }
  if (numbers == "*" || numbers == "any" || numbers == "all") {
    problem.repair = "write 1-65535 for every port";
  } else if (const auto known = service_port(numbers)) {
    problem.message = "ports are numbers, not service names: " + in_ticks(text);
    problem.repair = "did you mean " + std::to_string(*known) + "?";
  } else if (all_digits(first) && all_digits(last)) {
    const std::string_view bad = low ? last : first;
    const bool zeros = bad[0] == '0' && bad.find_first_not_of('0') != std::string_view::npos;
    problem.message = in_ticks(bad) + (zeros ? " has leading zeros" : " is out of range");
    problem.repair = "ports are 1 to 65535";
    problem.offset = low ? dash + 1 : 0;
    problem.length = bad.size();
  }
  return problem;
}

std::string port_text(const PortRange& range) {
  std::string text = std::to_string(range.first);
  if (range.last != range.first) text += "-" + std::to_string(range.last);
  return text + (range.proto == kProtoUdp ? "/udp" : "/tcp");
}

bool is_plain_name(std::string_view name) {
  if (name.empty() || name.size() > kMostNameOctets) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

std::string plain_name_of(std::string_view name) {
  std::string plain;
  for (const char c : name.substr(0, kMostNameOctets)) {
    if (is_plain_name(std::string_view(&c, 1))) {
      plain += c;
    } else if (!plain.empty() && plain.back() != '-') {
      plain += '-';
    }
  }
  while (plain.ends_with('-')) plain.pop_back();
  return plain;
}

}  // namespace sallyport
