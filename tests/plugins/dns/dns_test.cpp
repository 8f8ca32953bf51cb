// The answers of the dns plugin, through its ABI and real sockets (ACCEPTANCE 5.1).
#include "dns_bench.hpp"

namespace sallyport::dns {
namespace {

constexpr std::uint16_t kNoError = 0, kFormErr = 1, kServFail = 2, kNxDomain = 3, kNotImp = 4, kRefused = 5,
                        kBadVers = 16;

TEST_F(DnsBench, AllowedNameGetsOneSyntheticAddress) {  // DNS-01
  run();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.header.flags & 0x0400, 0) << "AA";
  EXPECT_TRUE(reply.header.recursion_available());
  ASSERT_EQ(reply.addresses.size(), 1u);
  EXPECT_EQ(reply.addresses[0], synthetic("api.example.test"));
  EXPECT_LE(reply.ttls[0], 60u);
  EXPECT_EQ(witness->queries(), 1u);
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].name, "api.example.test");
  EXPECT_EQ(audit[0].reason, POLICY_REASON_OK);
  EXPECT_NE(audit[0].verdict, POLICY_DENY);
  EXPECT_EQ(audit[0].layer, POLICY_LAYER_DNS);
  EXPECT_EQ(audit[0].detail, R"({"dns":{"qtype":"A","rcode":"NOERROR","transport":"udp"}})");
}

TEST_F(DnsBench, DeniedNameAsksNobody) {  // DNS-02
  run();
  const Reply reply = ask("evil.test");
  EXPECT_EQ(reply.rcode, kNxDomain);
  EXPECT_EQ(reply.ede, 15);
  EXPECT_EQ(reply.ede_text, "blocked by policy: no_rule; this is not a fault, do not retry; ref k3f9a");
  ASSERT_TRUE(reply.soa_ttl.has_value());
  EXPECT_LE(*reply.soa_ttl, 10u);
  EXPECT_EQ(witness->queries(), 0u);
  const auto audit = host.wait_for_audit(1);
  ASSERT_EQ(audit.size(), 1u);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
  EXPECT_EQ(audit[0].name, "evil.test");
}

TEST_F(DnsBench, FailureSaysWhoDidNotAnswer) {
  const int closed = loopback_socket(SOCK_DGRAM);  // taken, so that nobody else answers there, and then given up
  sockaddr_in address{};
  socklen_t length = sizeof address;
  ::getsockname(closed, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(closed);
  const std::string upstream = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  start(upstream, "");
  EXPECT_EQ(ask("api.example.test").rcode, kServFail);
  const nlohmann::json line = testing_kit::line_of(host.wait_for_audit(1).at(0));
  EXPECT_EQ(line["reason"], "upstream_failed");
  EXPECT_EQ(line["effective"], "allow");
  EXPECT_EQ(line["cause"], "cannot reach " + upstream);
  EXPECT_EQ(line["proto"], "udp");
}

TEST_F(DnsBench, WithoutEdnsThereIsNoOpt) {
  run();
  const Reply reply = ask("evil.test", wire::kTypeA, false);
  EXPECT_EQ(reply.rcode, kNxDomain);
  EXPECT_FALSE(reply.has_opt);
}

TEST_F(DnsBench, ManyDeniedNamesLeakNothing) {  // DNS-03
  run();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ask("c2VjcmV0" + std::to_string(i) + ".evil.test").rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), 0u);
  EXPECT_EQ(host.wait_for_audit(1000).size(), 1000u);
}

TEST_F(DnsBench, QuestionIsEchoedInTheClientsCase) {  // DNS-05
  run();
  const Reply reply = ask("API.ExAmPlE.TeSt");
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.question, "API.ExAmPlE.TeSt");
  EXPECT_EQ(reply.addresses, std::vector{synthetic("api.example.test")});
}

