// compare(): against a small world asked flow by flow, for random policies.
#include "language/compare/policy_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "language/compare/samples.hpp"
#include "language/explain_flow.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

struct Compiled {
  explicit Compiled(PolicyModel of)
      : model(std::move(of)), bytes(*compile(model, 1)), snapshot(*Snapshot::open(bytes)) {}
  PolicyModel model;
  std::vector<std::byte> bytes;
  std::shared_ptr<const Snapshot> snapshot;
};

struct Asker {
  std::string cell, address, user;
  std::uint64_t groups(const Snapshot& snapshot) const {
    if (!cell.empty()) return snapshot.groups_of_cell(cell) | (user.empty() ? 0 : snapshot.groups_of_user(user));
    return snapshot.groups_of_address(*Address::parse(address), user);
  }
};

struct Flow {
  Asker asker;
  std::string name, address;  // no name: a literal destination
  std::uint16_t port = 0, proto = kProtoTcp;
  std::string method, path;  // none: nobody sees a request
};

struct Truth {
  bool passes = false, any_bytes = false;
};

Truth asked(const Compiled& policy, const Destination& destination, std::uint64_t groups, const Address& address) {
  Reader reader(policy.snapshot);
  const FlowExplanation flow = explain_flow(reader, destination, groups, address);
  Truth truth{flow.allowed && !flow.request_open, false};
  if (destination.name && destination.name->labels() == 1) {
    std::array<Address, 16> fixed;
    const std::size_t count = policy.snapshot->host_addresses(*destination.name, groups, fixed);
    truth.passes = truth.passes && std::find(fixed.begin(), fixed.begin() + count, address) != fixed.begin() + count;
  }
  truth.any_bytes = truth.passes && (flow.steps.back().verdict.flags & kFlagTunnelAny) != 0;
  return truth;
}

Destination destination_of(const Flow& flow) {
  Destination destination;
  if (!flow.name.empty()) destination.name = *DomainName::parse(flow.name);
  if (flow.name.empty()) destination.address = *Address::parse(flow.address);
  destination.port = flow.port;
  destination.proto = flow.proto;
  destination.port_given = true;
  destination.at_gate = flow.asker.cell.empty();
  if (!flow.path.empty()) {
    destination.clear_http = true;
    destination.method = flow.method;
    destination.path = flow.path;
  }
  return destination;
}

std::optional<Change> change_of(const Truth& a, const Truth& b) {
  if (a.passes != b.passes) return b.passes ? Change::kOpens : Change::kStops;
  if (a.any_bytes != b.any_bytes) return b.any_bytes ? Change::kLoosens : Change::kTightens;
  return std::nullopt;
}

// Rules over a handful of names, blocks, ports and clients.
class RandomPolicy {
 public:
  explicit RandomPolicy(unsigned seed) : random_(seed) {}

  PolicyModel make() {
    PolicyModel model;
    model.source = "p";
    model.default_action = chance(5) ? Action::kAllow : Action::kDeny;
    model.clients.push_back({"ci", {}, {"ci-*"}});
    model.clients.push_back({"one", {}, {"ci-1", "dev-*"}});
    model.clients.push_back({"net", {*Prefix::parse("172.20.0.0/24")}, {}});
    model.clients.push_back({"user", {*Prefix::parse("172.20.0.0/16")}, {}, {"u"}});
    for (unsigned i = 1 + random_() % 5; i > 0; --i) model.rules.push_back(rule(i));
    return model;
  }

  // Another policy that is not far from it.
  PolicyModel changed(PolicyModel model) {
    for (unsigned i = 1 + random_() % 2; i > 0; --i) {
      const std::size_t at = random_() % (model.rules.size() + 1);
      if (at == model.rules.size() || chance(3)) {
        model.rules.insert(model.rules.begin() + static_cast<std::ptrdiff_t>(at), rule(100 + i));
      } else if (chance(3) && model.rules.size() > 1) {
        model.rules.erase(model.rules.begin() + static_cast<std::ptrdiff_t>(at));
      } else {
        RuleModel& one = model.rules[at];
        const RuleModel other = rule(0);
        switch (random_() % 5) {
          case 0:
            one.domains = other.domains;
            break;
          case 1:
            one.ports = other.ports;
            break;
          case 2:
            one.clients = other.clients;
            break;
          case 3:
            one.tunnel_any = !one.tunnel_any;
            break;
          default:
            one.resolves_to = other.resolves_to;
            if (one.domains.empty()) one.resolves_to.clear();
        }
      }
    }
    return model;
  }

