// Soundness: what find_dead_rules() calls dead changes no verdict, what find_shadowed_rules() calls open is. Random
// policies over a small world, every flow of which is decided with the rule and without it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>

#include "engine/decide.hpp"
#include "language/effect.hpp"
#include "language/shadow.hpp"
#include "names/guard.hpp"

namespace sallyport {
namespace {

constexpr const char* kPatterns[] = {"a.test",     "*.a.test",  ".a.test", "b.a.test",
                                     "*.b.a.test", ".b.a.test", "c.test",  ".c.test"};
constexpr const char* kNames[] = {"a.test", "b.a.test", "c.b.a.test", "x.a.test", "c.test", "d.c.test", "other.test"};
constexpr const char* kPrefixes[] = {"8.8.8.0/30",  "8.8.8.0/31",         "8.8.8.1/32",        "10.0.0.0/31",
                                     "10.0.0.1/32", "169.254.169.254/32", "169.254.169.252/30"};
constexpr const char* kAddresses[] = {"8.8.8.0",  "8.8.8.1",  "8.8.8.2",         "8.8.4.4",        "10.0.0.0",
                                      "10.0.0.1", "10.0.0.2", "169.254.169.254", "169.254.169.253"};
constexpr PortRange kPorts[] = {
    {80, 80, kProtoTcp}, {443, 443, kProtoTcp}, {80, 443, kProtoTcp}, {81, 442, kProtoTcp}, {443, 443, kProtoUdp}};
constexpr std::pair<std::uint16_t, std::uint16_t> kFlowPorts[] = {
    {80, kProtoTcp}, {200, kProtoTcp}, {443, kProtoTcp}, {443, kProtoUdp}, {22, kProtoTcp}};

class World {
 public:
  explicit World(unsigned seed) : random_(seed) {}

  PolicyModel policy() {
    PolicyModel model;
    model.default_action = pick(4) == 0 ? Action::kAllow : Action::kDeny;
    for (const char* name : {"a", "b"}) {
      ClientModel client;
      client.name = name;
      client.cells = {name};
      model.clients.push_back(client);
    }
    if (pick(3) == 0) model.own_addresses.push_back(*Address::parse("8.8.8.1"));
    const unsigned rules = 2 + pick(4);
    for (unsigned i = 0; i < rules; ++i) model.rules.push_back(rule());
    return model;
  }

 private:
  unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }

  RuleModel rule() {
    RuleModel rule;
    rule.action = pick(2) == 0 ? Action::kAllow : Action::kDeny;
    const bool allow = rule.action == Action::kAllow;
    if (pick(3) == 0) rule.clients.push_back(pick(2) == 0 ? "a" : "b");
    if (pick(8) == 0) rule.clients = {"a", "b"};
    const unsigned kind = pick(allow ? 8 : 10);  // names, addresses, both, or (deny alone) nothing
    if (kind < 6 || kind == 7) {
      for (unsigned i = 1 + pick(2); i > 0; --i)
        rule.domains.push_back(*Pattern::parse(kPatterns[pick(std::size(kPatterns))]));
      if (pick(3) == 0) {
        for (unsigned i = 1 + pick(2); i > 0; --i)
          rule.resolves_to.push_back(*Prefix::parse(kPrefixes[pick(std::size(kPrefixes))]));
      }
    }
    if (kind == 6 || kind == 7) {
      for (unsigned i = 1 + pick(2); i > 0; --i)
        rule.addresses.push_back(*Prefix::parse(kPrefixes[pick(std::size(kPrefixes))]));
    }
    if (allow || pick(2) == 0) {
      for (unsigned i = 1 + pick(2); i > 0; --i) rule.ports.push_back(kPorts[pick(std::size(kPorts))]);
    }
    rule.allow_metadata = allow && pick(3) == 0;
    rule.observe = pick(8) == 0;
    if (!rule.domains.empty() && pick(6) == 0) rule.methods = {"GET"};
    return rule;
  }