TEST_F(DnsBench, NoAaaaIsNoData) {  // DNS-06
  run();
  const Reply reply = ask("api.example.test", wire::kTypeAaaa);
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_TRUE(reply.soa_ttl.has_value());
}

TEST_F(DnsBench, BothFamiliesAsTheNameHasThem) {
  run();
  EXPECT_EQ(ask("both.example.test").addresses, std::vector{synthetic("both.example.test")});
  const Reply v6 = ask("both.example.test", wire::kTypeAaaa);
  ASSERT_EQ(v6.addresses.size(), 1u);
  EXPECT_TRUE(v6.addresses[0].starts_with("fd73:616c:6c79:")) << v6.addresses[0];
}

TEST_F(DnsBench, NoIpv6RouteNoAaaa) {  // CEL-17
  run(zone(), R"(,"ipv6":"off")");
  const Reply reply = ask("both.example.test", wire::kTypeAaaa);
  EXPECT_EQ(reply.rcode, kNoError);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_EQ(witness->queries(), 0u);
}

TEST_F(DnsBench, HonestNxDomain) {
  run();
  const Reply reply = ask("gone.example.test");
  EXPECT_EQ(reply.rcode, kNxDomain);
  EXPECT_EQ(reply.ede, -1);
  EXPECT_NE(host.wait_for_audit(1)[0].verdict, POLICY_DENY);
}

struct TypeCase {
  const char* why;
  std::uint16_t type;
  std::uint16_t rcode;
};
class OtherTypes : public DnsBench, public testing::WithParamInterface<TypeCase> {};

TEST_P(OtherTypes, GetNothing) {  // DNS-07, DNS-09, DNS-10
  run();
  const Reply reply = ask("api.example.test", GetParam().type);
  EXPECT_EQ(reply.rcode, GetParam().rcode);
  EXPECT_EQ(reply.answers, 0u);
  EXPECT_EQ(witness->queries(), 0u);
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_QTYPE_DENIED);
  EXPECT_EQ(audit[0].verdict, POLICY_DENY);
}

INSTANTIATE_TEST_SUITE_P(Types, OtherTypes,
                         testing::ValuesIn<TypeCase>({
                             {"Https", wire::kTypeHttps, kNoError},
                             {"Svcb", wire::kTypeSvcb, kNoError},
                             {"Txt", wire::kTypeTxt, kNoError},
                             {"Null", 10, kNoError},
                             {"Cname", wire::kTypeCname, kNoError},
                             {"Mx", wire::kTypeMx, kNoError},
                             {"Srv", wire::kTypeSrv, kNoError},
                             {"Any", wire::kTypeAny, kNoError},
                             {"Unknown", 65280, kNoError},
                             {"Axfr", wire::kTypeAxfr, kRefused},
                             {"Ixfr", wire::kTypeIxfr, kRefused},
                         }),
                         [](const auto& row) { return row.param.why; });

struct AddressCase {
  const char* why;
  const char* address;
};
class ForbiddenAnswers : public DnsBench, public testing::WithParamInterface<AddressCase> {};

TEST_P(ForbiddenAnswers, AreNoAnswer) {  // DNS-11, DNS-12
  const bool v6 = std::string_view(GetParam().address).find(':') != std::string_view::npos;
  const std::uint16_t type = v6 ? wire::kTypeAaaa : wire::kTypeA;
  Witness::Zone bad;
  bad.records[{"api.example.test", type}] = {GetParam().address};
  run(bad);
  const Reply reply = ask("api.example.test", type);
  EXPECT_EQ(reply.rcode, kNxDomain);
  EXPECT_EQ(reply.ede, 15);
  EXPECT_NE(reply.ede_text.find("answer_forbidden_addr"), std::string::npos);
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_ANSWER_FORBIDDEN_ADDR);
  EXPECT_EQ(audit[0].address, GetParam().address);
}

