// policy.limits/1 over the real table: whose limits, by which rule, and what a new policy does to what is open.
#include <gmock/gmock.h>

#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class Limits : public GateFixture {
 protected:
  Limits() {
    shared_.limits.emplace(*LimitsTable::create({.capacity = 64, .seed = {1, 2}}));
    shared_.metrics.emplace(*MetricsTable::create());
  }
  static PolicyModel limited(std::uint64_t requests, std::optional<std::uint32_t> connections = {}) {
    PolicyModel model = allow("api.test");
    model.rules[0].limits.requests = RateModel{requests, 86'400};
    model.rules[0].limits.connections = connections;
    return model;
  }
  const policy_limits_v1& limits() {
    return *static_cast<const policy_limits_v1*>(host_api().get(&host_, POLICY_LIMITS_ID));
  }
  policy_charge out() {
    policy_charge made{};
    made.struct_size = sizeof made;
    return made;
  }
  // How many of n requests the client gets by a decision of now.
  int granted(std::string_view client, int n, std::string_view user = {}) {
    const policy_addr from = addr(client);
    policy_query q = query(api_, from);
    q.credential = policy::str(user);
    const policy_verdict verdict = reader().decide(q);
    int count = 0;
    for (int i = 0; i < n; ++i)
      count += limits().charge(reader().raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, nullptr) == POLICY_OK ? 1 : 0;
    return count;
  }
  const policy_name api_ = name("api.test");
};

TEST_F(Limits, AreThoseOfTheRuleAndOfOneClient) {
  publish(limited(3));
  EXPECT_EQ(granted("10.0.0.1", 5), 3);
  EXPECT_EQ(granted("10.0.0.1", 5), 0);
  EXPECT_EQ(granted("10.0.0.2", 5), 3);
  EXPECT_EQ(granted("2001:db8::1", 5), 3);
  EXPECT_EQ(granted("2001:db8::2", 5), 3);
  EXPECT_EQ(granted("2001:db8::1", 5), 0);
}

TEST_F(Limits, AreThoseOfAUserWhereverHeIs) {
  const auto credentials =
      std::make_shared<const CredentialSet>(std::vector<std::pair<std::string, std::string>>{{"ci", "$5$abc$x"}});
  publish(limited(3), {}, credentials);
  EXPECT_EQ(granted("10.0.0.1", 2, "ci"), 2);
  EXPECT_EQ(granted("10.0.0.2", 2, "ci"), 1);
  EXPECT_EQ(granted("10.0.0.2", 5), 3) << "and those of his address apart";
}

// Without credentials here, a claimed user is nobody.
TEST_F(Limits, AreNotThoseOfAUserThatNobodyVerified) {
  publish(limited(3));
  EXPECT_EQ(granted("10.0.0.1", 2, "one"), 2);
  EXPECT_EQ(granted("10.0.0.1", 2, "two"), 1);
}

TEST_F(Limits, OfACellAreItsOwn) {
  publish(limited(3));
  policy_query q = query(api_, addr("10.0.0.1"));
  q.client = nullptr;
  q.client_id = 5;
  const policy_verdict verdict = reader().decide(q);
  ASSERT_EQ(verdict.verdict, POLICY_ALLOW);
  int count = 0;
  for (int i = 0; i < 5; ++i)
    count += limits().charge(reader().raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, nullptr) == POLICY_OK ? 1 : 0;
  EXPECT_EQ(count, 3);
}

TEST_F(Limits, SayWhichAndWhenAndAreCounted) {
  publish(limited(1));
  const policy_addr from = addr("10.0.0.1");
  const policy_query q = query(api_, from);
  const policy_verdict verdict = reader().decide(q);
  policy_charge charged = out();
  ASSERT_EQ(limits().charge(reader().raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, &charged), POLICY_OK);
  EXPECT_EQ(charged.exceeded, std::uint32_t{POLICY_LIMIT_NONE});
  ASSERT_EQ(limits().charge(reader().raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, &charged), POLICY_EXHAUSTED);
  EXPECT_EQ(charged.exceeded, std::uint32_t{POLICY_LIMIT_REQUESTS});
  EXPECT_GT(charged.wait_ns, 80'000'000'000'000u);
  EXPECT_THAT(shared_.metrics->text(),
              testing::HasSubstr("sallyport_limit_exceeded_total{rule=\"rule\",kind=\"requests\"} 1\n"));
  // A caller that knows less of the struct.
  policy_charge shorter{};
  shorter.struct_size = 4;
  EXPECT_EQ(limits().charge(reader().raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, &shorter), POLICY_EXHAUSTED);
  EXPECT_EQ(shorter.wait_ns, 0u);
  EXPECT_EQ(limits().charge(reader().raw(), &q, &verdict, 9, 1, nullptr), POLICY_INVALID);
  std::thread([&] {
    EXPECT_EQ(limits().charge(reader_->raw(), &q, &verdict, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_WRONG_THREAD);
  }).join();
}

TEST_F(Limits, WithoutThemNothingIsBound) {
  publish(allow("api.test"));
  EXPECT_EQ(granted("10.0.0.1", 100), 100);
  const policy_addr from = addr("10.0.0.1");
  policy::Meter meter;
  EXPECT_TRUE(meter.open(&limits(), reader().raw(), query(api_, from), reader().decide(query(api_, from))));
  EXPECT_EQ(meter.room(POLICY_CHARGE_UP), UINT64_MAX);
  EXPECT_TRUE(meter.charge(POLICY_CHARGE_UP, UINT64_MAX / 2));
}

TEST_F(Limits, OfConnectionsCountWhatIsOpen) {
  publish(limited(100, 2));
  const policy_addr from = addr("10.0.0.1");
  const policy_query q = query(api_, from);
  const policy_verdict verdict = reader().decide(q);
  policy::Meter one, two, three;
  EXPECT_TRUE(one.open(&limits(), reader().raw(), q, verdict));
  EXPECT_TRUE(two.open(&limits(), reader().raw(), q, verdict));
  const policy::Charged refused = three.open(&limits(), reader().raw(), q, verdict);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.exceeded, std::uint32_t{POLICY_LIMIT_CONNECTIONS});
  EXPECT_FALSE(three.is_open());
  two.close();
  EXPECT_TRUE(three.open(&limits(), reader().raw(), q, verdict));
}