 private:
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  template <std::size_t n>
  std::vector<std::string> some(const std::array<const char*, n>& all, unsigned most) {
    std::vector<std::string> out;
    for (unsigned i = 1 + random_() % most; i > 0; --i) out.emplace_back(all[random_() % n]);
    return out;
  }

  RuleModel rule(unsigned number) {
    static constexpr std::array kDomains{"a.t", "*.a.t", ".b.t", "a.b.t", "*.t", ".b.a.t", "c", "a.a.t"};
    static constexpr std::array kBlocks{"10.0.0.0/24", "10.0.0.1/32",        "203.0.114.0/24", "203.0.114.1/32",
                                        "2600::/32",   "169.254.169.254/32", "0.0.0.0/0"};
    static constexpr std::array kHosts{"10.0.0.1/32", "203.0.114.1/32", "10.0.0.0/24"};
    RuleModel rule;
    rule.name = "r" + std::to_string(number);
    rule.action = chance(3) ? Action::kDeny : Action::kAllow;
    if (chance(2)) rule.clients = some(std::array{"ci", "one", "net", "user"}, 2);
    const unsigned kind = random_() % 8;
    if (kind < 6) {
      for (const std::string& text : some(kDomains, 3)) rule.domains.push_back(*Pattern::parse(text));
      if (chance(3)) {
        auto set = std::make_shared<PatternSet>();
        set->add(*Pattern::parse(kDomains[random_() % kDomains.size()]));
        rule.lists.push_back(std::move(set));
      }
      if (chance(4)) {
        for (const std::string& text : some(kHosts, 2)) rule.resolves_to.push_back(*Prefix::parse(text));
      }
    }
    if (kind >= 5 && (rule.action == Action::kAllow || kind < 7)) {
      for (const std::string& text : some(kBlocks, 2)) rule.addresses.push_back(*Prefix::parse(text));
    }
    if (!chance(3)) {
      static constexpr PortRange kPorts[] = {
          {443, 443}, {80, 80}, {80, 81}, {22, 443}, {123, 123, kProtoUdp}, {1, 65535}, {1, 65535, kProtoUdp}};
      for (unsigned i = 1 + random_() % 2; i > 0; --i) rule.ports.push_back(kPorts[random_() % std::size(kPorts)]);
    } else if (rule.action == Action::kAllow) {
      rule.ports = {{80, 80}, {443, 443}};
    }
    rule.tunnel_any = rule.action == Action::kAllow && chance(6);
    rule.allow_metadata = rule.action == Action::kAllow && chance(6);
    rule.observe = chance(12);
    if (chance(5)) {
      if (chance(2)) rule.methods = some(std::array{"GET", "PUT"}, 2);
      if (chance(2) || rule.methods.empty()) rule.paths = some(std::array{"/r/*", "/r/x", "*"}, 2);
    }
    return rule;
  }

  std::mt19937 random_;
};

