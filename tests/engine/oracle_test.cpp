// decide() against the naive oracle over a small world, whole; explain() against decide(); and what partial knowledge
// may do.
#include "oracle.hpp"

#include <gtest/gtest.h>

#include "names/guard.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::Compiled;
using small_world::Flow;
using small_world::kDeferred;
using small_world::kInvisible;
using small_world::World;

constexpr unsigned kPoliciesPerShard = 100;

class AgainstOracle : public testing::TestWithParam<unsigned> {};  // GetParam(): the first seed of a shard

bool same(const Verdict& a, const Verdict& b) {
  return a.effect == b.effect && a.reason == b.reason && a.rule == b.rule && a.flags == b.flags &&
         a.generation == b.generation && a.trials == b.trials;
}

std::string text(const Verdict& v) {
  static constexpr const char* kEffects[] = {"deny", "allow", "continue"};
  return std::string(kEffects[static_cast<unsigned>(v.effect)]) + " " + std::string(to_string(v.reason)) + " rule " +
         std::to_string(static_cast<std::int32_t>(v.rule)) + " flags " + std::to_string(v.flags) + " trials " +
         std::to_string(v.trials[0]) + " " + std::to_string(v.trials[1]);
}

void compare(const PolicyModel& policy, bool requests) {
  {
    const World world;
    const Compiled compiled(policy);
    ASSERT_NE(compiled.snapshot, nullptr) << small_world::text(policy);
    Reader reader(compiled.snapshot);
    std::vector<RuleTrace> trace;
    const auto check = [&](const Flow& flow) {
      const Query query = world.query(flow);
      const Verdict verdict = reader.decide(query);
      const Verdict expected = oracle::decide(policy, query, 7);
      ASSERT_TRUE(same(verdict, expected))
          << small_world::text(policy) << "\n"
          << flow.text() << "\n  decided " << text(verdict) << "\n  expected " << text(expected);
      // Rule 6: an explanation never disagrees.
      const Verdict explained = reader.explain(query, trace);
      ASSERT_TRUE(same(verdict, explained)) << small_world::text(policy) << "\n" << flow.text();
      const std::size_t rules = verdict.rule == kNoRuleIndex ? policy.rules.size() : verdict.rule + 1;
      ASSERT_EQ(trace.size(), rules) << small_world::text(policy) << "\n" << flow.text();
      for (std::uint32_t i = 0; i < rules; ++i) {
        ASSERT_EQ(trace[i].rule, i);
        ASSERT_EQ(trace[i].outcome == Outcome::kMatch, trace[i].mismatch == Mismatch::kNothing)
            << small_world::text(policy) << "\n"
            << flow.text() << " rule " << i;
      }
    };
    requests ? World::each_request(check) : World::each_flow(check);
  }
}

TEST_P(AgainstOracle, EveryFlowOfTheSmallWorld) {
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard; ++seed) {
    compare(small_world::random_policy(seed), false);
    if (HasFatalFailure()) return;
  }
}

TEST_P(AgainstOracle, EveryRequestOfTheSmallWorldOnTrialAndNot) {
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard / 5; ++seed) {
    compare(small_world::random_policy_of_requests(seed), true);
    if (HasFatalFailure()) return;
  }
}

// A request that is allowed is stopped at no earlier layer, and what nobody can see of it allows nothing.
TEST_P(AgainstOracle, RequestsStillToComeStopNothingAndUnseenOnesAllowNothing) {
  const World world;
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard / 5; ++seed) {
    PolicyModel policy = small_world::random_policy_of_requests(seed);
    const Compiled compiled(policy);
    ASSERT_NE(compiled.snapshot, nullptr);
    Reader reader(compiled.snapshot);
    World::each_request([&](const Flow& flow) {
      if (flow.method < 0 || flow.path < 0 || flow.now != 0) return;
      const Verdict late = reader.decide(world.query(flow));
      Flow early = flow;
      early.method = early.path = kDeferred;
      const Verdict before = reader.decide(world.query(early));
      if (late.allowed()) {
        ASSERT_NE(before.effect, Effect::kDeny) << small_world::text(policy) << "\n" << flow.text();
      }
      if (before.allowed()) {
        ASSERT_EQ(late.effect, Effect::kAllow) << small_world::text(policy) << "\n" << flow.text();
      }
      Flow unseen = flow;
      unseen.method = unseen.path = kInvisible;
      if (reader.decide(world.query(unseen)).allowed()) {
        ASSERT_NE(late.effect, Effect::kDeny) << small_world::text(policy) << "\n" << flow.text();
      }
    });
    if (HasFatalFailure()) return;
  }
}

