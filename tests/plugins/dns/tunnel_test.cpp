// Budgets of names below a wildcard: what a suspect gets, who else notices, and what the upstream hears (DNS-32).
#include "gate_bench.hpp"

namespace sallyport::dns {
namespace {

constexpr std::uint16_t kNoError = 0, kNxDomain = 3;

std::string hex40(unsigned i) {
  char text[48];
  std::snprintf(text, sizeof text, "%08x%032x", i, i * 2654435761u);
  return text;
}

class Tunnel : public GateBench {
 protected:
  // Everything below cdn.test and pkg.test passes, and exists unless it begins with "gone".
  void run_wildcards(const std::string& extra = "") {
    host.wildcards = {{"cdn.test", 2}, {"pkg.test", 2}};
    Witness::Zone with = zone();
    for (const char* name : {"www.cdn.test", "www.pkg.test", "listed.cdn.test"}) known(with, name);
    for (unsigned i = 0; i < 200; ++i) known(with, hex40(i) + ".cdn.test");
    run_gateway(std::move(with), extra);
    host.decide = [this](const policy_query& q) {
      const std::string name = testing_kit::FakeHost::text(q.name);
      if (!name.ends_with(".cdn.test") && !name.ends_with(".pkg.test")) return policy(q);
      return FakeHost::verdict(q.deferred ? POLICY_CONTINUE : POLICY_ALLOW);
    };
  }
  static void known(Witness::Zone& with, const std::string& name) {
    with.records[{name, wire::kTypeA}] = {"93.184.216.34"};
  }
  // How many of the names are answered, before the first that is not.
  unsigned answered(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; ++i) {
      if (ask(hex40(i) + ".cdn.test").rcode != kNoError) return i - from;
    }
    return to - from;
  }
};

TEST_F(Tunnel, TwoHundredHexLabelsReachTheBudget) {  // DNS-32
  run_wildcards();
  EXPECT_EQ(ask("www.cdn.test").rcode, kNoError);
  EXPECT_EQ(answered(0, 200), 49u);
  const std::size_t outside = witness->queries();
  EXPECT_EQ(outside, 50u) << "the name that reached it was not asked";
  for (unsigned i = 0; i < 200; ++i) {
    const Reply reply = ask(hex40(i) + ".cdn.test");
    ASSERT_EQ(reply.rcode, kNxDomain) << i << ": what is kept here is held back too";
    ASSERT_EQ(reply.ede, 15);
    ASSERT_TRUE(reply.soa_ttl && *reply.soa_ttl <= 10);
    ASSERT_TRUE(reply.ede_text.starts_with("blocked by policy: tunnel_suspect;")) << reply.ede_text;
  }
  EXPECT_EQ(ask("www.cdn.test").rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), outside) << "nothing after that";

  EXPECT_EQ(ask("www.pkg.test").rcode, kNoError) << "another parent";
  EXPECT_EQ(ask("api.example.test").rcode, kNoError) << "a listed name";
  EXPECT_EQ(ask_from(9, "www.cdn.test").rcode, kNoError) << "another client";
  EXPECT_EQ(witness->queries(), outside + 2) << "the second client's answer was kept";

  const auto audit = host.wait_for_audit(251);
  const auto first = std::find_if(audit.begin(), audit.end(),
                                  [](const AuditRecord& r) { return r.reason == POLICY_REASON_TUNNEL_SUSPECT; });
  ASSERT_NE(first, audit.end());
  EXPECT_EQ(first->verdict, POLICY_DENY);
  EXPECT_EQ(first->name, hex40(49) + ".cdn.test");
  EXPECT_EQ(first->client, "127.0.0.1");
  EXPECT_NE(
      first->detail.find(R"("cause":"50 names with a label over 30 octets below cdn.test within 60 s: this client )"
                         R"(asks for none there for 600 s")"),
      std::string::npos)
      << first->detail;
  EXPECT_NE((first + 1)->detail.find("held back below cdn.test after budget long_names was reached"),
            std::string::npos);
  const auto logged = host.logged();
  EXPECT_EQ(std::count_if(logged.begin(), logged.end(),
                          [](const std::string& line) { return line.find("tunnel_suspect") != std::string::npos; }),
            1)
      << "one alarm";
  wait_until([&] { return health("tunnel_suspect") == 1; });
}

