// `answers: real`: true addresses, each one decided, bound in the ledger and in force before it is given out.
#include "gate_bench.hpp"

namespace sallyport::dns {
namespace {

constexpr std::uint16_t kNoError = 0, kServFail = 2, kNxDomain = 3;

std::vector<std::string> bound(const FakeHost& host) {
  std::vector<std::string> out;
  for (const policy_binding& binding : host.gate.bindings())
    out.push_back(FakeHost::text(binding.client) + " " + FakeHost::text(&binding.name) + " " +
                  FakeHost::text(binding.addr) + " " + std::to_string(binding.ttl_ms));
  return out;
}

TEST_F(GateBench, RealAddressesAreGivenAndBound) {  // DNS-01
  run_real();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.header.flags & 0x0400, 0) << "AA";
  EXPECT_TRUE(reply.header.recursion_available());
  EXPECT_EQ(reply.addresses, (std::vector<std::string>{"93.184.216.34", "93.184.216.35"}));
  EXPECT_EQ(reply.ttls, (std::vector<std::uint32_t>{60, 60}));
  EXPECT_EQ(bound(host), (std::vector<std::string>{"127.0.0.1 api.example.test 93.184.216.34 60000",
                                                   "127.0.0.1 api.example.test 93.184.216.35 60000"}));
  const auto audit = host.wait_for_audit(1);
  ASSERT_EQ(audit.size(), 1u);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_OK);
  EXPECT_EQ(audit[0].client, "127.0.0.1");
  EXPECT_EQ(host.gate.bindings()[0].client_id, audit[0].client_id);
}

TEST_F(GateBench, RealIpv6) {
  run_real();
  EXPECT_EQ(ask("both.example.test", wire::kTypeAaaa).addresses, std::vector<std::string>{"2606:2800:220:1::1"});
  EXPECT_EQ(bound(host), std::vector<std::string>{"127.0.0.1 both.example.test 2606:2800:220:1::1 60000"});
}

TEST_F(GateBench, OneBindingOverTcpAndTruncatedUpstream) {  // DNS-04
  run_real();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  const Octets query = framed(query_octets("both.example.test"));
  ::send(fd, query.data(), query.size(), 0);
  EXPECT_EQ(Reply::parse(read_framed(fd)).addresses, std::vector<std::string>{"93.184.216.34"});
  ::close(fd);
  EXPECT_EQ(bound(host).size(), 1u);
}

struct TtlCase {
  const char* why;
  std::uint32_t upstream, given;
};
class RealTtls : public GateBench, public testing::WithParamInterface<TtlCase> {};

TEST_P(RealTtls, AreTheBindings) {  // DNS-30
  Witness::Zone with = zone();
  with.ttl = GetParam().upstream;
  run_real(with);
  EXPECT_EQ(ask("both.example.test").ttls, std::vector{GetParam().given});
  ASSERT_EQ(host.gate.bindings().size(), 1u);
  EXPECT_EQ(host.gate.bindings()[0].ttl_ms, GetParam().given * 1000);
}

INSTANTIATE_TEST_SUITE_P(Ttls, RealTtls,
                         testing::ValuesIn<TtlCase>({
                             {"Zero", 0, 30},
                             {"TopBit", 0x8000'0000, 30},  // RFC 2181 §8: that is 0
                             {"JustBelowTheFloor", 29, 30},
                             {"Between", 600, 600},
                             {"OverTheCap", 3601, 3600},
                             {"Longest", 0x7fff'ffff, 3600},
                         }),
                         [](const auto& row) { return row.param.why; });

class RealForbidden : public GateBench, public testing::WithParamInterface<const char*> {};

TEST_P(RealForbidden, IsRemovedAndNeverBound) {  // DNS-11, DNS-12
  const bool v6 = std::string_view(GetParam()).find(':') != std::string_view::npos;
  const std::uint16_t type = v6 ? wire::kTypeAaaa : wire::kTypeA;
  const std::string good = v6 ? "2606:2800:220:1::1" : "93.184.216.34";
  Witness::Zone with;
  with.records[{"api.example.test", type}] = {GetParam()};
  with.records[{"mixed.example.test", type}] = {GetParam(), good};
  run_real(with);
  const Reply none = ask("api.example.test", type);
  EXPECT_EQ(none.rcode, kNxDomain);
  EXPECT_EQ(none.ede, 15);
  EXPECT_EQ(none.answers, 0u);
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
  EXPECT_TRUE(bound(host).empty());
  EXPECT_EQ(ask("mixed.example.test", type).addresses, std::vector{good});
  EXPECT_EQ(bound(host), std::vector{"127.0.0.1 mixed.example.test " + good + " 60000"});
}

INSTANTIATE_TEST_SUITE_P(Addresses, RealForbidden,
                         testing::Values("10.0.0.5", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
                                         "224.0.0.1", "192.168.0.1", "172.16.0.1", "255.255.255.255", "::1", "fe80::1",
                                         "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a00:1::1", "2001::1",
                                         "ff02::1", "::"));

TEST_F(GateBench, AliasIsGivenButNotBound) {  // DNS-13
  run_real();
  const Reply reply = ask("alias.example.test");
  EXPECT_EQ(reply.aliases, std::vector<std::string>{"x.evil.test"});
  EXPECT_EQ(reply.addresses, std::vector<std::string>{"93.184.216.40"});
  EXPECT_EQ(bound(host), std::vector<std::string>{"127.0.0.1 alias.example.test 93.184.216.40 60000"});
  const std::size_t before = witness->queries();
  EXPECT_EQ(ask("x.evil.test").rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), before);
  EXPECT_EQ(bound(host).size(), 1u);
}

TEST_F(GateBench, ExtraRecordsAreNotBound) {  // DNS-29: the witness cannot add any; the resolver's tests can
  run_real();
  ask("api.example.test");
  for (const policy_binding& binding : host.gate.bindings())
    EXPECT_EQ(FakeHost::text(&binding.name), "api.example.test");
}

TEST_F(GateBench, NothingIsGivenBeforeItIsInForce) {
  host.gate.enforcer = true;
  run_real(zone(), R"(,"apply_timeout":"5s")");
  const int fd = send_query(query_octets("api.example.test"));
  wait_until([&] { return host.gate.waiting() == 1; });
  Octets early(512);
  EXPECT_EQ(::recv(fd, early.data(), early.size(), MSG_DONTWAIT), -1) << "an answer before the enforcer's word";
  host.gate.apply_all();
  const auto reply = receive(fd);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->addresses.size(), 2u);
}

