// Snapshot::literals(): what decide() says of every client, destination and port that could tell two ranges apart, for
// random policies.
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <set>

#include "names/guard.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::Compiled;

class Literals : public testing::TestWithParam<unsigned> {};  // GetParam(): seed

constexpr const char* kNetworks[] = {"172.20.0.0/16", "fd00:20::/64"};
constexpr const char* kClients[] = {"172.20.0.0/24",     "172.20.0.128/25", "172.20.0.0/16",
                                    "172.20.255.255/32", "fd00:20::/64",    "fd00:20::8/125"};
// Blocks of the guard, their neighbours, and public ones that nest.
constexpr const char* kDestinations[] = {
    "9.9.9.9/32",      "9.9.9.0/24",         "9.0.0.0/8",        "0.0.0.0/0",  "10.0.0.0/8", "169.254.0.0/16",
    "168.63.129.0/24", "169.254.169.254/32", "255.255.255.0/24", "8.8.4.4/32", "8.8.4.0/30", "::/0",
    "2620:fe::/32",    "2620:fe::fe/128",    "fd00::/8",         "2000::/3",   "2002::/16",  "fd00:ec2::254/128"};
constexpr std::uint16_t kEdges[] = {0, 1, 53, 122, 123, 124, 443, 65535};

PolicyModel with_addresses(unsigned seed) {
  PolicyModel policy = small_world::random_policy(seed);
  std::mt19937 random(seed * 31 + 7);
  const auto some = [&](const auto& words, std::vector<Prefix>& into) {
    into.clear();
    for (unsigned n = 1 + random() % 3; n > 0; --n)
      into.push_back(small_world::prefix(words[random() % std::size(words)]));
  };
  for (ClientModel& client : policy.clients) some(kClients, client.addresses);
  for (RuleModel& rule : policy.rules) {
    if (random() % 4 != 0) some(kDestinations, rule.addresses);
    if (random() % 3 != 0) {
      rule.domains.clear();
      rule.resolves_to.clear();
    }
    if (random() % 3 == 0) continue;
    rule.ports.clear();
    for (unsigned n = random() % 3; n > 0; --n) {
      std::uint16_t first = kEdges[random() % std::size(kEdges)], last = kEdges[random() % std::size(kEdges)];
      if (first > last) std::swap(first, last);
      rule.ports.push_back({first, last, random() % 4 != 0 ? kProtoUdp : kProtoTcp});
    }
  }
  return policy;
}

// One before a block, both ends of it, one behind.
std::set<Address> around(std::span<const Prefix> prefixes, bool v4) {
  std::set<Address> out;
  const auto add = [&](std::array<std::uint8_t, 16> octets) {
    if (!v4) out.insert(Address::v6(octets));
    if (v4)
      out.insert(*Address::parse(std::to_string(octets[0]) + "." + std::to_string(octets[1]) + "." +
                                 std::to_string(octets[2]) + "." + std::to_string(octets[3])));
  };
  for (const Prefix& prefix : prefixes) {
    if (prefix.network().is_v4() != v4) continue;
    const std::size_t size = v4 ? 4 : 16;
    std::array<std::uint8_t, 16> first = prefix.network().octets(), last = first;
    for (std::size_t bit = prefix.bits(); bit < size * 8; ++bit)
      last[bit / 8] |= static_cast<std::uint8_t>(0x80 >> bit % 8);
    add(first);
    add(last);
    for (std::size_t i = size; i-- > 0;) {
      if (first[i]-- != 0) break;
    }
    for (std::size_t i = size; i-- > 0;) {
      if (++last[i] != 0) break;
    }
    add(first);
    add(last);
  }
  return out;
}