// A reload keeps what was counted, wherever the rule stands now; other figures hold from the next charge on.
TEST_F(Limits, SurviveANewPolicyByTheNameOfTheirRule) {
  publish(limited(3));
  const policy_addr from = addr("10.0.0.1");
  const policy_query q = query(api_, from);
  policy::Meter meter;
  ASSERT_TRUE(meter.open(&limits(), reader().raw(), q, reader().decide(q)));
  EXPECT_TRUE(meter.charge(POLICY_CHARGE_REQUEST, 1));
  EXPECT_EQ(granted("10.0.0.1", 1), 1);
  PolicyModel moved = limited(3, 1);
  RuleModel other = allow("other.test").rules[0];
  other.name = "other";
  moved.rules.insert(moved.rules.begin(), other);
  publish(moved);
  EXPECT_TRUE(meter.charge(POLICY_CHARGE_REQUEST, 1));
  EXPECT_FALSE(meter.charge(POLICY_CHARGE_REQUEST, 1));
  EXPECT_EQ(granted("10.0.0.1", 1), 0);
  policy::Meter second;  // the first is counted as open by now
  EXPECT_EQ(second.open(&limits(), reader().raw(), q, reader().decide(q)).exceeded,
            std::uint32_t{POLICY_LIMIT_CONNECTIONS});
  PolicyModel renamed = moved;
  renamed.rules[1].name = "renamed";
  publish(renamed);
  EXPECT_FALSE(meter.charge(POLICY_CHARGE_REQUEST, 1)) << "what is open keeps what its rule said last";
  EXPECT_EQ(granted("10.0.0.1", 5), 3) << "a new name is a new rule";
}

// A verdict of the policy before is no way around the limits of this one.
TEST_F(Limits, OfAnEarlierVerdictAreThoseOfNow) {
  publish(allow("api.test"));
  const policy_addr from = addr("10.0.0.1");
  const policy_query q = query(api_, from);
  const policy_verdict early = reader().decide(q);
  publish(limited(1, 1));
  EXPECT_EQ(limits().charge(reader().raw(), &q, &early, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_OK);
  EXPECT_EQ(limits().charge(reader().raw(), &q, &early, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_EXHAUSTED);
  policy::Meter one, two;
  EXPECT_TRUE(one.open(&limits(), reader().raw(), q, early));
  EXPECT_FALSE(two.open(&limits(), reader().raw(), q, early));
  publish(allow("other.test"));
  EXPECT_EQ(limits().charge(reader().raw(), &q, &early, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_DENIED);
}

TEST_F(Limits, OfATicketAreTheSame) {
  publish(limited(2));
  const policy_addr from = addr("10.0.0.1");
  const policy_query q = query(api_, from);
  const policy_verdict verdict = reader().decide(q);
  policy_flow* flow = nullptr;
  ASSERT_EQ(flow_extension().open(reader().raw(), &q, &verdict, nullptr, nullptr, &flow), POLICY_OK);
  EXPECT_EQ(flow_extension().charge(flow, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_OK);
  EXPECT_EQ(granted("10.0.0.1", 1), 1);
  policy_charge charged = out();
  EXPECT_EQ(flow_extension().charge(flow, POLICY_CHARGE_REQUEST, 1, &charged), POLICY_EXHAUSTED);
  EXPECT_EQ(charged.exceeded, std::uint32_t{POLICY_LIMIT_REQUESTS});
  EXPECT_EQ(flow_extension().charge(nullptr, POLICY_CHARGE_REQUEST, 1, nullptr), POLICY_INVALID);
  flow_extension().close(flow, 0, 0, POLICY_REASON_OK);
}

TEST_F(Limits, AreNotThereWithoutATable) {
  shared_.limits.reset();
  EXPECT_EQ(host_api().get(&host_, POLICY_LIMITS_ID), nullptr);
}

}  // namespace
}  // namespace sallyport
