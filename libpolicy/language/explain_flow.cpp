#include "language/explain_flow.hpp"

#include <algorithm>
#include <array>

#include "language/suggest.hpp"
#include "language/values.hpp"
#include "names/guard.hpp"
#include "names/pattern.hpp"
#include "names/request_path.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMostFixed = 16;  // as many as the dns plugin would put into one answer

constexpr std::uint16_t kDnsPort = 53;

struct Scheme {
  std::string_view name;
  std::uint16_t port;  // 0: none of its own
  std::uint16_t proto = kProtoTcp;
};
constexpr Scheme kSchemes[] = {{"https", 443},
                               {"wss", 443},
                               {"http", 80},
                               {"ws", 80},
                               {"ssh", 22},
                               {"git+ssh", 22},
                               {"sftp", 22},
                               {"git", 9418},
                               {"postgres", 5432},
                               {"postgresql", 5432},
                               {"mysql", 3306},
                               {"redis", 6379},
                               {"tcp", 0},
                               {"udp", 0, kProtoUdp},
                               {"quic", 443, kProtoUdp},
                               {"h3", 443, kProtoUdp},
                               {"dtls", 0, kProtoUdp},
                               {"ntp", 123, kProtoUdp},
                               {"coap", 5683, kProtoUdp},
                               {"tftp", 69, kProtoUdp}};

const Scheme* find_scheme(std::string_view name) {
  for (const Scheme& scheme : kSchemes) {
    // RFC 3986 §3.1: in either case.
    const bool same = std::equal(name.begin(), name.end(), scheme.name.begin(), scheme.name.end(), [](char a, char b) {
      return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
    });
    if (same) return &scheme;
  }
  return nullptr;
}

Layer layer_of(std::uint16_t port) { return port == 443 ? Layer::kTls : port == 80 ? Layer::kHttp : Layer::kTcp; }

Step ask(Reader& reader, Query query) {
  Step step;
  step.layer = query.layer;
  if (query.address != nullptr) step.address = *query.address;
  step.verdict = reader.explain(query, step.trace);
  return step;
}

// An IPv4-mapped address is what an IPv6 socket calls an IPv4 destination: IPv4 packets are what leaves.
Address unmapped(const Address& address) {
  const bool mapped = address.is_v6() && Prefix::parse("::ffff:0.0.0.0/96")->contains(address);
  return mapped ? *embedded_v4(address) : address;
}

// Loopback (0.0.0.0 and :: too) belongs to the workload's own servers; the synthetic ranges mean names that dns gave
// out, never themselves.
bool stays_inside(const Address& address) {
  const AddressClass kind = classify(address);
  return kind == AddressClass::kLoopback || kind == AddressClass::kUnspecified || kind == AddressClass::kBenchmarking ||
         Prefix::parse("fd53:616c:6c79::/64")->contains(address);
}

// Why nobody could ask for this, and what to write; empty if one could.
std::string not_a_destination(std::string_view text, const Target& target) {
  if (target.host.empty()) return "no host in " + in_ticks(text) + "; write a name or an address";
  if (text == "-") return "`-` is no destination; a policy on standard input is -p -";
  const std::size_t at = target.scheme.empty() ? text.find('@') : std::string_view::npos;
  if (at != std::string_view::npos) {
    const std::string_view rest = text.substr(at + 1);
    const Target host = split_target(rest);
    // git@github.com:org/repository.git, as scp writes it
    const bool scp = host.has_port && !std::holds_alternative<PortRange>(read_port(host.port));
    return "an account in " + in_ticks(text) + "; write " + std::string(host.host) +
           (scp ? ":22" : std::string(rest.substr(host.host.size())));
  }
  // A dot in front may be a program's own mistake, which a cell answers with name_malformed.
  if (target.host.find('*') != std::string_view::npos) {
    std::string_view below = target.host;
    below.remove_prefix(std::min(below.find_first_not_of("*."), below.size()));
    return in_ticks(target.host) + " is a pattern; ask for one name" +
           (below.empty() || below.find('*') != std::string_view::npos ? "" : ", such as www." + std::string(below));
  }
  const std::size_t slash = target.host.find('/');
  if (target.scheme.empty() && slash != std::string_view::npos) {
    if (Prefix::parse(target.host).ok()) return in_ticks(target.host) + " is a block; ask for one address of it";
    return "a path without a scheme in " + in_ticks(text) + "; write https://" + std::string(text);
  }
  return "";
}

}  // namespace

Destination read_destination(std::string_view text, std::optional<std::uint16_t> port, std::string& usage) {
  Destination destination;
  const Target target = split_target(text);
  destination.raw = target.host;
  usage = not_a_destination(text, target);
  if (!usage.empty()) return destination;
  const Scheme* scheme = find_scheme(target.scheme);
  if (scheme != nullptr) destination.proto = scheme->proto;
  if (target.has_port) {
    const std::string host = target.bracketed ? "[" + std::string(target.host) + "]" : std::string(target.host);
    Parsed<PortRange> parsed = read_port(target.port);
    const auto* range = std::get_if<PortRange>(&parsed);
    if (range == nullptr || range->first != range->last) {
      usage = (target.port.empty() ? "no port after `:`" : in_ticks(target.port) + " is no port") + "; write " + host +
              ":443";
      return destination;
    }
    if (range->proto == kProtoUdp) destination.proto = kProtoUdp;
    if (port && *port != range->first) {
      usage = "two ports: " + std::string(target.port) + " in the target, " + std::to_string(*port) + " by --port";
      return destination;
    }
    port = range->first;
  } else if (!target.scheme.empty() && !port) {
    if (scheme == nullptr || scheme->port == 0) {
      usage = "the port of " + in_ticks(target.scheme) + " is not known here; add --port";
      return destination;
    }
    port = scheme->port;
  }
  destination.port_given = port.has_value();
  destination.port = port.value_or(443);
  const bool http = scheme != nullptr && (scheme->name == "http" || scheme->name == "ws");
  destination.clear_http =
      destination.proto == kProtoTcp && (http || (target.scheme.empty() && destination.port == 80));
  if (http) destination.path = target.path.empty() ? "/" : std::string(target.path);
  const Result<Address> address = Address::parse(target.host);
  if (address.ok()) {
    destination.address = unmapped(*address);
    return destination;
  }
  Result<DomainName> name = parse_user_name(target.host);
  if (target.bracketed) {
    destination.malformed = address.error().message;
  } else if (name.ok()) {
    destination.name = *name;
  } else {
    destination.malformed = name.error().message;
  }
  return destination;
}

