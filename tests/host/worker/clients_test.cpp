// policy.clients/1, and decisions for clients by address and credentials (HTP-17 and its siblings).
#include <crypt.h>
#include <gtest/gtest.h>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

std::shared_ptr<const CredentialSet> users() {
  crypt_data data{};
  const std::string hash = ::crypt_r("secret", "$6$rounds=1000$salt$", &data);
  return std::make_shared<const CredentialSet>(
      std::vector<std::pair<std::string, std::string>>{{"bot", hash}, {"roamer", hash}, {"unlisted", hash}});
}

class Clients : public GateFixture {
 protected:
  Clients() {
    PolicyModel model = allow("api.test", {{443, 443}}, {"agents"});
    model.clients = {{"agents", {*Prefix::parse("10.0.0.0/8"), *Prefix::parse("fd00::/8")}, {}},
                     {"both", {*Prefix::parse("10.1.0.0/16")}, {}, {"bot"}},
                     {"user", {}, {}, {"roamer"}},
                     {"cells", {}, {"cell"}}};
    for (const char* client : {"both", "user", "cells"}) {
      RuleModel rule = model.rules[0];
      rule.name = client;
      rule.clients = {client};
      rule.domains = {*Pattern::parse(std::string(client) + ".test")};
      model.rules.push_back(rule);
    }
    publish(model, {*Prefix::parse("10.0.0.0/8"), *Prefix::parse("fd00::/8")}, users());
  }

  std::pair<policy_code, std::uint64_t> identify(const policy_addr& peer, std::uint64_t listener = 0) {
    std::uint64_t id = 77;
    const policy_code code = clients_extension().identify(reader().raw(), listener, &peer, &id);
    return {code, id};
  }
  bool allowed(std::string_view domain, std::string_view peer, std::string_view user = {}) {
    const policy_name asked = name(domain);
    const policy_addr from = addr(peer, 1234);
    policy_query q = query(asked, from);
    clients_extension().identify(reader().raw(), 0, &from, &q.client_id);
    q.credential = policy::str(user);
    return reader().decide(q).verdict == POLICY_ALLOW;
  }
  policy_code verify(std::string_view user, std::string_view password, std::string_view peer = "10.1.2.3") {
    const policy_addr from = addr(peer);
    return clients_extension().verify(reader().raw(), &from, policy::str(user), policy::str(password));
  }
  policy_code recall(std::string_view user, std::string_view password, std::string_view peer = "10.1.2.3") {
    const policy_addr from = addr(peer);
    return clients_extension().recall(reader().raw(), &from, policy::str(user), policy::str(password));
  }
};

TEST_F(Clients, AnIdIsAnAddress) {
  EXPECT_EQ(identify(addr("10.1.2.3", 999)), std::pair(policy_code{POLICY_OK}, std::uint64_t{1} << 63 | 0x0a010203));
  const auto [code, id] = identify(addr("fd00::1", 5));
  EXPECT_EQ(code, POLICY_OK);
  EXPECT_EQ(id >> 62, 3u);
  EXPECT_EQ(identify(addr("fd00::1", 6)).second, id) << "whatever its port";
  EXPECT_NE(identify(addr("fd00::2")).second, id);
  shared_.client_key = {9, 9};
  EXPECT_NE(identify(addr("fd00::1")).second, id) << "keyed";
}

TEST_F(Clients, OutsideTheNetworksIsUnknownAndHasAnId) {
  EXPECT_EQ(identify(addr("192.0.2.1")), std::pair(policy_code{POLICY_DENIED}, std::uint64_t{1} << 63 | 0xc0000201));
  EXPECT_EQ(identify(policy_addr{}).first, POLICY_INVALID) << "no canonical address";
  EXPECT_EQ(identify(policy_addr{}).second, 0u);
}

TEST_F(Clients, ACellsListenerBringsItsOwnId) {
  EXPECT_EQ(identify(policy_addr{}, 5), std::pair(policy_code{POLICY_OK}, std::uint64_t{5}));
  const policy_name cells = name("cells.test"), api = name("api.test");
  policy_query q = query(cells, policy_addr{});
  q.client = nullptr;
  q.client_id = 5;
  EXPECT_EQ(reader().decide(q).verdict, POLICY_ALLOW);
  q.name = &api;
  EXPECT_EQ(reader().decide(q).verdict, POLICY_DENY);
}

TEST_F(Clients, GroupsByAddress) {
  EXPECT_TRUE(allowed("api.test", "10.9.9.9"));
  EXPECT_TRUE(allowed("api.test", "fd00::9"));
  EXPECT_FALSE(allowed("api.test", "192.0.2.1"));
  EXPECT_FALSE(allowed("cells.test", "10.9.9.9"));
}