INSTANTIATE_TEST_SUITE_P(Addresses, ForbiddenAnswers,
                         testing::ValuesIn<AddressCase>({
                             {"Private", "10.0.0.5"},
                             {"Loopback", "127.0.0.1"},
                             {"Metadata", "169.254.169.254"},
                             {"Cgnat", "100.64.0.1"},
                             {"Unspecified", "0.0.0.0"},
                             {"Multicast", "224.0.0.1"},
                             {"Loopback6", "::1"},
                             {"LinkLocal6", "fe80::1"},
                             {"UniqueLocal", "fc00::1"},
                             {"Mapped", "::ffff:10.0.0.1"},
                             {"Nat64", "64:ff9b::a9fe:a9fe"},
                             {"SixToFour", "2002:a00:1::1"},
                             {"Teredo", "2001::1"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(DnsBench, OneGoodAddressAmongBadOnesIsEnough) {
  run();
  EXPECT_EQ(ask("mixed.example.test").addresses, std::vector{synthetic("mixed.example.test")});
}

TEST_F(DnsBench, AliasAuthorisesTheChainAlone) {  // DNS-13
  run();
  EXPECT_EQ(ask("alias.example.test").addresses, std::vector{synthetic("alias.example.test")});
  const std::size_t before = witness->queries();
  EXPECT_EQ(ask("x.evil.test").rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), before);
}

TEST_F(DnsBench, HostAddressesNeedNoUpstream) {
  host.fixed["single"] = {"172.20.0.5"};
  policy.lifted.insert("172.20.0.5");
  run();
  EXPECT_EQ(ask("single").addresses, std::vector{synthetic("single")});
  EXPECT_EQ(ask("single", wire::kTypeAaaa).rcode, kNoError);
  EXPECT_EQ(ask("single", wire::kTypeAaaa).answers, 0u);
  EXPECT_EQ(witness->queries(), 0u);
}

TEST_F(DnsBench, SingleLabelNeverLeaves) {
  run();
  EXPECT_EQ(ask("single").rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), 0u);
}

struct NameCase {
  const char* why;
  Octets wire;
  const char* raw;  // as the audit has it
};
class MalformedNames : public DnsBench, public testing::WithParamInterface<NameCase> {};

TEST_P(MalformedNames, NeverMatch) {  // DNS-17
  run();
  MessageBuilder message;
  message.header(7, 0x0100, 1, 0, 0, 1).raw(GetParam().wire).u16(wire::kTypeA).u16(1).opt();
  const Reply reply = ask_octets(message.octets);
  EXPECT_EQ(reply.rcode, kNxDomain);
  EXPECT_EQ(witness->queries(), 0u);
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_NAME_MALFORMED);
  EXPECT_EQ(audit[0].name, "");
  EXPECT_EQ(testing_kit::line_of(audit[0])["raw"], GetParam().raw);  // escaped once
}

INSTANTIATE_TEST_SUITE_P(
    Names, MalformedNames,
    testing::ValuesIn<NameCase>({
        {"Nul", MessageBuilder().label(std::string_view("api\0", 4)).label("example").label("test").u8(0).octets,
         R"(api\x00.example.test)"},
        {"DotInLabel", MessageBuilder().label("api.example").label("test").u8(0).octets, R"(api\\.example.test)"},
        {"HighOctet", MessageBuilder().label("\xe4pi").label("example").label("test").u8(0).octets,
         R"(\xe4pi.example.test)"},
        {"CrLf", MessageBuilder().label("a\r\nb").label("test").u8(0).octets, R"(a\x0d\x0ab.test)"},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(DnsBench, RootIsRefusedNotDeniedExistence) {
  run();
  EXPECT_EQ(ask("").rcode, kRefused);
}

TEST_F(DnsBench, UnderscoreIsLegal) {  // DNS-18
  Witness::Zone with = zone();
  with.records[{"_dns.example.test", wire::kTypeA}] = {"93.184.216.34"};
  with.records[{"a_b.example.test", wire::kTypeA}] = {"93.184.216.34"};
  run(with);
  EXPECT_EQ(ask("_dns.example.test").addresses.size(), 1u);
  EXPECT_EQ(ask("a_b.example.test").addresses.size(), 1u);
}

struct RawCase {
  const char* why;
  Octets octets;
  int rcode;  // -1: silence
};
class RawQueries : public DnsBench, public testing::WithParamInterface<RawCase> {};

TEST_P(RawQueries, GetTheirRcodeAndReachNobody) {
  run();
  const std::optional<Reply> reply = ask_raw(GetParam().octets);
  ASSERT_EQ(reply.has_value(), GetParam().rcode >= 0);
  if (reply) {
    EXPECT_EQ(reply->rcode, GetParam().rcode);
    EXPECT_EQ(reply->answers, 0u);
  }
  EXPECT_EQ(witness->queries(), 0u);
  for (const AuditRecord& record : host.audit())
    EXPECT_EQ(record.name, "after.invalid") << "noise must not fill the audit";
}

std::string labels(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i ? ".a" : "a");
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Queries, RawQueries,
    testing::ValuesIn<RawCase>({
        {"Short", {1, 2, 3}, -1},
        {"Response", MessageBuilder().header(1, 0x8180, 1).question("api.example.test").octets, -1},
        {"PointerLoop", MessageBuilder().header(1, 0x0100, 1).pointer(12).u16(1).u16(1).octets, kFormErr},     // DNS-15
        {"PointerForward", MessageBuilder().header(1, 0x0100, 1).pointer(40).u16(1).u16(1).octets, kFormErr},  // DNS-15
        {"PointerPastEnd", MessageBuilder().header(1, 0x0100, 1).pointer(4000).u16(1).u16(1).octets,
         kFormErr},  // DNS-15
        {"Label64", MessageBuilder().header(1, 0x0100, 1).u8(64).raw(std::string(64, 'a')).u8(0).u16(1).u16(1).octets,
         kFormErr},  // DNS-16
        {"Labels128", MessageBuilder().header(1, 0x0100, 1).question(labels(128)).octets,
         kFormErr},                                                              // DNS-16: 257 octets
        {"NoQuestion", MessageBuilder().header(1, 0x0100, 0).octets, kFormErr},  // DNS-19
        {"TwoQuestions",
         MessageBuilder().header(1, 0x0100, 2).question("api.example.test").question("api.example.test").octets,
         kFormErr},
        {"TrailingOctets", MessageBuilder().header(1, 0x0100, 1).question("api.example.test").u8(0).octets, kFormErr},
        {"Update", MessageBuilder().header(1, 0x2900, 1).question("api.example.test").octets, kNotImp},  // DNS-20
        {"Notify", MessageBuilder().header(1, 0x2100, 1).question("api.example.test").octets, kNotImp},
        {"Status", MessageBuilder().header(1, 0x1100, 1).question("api.example.test").octets, kNotImp},
        {"Opcode15", MessageBuilder().header(1, 0x7900, 1).question("api.example.test").octets, kNotImp},
        {"ChaosVersion", MessageBuilder().header(1, 0x0100, 1).question("version.bind", 16, 3).octets,
         kRefused},  // DNS-21
        {"ClassAny", MessageBuilder().header(1, 0x0100, 1).question("api.example.test", 1, 255).octets, kRefused},
        {"EdnsVersion1",
         MessageBuilder().header(1, 0x0100, 1, 0, 0, 1).question("api.example.test").opt(1232, 1).octets,
         kBadVers},  // DNS-22
        {"TwoOpt", MessageBuilder().header(1, 0x0100, 1, 0, 0, 2).question("api.example.test").opt().opt().octets,
         kFormErr},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(DnsBench, SilentUpstreamIsServFailInTime) {  // DNS-35
  Witness::Zone silent;
  silent.silent = true;
  run(silent);
  const auto began = std::chrono::steady_clock::now();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kServFail);
  EXPECT_TRUE(reply.ede == 22 || reply.ede == 23) << reply.ede;
  EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_UPSTREAM_FAILED);
  EXPECT_LE(witness->queries(), 16u);
}

TEST_F(DnsBench, ExhaustedAddressesAreServFail) {  // CEL-15
  host.synthetic_full = true;
  run();
  EXPECT_EQ(ask("api.example.test").rcode, kServFail);
}

TEST_F(DnsBench, AuditThatMayNotLoseRefuses) {
  host.audit_full = true;
  run();
  const Reply reply = ask("api.example.test");
  EXPECT_EQ(reply.rcode, kServFail);
  EXPECT_EQ(reply.answers, 0u);
}

TEST_F(DnsBench, RevokedNameIsDeniedAtOnce) {  // DNS-36
  run();
  EXPECT_EQ(ask("api.example.test").rcode, kNoError);
  host.change([this] { policy.allow.clear(); });
  EXPECT_EQ(ask("api.example.test").rcode, kNxDomain);
}

struct ConfigCase {
  const char* why;
  const char* json;
  const char* pointer;
  const char* text;
};
class DnsConfig : public testing::TestWithParam<ConfigCase> {};

TEST_P(DnsConfig, IsRefusedInWords) {
  FakeHost host;
  LoadedPlugin plugin(DNS_PLUGIN, host);
  EXPECT_EQ(plugin.create(GetParam().json), POLICY_INVALID);
  EXPECT_STREQ(plugin.error.pointer, GetParam().pointer);
  EXPECT_NE(std::string(plugin.error.text).find(GetParam().text), std::string::npos) << plugin.error.text;
}

INSTANTIATE_TEST_SUITE_P(
    Configs, DnsConfig,
    testing::ValuesIn<ConfigCase>({
        {"NotJson", "{", "", "not valid JSON"},
        {"NotAnObject", "[]", "", "not a JSON object"},
        {"GatewayWithoutAddress", R"({"answers":"gateway"})", "/gateway_addresses", "needs gateway_addresses"},
        {"GatewayAddressIsAName", R"({"answers":"gateway","gateway_addresses":["gate"]})", "/gateway_addresses/0",
         "is not an address"},
        {"GatewayAddressElsewhere", R"({"answers":"real","gateway_addresses":["172.20.0.3"]})", "/gateway_addresses",
         "only answers: gateway"},
        {"BlockedWord", R"({"blocked_answer":"drop"})", "/blocked_answer", "expected one of: nxdomain, zero, refused"},
        {"ApplyTimeoutTooLong", R"({"apply_timeout":"1m"})", "/apply_timeout", "from 10ms to 5s"},
        {"TooManyWorkers", R"({"workers":65})", "/workers", "from 0 to 64"},
        {"UnknownMode", R"({"answers":"magic"})", "/answers", "expected one of: synthetic"},
        {"NearMiss", R"({"upstream":["9.9.9.9"]})", "/upstream", "did you mean `upstreams`?"},
        {"NameAsUpstream", R"({"upstreams":["dns.example"]})", "/upstreams/0", "is not an address"},
        {"PortZero", R"({"upstreams":["9.9.9.9","[::1]:0"]})", "/upstreams/1", "is not an address"},
        {"ListenNumber", R"({"listen":[7]})", "/listen/0", "expected text"},
        {"Ipv6Word", R"({"ipv6":true})", "/ipv6", "expected one of: auto, on, off"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(DnsPlugin, UnknownListenerIsAnError) {
  FakeHost host;
  LoadedPlugin plugin(DNS_PLUGIN, host);
  ASSERT_EQ(plugin.create("{}"), POLICY_OK);
  EXPECT_NE(plugin.start(), POLICY_OK);
  EXPECT_NE(std::string(plugin.error.text).find("`dns`"), std::string::npos);
  EXPECT_EQ(host.open_threads(), 0u);
}

}  // namespace
}  // namespace sallyport::dns