FlowExplanation explain_flow(Reader& reader, const Destination& destination, std::uint64_t groups,
                             const std::optional<Address>& resolved, std::int64_t now) {
  constexpr std::uint32_t kRequest = kKnowMethod | kKnowPath;
  FlowExplanation explanation;
  const auto end = [&](Step step) {
    if (destination.port == kDnsPort && step.verdict.effect != Effect::kDeny) {
      explanation.own_dns = true;
      step.verdict = {Effect::kDeny, Reason::kDstNotBound, kNoRuleIndex, 0, step.verdict.generation};
    }
    explanation.allowed = step.verdict.effect != Effect::kDeny;
    explanation.observed = (step.verdict.flags & kFlagObserved) != 0;
    explanation.request_open =
        step.verdict.effect == Effect::kContinue && destination.clear_http && !destination.path.has_value();
    explanation.reason = step.verdict.reason;
    explanation.steps.push_back(std::move(step));
    return explanation;
  };
  if (!destination.address && !destination.name) {
    explanation.reason = Reason::kNameMalformed;
    return explanation;
  }
  if (destination.proto == kProtoUdp && !destination.at_gate) {
    explanation.udp = true;
    explanation.own_dns = destination.port == kDnsPort;
    return explanation;
  }
  Query query;
  query.groups = groups;
  query.proto = destination.proto;
  query.port = destination.port;
  query.now = now;
  // What the connection's own layer knows of its request, and what the layers before it leave to that one.
  std::array<char, kMostPathOctets> room;
  Query request = query;
  if (destination.address) {
    // Of a destination without a name nobody reads requests for the policy.
  } else if (destination.clear_http && destination.path) {
    request.method = destination.method;
    if (is_canonical_method(destination.method)) request.known |= kKnowMethod;
    const Result<std::string_view> path = canonical_path(*destination.path, room);
    if (path.ok()) {
      request.path = *path;
      request.known |= kKnowPath;
    }
    explanation.path_unreadable = !path.ok() && reader.snapshot().asks_for_requests();
  } else if (destination.clear_http) {
    request.deferred = kRequest;
  }
  query = request;

  if (destination.address) {
    query.layer = destination.proto == kProtoUdp ? Layer::kDial : Layer::kTcp;
    query.known |= kKnowAddress | kKnowPort;
    query.address = &*destination.address;
    Step step = ask(reader, query);
    // A literal has nothing left to learn: what is not allowed now never will be.
    if (step.verdict.effect == Effect::kContinue) step.verdict.effect = Effect::kDeny;
    if (stays_inside(*destination.address) && step.verdict.effect != Effect::kDeny) {
      explanation.inside_the_cell = true;
      step.verdict = {Effect::kDeny, Reason::kDstNotBound, kNoRuleIndex, 0, step.verdict.generation};
    }
    return end(std::move(step));
  }

  query.name = &*destination.name;
  Query asked = query;
  asked.layer = Layer::kDns;
  asked.qtype = 1;  // A
  asked.known = kKnowName;
  asked.deferred = kKnowAddress | kKnowPort | kRequest;
  Step dns = ask(reader, asked);
  if (dns.verdict.effect == Effect::kDeny) return end(std::move(dns));
  std::array<Address, kMostFixed> fixed;
  std::size_t count = reader.snapshot().host_addresses(*destination.name, groups, fixed);
  count = std::min(count, fixed.size());
  if (resolved) {
    fixed[0] = *resolved;
    count = 1;
  }
  if (count == 0 && destination.name->labels() == 1) {
    explanation.never_resolves = true;
    dns.verdict.effect = Effect::kDeny;
    dns.verdict.reason = Reason::kUpstreamFailed;
    return end(std::move(dns));
  }
  explanation.steps.push_back(std::move(dns));

  asked = query;
  asked.layer = destination.proto == kProtoUdp ? Layer::kDial : layer_of(destination.port);
  asked.known |= kKnowName | kKnowPort;
  asked.deferred |= kKnowAddress;
  Step flow = ask(reader, asked);
  if (flow.verdict.effect == Effect::kDeny) return end(std::move(flow));
  if (count == 0) {
    explanation.address_open = true;
    return end(std::move(flow));
  }
  explanation.steps.push_back(std::move(flow));

  asked.layer = Layer::kDial;
  asked.known |= kKnowAddress;
  asked.deferred &= ~std::uint32_t{kKnowAddress};
  // Any one of the addresses will do, as for the dialler.
  for (std::size_t i = 0; i < count; ++i) {
    asked.address = &fixed[i];
    Step dial = ask(reader, asked);
    if (dial.verdict.effect != Effect::kDeny || i + 1 == count) return end(std::move(dial));
  }
  return explanation;
}

}  // namespace sallyport