std::vector<Flow> world() {
  const std::vector<Asker> askers = {{"run", "", ""},         {"ci-1", "", ""},       {"ci-2", "", ""},
                                     {"dev-1", "", "u"},      {"", "172.20.0.9", ""}, {"", "172.20.0.9", "u"},
                                     {"", "172.20.7.1", "u"}, {"", "172.30.0.1", "u"}};
  const std::vector<std::string> names = {"", "c", "a.t", "b.t", "z.t", "a.a.t", "b.a.t", "a.b.t", "x.a.b.t", "x.y"};
  const std::vector<std::string> addresses = {"10.0.0.1", "10.0.0.2",        "10.9.0.1", "203.0.114.1", "203.0.114.9",
                                              "9.9.9.9",  "169.254.169.254", "2600::1",  "2620::1"};
  const std::vector<std::pair<std::string, std::string>> requests = {
      {"GET", "/"}, {"PUT", "/r/x"}, {"GET", "/r/y"}, {"DELETE", "/r/x"}};
  std::vector<Flow> flows;
  for (const Asker& asker : askers) {
    for (const std::string& name : names) {
      for (const std::string& address : addresses) {
        for (const std::uint16_t port : {22, 53, 80, 81, 443, 9000}) {
          if (port != 80) flows.push_back({asker, name, address, port, kProtoTcp, "", ""});
          for (const auto& [method, path] : requests) {
            if (port == 80 || port == 81) flows.push_back({asker, name, address, port, kProtoTcp, method, path});
          }
        }
        if (!asker.cell.empty()) continue;
        for (const std::uint16_t port : {53, 123, 443})
          flows.push_back({asker, name, address, port, kProtoUdp, "", ""});
      }
    }
  }
  return flows;
}

bool is_of(const FlowChange& change, const Flow& flow, const Compiled& a, const Compiled& b) {
  if (change.name.has_value() != !flow.name.empty()) return false;
  if (std::none_of(change.ports.begin(), change.ports.end(), [&](const PortRange& range) {
        return range.proto == flow.proto && range.first <= flow.port && flow.port <= range.last;
      }))
    return false;
  if (change.everyone) return true;
  const std::uint64_t groups[2] = {flow.asker.groups(*a.snapshot), flow.asker.groups(*b.snapshot)};
  if (groups[0] == 0 && groups[1] == 0) return change.others;
  std::string together;
  for (unsigned bit = 0; bit < a.model.clients.size(); ++bit) {  // both have the same clients
    if ((groups[0] >> bit & 1) != 0) together += (together.empty() ? "" : "+") + a.model.clients[bit].name;
  }
  return std::find(change.clients.begin(), change.clients.end(), together) != change.clients.end();
}

std::string shown(const PolicyDiff& diff) {
  std::string out;
  for (const FlowChange& c : diff.changes) {
    out += "\n  " + std::to_string(static_cast<int>(c.change)) + " " + (c.name ? std::string(c.name->text()) : "-") +
           " at " + (c.address ? c.address->text() : "-") + ":" + std::to_string(c.port) + "/" +
           std::to_string(c.proto) + " " + c.method + " " + c.path + " by " + c.asker +
           (c.everyone ? " everyone" : "") + (c.others ? " others" : "");
    for (const std::string& client : c.clients) out += " " + client;
    for (const PortRange& range : c.ports) out += " " + std::to_string(range.first) + "-" + std::to_string(range.last);
  }
  return out;
}

class DiffAgainstTheWorld : public testing::TestWithParam<unsigned> {};