TEST_F(Tunnel, NamesThatDoNotExist) {
  run_wildcards(R"(,"budgets":{"absent":5})");
  for (int i = 0; i < 4; ++i) {
    const Reply gone = ask("gone" + std::to_string(i) + ".cdn.test");
    EXPECT_EQ(gone.rcode, kNxDomain);
    EXPECT_EQ(gone.ede, -1) << "the upstream's own word";
  }
  EXPECT_EQ(ask("gone4.cdn.test").ede, 15);
  const std::size_t outside = witness->queries();
  EXPECT_EQ(ask("gone5.cdn.test").ede, 15);
  EXPECT_EQ(ask("www.cdn.test").ede, 15);
  EXPECT_EQ(witness->queries(), outside);
  EXPECT_EQ(ask("www.pkg.test").rcode, kNoError);
}

// DNS-33: what an outside chooses comes to a client as addresses, counted, and not as text.
TEST_F(Tunnel, RealAnswersBelowAWildcardHaveNoChainAndABudget) {
  host.wildcards = {{"cdn.test", 2}};
  Witness::Zone with = zone();
  std::vector<std::string> many;
  for (int i = 0; i < 60; ++i) many.push_back("2606:2800:220:1::" + std::to_string(i));
  for (unsigned i = 0; i < 40; ++i) with.records[{"n" + std::to_string(i) + ".cdn.test", wire::kTypeAaaa}] = many;
  with.aliases["chained.cdn.test"] = "text-of-my-own.evil.test";
  known(with, "text-of-my-own.evil.test");
  run_real(std::move(with));
  host.decide = [this](const policy_query& q) {
    const std::string name = testing_kit::FakeHost::text(q.name);
    return name.ends_with(".cdn.test") ? FakeHost::verdict(q.deferred ? POLICY_CONTINUE : POLICY_ALLOW) : policy(q);
  };
  const Reply chained = ask("chained.cdn.test");
  EXPECT_EQ(chained.addresses, std::vector<std::string>{"93.184.216.34"});
  EXPECT_TRUE(chained.aliases.empty());
  EXPECT_EQ(ask("alias.example.test").aliases, std::vector<std::string>{"x.evil.test"}) << "a listed name's is given";
  unsigned given = 0;
  while (given < 40 && ask("n" + std::to_string(given) + ".cdn.test", wire::kTypeAaaa).rcode == kNoError) ++given;
  EXPECT_EQ(given, 34u) << "32768 octets, 60 x 16 at a time, and one address of 4";
  EXPECT_EQ(ask("chained.cdn.test").ede, 15);
}

TEST_F(Tunnel, EndsWithTheCooldown) {
  run_wildcards(R"(,"budgets":{"long_names":5,"cooldown":"1s"})");
  EXPECT_EQ(answered(0, 200), 4u);
  EXPECT_EQ(ask("www.cdn.test").ede, 15);
  wait_until([&] { return ask("www.cdn.test").rcode == kNoError; });
}

TEST_F(Tunnel, OtherTypesAskNobodyAndCountNothing) {  // DNS-09
  run_wildcards();
  for (unsigned i = 0; i < 200; ++i)
    EXPECT_EQ(ask(hex40(i) + ".cdn.test", i % 2 ? wire::kTypeTxt : 10).rcode, kNoError);
  EXPECT_EQ(witness->queries(), 0u);
  EXPECT_EQ(ask("www.cdn.test").rcode, kNoError);
}

TEST_F(Tunnel, BudgetsOfZeroAreNone) {
  run_wildcards(R"(,"budgets":{"names":0,"long_names":0,"octets":0,"absent":0})");
  EXPECT_EQ(answered(0, 200), 200u);
}

// Several workers count together: the kernel deals a client's queries out to all of them.
TEST_F(Tunnel, AllWorkersCountTogether) {
  udp_sockets = 4;
  run_wildcards();
  EXPECT_EQ(health("workers"), 4u);
  EXPECT_EQ(answered(0, 200), 49u);
}

}  // namespace
}  // namespace sallyport::dns