  std::mt19937 random_;
};

// Calls f(query) for every flow at the layer where all that will ever be known is known.
template <typename F>
void each_flow(F f) {
  for (const std::uint64_t groups : {0u, 1u, 2u, 3u}) {
    for (const auto& [port, proto] : kFlowPorts) {
      for (const char* at : kAddresses) {
        const Address address = *Address::parse(at);
        Query query;
        query.groups = groups;
        query.port = port;
        query.proto = proto;
        query.address = &address;
        query.layer = Layer::kTcp;
        query.known = kKnowAddress | kKnowPort;
        f(query);
        query.layer = Layer::kDial;
        query.known |= kKnowName;
        for (const char* text : kNames) {
          const DomainName name = *DomainName::parse(text);
          query.name = &name;
          f(query);
          for (const char* method : {"GET", "POST"}) {
            Query request = query;
            request.known |= kKnowMethod;
            request.method = method;
            f(request);
          }
        }
      }
    }
  }
}

// The bytes must outlive the reader.
struct Compiled {
  std::vector<std::byte> bytes;
  std::unique_ptr<Reader> reader;
};
Compiled compiled(const PolicyModel& model) {
  Compiled out;
  out.bytes = *compile(model, 1);
  out.reader = std::make_unique<Reader>(*Snapshot::open(out.bytes));
  return out;
}

class DeadRules : public testing::TestWithParam<unsigned> {};

TEST_P(DeadRules, ChangeNoVerdict) {
  unsigned dead_seen = 0;
  for (unsigned round = 0; round < 60; ++round) {
    const unsigned seed = GetParam() * 1000 + round;
    const PolicyModel model = World(seed).policy();
    const Compiled with = compiled(model);
    for (const DeadRule& dead : find_dead_rules(model)) {
      if (!dead.whole) continue;
      ++dead_seen;
      ASSERT_FALSE(dead.by.empty());
      ASSERT_LT(dead.by.back(), dead.rule);
      PolicyModel without_it = model;
      without_it.rules.erase(without_it.rules.begin() + dead.rule);
      const Compiled without = compiled(without_it);
      each_flow([&](const Query& query) {
        const Verdict one = with.reader->decide(query);
        const Verdict other = without.reader->decide(query);
        ASSERT_EQ(one.effect, other.effect)
            << "seed " << seed << " rule " << dead.rule << " by " << dead.by[0] << ": "
            << (query.name != nullptr && (query.known & kKnowName) != 0 ? query.name->text() : "literal") << " at "
            << query.address->text() << " port " << query.port << " proto " << query.proto << " groups "
            << query.groups;
        if (model.rules[dead.rule].action == Action::kAllow) ASSERT_NE(one.rule, dead.rule) << "seed " << seed;
      });
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(dead_seen, 0u);  // else this looked at nothing
}
INSTANTIATE_TEST_SUITE_P(Seeds, DeadRules, testing::Range(0u, 20u));

class ShadowedRules : public testing::TestWithParam<unsigned> {};

// What is said to pass is decided by the allow rule that is named, or before it: the deny rule never comes to it.
TEST_P(ShadowedRules, AreNotComeTo) {
  unsigned flows = 0, passed = 0;
  for (unsigned round = 0; round < 60; ++round) {
    const unsigned seed = GetParam() * 1000 + round;
    const PolicyModel model = World(seed).policy();
    const Compiled policy = compiled(model);
    for (const ShadowedRule& shadowed : find_shadowed_rules(model)) {
      const RuleModel& rule = model.rules[shadowed.rule];
      for (const OpenEntry& entry : shadowed.entries) {
        for (const Opening& opening : entry.openings) {
          ASSERT_LT(opening.by, shadowed.rule);
          ASSERT_EQ(model.rules[opening.by].action, Action::kAllow);
          each_flow([&](const Query& query) {
            const bool named = (query.known & kKnowName) != 0;
            const AddressClass kind = classify(*query.address);
            const bool meant =
                entry.is_domain
                    ? named && kind == AddressClass::kPublic && model.own_addresses.empty() &&
                          rule.domains[entry.index].matches(*query.name)
                    : !named && kind != AddressClass::kMetadata && rule.addresses[entry.index].contains(*query.address);
            const bool open = std::any_of(opening.ports.begin(), opening.ports.end(), [&](const PortRange& range) {
              return range.proto == query.proto && range.first <= query.port && query.port <= range.last;
            });
            const bool client = rule.clients.empty() ||
                                std::any_of(rule.clients.begin(), rule.clients.end(), [&](const std::string& name) {
                                  return (query.groups >> (name == "a" ? 0 : 1) & 1) != 0;
                                });
            if (!meant || !open || !client) return;
            const Verdict verdict = policy.reader->decide(query);
            ++flows;
            passed += verdict.allowed() ? 1 : 0;
            ASSERT_LE(verdict.rule, opening.by)
                << "seed " << seed << " rule " << shadowed.rule << " " << (named ? query.name->text() : "literal")
                << " at " << query.address->text() << " port " << query.port;
          });
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_GT(flows, 0u);  // else this looked at nothing
  EXPECT_GT(passed, flows / 2);
}
INSTANTIATE_TEST_SUITE_P(Seeds, ShadowedRules, testing::Range(0u, 20u));

}  // namespace
}  // namespace sallyport