// A trial lets pass what the same policy without one denies, less what the guard holds; nothing else changes.
TEST_P(AgainstOracle, ATrialChangesDenialsAlone) {
  const World world;
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard / 5; ++seed) {
    PolicyModel policy = small_world::random_policy_of_requests(seed);
    policy.observe = ObserveModel{small_world::kUntil};
    const Compiled trial(policy);
    policy.observe.reset();
    for (ClientModel& client : policy.clients) client.observe.reset();
    const Compiled enforced(policy);
    ASSERT_TRUE(trial.snapshot && enforced.snapshot);
    World::each_request([&](const Flow& flow) {
      const Query query = world.query(flow);
      const Verdict a = enforced.snapshot->decide(query);
      Verdict b = trial.snapshot->decide(query);
      if ((b.flags & kFlagObserved) != 0) {
        ASSERT_EQ(flow.now, 1);  // before its end, and the time is known
        ASSERT_TRUE(flow.address < 0 || !is_guarded(classify(world.addresses()[static_cast<unsigned>(flow.address)])));
        ASSERT_EQ(b.effect, Effect::kAllow);
        b.effect = Effect::kDeny;
        b.flags &= ~std::uint32_t{kFlagObserved};
      }
      ASSERT_TRUE(same(a, b)) << small_world::text(policy) << "\n" << flow.text() << text(a) << "\n" << text(b);
    });
    if (HasFatalFailure()) return;
  }
}

// What a flow may turn into when its deferred attributes become known.
template <typename F>
void each_completion(const Flow& flow, F f) {
  const auto values = [](int value, int count, auto use) {
    if (value != kDeferred) return use(value);
    for (int i = 0; i < count; ++i) use(i);
  };
  values(flow.name, static_cast<int>(std::size(small_world::kNames)), [&](int n) {
    values(flow.address, static_cast<int>(std::size(small_world::kAddresses)), [&](int a) {
      values(flow.port, static_cast<int>(std::size(small_world::kPorts)),
             [&](int p) { f(Flow{n, a, p, flow.groups}); });
    });
  });
}

TEST_P(AgainstOracle, DeferringNeverStopsAnAllowedFlowNorPermitsADeniedOne) {
  const World world;
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard; ++seed) {
    const PolicyModel policy = small_world::random_policy(seed);
    const Compiled compiled(policy);
    ASSERT_NE(compiled.snapshot, nullptr);
    Reader reader(compiled.snapshot);
    World::each_flow([&](const Flow& flow) {
      if (flow.name != kDeferred && flow.address != kDeferred && flow.port != kDeferred) return;
      const Verdict early = reader.decide(world.query(flow));
      each_completion(flow, [&](const Flow& later) {
        const Verdict late = reader.decide(world.query(later));
        // A later layer would allow: no earlier one may stop it.
        if (late.allowed()) {
          ASSERT_NE(early.effect, Effect::kDeny) << small_world::text(policy) << "\n"
                                                 << flow.text() << "\n"
                                                 << later.text();
        }
        // An earlier layer allowed: the later one agrees, unless an address turns up that the guard holds back.
        if (early.allowed() && !late.allowed()) {
          ASSERT_TRUE(flow.address == kDeferred &&
                      (late.reason == Reason::kAddrForbidden || late.reason == Reason::kGuardMetadata))
              << small_world::text(policy) << "\n"
              << flow.text() << "\n"
              << later.text() << "\n  " << text(late);
        }
      });
    });
    if (HasFatalFailure()) return;
  }
}

// What nobody will ever know is never a reason to allow: whatever the value were, the flow would not be denied with it
// (but for the guard, which looks at addresses and at nothing else; and an attribute that is still deferred may leave
// it undecided). The absence of a name is itself something an `addresses` rule asks for, so a literal destination is
// left out.
TEST_P(AgainstOracle, AnInvisibleAttributeAllowsNothingOfItsOwn) {
  const World world;
  for (unsigned seed = GetParam(); seed < GetParam() + kPoliciesPerShard; ++seed) {
    const PolicyModel policy = small_world::random_policy(seed);
    const Compiled compiled(policy);
    ASSERT_NE(compiled.snapshot, nullptr);
    Reader reader(compiled.snapshot);
    World::each_flow([&](const Flow& flow) {
      if (!reader.decide(world.query(flow)).allowed()) return;
      for (int a = 0; flow.address == kInvisible && a < static_cast<int>(std::size(small_world::kAddresses)); ++a) {
        const Verdict seen = reader.decide(world.query({flow.name, a, flow.port, flow.groups}));
        ASSERT_TRUE(seen.effect != Effect::kDeny || seen.reason == Reason::kAddrForbidden ||
                    seen.reason == Reason::kGuardMetadata)
            << small_world::text(policy) << "\n"
            << flow.text() << "\n  " << text(seen);
      }
      for (int p = 0; flow.port == kInvisible && p < static_cast<int>(std::size(small_world::kPorts)); ++p) {
        ASSERT_NE(reader.decide(world.query({flow.name, flow.address, p, flow.groups})).effect, Effect::kDeny)
            << small_world::text(policy) << "\n"
            << flow.text();
      }
    });
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstOracle, testing::Range(0u, 3000u, kPoliciesPerShard));

}  // namespace
}  // namespace sallyport
