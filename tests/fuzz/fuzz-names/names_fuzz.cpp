// The first octet chooses the reader, the rest is its input. What is accepted must come back the same from its own
// text, and the readers must agree with each other on what they all can express.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "names/guard.hpp"
#include "names/pattern.hpp"

namespace {

using namespace sallyport;

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<std::uint8_t> wire_of(std::string_view text) {
  std::vector<std::uint8_t> wire;
  while (!text.empty()) {
    const std::string_view label = text.substr(0, text.find('.'));
    wire.push_back(static_cast<std::uint8_t>(label.size()));
    wire.insert(wire.end(), label.begin(), label.end());
    text.remove_prefix(label.size() == text.size() ? label.size() : label.size() + 1);
  }
  wire.push_back(0);
  return wire;
}

void check_name(const DomainName& name) {
  require(!name.text().empty() && name.text().size() <= DomainName::kMaxOctets);
  require(!Address::parse(name.text()).ok());  // no text is both
  const Result<DomainName> again = DomainName::parse(name.text());
  require(again.ok() && *again == name && again->hash() == name.hash() && again->labels() == name.labels());
  const Result<DomainName> dotted = DomainName::parse(std::string(name.text()) + ".");
  require(dotted.ok() && *dotted == name);
  const Result<DomainName> wire = DomainName::from_wire(wire_of(name.text()));
  require(wire.ok() && *wire == name);
  for (unsigned n = 1; n <= name.labels(); ++n) {
    const Result<DomainName> suffix = DomainName::parse(name.suffix(n));
    require(suffix.ok() && suffix->labels() == n && suffix->hash() == name.suffix_hash(n));
    require(name.is_within(*suffix) && suffix->is_within(name) == (n == name.labels()));
  }
}

void check_address(const Address& address) {
  const Result<Address> again = Address::parse(address.text());
  require(again.ok() && *again == address);
  require(!DomainName::parse(address.text()).ok());
  if (embedded_v4(address)) require(is_guarded(classify(address)));
  require(Prefix::of(address, address.is_v4() ? 32 : 128).contains(address));
}

void check_pattern(std::string_view text) {
  const Result<Pattern> pattern = Pattern::parse(text);
  if (!pattern.ok()) {
    require(pattern.error().offset <= text.size());
    return;
  }
  check_name(pattern->name);
  const Result<Pattern> again = Pattern::parse(pattern->text());
  require(again.ok() && again->kind == pattern->kind && again->name == pattern->name);
  require(pattern->matches(pattern->name) == (pattern->kind != PatternKind::kBelow));
  require(breadth(*pattern) != Breadth::kTooBroad);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> octets(data + 1, size - 1);
  const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
  switch (data[0] % 5) {
    case 0: {
      const Result<DomainName> name = DomainName::parse(text);
      if (name.ok()) check_name(*name);
      if (!name.ok()) require(name.error().offset <= text.size());
      const Result<DomainName> typed = parse_user_name(text);
      require(!name.ok() || (typed.ok() && *typed == *name));  // a user may write more, and nothing otherwise
      break;
    }
    case 1: {
      const Result<DomainName> name = DomainName::from_wire(octets);
      if (!name.ok()) break;
      check_name(*name);
      require(octets.size() == name->text().size() + 2);  // each dot a length octet, one more, and the root
      break;
    }
    case 2:
      check_pattern(text);
      break;
    case 3: {
      const Result<Address> address = Address::parse(text);
      if (address.ok()) check_address(*address);
      break;
    }
    case 4: {
      const Result<Prefix> prefix = Prefix::parse(text);
      if (!prefix.ok()) break;
      const Result<Prefix> again = Prefix::parse(prefix->text());
      require(again.ok() && *again == *prefix && prefix->contains(prefix->network()));
      check_address(prefix->network());
      break;
    }
  }
  return 0;
}