TEST_P(Literals, AreWhatDecideAllowsWithoutAName) {
  const PolicyModel policy = with_addresses(GetParam());
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  std::vector<Prefix> destinations, clients;
  for (const char* text : kDestinations) destinations.push_back(small_world::prefix(text));
  for (const char* text : kClients) clients.push_back(small_world::prefix(text));
  for (const Prefix& block : guard_blocks()) destinations.push_back(block);
  for (const Address& own : policy.own_addresses) destinations.push_back(Prefix::of(own, own.is_v4() ? 32 : 128));
  for (const char* text : kNetworks) {
    const Prefix network = small_world::prefix(text);
    const bool v4 = network.network().is_v4();
    for (const std::uint16_t proto : {kProtoUdp, kProtoTcp}) {
      const auto found = compiled.snapshot->literals(network, proto, 4096);
      ASSERT_TRUE(found.has_value());
      for (const Address& client : around(clients, v4)) {
        if (!network.contains(client)) continue;
        for (const Address& to : around(destinations, v4)) {
          const bool named = std::any_of(policy.rules.begin(), policy.rules.end(), [&](const RuleModel& rule) {
            const bool of_proto =
                rule.ports.empty() ||
                std::any_of(rule.ports.begin(), rule.ports.end(), [&](const PortRange& p) { return p.proto == proto; });
            return rule.action == Action::kAllow && of_proto &&
                   std::any_of(rule.addresses.begin(), rule.addresses.end(),
                               [&](const Prefix& prefix) { return prefix.contains(to); });
          });
          for (const std::uint16_t port : kEdges) {
            if (port == 0) continue;
            Query query;
            query.layer = Layer::kDial;
            query.known = kKnowAddress | kKnowPort;
            query.proto = proto;
            query.port = port;
            query.address = &to;
            query.groups = compiled.snapshot->groups_of_address(client);
            const auto holds = std::count_if(found->begin(), found->end(), [&](const Snapshot::Literal& one) {
              return one.client_first <= client && client <= one.client_last && one.first <= to && to <= one.last &&
                     one.ports.first <= port && port <= one.ports.last;
            });
            const bool wanted = named && !carries_v4(to) && compiled.snapshot->decide(query).allowed();
            // Where an address that carries another lies inside a range it is the caller's to leave out.
            if (carries_v4(to) && embedded_v4(to)) continue;
            ASSERT_EQ(holds, wanted ? 1 : 0) << client.text() << " -> " << to.text() << " " << proto << " port " << port
                                             << " seed " << GetParam() << "\n"
                                             << small_world::text(policy);
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Literals, testing::Range(0u, 160u));

PolicyModel clock_policy() {
  PolicyModel policy;
  policy.clients = {{"agents", {small_world::prefix("172.20.0.0/16")}, {}}};
  policy.rules.push_back({.name = "clock",
                          .action = Action::kAllow,
                          .clients = {"agents"},
                          .addresses = {small_world::prefix("9.9.9.0/24"), small_world::prefix("9.9.8.0/24")},
                          .ports = {{123, 123, kProtoUdp}}});
  return policy;
}

std::vector<std::string> texts(const std::optional<std::vector<Snapshot::Literal>>& found) {
  std::vector<std::string> out;
  if (!found) return {"too many"};
  for (const Snapshot::Literal& one : *found) {
    out.push_back(one.client_first.text() + "-" + one.client_last.text() + " " + one.first.text() + "-" +
                  one.last.text() + " " + std::to_string(one.ports.first) + "-" + std::to_string(one.ports.last));
  }
  return out;
}

using List = std::vector<std::string>;

TEST(LiteralsTest, NeighboursAreOneRange) {
  const Compiled compiled(clock_policy());
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.20.0.0/16"), kProtoUdp, 9)),
            (List{"172.20.0.0-172.20.255.255 9.9.8.0-9.9.9.255 123-123"}));
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.20.0.0/16"), kProtoTcp, 9)), List{});
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.21.0.0/16"), kProtoUdp, 9)), List{});
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.20.0.0/16"), kProtoUdp, 0)), List{"too many"});
}

TEST(LiteralsTest, ADenyRuleBeforeCutsAHole) {
  PolicyModel policy = clock_policy();
  policy.rules.insert(policy.rules.begin(), {.name = "not this", .addresses = {small_world::prefix("9.9.9.9/32")}});
  const Compiled compiled(policy);
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.20.0.0/16"), kProtoUdp, 9)),
            (List{"172.20.0.0-172.20.255.255 9.9.8.0-9.9.9.8 123-123",
                  "172.20.0.0-172.20.255.255 9.9.9.10-9.9.9.255 123-123"}));
}

TEST(LiteralsTest, ADenyRuleByNameBeforeClosesAll) {  // nobody will ever know the name
  PolicyModel policy = clock_policy();
  policy.rules.insert(policy.rules.begin(), {.name = "ads", .domains = {small_world::pattern("*.ads.test")}});
  const Compiled compiled(policy);
  EXPECT_EQ(texts(compiled.snapshot->literals(small_world::prefix("172.20.0.0/16"), kProtoUdp, 9)), List{});
}

}  // namespace
}  // namespace sallyport