TEST_F(Clients, BothAddressAndCredentialsAreNeededWhereBothAreSaid) {
  EXPECT_TRUE(allowed("both.test", "10.1.0.1", "bot"));
  EXPECT_FALSE(allowed("both.test", "10.1.0.1")) << "the address alone";
  EXPECT_FALSE(allowed("both.test", "10.2.0.1", "bot")) << "the user alone";
  EXPECT_FALSE(allowed("both.test", "10.1.0.1", "roamer"));
  EXPECT_FALSE(allowed("both.test", "10.1.0.1", "Bot")) << "names are exact";
  EXPECT_TRUE(allowed("user.test", "10.2.0.1", "roamer"));
  EXPECT_FALSE(allowed("user.test", "10.2.0.1", "bot"));
  EXPECT_FALSE(allowed("user.test", "10.2.0.1"));
}

TEST_F(Clients, WithoutCredentialsNoUserCounts) {
  PolicyModel model = allow("user.test", {{443, 443}}, {"user"});
  model.clients = {{"user", {}, {}, {"roamer"}}};
  publish(model);  // a gateway that verifies nobody
  EXPECT_FALSE(allowed("user.test", "10.2.0.1", "roamer"));
  EXPECT_EQ(verify("roamer", "secret"), POLICY_UNAVAILABLE);
}

TEST_F(Clients, AnIdThatIsNotTheAddressIsRefused) {
  const policy_name api = name("api.test");
  const policy_addr v6 = addr("fd00::1");
  policy_query q = query(api, v6);
  const auto code = [&] {
    policy_verdict verdict{};
    verdict.struct_size = sizeof verdict;
    const policy_code answer = decision_extension().decide(reader().raw(), &q, &verdict);
    EXPECT_EQ(answer == POLICY_OK, verdict.verdict == POLICY_ALLOW);
    return answer;
  };
  EXPECT_EQ(code(), POLICY_OK);
  q.client_id = 1ull << 63;
  EXPECT_EQ(code(), POLICY_INVALID);
  q.client_id = 0;
  EXPECT_EQ(code(), POLICY_INVALID);
  q.client_id = 3ull << 62;
  q.client = nullptr;
  EXPECT_EQ(code(), POLICY_INVALID) << "an id alone decides nothing";
  policy_addr forged = v6;
  forged.ip[0] = 0x0a;
  q.client = &forged;
  EXPECT_EQ(code(), POLICY_INVALID) << "the seal";
  q.client_id = 6;
  EXPECT_EQ(code(), POLICY_INVALID) << "no such cell";
}

TEST_F(Clients, Verify) {
  EXPECT_EQ(verify("bot", "secret"), POLICY_OK);
  EXPECT_EQ(verify("bot", "wrong"), POLICY_DENIED);
  EXPECT_EQ(verify("nobody", "secret"), POLICY_DENIED);
  EXPECT_EQ(verify("bot", "secret", "10.2.0.1"), POLICY_DENIED) << "a user who may not come from there";
  EXPECT_EQ(verify("roamer", "secret", "10.2.0.1"), POLICY_OK);
  EXPECT_EQ(verify("unlisted", "secret", "10.2.0.1"), POLICY_OK) << "a user of no client: he gets what all get";
  for (unsigned i = 0; i < CredentialChecks::kMostFailures; ++i) verify("bot", "guess", "10.3.0.1");
  EXPECT_EQ(verify("bot", "secret", "10.3.0.1"), POLICY_EXHAUSTED);
}

TEST_F(Clients, RecallComputesNothing) {
  EXPECT_EQ(recall("bot", "secret"), POLICY_NOT_FOUND);
  EXPECT_EQ(verify("bot", "secret"), POLICY_OK);
  EXPECT_EQ(recall("bot", "secret"), POLICY_OK);
  EXPECT_EQ(recall("bot", "secret", "10.1.2.4"), POLICY_NOT_FOUND) << "another peer";
  EXPECT_EQ(recall("bot", "wrong"), POLICY_NOT_FOUND);
  EXPECT_EQ(verify("bot", "secret", "10.2.0.1"), POLICY_DENIED);
  EXPECT_EQ(recall("bot", "secret", "10.2.0.1"), POLICY_DENIED) << "the password is right, the place is not";
  for (unsigned i = 0; i < CredentialChecks::kMostFailures; ++i) verify("bot", "guess");
  EXPECT_EQ(recall("bot", "secret"), POLICY_EXHAUSTED);
}

TEST_F(Clients, TheAuditHasAddressPortAndUser) {
  const policy_name api = name("api.test");
  const policy_addr from = addr("10.1.0.1", 4242);
  policy_query q = query(api, from);
  q.credential = policy::str("bot");
  reader().audit(q, reader().decide(q));
  const auto records = audit();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].client_address(), *Address::parse("10.1.0.1"));
  EXPECT_EQ(records[0].client_port, 4242);
  EXPECT_EQ(records[0].user_text(), "bot");
}

}  // namespace
}  // namespace sallyport
