// Snapshot::allowed_ports(): what decide() says at every port there is, for random policies and flows.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::Compiled;
using small_world::Flow;
using small_world::World;

class AllowedPorts : public testing::TestWithParam<unsigned> {};  // GetParam(): seed

// Edges where off-by-ones live: both ends of the range of ports, neighbours, and overlaps.
PolicyModel with_ports(unsigned seed) {
  PolicyModel policy = small_world::random_policy(seed);
  std::mt19937 random(seed * 977 + 1);
  constexpr std::uint16_t kEdges[] = {0, 1, 21, 22, 23, 80, 442, 443, 444, 8000, 8001, 65534, 65535};
  for (RuleModel& rule : policy.rules) {
    if (random() % 3 == 0) continue;
    rule.ports.clear();
    for (unsigned n = random() % 4; n > 0; --n) {
      std::uint16_t first = kEdges[random() % std::size(kEdges)], last = kEdges[random() % std::size(kEdges)];
      if (first > last) std::swap(first, last);
      rule.ports.push_back({first, last, random() % 4 == 0 ? kProtoUdp : kProtoTcp});
    }
  }
  return policy;
}

TEST_P(AllowedPorts, AreThoseThatDecideAllows) {
  const World world;
  const PolicyModel policy = with_ports(GetParam());
  const Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  std::mt19937 random(GetParam());
  for (int flows = 0; flows < 12; ++flows) {
    Flow flow;
    flow.name = static_cast<int>(random() % (std::size(small_world::kNames) + 2)) - 2;
    flow.address = static_cast<int>(random() % (std::size(small_world::kAddresses) + 2)) - 2;
    flow.groups = random() % 4;
    Query query = world.query(flow);
    query.proto = flows % 3 == 0 ? kProtoUdp : kProtoTcp;
    query.deferred |= flows % 2 == 0 ? kKnowPort : 0;
    std::array<Snapshot::Ports, 64> found;
    const std::size_t count = compiled.snapshot->allowed_ports(query, found);
    ASSERT_LE(count, found.size());
    for (std::size_t i = 1; i < count; ++i)
      ASSERT_GT(found[i].first, found[i - 1].last + 1) << "ordered, disjoint, and none touches the next";
    query.known |= kKnowPort;
    query.deferred &= ~std::uint32_t{kKnowPort};
    std::size_t at = 0;
    for (std::uint32_t port = 0; port <= 65535; ++port) {
      query.port = static_cast<std::uint16_t>(port);
      while (at < count && found[at].last < port) ++at;
      const bool inside = at < count && found[at].first <= port;
      ASSERT_EQ(inside, compiled.snapshot->decide(query).allowed())
          << "port " << port << " proto " << query.proto << " seed " << GetParam() << "\n"
          << small_world::text(policy) << "\n"
          << flow.text();
    }
    // Less room: the same count, the same first ones.
    std::array<Snapshot::Ports, 1> one;
    ASSERT_EQ(compiled.snapshot->allowed_ports(query, one), count);
    if (count > 0) ASSERT_EQ(one[0].first, found[0].first);
    if (count > 0) ASSERT_EQ(one[0].last, found[0].last);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AllowedPorts, testing::Range(0u, 24u));

}  // namespace
}  // namespace sallyport
