// policy.decision/1 at a gate: allowed_ports, decide_n, rule names, fixed addresses.
#include <gmock/gmock.h>

#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

class Decision : public GateFixture {
 protected:
  std::vector<std::pair<unsigned, unsigned>> ports(const policy_query& q) {
    std::uint16_t ranges[16][2];
    const std::size_t count = decision_extension().allowed_ports(reader().raw(), &q, ranges, 16);
    std::vector<std::pair<unsigned, unsigned>> out;
    for (std::size_t i = 0; i < std::min<std::size_t>(count, 16); ++i) out.emplace_back(ranges[i][0], ranges[i][1]);
    EXPECT_EQ(out.size(), count);
    return out;
  }
  const policy_name api_ = name("api.test");
  const policy_addr peer_ = addr("10.0.0.1");
};

TEST_F(Decision, AllowedPorts) {
  PolicyModel model = allow("api.test", {{0, 0}, {80, 80}, {443, 443}, {8000, 8010}, {53, 53, kProtoUdp}});
  RuleModel no = model.rules[0];
  no.name = "no";
  no.action = Action::kDeny;
  no.ports = {{8005, 8006}, {65535, 65535}};
  model.rules.insert(model.rules.begin(), no);
  publish(model);
  policy_query q = query(api_, peer_);
  using testing::ElementsAre, testing::Pair;
  EXPECT_THAT(ports(q), ElementsAre(Pair(0, 0), Pair(80, 80), Pair(443, 443), Pair(8000, 8004), Pair(8007, 8010)));
  q.proto = kProtoUdp;
  EXPECT_THAT(ports(q), ElementsAre(Pair(53, 53)));
  q.known &= ~std::uint32_t{POLICY_KNOW_PORT};
  q.deferred = POLICY_KNOW_PORT;
  EXPECT_THAT(ports(q), ElementsAre(Pair(53, 53))) << "the port is known, whatever the query says";
  std::uint16_t one[1][2];
  q.proto = kProtoTcp;
  EXPECT_EQ(decision_extension().allowed_ports(reader().raw(), &q, one, 1), 5u) << "how many there are";
  EXPECT_EQ(one[0][0], 0);
  const policy_name other = name("other.test");
  q.name = &other;
  EXPECT_TRUE(ports(q).empty());
}

TEST_F(Decision, AllowedPortsOfARuleWithoutPorts) {
  publish(allow("api.test", {}));
  EXPECT_THAT(ports(query(api_, peer_)), testing::ElementsAre(testing::Pair(0, 65535)));
}

TEST_F(Decision, ManyAreDecidedByOneGeneration) {
  publish(allow("api.test"));
  const policy_name other = name("other.test");
  const policy_query asked[] = {query(api_, peer_), query(other, peer_), query(api_, peer_, 22)};
  policy_verdict verdicts[3]{};
  for (policy_verdict& v : verdicts) v.struct_size = sizeof v;
  const auto& decision = decision_extension();
  EXPECT_EQ(decision.decide_n(reader().raw(), asked, sizeof asked[0], verdicts, sizeof verdicts[0], 3), POLICY_OK);
  EXPECT_EQ(verdicts[0].verdict, POLICY_ALLOW);
  EXPECT_EQ(verdicts[1].verdict, POLICY_DENY);
  EXPECT_EQ(verdicts[2].reason, POLICY_REASON_PORT_DENIED);
  policy_thread* mine = reader().raw();
  std::thread([&] {
    EXPECT_EQ(decision.decide_n(mine, asked, sizeof asked[0], verdicts, sizeof verdicts[0], 3), POLICY_WRONG_THREAD);
    EXPECT_EQ(verdicts[0].verdict, POLICY_DENY);
  }).join();
}

TEST_F(Decision, ListedLabelsAreOfTheVerdictsOwnPolicy) {  // DNS-32
  publish(allow("*.cdn.test"));
  const policy_name below = name("a.b.cdn.test");
  policy_verdict verdict = reader().decide(query(below, peer_));
  const auto& decision = decision_extension();
  EXPECT_EQ(decision.listed_labels(reader().raw(), &below, &verdict), 2u);
  policy_name forged = below;
  forged.seal ^= 1;
  EXPECT_EQ(decision.listed_labels(reader().raw(), &forged, &verdict), 0u);
  policy_thread* mine = reader().raw();
  std::thread([&] { EXPECT_EQ(decision.listed_labels(mine, &below, &verdict), 0u); }).join();
  publish(allow("a.b.cdn.test"));
  EXPECT_EQ(decision.listed_labels(reader().raw(), &below, &verdict), 2u) << "until this thread decides again";
  const policy_verdict later = reader().decide(query(below, peer_));
  EXPECT_EQ(decision.listed_labels(reader().raw(), &below, &later), 4u);
  EXPECT_EQ(decision.listed_labels(reader().raw(), &below, &verdict), 0u) << "the strictest, for what is over";
}

TEST_F(Decision, ARuleNameIsOfTheVerdictsOwnPolicy) {
  publish(allow("api.test"));
  const policy_verdict before = reader().decide(query(api_, peer_));
  char text[16];
  EXPECT_EQ(decision_extension().rule_name(reader().raw(), &before, text, sizeof text), 4u);
  EXPECT_STREQ(text, "rule");
  PolicyModel model = allow("api.test");
  model.rules[0].name = "another";
  publish(model);
  reader().decide(query(api_, peer_));
  EXPECT_EQ(decision_extension().rule_name(reader().raw(), &before, text, sizeof text), 0u);
  EXPECT_STREQ(text, "");
}

TEST_F(Decision, FixedAddressesForWhoeverWasDecided) {
  PolicyModel model = allow("service", {{443, 443}}, {"agents"});
  model.clients = {{"agents", {*Prefix::parse("10.0.0.0/8"), *Prefix::parse("fd00::/8")}, {}}};
  model.rules[0].resolves_to = {*Prefix::parse("10.5.0.1/32")};
  publish(model);
  const policy_name service = name("service");
  policy_addr found[2];
  for (const char* peer : {"10.0.0.1", "fd00::1"}) {
    const policy_addr from = addr(peer);
    policy_query q = query(service, from);
    clients_extension().identify(reader().raw(), 0, &from, &q.client_id);
    EXPECT_EQ(decision_extension().host_addresses(reader().raw(), q.client_id, &service, found, 2), 1u) << peer;
    EXPECT_EQ(*address_in(&found[0]), *Address::parse("10.5.0.1"));
  }
  const policy_addr outside = addr("2001:db8::1");
  policy_query q = query(service, outside);
  clients_extension().identify(reader().raw(), 0, &outside, &q.client_id);
  EXPECT_EQ(decision_extension().host_addresses(reader().raw(), q.client_id, &service, found, 2), 0u);
}

}  // namespace
}  // namespace sallyport
