// A cache that is asked about everything, by one policy and then another, says what decide() says.
#include "engine/decision_cache.hpp"

#include <gtest/gtest.h>

#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::Compiled;
using small_world::Flow;
using small_world::World;

constexpr unsigned kPoliciesPerShard = 25;

bool same(const Verdict& a, const Verdict& b) {
  return a.effect == b.effect && a.reason == b.reason && a.rule == b.rule && a.flags == b.flags &&
         a.generation == b.generation && a.trials == b.trials;
}

class CacheAgainstDecide : public testing::TestWithParam<unsigned> {};  // GetParam(): the first seed of a shard

TEST_P(CacheAgainstDecide, EveryFlowTwiceByEachOfManyPolicies) {
  const World world;
  DecisionCache cache(GetParam());  // one for all: what an earlier policy said must never come back
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard; ++seed) {
    const PolicyModel policy = small_world::random_policy_of_requests(seed);
    const Compiled compiled(policy, seed + 1);
    ASSERT_NE(compiled.snapshot, nullptr) << small_world::text(policy);
    const auto ask = [&](const Flow& flow) {
      const Query query = world.query(flow);
      const Verdict expected = compiled.snapshot->decide(query);
      ASSERT_TRUE(same(cache.decide(*compiled.snapshot, query), expected)) << small_world::text(policy) << flow.text();
      ASSERT_TRUE(same(cache.decide(*compiled.snapshot, query), expected)) << "again" << flow.text();
    };
    World::each_flow(ask);
    World::each_request(ask);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CacheAgainstDecide, testing::Range(0u, 100u, kPoliciesPerShard));

// What is remembered is seen by deciding with a snapshot that says otherwise under the same generation, which no
// gateway ever has.
class Remembered : public testing::Test {
 protected:
  static PolicyModel model(Action action) {
    PolicyModel policy;
    policy.default_action = action;
    policy.clients = {{"one", {}, {}}};
    return policy;
  }
  bool remembers(const Query& query) {
    DecisionCache cache(1);
    const bool first = cache.decide(*allow_.snapshot, query).allowed();
    return cache.decide(*deny_.snapshot, query).allowed() == first;
  }
  Query query(const DomainName& name) const {
    Query q;
    q.layer = Layer::kTls;
    q.known = kKnowName | kKnowPort;
    q.deferred = kKnowAddress;
    q.port = 443;
    q.name = &name;
    return q;
  }
  const Compiled allow_{model(Action::kAllow), 9}, deny_{model(Action::kDeny), 9};
  const DomainName name_ = small_world::name("api.example.test");
};

TEST_F(Remembered, ANameAndAPort) { EXPECT_TRUE(remembers(query(name_))); }

TEST_F(Remembered, UpToFortyOctets) {
  const DomainName forty = small_world::name(std::string(35, 'a') + ".test");
  const DomainName longer = small_world::name(std::string(36, 'a') + ".test");
  EXPECT_TRUE(remembers(query(forty)));
  EXPECT_FALSE(remembers(query(longer)));
}

TEST_F(Remembered, NoAddressMethodOrPath) {
  const Address address = small_world::address("9.9.9.9");
  Query with_address = query(name_);
  with_address.known |= kKnowAddress;
  with_address.deferred = 0;
  with_address.address = &address;
  EXPECT_FALSE(remembers(with_address));
  Query with_method = query(name_);
  with_method.known |= kKnowMethod;
  with_method.method = "GET";
  EXPECT_FALSE(remembers(with_method));
  Query with_path = query(name_);
  with_path.known |= kKnowPath;
  with_path.path = "/";
  EXPECT_FALSE(remembers(with_path));
}

TEST_F(Remembered, NothingThatReadsTheTime) {
  PolicyModel trial = model(Action::kDeny);
  trial.clients[0].observe = ObserveModel{100};
  const Compiled compiled(trial, 3);
  DecisionCache cache(1);
  Query asked = query(name_);
  asked.groups = 1;
  asked.now = 50;
  EXPECT_TRUE(cache.decide(*compiled.snapshot, asked).allowed());
  asked.now = 150;
  EXPECT_FALSE(cache.decide(*compiled.snapshot, asked).allowed()) << "the trial has ended";
}

}  // namespace
}  // namespace sallyport