TEST_P(DiffAgainstTheWorld, EveryChangeIsToldAndEveryoneToldOfIsOne) {  // GetParam(): seed
  RandomPolicy random(GetParam());
  const Compiled a(random.make());
  const Compiled b(GetParam() % 3 == 0 ? random.make() : random.changed(a.model));
  const PolicyDiff diff = compare(a.model, *a.snapshot, b.model, *b.snapshot);
  EXPECT_THAT(diff.incomplete, testing::IsEmpty());
  SCOPED_TRACE("seed " + std::to_string(GetParam()));

  for (const FlowChange& change : diff.changes) {
    Destination destination;
    destination.name = change.name;
    if (!change.name) destination.address = change.address;
    destination.port = change.port;
    destination.proto = change.proto;
    destination.at_gate = change.at_gate;
    if (!change.path.empty()) {
      destination.clear_http = true;
      destination.method = change.method;
      destination.path = change.path;
    }
    const Address address = change.address.value_or(*Address::parse("9.9.9.9"));
    const Truth one = asked(a, destination, change.groups_a, address);
    const Truth two = asked(b, destination, change.groups_b, address);
    EXPECT_EQ(change_of(one, two), change.change)
        << (change.name ? change.name->text() : "") << " at " << address.text() << ":" << change.port << "/"
        << change.proto << " " << change.method << " " << change.path << " by " << change.asker;
    EXPECT_EQ(one.passes, change.a.passes);
    EXPECT_EQ(two.passes, change.b.passes);
  }
  static const std::vector<Flow> kWorld = world();
  std::size_t told = 0;
  for (const Flow& flow : kWorld) {
    const Destination destination = destination_of(flow);
    const Address address = *Address::parse(flow.address);
    const Truth one = asked(a, destination, flow.asker.groups(*a.snapshot), address);
    const Truth two = asked(b, destination, flow.asker.groups(*b.snapshot), address);
    const std::optional<Change> change = change_of(one, two);
    if (!change) continue;
    const bool found = std::any_of(diff.changes.begin(), diff.changes.end(),
                                   [&](const FlowChange& c) { return c.change == *change && is_of(c, flow, a, b); });
    ASSERT_TRUE(found) << flow.name << " at " << flow.address << ":" << flow.port << "/" << flow.proto << " "
                       << flow.method << " " << flow.path << " by " << flow.asker.cell << flow.asker.address << " "
                       << flow.asker.user << " is not told of" << shown(diff);
    ++told;
  }
  if (diff.changes.empty()) EXPECT_EQ(told, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, DiffAgainstTheWorld, testing::Range(0u, 300u));

Compiled policy(std::string_view rules) {
  const LoadOutcome outcome = load_policy("version: 1\n" + std::string(rules), "p.yaml");
  EXPECT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
  return Compiled(*outcome.model);
}

TEST(Diff, AnotherWayToWriteTheSameIsNoChange) {
  const Compiled a = policy("rules:\n  - { name: r, action: allow, domains: [.a.example], ports: [443, 80] }\n");
  const Compiled b = policy(
      "default: deny\nrules:\n  - { name: x, action: allow, domains: [a.example], ports: [80-80/tcp, 443] }\n"
      "  - { name: y, action: allow, domains: [\"*.a.example\"] }\n");
  EXPECT_TRUE(compare(a.model, *a.snapshot, b.model, *b.snapshot).same());
}

TEST(Diff, LimitsAndTrialsAreNoted) {
  const Compiled a = policy("rules:\n  - { name: r, action: allow, domains: [a.example] }\n");
  Compiled b = a;
  b.model.rules[0].limits.connections = 3;
  PolicyDiff diff = compare(a.model, *a.snapshot, b.model, *b.snapshot);
  EXPECT_THAT(diff.changes, testing::IsEmpty());
  EXPECT_THAT(diff.notes, testing::ElementsAre(testing::HasSubstr("other limits: of rule `r` (")));
  b.model = a.model;
  b.model.observe = ObserveModel{4'000'000'000};
  diff = compare(a.model, *a.snapshot, b.model, *b.snapshot);
  EXPECT_THAT(diff.notes, testing::ElementsAre(testing::HasSubstr("the trial of the whole policy")));
}

TEST(Diff, ManyNamesThatChangeAlikeAreOneChange) {
  PolicyModel one = policy("rules:\n  - { name: r, action: allow, domains: [a.example] }\n").model;
  PolicyModel two = one;
  auto list = std::make_shared<PatternSet>();
  for (int i = 0; i < 20'000; ++i) list->add(*Pattern::parse("n" + std::to_string(i) + ".b.example"));
  two.rules[0].lists.push_back(list);
  const Compiled a(one), b(two);
  const PolicyDiff diff = compare(a.model, *a.snapshot, b.model, *b.snapshot);
  ASSERT_EQ(diff.changes.size(), 1u);
  EXPECT_EQ(diff.changes[0].names, 20'000u);
  EXPECT_EQ(diff.changes[0].change, Change::kOpens);
}

TEST(Samples, OfGlobsAreOneOfEachSet) {
  const std::vector<std::string> globs = {"a*", "*b", "ab", "c"};
  const GlobSamples samples = glob_samples(globs, "", "x", [](std::string_view text) { return !text.empty(); });
  EXPECT_TRUE(samples.complete);
  // None; a*; *b; a* and *b; these and ab; c.
  EXPECT_THAT(samples.texts, testing::UnorderedElementsAre("x", "a", "b", "ab", "c", testing::MatchesRegex("a.b")));
}

}  // namespace
}  // namespace sallyport
