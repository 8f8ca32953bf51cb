// Any bytes as a policy, compiled, and asked beside the naive oracle (tests/engine/oracle.hpp).
//
// The bytes choose rules out of few labels and addresses, so that patterns nest, repeat and collide with each other; a
// rule can have hundreds of prefixes, lists that it shares, and names of up to 127 labels. Asked is what the policy
// names and what lies beside it: parents, children, siblings; first and last addresses and those one further.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "oracle.hpp"

namespace {

using namespace sallyport;

void demand(bool holds) {
  if (!holds) std::abort();
}

class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : at_(data), left_(size) {}
  unsigned below(unsigned n) {  // n <= 256; 0 once the bytes are used up
    if (left_ == 0) return 0;
    --left_;
    return *at_++ % n;
  }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  const std::uint8_t* at_;
  std::size_t left_;
};

std::string any_name(Choices& choices) {
  static constexpr const char* kLabels[] = {
      "a", "b", "aa", "test", "co", "label-of-sixteen", "x-label-that-fills-more"};
  const unsigned labels = choices.below(32) == 31 ? 1 + choices.below(127) : 1 + choices.below(5);
  std::string name;
  for (unsigned i = 0; i < labels; ++i) {
    const std::string label = labels > 8 ? "a" : kLabels[choices.below(std::size(kLabels))];
    name = name.empty() ? label : label + "." + name;
  }
  return name;
}

Address any_address(Choices& choices) {
  static constexpr std::uint32_t kBases[] = {0x5db80000, 0x09090909, 0x0a000000, 0x7f000000,
                                             0xa9fea9fe, 0x00000000, 0xffffffff};
  if (choices.chance(30)) {
    std::array<std::uint8_t, 16> octets = {0x26, 0x20};
    for (unsigned i = 2; i < 16; i += 1 + choices.below(4)) octets[i] = static_cast<std::uint8_t>(choices.below(256));
    return Address::v6(octets);
  }
  return Address::v4(kBases[choices.below(std::size(kBases))] + (choices.below(4) << 16) + choices.below(256));
}

void add_prefixes(std::vector<Prefix>& prefixes, Choices& choices) {
  const unsigned count = choices.below(8) == 7 ? 1 + choices.below(256) : 1 + choices.below(3);
  std::uint32_t spread = choices.below(256);
  for (unsigned i = 0; i < count; ++i) {
    if (i < 8) {
      const Address base = any_address(choices);
      const unsigned bits = choices.below(base.is_v4() ? 33 : 129);
      prefixes.push_back(Prefix::of(base, bits));
      continue;
    }
    spread = spread * 1664525u + 1013904223u;  // enough of them for the larger structure, from few bytes
    const unsigned bits = 12 + (spread >> 8) % 21;
    if (i % 5 != 0) {
      prefixes.push_back(Prefix::of(Address::v4(spread), bits));
    } else {
      prefixes.push_back(Prefix::of(
          Address::v6({0x26, 0x20, static_cast<std::uint8_t>(spread >> 24), static_cast<std::uint8_t>(spread >> 16)}),
          bits + 8));
    }
  }
}

