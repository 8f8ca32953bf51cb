#include "language/lists/line_reader.hpp"

#include <algorithm>
#include <array>

#include "names/address.hpp"
#include "names/guard.hpp"

namespace sallyport {

std::unique_ptr<LineReader> line_reader(ListFormat format) {
  switch (format) {
    case ListFormat::kDomains:
      return domains_reader();
    case ListFormat::kHosts:
      return hosts_reader();
    case ListFormat::kAdblock:
      return adblock_reader();
    case ListFormat::kDnsmasq:
      return dnsmasq_reader();
    case ListFormat::kSquid:
      return squid_reader();
    case ListFormat::kRpz:
      return rpz_reader();
  }
  return domains_reader();
}

bool is_own_host_name(std::string_view name) noexcept {
  // As Debian, macOS and the block lists that carry their preamble write them. "0.0.0.0" is one of theirs too.
  static constexpr std::array<std::string_view, 13> kOwn = {
      "localhost",     "localhost.localdomain", "localhost4",     "localhost6",   "local",
      "broadcasthost", "ip6-localhost",         "ip6-loopback",   "ip6-localnet", "ip6-allnodes",
      "0.0.0.0",       "ip6-allrouters",        "ip6-mcastprefix"};
  return std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end() || name == "ip6-allhosts" ||
         name == "localhost6.localdomain6" || name == "localhost4.localdomain4";
}

bool is_sinkhole(std::string_view address) noexcept {
  const Result<Address> parsed = Address::parse(address);
  if (!parsed.ok()) return false;
  const AddressClass kind = classify(*parsed);
  return kind == AddressClass::kUnspecified || kind == AddressClass::kLoopback;
}

namespace line_parts {

Word trimmed(Word word) noexcept {
  const std::size_t first = word.text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {word.end(), {}};
  word = word.from(first);
  word.text = word.text.substr(0, word.text.find_last_not_of(kBlanks) + 1);
  return word;
}

Word whole(std::string_view line) noexcept { return trimmed({0, line}); }

Word without_comment(std::string_view line) noexcept {
  for (std::size_t at = line.find('#'); at != std::string_view::npos; at = line.find('#', at + 1)) {
    if (at == 0 || kBlanks.find(line[at - 1]) != std::string_view::npos) return whole(line.substr(0, at));
  }
  return whole(line);
}

Word next_word(Word& rest) noexcept {
  rest = trimmed(rest);
  const std::size_t end = std::min(rest.text.find_first_of(kBlanks), rest.text.size());
  const Word word{rest.offset, rest.text.substr(0, end)};
  rest = rest.from(end);
  return word;
}

LineFault mistake(Word word, std::string reason) { return {word.offset, word.text.size(), std::move(reason), true}; }
LineFault foreign(Word word, std::string reason) { return {word.offset, word.text.size(), std::move(reason), false}; }

std::optional<LineFault> add_name(Word word, PatternKind kind, EntrySense sense, std::vector<ListEntry>& out) {
  Result<DomainName> name = parse_user_name(word.text);
  if (name.ok()) {
    out.push_back({*name, kind, sense, word.offset, word.text.size()});
    return std::nullopt;
  }
  if (word.text.empty()) return mistake(word, "a name is missing");
  if (Address::parse(word.text).ok()) return foreign(word, "an address, where a name is expected");
  if (word.text.find("://") != std::string_view::npos) return foreign(word, "a URL, where a name is expected");
  LineFault fault = mistake(word, name.error().message);
  if (name.error().offset < word.text.size() && name.error().offset > 0) {
    fault.offset += name.error().offset;
    fault.length = 1;
  }
  return fault;
}

std::optional<LineFault> add_pattern(Word word, EntrySense sense, std::vector<ListEntry>& out) {
  const std::string_view text = word.text;
  if (text == "*" || text == "**" || text == "." || text == "*.") {
    return mistake(word, "it covers every name there is");
  }
  PatternKind kind = PatternKind::kExact;
  std::size_t skip = 0;
  if (text.starts_with("**.")) {
    kind = PatternKind::kBelow;
    skip = 3;
  } else if (text.starts_with("*.")) {
    kind = PatternKind::kBelow;
    skip = 2;
  } else if (text.starts_with('.')) {
    kind = PatternKind::kExactAndBelow;
    skip = 1;
  }
  if (const std::size_t star = text.find('*', skip); star != std::string_view::npos) {
    return mistake({word.offset + star, text.substr(star, 1)}, "`*` stands for whole labels, and only in front");
  }
  const std::size_t before = out.size();
  std::optional<LineFault> fault = add_name(word.from(skip), kind, sense, out);
  if (!fault) {
    out[before].offset = word.offset;
    out[before].length = text.size();
  }
  return fault;
}

}  // namespace line_parts
}  // namespace sallyport