TEST_F(GateBench, EnforcersThatAreLateCostTheAnswer) {
  host.gate.hold_answers = true;
  run_real(zone(), R"(,"apply_timeout":"100ms")");
  const auto began = std::chrono::steady_clock::now();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kServFail);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(100));
  EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(testing_kit::line_of(host.wait_for_audit(1).at(0))["cause"],
            "an enforcer did not take the binding in time");
  host.gate.apply_all();  // its word comes all the same, to nobody
}

TEST_F(GateBench, AnEnforcersWordAfterTheEndFindsNobody) {
  host.gate.hold_answers = true;
  run_real(zone(), R"(,"apply_timeout":"5s")");
  const int fd = send_query(query_octets("api.example.test"));
  wait_until([&] { return host.gate.waiting() == 1; });
  EXPECT_EQ(plugin->stop(), POLICY_OK);
  plugin.reset();
  host.gate.apply_all(POLICY_TIMEOUT);
  ::close(fd);
}

TEST_F(GateBench, FullLedgerGivesNothingOut) {
  host.gate.ledger_full = true;
  run_real();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kServFail);
  EXPECT_EQ(reply.answers, 0u);
}

// The upstream takes its time; by then the address may be the next container's.
TEST_F(GateBench, WhoeverIsGoneBeforeTheAnswerComesIsBoundToNothing) {
  Witness::Zone with = zone();
  with.delay = std::chrono::milliseconds(300);
  run_real(with);
  const int fd = send_query(query_octets("api.example.test"));
  wait_until([&] { return witness->queries() > 0; });
  host.gate.forget(FakeHost::address("127.0.0.1"));
  const auto late = receive(fd);
  ASSERT_TRUE(late.has_value());
  EXPECT_EQ(late->rcode, kServFail);
  EXPECT_EQ(late->answers, 0u);
  EXPECT_TRUE(bound(host).empty());
  EXPECT_EQ(testing_kit::line_of(host.wait_for_audit(1).at(0))["cause"], "whoever asked is no longer there");
  EXPECT_EQ(ask("api.example.test").rcode, kNoError) << "who comes after him asks for himself";
  EXPECT_EQ(bound(host).size(), 2u);
}

TEST_F(GateBench, PolicyThatChangesDuringTheWaitHasTheWord) {  // DNS-36
  host.gate.enforcer = true;
  run_real(zone(), R"(,"apply_timeout":"5s")");
  const int fd = send_query(query_octets("api.example.test"));
  wait_until([&] { return host.gate.waiting() == 1; });
  host.change([this] { policy.allow.clear(); });
  host.gate.apply_all();
  const auto reply = receive(fd);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->rcode, kNxDomain);
  EXPECT_EQ(reply->answers, 0u);
}

TEST_F(GateBench, PolicyThatChangesDuringTheLookupHasTheWord) {  // DNS-36
  Witness::Zone with = zone();
  with.silent = true;
  run_real(with);
  const int fd = send_query(query_octets("api.example.test"));
  wait_until([&] { return witness->queries() > 0; });
  host.change([this] { policy.allow.clear(); });
  witness->speak();
  const auto reply = receive(fd);
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->rcode, kNxDomain);
  EXPECT_EQ(reply->ede, 15);
  EXPECT_TRUE(bound(host).empty());
}