PolicyModel any_policy(Choices& choices, std::vector<DomainName>& names, std::vector<Address>& addresses) {
  PolicyModel policy;
  policy.default_action = choices.chance(25) ? Action::kAllow : Action::kDeny;
  policy.clients = {{"one", {}, {}}, {"two", {}, {}}};
  if (choices.chance(30)) policy.own_addresses = {any_address(choices)};
  const std::shared_ptr<PatternSet> shared[] = {std::make_shared<PatternSet>(), std::make_shared<PatternSet>()};
  for (unsigned rules = choices.below(10); rules > 0; --rules) {
    RuleModel rule;
    rule.action = choices.chance(60) ? Action::kAllow : Action::kDeny;
    if (choices.chance(30)) rule.clients.push_back(choices.chance(50) ? "one" : "two");
    const bool named = choices.chance(70);
    for (unsigned count = named ? 1 + choices.below(6) : 0; count > 0; --count) {
      const auto name = DomainName::parse(any_name(choices));
      if (!name.ok()) continue;
      if (names.size() < 12) names.push_back(*name);
      const auto kind = static_cast<PatternKind>(choices.below(3));
      const unsigned place = choices.below(4);
      if (place < 2) {
        rule.domains.push_back({*name, kind});
      } else {
        shared[place - 2]->add(*name, kind);
      }
    }
    for (const auto& list : shared) {
      if (named && choices.chance(40)) rule.lists.push_back(list);
    }
    const bool has_domains = !rule.domains.empty() || !rule.lists.empty();
    if (has_domains && choices.chance(25)) add_prefixes(rule.resolves_to, choices);
    if (choices.chance(35)) add_prefixes(rule.addresses, choices);
    for (const auto* prefixes : {&rule.resolves_to, &rule.addresses}) {
      for (std::size_t i = 0; i < prefixes->size() && addresses.size() < 12; i += 1 + prefixes->size() / 4) {
        addresses.push_back((*prefixes)[i].network());
      }
    }
    if (choices.chance(50)) {
      const auto first = static_cast<std::uint16_t>(choices.below(256) * 2);
      const auto last = static_cast<std::uint16_t>(first + choices.below(256));
      rule.ports.push_back({first, last, choices.chance(70) ? kProtoTcp : kProtoUdp});
    }
    rule.tunnel_any = choices.chance(20);
    rule.allow_metadata = choices.chance(30);
    policy.rules.push_back(std::move(rule));
  }
  return policy;
}

// What the policy names, and what lies beside it.
std::vector<DomainName> around(const std::vector<DomainName>& names) {
  std::vector<DomainName> all;
  const auto add = [&all](const std::string& text) {
    if (const auto name = DomainName::parse(text); name.ok()) all.push_back(*name);
  };
  add("a.test");
  for (const DomainName& name : names) {
    const std::string text(name.text());
    add(text);
    add("z." + text);
    add("z" + text);
    if (name.labels() > 1) add("b." + text.substr(text.find('.') + 1));
  }
  return all;
}

std::vector<Address> around(const std::vector<Address>& addresses) {
  std::vector<Address> all = {Address::v4(0x09090909), Address::v4(0x0a000001), Address::v4(0xa9fea9fe)};
  for (const Address& address : addresses) {
    all.push_back(address);
    auto octets = address.octets();
    octets[address.is_v4() ? 3 : 15] ^= 1;
    all.push_back(address.is_v4() ? Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 |
                                                std::uint32_t{octets[2]} << 8 | octets[3])
                                  : Address::v6(octets));
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, size < 4096 ? size : 4096);
  std::vector<DomainName> mentioned;
  std::vector<Address> blocks;
  const PolicyModel policy = any_policy(choices, mentioned, blocks);
  const auto bytes = compile(policy, 9);
  demand(bytes.ok());
  const auto snapshot = Snapshot::open(*bytes);
  demand(snapshot.ok());

  const std::vector<DomainName> names = around(mentioned);
  const std::vector<Address> addresses = around(blocks);
  const std::size_t flows = std::max(names.size(), addresses.size());
  for (std::size_t i = 0; i < flows; ++i) {
    // Known, deferred, invisible for each of the three; a third of these each time.
    for (auto sights = static_cast<std::uint32_t>(i % 3); sights < 27; sights += 3) {
      const std::array<std::uint32_t, 3> sight = {(sights + sights / 3 + sights / 9) % 3, sights / 3 % 3, sights / 9};
      Query query;
      query.groups = i % 4;
      query.port = static_cast<std::uint16_t>(i * 37 % 600);
      query.name = &names[i % names.size()];
      query.address = &addresses[i % addresses.size()];
      for (unsigned bit = 0; bit < 3; ++bit) {
        if (sight[bit] == 1) query.known |= 1u << bit;
        if (sight[bit] == 2) query.deferred |= 1u << bit;
      }
      const Verdict verdict = (*snapshot)->decide(query);
      const Verdict expected = oracle::decide(policy, query, 9);
      demand(verdict.effect == expected.effect && verdict.reason == expected.reason && verdict.rule == expected.rule &&
             verdict.flags == expected.flags && verdict.generation == expected.generation);
    }
  }
  return 0;
}