TEST_F(GateBench, KeptAnswersStandOnLiveBindings) {
  run_real();
  const Reply first = ask("api.example.test");
  const Reply again = ask("API.example.TEST");
  EXPECT_EQ(again.addresses, first.addresses);
  EXPECT_EQ(again.question, "API.example.TEST");
  EXPECT_EQ(bound(host).size(), 2u) << "the same bindings, still alive";
  EXPECT_EQ(host.wait_for_audit(2).size(), 2u) << "a hit is a decision as any other";

  host.gate.expire_bindings();  // pushed out by others, say
  EXPECT_EQ(ask("api.example.test").addresses, first.addresses);
  EXPECT_EQ(bound(host).size(), 4u) << "bound anew before it was given out again";
  EXPECT_EQ(witness->queries(), 1u);
}

TEST_F(GateBench, EachClientHasBindingsOfItsOwn) {
  run_real();
  EXPECT_EQ(ask_from(2, "both.example.test").addresses.size(), 1u);
  EXPECT_EQ(ask_from(3, "both.example.test").addresses.size(), 1u);
  EXPECT_EQ(bound(host), (std::vector<std::string>{"127.0.0.2 both.example.test 93.184.216.34 60000",
                                                   "127.0.0.3 both.example.test 93.184.216.34 60000"}));
  EXPECT_EQ(witness->queries(), 1u) << "what upstreams said is one for all";
}

TEST_F(GateBench, AClientThatMayNotGetsNoKeptAnswer) {  // CoreDNS 8289: policy before cache, for every client
  run_real();
  EXPECT_EQ(ask_from(2, "both.example.test").rcode, kNoError);
  host.change([this] {
    host.decide = [this](const policy_query& q) {
      if (q.client == nullptr || FakeHost::text(*q.client) != "127.0.0.2")
        return FakeHost::verdict(POLICY_DENY, POLICY_REASON_NO_RULE);
      return policy(q);
    };
  });
  EXPECT_EQ(ask_from(3, "both.example.test").rcode, kNxDomain);
  EXPECT_EQ(ask_from(2, "both.example.test").rcode, kNoError);
}

TEST_F(GateBench, ANewGenerationNeverAnswersFromAnOldDecision) {  // DNS-36
  run_real();
  EXPECT_EQ(ask("api.example.test").addresses.size(), 2u);
  host.change([this] {
    host.decide = [this](const policy_query& q) {
      policy_verdict verdict = policy(q);
      if ((q.known & POLICY_KNOW_ADDRESS) && FakeHost::text(*q.dest) == "93.184.216.34")
        verdict = FakeHost::verdict(POLICY_DENY, POLICY_REASON_ADDRESS_DENIED);
      verdict.generation = 2;
      return verdict;
    };
  });
  EXPECT_EQ(ask("api.example.test").addresses, std::vector<std::string>{"93.184.216.35"});
}

TEST_F(GateBench, HostAddressesAreBoundToo) {
  host.fixed["single"] = {"172.20.0.5"};
  policy.lifted.insert("172.20.0.5");
  run_real();
  EXPECT_EQ(ask("single").addresses, std::vector<std::string>{"172.20.0.5"});
  EXPECT_EQ(bound(host), std::vector<std::string>{"127.0.0.1 single 172.20.0.5 60000"});
  EXPECT_EQ(witness->queries(), 0u);
}

TEST_F(GateBench, LongAnswersAreCutOverUdpAndWholeOverTcp) {  // DNS-23
  Witness::Zone with;
  for (int i = 1; i <= 60; ++i)
    with.records[{"api.example.test", wire::kTypeAaaa}].push_back("2606:2800:220:1::" + std::to_string(i));
  run_real(with);
  for (int round = 0; round < 2; ++round) {  // the second time from the cache
    const Reply cut = ask("api.example.test", wire::kTypeAaaa);
    EXPECT_TRUE(cut.header.is_truncated());
    EXPECT_EQ(cut.answers, 0u);
    EXPECT_LE(cut.octets.size(), 1232u);
    const int fd = loopback_socket(SOCK_STREAM, tcp_port);
    const Octets query = framed(query_octets("api.example.test", wire::kTypeAaaa));
    ::send(fd, query.data(), query.size(), 0);
    const Reply whole = Reply::parse(read_framed(fd));
    EXPECT_FALSE(whole.header.is_truncated());
    EXPECT_EQ(whole.answers, 60u);
    ::close(fd);
  }
}

TEST_F(GateBench, AnAnswerKeptForALargeBufferIsNotSentIntoASmallOne) {  // DNS-23
  Witness::Zone with;
  for (int i = 1; i <= 40; ++i)
    with.records[{"api.example.test", wire::kTypeA}].push_back("93.184.216." + std::to_string(i));
  run_real(with);
  EXPECT_EQ(ask("api.example.test").answers, 40u);
  MessageBuilder small;
  small.header(1, 0x0100, 1, 0, 0, 1).question("api.example.test").opt(512);
  const Reply reply = ask_octets(small.octets);
  EXPECT_TRUE(reply.header.is_truncated());
  EXPECT_LE(reply.octets.size(), 512u);
}

}  // namespace
}  // namespace sallyport::dns
