// What is refused before anything is asked of the outside (ACCEPTANCE 5.3): by policy, and for its form.
#include "proxy_bench.hpp"
#include "support/reason.hpp"

namespace sallyport::http_proxy {
namespace {

struct RefusedCase {
  const char* why;
  std::string octets;
  const char* status;
  const char* word;
};
class Refused : public ProxyBench, public testing::WithParamInterface<RefusedCase> {};

constexpr char kNext[] = "GET http://pkg.test/next HTTP/1.1\r\nHost: pkg.test\r\n\r\n";

TEST_P(Refused, IsAnsweredClosedAndNothingLeaves) {
  Witness witness;
  Origin http(kGood, 80, witness.serve()), https(kGood, 443, witness.serve()), evil(kOther, 80, witness.serve()),
      evil_tls(kOther, 443, witness.serve());
  start();
  // What comes behind it in the same segment is never handled (HTP-16).
  for (const std::string& behind : {std::string(), std::string(kNext), make_hello("api.example.test")}) {
    host.clear_audit();
    const std::string got = ask(GetParam().octets + behind);
    EXPECT_EQ(status_of(got), GetParam().status) << got;
    EXPECT_TRUE(refused_with(got, GetParam().word)) << got;
    EXPECT_NE(got.find("details=\"" + std::string(GetParam().word) + " ref=k3f9a\""), std::string::npos) << got;
    EXPECT_NE(got.find("Content-Type: application/problem+json\r\n"), std::string::npos);
    EXPECT_EQ(got.find("HTTP/1.1 ", 1), std::string::npos) << "one answer: " << got;
    const auto audit = host.wait_for_audit(1);
    EXPECT_EQ(audit.size(), 1u);
    EXPECT_EQ(audit[0].verdict, POLICY_DENY);
    EXPECT_EQ(net::reason_word(audit[0].reason), GetParam().word);
    EXPECT_EQ(audit[0].client, "127.0.0.1");
  }
  EXPECT_EQ(lookups, 0);
  EXPECT_EQ(http.connections() + https.connections() + evil.connections() + evil_tls.connections(), 0u);
}

std::string connect_to(const std::string& authority) {
  return "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n";
}
std::string line(const std::string& start) { return start + "\r\nHost: pkg.test\r\n\r\n"; }
std::string with(const std::string& fields) {
  return "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n" + fields + "\r\n";
}
std::string post(const std::string& fields, const std::string& body = {}) {
  return "POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n" + fields + "\r\n" + body;
}
std::string fields(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += "a:b\r\n";
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    ByPolicy, Refused,
    testing::ValuesIn<RefusedCase>({
        {"ConnectName", connect_to("evil.test:443"), "403", "no_rule"},                                   // HTP-02
        {"AbsoluteForm", "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "403", "no_rule"},  // HTP-03
        {"Post", "POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 3\r\n\r\nabc", "403",
         "no_rule"},
        {"ConnectPort", connect_to("api.example.test:25"), "403", "port_denied"},  // HTP-04
        {"HttpPort", "GET http://pkg.test:81/ HTTP/1.1\r\nHost: pkg.test:81\r\n\r\n", "403", "port_denied"},
        {"Suffix", connect_to("notapi.example.test:443"), "403", "no_rule"},
        {"Prefix", connect_to("api.example.test.evil.test:443"), "403", "no_rule"},
        {"Literal", connect_to("93.184.216.34:443"), "403", "ip_literal_denied"},
        {"HttpLiteral", "GET http://93.184.216.34/ HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n", "403",
         "ip_literal_denied"},
        {"Loopback", connect_to("127.0.0.1:443"), "403", "addr_forbidden"},
        {"V6Loopback", connect_to("[::1]:443"), "403", "addr_forbidden"},
        {"V6Mapped", connect_to("[::ffff:127.0.0.1]:443"), "403", "addr_forbidden"},
        {"Metadata", "GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "403", "addr_forbidden"},
        {"ContinueExpected",
         "POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
         "403", "no_rule"},                                                                        // HTP-35
        {"Loop", with("Via: 1.1 other, 1.1 SALLYPORT-00112233 (x)\r\n"), "508", "loop_detected"},  // HTP-23
        {"LoopInConnect",
         "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test\r\nVia: 1.1 sallyport-00112233\r\n\r\n",
         "508", "loop_detected"},
    }),
    [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(
    Targets, Refused,
    testing::ValuesIn<RefusedCase>({
        {"PortZero", connect_to("api.example.test:0"), "400", "authority_malformed"},  // HTP-04
        {"PortTooLarge", connect_to("api.example.test:65536"), "400", "authority_malformed"},
        {"PortNegative", connect_to("api.example.test:-1"), "400", "authority_malformed"},
        {"PortPlus", connect_to("api.example.test:+443"), "400", "authority_malformed"},
        {"PortLeadingZero", connect_to("api.example.test:0443"), "400", "authority_malformed"},
        {"NoPort", connect_to("api.example.test"), "400", "authority_malformed"},
        {"PortName", connect_to("api.example.test:https"), "400", "authority_malformed"},
        {"HostDiffers", "GET http://pkg.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "400", "host_mismatch"},  // HTP-05
        {"HostPortDiffers", "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test:8080\r\n\r\n", "400", "host_mismatch"},
        {"ConnectHostDiffers", "CONNECT api.example.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", "400",
         "host_mismatch"},
        {"ConnectHostPortDiffers", "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:22\r\n\r\n", "400",
         "host_mismatch"},
        {"HostIsAddress", "GET http://pkg.test/ HTTP/1.1\r\nHost: 93.184.216.34\r\n\r\n", "400", "host_mismatch"},
        {"OriginForm", line("GET / HTTP/1.1"), "400", "authority_malformed"},  // HTP-06
        {"Asterisk", line("OPTIONS * HTTP/1.1"), "400", "authority_malformed"},
        {"TwoHosts", with("Host: pkg.test\r\n"), "400", "framing_ambiguous"},  // HTP-07
        {"TwoHostsThatDiffer", with("hOsT: evil.test\r\n"), "400", "framing_ambiguous"},
        {"NoHost", "GET http://pkg.test/ HTTP/1.1\r\n\r\n", "400", "framing_ambiguous"},
        {"EmptyHost", "GET http://pkg.test/ HTTP/1.1\r\nHost:\r\n\r\n", "400", "framing_ambiguous"},
        {"HostList", "GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test, evil.test\r\n\r\n", "400", "framing_ambiguous"},
        {"HostUserInfo", "GET http://pkg.test/ HTTP/1.1\r\nHost: a@pkg.test\r\n\r\n", "400", "authority_malformed"},
        {"UserInfo", line("GET http://user:pw@pkg.test/ HTTP/1.1"), "400", "authority_malformed"},  // HTP-08
        {"NameAsUser", line("GET http://pkg.test@evil.test/ HTTP/1.1"), "400", "authority_malformed"},
        {"ConnectUser", connect_to("a@b:443"), "400", "authority_malformed"},
        {"TwoPorts", line("GET http://pkg.test:80:443/ HTTP/1.1"), "400", "authority_malformed"},  // HTP-09
        {"EmptyPort", line("GET http://pkg.test:/ HTTP/1.1"), "400", "authority_malformed"},
        {"Fragment", line("GET http://pkg.test#@evil.test/ HTTP/1.1"), "400", "authority_malformed"},
        {"Backslash", line("GET http://pkg.test\\@evil.test/ HTTP/1.1"), "400", "authority_malformed"},
        {"BackslashPath", line("GET http:\\\\pkg.test/ HTTP/1.1"), "400", "authority_malformed"},
        {"ThreeSlashes", line("GET http:///pkg.test/ HTTP/1.1"), "400", "authority_malformed"},
        {"Percent", line("GET http://pkg%2etest/ HTTP/1.1"), "400", "authority_malformed"},
        {"Brackets", line("GET http://[pkg.test]/ HTTP/1.1"), "400", "authority_malformed"},  // HTP-10
        {"TwoBrackets", line("GET http://[[pkg.test]]/ HTTP/1.1"), "400", "authority_malformed"},
        {"ConnectBrackets", connect_to("[api.example.test]:443"), "400", "authority_malformed"},
        {"ConnectTwoBrackets", connect_to("[[api.example.test]]:443"), "400", "authority_malformed"},
        {"Zone", connect_to("[fe80::1%25eth0]:443"), "400", "authority_malformed"},
        {"Decimal", connect_to("2130706433:443"), "400", "authority_malformed"},
        {"Octal", connect_to("0177.0.0.1:443"), "400", "authority_malformed"},
        {"Hex", connect_to("0x7f000001:443"), "400", "authority_malformed"},
        {"Short", connect_to("127.1:443"), "400", "authority_malformed"},
        {"EmptyLabel", connect_to("api..example.test:443"), "400", "authority_malformed"},
        {"BadALabel", connect_to("xn--a:443"), "400", "authority_malformed"},
        {"Space", line("GET http://pkg.test/ evil HTTP/1.1"), "400", "authority_malformed"},
        {"Ftp", line("GET ftp://pkg.test/ HTTP/1.1"), "400", "unparsed"},  // HTP-30
        {"Gopher", line("GET gopher://pkg.test/ HTTP/1.1"), "400", "unparsed"},
        {"Https", line("GET https://pkg.test/ HTTP/1.1"), "400", "unparsed"},
        {"Ws", line("GET ws://pkg.test/ HTTP/1.1"), "400", "unparsed"},
        {"File", line("GET file:///etc/passwd HTTP/1.1"), "400", "authority_malformed"},
        {"Urn", line("GET urn:x HTTP/1.1"), "400", "authority_malformed"},
        {"LowerCaseConnect", line("connect api.example.test:443 HTTP/1.1"), "400", "authority_malformed"},
        {"Trace", line("TRACE http://pkg.test/ HTTP/1.1"), "405", "unparsed"},
        {"Expect", with("Expect: something\r\n"), "417", "unparsed"},
    }),
    [](const auto& row) { return row.param.why; });

INSTANTIATE_TEST_SUITE_P(
    Framing, Refused,
    testing::ValuesIn<RefusedCase>({
        {"LengthAndChunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400",
         "framing_ambiguous"},  // HTP-11
        {"ChunkedComma", post("Transfer-Encoding: chunked,\r\n"), "400", "framing_ambiguous"},
        {"ChunkedGzip", post("Transfer-Encoding: chunked, gzip\r\n"), "400", "framing_ambiguous"},
        {"GzipChunked", post("Transfer-Encoding: gzip, chunked\r\n"), "400", "framing_ambiguous"},
        {"Identity", post("Transfer-Encoding: identity\r\n"), "400", "framing_ambiguous"},
        {"TwoEncodings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "400",
         "framing_ambiguous"},
        {"EncodingIn10", "POST http://pkg.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
         "framing_ambiguous"},
        {"VerticalTab",
         post("Transfer-Encoding: \x0b"
              "chunked\r\n"),
         "400", "framing_ambiguous"},
        {"LengthPlus", post("Content-Length: +5\r\n"), "400", "framing_ambiguous"},  // HTP-12
        {"LengthTwice", post("Content-Length: 5,5\r\n"), "400", "framing_ambiguous"},
        {"LengthList", post("Content-Length: 5, 6\r\n"), "400", "framing_ambiguous"},
        {"LengthEmpty", post("Content-Length:\r\n"), "400", "framing_ambiguous"},
        {"LengthHex", post("Content-Length: 0x5\r\n"), "400", "framing_ambiguous"},
        {"Length2To64", post("Content-Length: 18446744073709551616\r\n"), "400", "framing_ambiguous"},
        {"LengthUnderscore", post("Content-Length: 1_0\r\n"), "400", "framing_ambiguous"},
        {"TwoLengths", post("Content-Length: 5\r\nContent-Length: 6\r\n"), "400", "framing_ambiguous"},
        {"SameLengths", post("Content-Length: 5\r\nContent-Length: 5\r\n"), "400", "framing_ambiguous"},
        {"SpaceBeforeColon", with("X : y\r\n"), "400", "framing_ambiguous"},  // HTP-13
        {"LeadingSpace", "GET http://pkg.test/ HTTP/1.1\r\n Host: pkg.test\r\n\r\n", "400", "framing_ambiguous"},
        {"ObsFold", with("X: y\r\n z\r\n"), "400", "framing_ambiguous"},
        {"BareLf", with("X: y\nZ: a\r\n"), "400", "framing_ambiguous"},
        {"BareCr", with("X: y\rZ: a\r\n"), "400", "framing_ambiguous"},
        {"Nul", with(std::string("X: y\0z\r\n", 8)), "400", "framing_ambiguous"},
        {"EmptyName", with(": y\r\n"), "400", "framing_ambiguous"},
        {"NoColon", with("xyz\r\n"), "400", "framing_ambiguous"},
        {"ConnectWithBody",
         "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\nContent-Length: 3\r\n\r\nabc", "400",
         "framing_ambiguous"},
        {"EmptyLineFirst", "\r\n" + with(""), "400", "framing_ambiguous"},
        {"Http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "unparsed"},  // HTP-29
        {"Http09", "GET http://pkg.test/\r\n", "400", "framing_ambiguous"},
        {"Http132", line("GET http://pkg.test/ HTTP/1.32"), "505", "unparsed"},
        {"Http3", line("GET http://pkg.test/ HTTP/3.0"), "505", "unparsed"},
        {"TlsHello", make_hello("pkg.test"), "400", "framing_ambiguous"},
        {"LongMethod", line(std::string(10'000, 'A') + " http://pkg.test/ HTTP/1.1"), "400", "framing_ambiguous"},
        {"HeadTooLarge", with("X: " + std::string(64 * 1024, 'y') + "\r\n"), "431", "limit_exceeded"},  // HTP-31
        {"TooManyFields", with(fields(1000)), "431", "limit_exceeded"},
        {"TargetTooLong", line("GET http://pkg.test/" + std::string(16 * 1024, 'a') + " HTTP/1.1"), "414",
         "limit_exceeded"},
    }),
    [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, RefusedHeadRequestsHaveNoBody) {
  start();
  const std::string got = ask("HEAD http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n");
  EXPECT_EQ(status_of(got), "403");
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
}

TEST_F(ProxyBench, NoPathIsInTheAuditUnlessAskedFor) {
  start();
  ask("GET http://evil.test/secret?token=1 HTTP/1.1\r\nHost: evil.test\r\n\r\n");
  ask("GET http://evil.test/?token=1 HTTP/1.1\r\nHost : evil.test\r\n\r\n");
  for (const AuditRecord& record : host.wait_for_audit(2)) {
    EXPECT_EQ(record.detail.find("secret"), std::string::npos) << record.detail;
    EXPECT_EQ((record.detail + record.raw).find("token"), std::string::npos) << record.detail << record.raw;
  }
}

TEST_F(ProxyBench, UnknownMethodsGoByPolicy) {  // HTP-30
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(status_of(ask("SLUDGE http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nConnection: close\r\n\r\n")), "200");
  EXPECT_EQ(status_of(ask("SLUDGE http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")), "403");
  EXPECT_TRUE(witness.requests().at(0).head.starts_with("SLUDGE / HTTP/1.1\r\n"));
}

TEST_F(ProxyBench, ARedirectLeadsNowhereElse) {  // HTP-34
  Witness witness;
  Origin origin(kGood, 80, witness.serve([](const auto&) {
    return "HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n";
  }));
  Origin evil(kOther, 80, witness.serve());
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  EXPECT_NE(client.receive_head().find("Location: http://evil.test/"), std::string::npos);
  client.send(get("http://evil.test/"));
  EXPECT_EQ(status_of(client.receive_all()), "403");
  EXPECT_EQ(evil.connections(), 0u);
}

TEST_F(ProxyBench, WhoIsOutsideTheNetworksIsTurnedAway) {
  host.gate.sources = {"10.1.1.1"};
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  const std::string got = client.receive_all();
  EXPECT_EQ(status_of(got), "403");
  EXPECT_TRUE(refused_with(got, "client_unknown")) << got;
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].reason, POLICY_REASON_CLIENT_UNKNOWN);
  EXPECT_EQ(audit[0].client, "127.0.0.1");
}

TEST_F(ProxyBench, ACellsListenerSaysWhoItIs) {
  host.cell = true;
  start(7);
  EXPECT_EQ(status_of(ask(get("http://evil.test/"))), "403");
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].client_id, 7u);
  EXPECT_EQ(audit[0].client, "");
}

struct AuthCase {
  const char* why;
  const char* field;  // nullptr: none
  const char* word;   // nullptr: passes
};
class Authentication : public ProxyBench, public testing::WithParamInterface<AuthCase> {};

TEST_P(Authentication, IsAskedForBeforeAnythingElse) {  // HTP-26
  config.auth = Auth::kRequired;
  host.gate.passwords = {{"bot", "secret"}, {"other", "pw:with:colons"}, {"away", "secret"}};
  host.gate.users_from = {{"away", "10.9.9.9"}};
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const std::string field = GetParam().field ? std::string("Proxy-Authorization: ") + GetParam().field + "\r\n" : "";
  const std::string got = ask(get("http://pkg.test/", field + "Connection: close\r\n"));
  if (!GetParam().word) {
    EXPECT_EQ(status_of(got), "200") << got;
    const auto requests = witness.requests();
    ASSERT_EQ(requests.size(), 1u);
    EXPECT_EQ(requests[0].head.find("roxy-"), std::string::npos) << requests[0].head;  // HTP-25
    EXPECT_NE(host.wait_for_audit(1)[0].credential, "");
  } else {
    EXPECT_EQ(status_of(got), "407") << got;
    EXPECT_TRUE(refused_with(got, GetParam().word)) << got;
    EXPECT_NE(got.find("Proxy-Authenticate: Basic realm="), std::string::npos);
    EXPECT_EQ(origin.connections(), 0u);
    EXPECT_EQ(host.wait_for_audit(1)[0].credential, "") << "only a verified user is one";
  }
  EXPECT_EQ(lookups, GetParam().word ? 0 : 1);
}

INSTANTIATE_TEST_SUITE_P(Fields, Authentication,
                         testing::ValuesIn<AuthCase>({
                             {"Right", "Basic Ym90OnNlY3JldA==", nullptr},
                             {"LowerCaseScheme", "basic Ym90OnNlY3JldA==", nullptr},
                             {"Colons", "Basic b3RoZXI6cHc6d2l0aDpjb2xvbnM=", nullptr},
                             {"None", nullptr, "auth_required"},
                             {"WrongPassword", "Basic Ym90Ondyb25n", "auth_mismatch"},
                             {"UnknownUser", "Basic bm9ib2R5OnNlY3JldA==", "auth_mismatch"},
                             {"FromElsewhere", "Basic YXdheTpzZWNyZXQ=", "auth_mismatch"},
                             {"OtherScheme", "Bearer Ym90OnNlY3JldA==", "auth_mismatch"},
                             {"NoPadding", "Basic Ym90OnNlY3JldA", "auth_mismatch"},
                             {"StrayBits", "Basic Ym90OnNlY3JldB==", "auth_mismatch"},
                             {"Garbage", "Basic !!!!", "auth_mismatch"},
                             {"NoColon", "Basic Ym90", "auth_mismatch"},
                             {"Empty", "", "auth_mismatch"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST_F(ProxyBench, OptionalCredentialsAreStillChecked) {
  config.auth = Auth::kOptional;
  host.gate.passwords = {{"bot", "secret"}};
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", "Connection: close\r\n"))), "200");
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", "Proxy-Authorization: Basic Ym90Ondyb25n\r\n"))), "407");
  const std::string two = "Proxy-Authorization: Basic Ym90OnNlY3JldA==\r\nproxy-authorization: Basic Ym90Ondyb25n\r\n";
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", two))), "400");
}

TEST_F(ProxyBench, WithoutAuthenticationCredentialsAreDropped) {  // HTP-25
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(status_of(ask(get("http://pkg.test/",
                              "Proxy-Authorization: Basic Ym90OnNlY3JldA==\r\nProxy-Connection: keep-alive\r\n"
                              "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nConnection: close\r\n"))),
            "200");
  const std::string head = witness.requests().at(0).head;
  EXPECT_EQ(head.find("roxy-"), std::string::npos) << head;
  EXPECT_EQ(head.find("orwarded"), std::string::npos) << head;
  EXPECT_EQ(host.wait_for_audit(1)[0].credential, "");
}

TEST_F(ProxyBench, AFullAuditRefuses) {
  Witness witness;
  Origin http(kGood, 80, witness.serve()), https(kGood, 443, witness.record());
  host.audit_full = true;
  start();
  EXPECT_EQ(status_of(ask(get("http://pkg.test/"))), "503");
  EXPECT_EQ(status_of(ask("CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test\r\n\r\n")), "503");
  EXPECT_EQ(witness.requests().size(), 0u);
}

}  // namespace
}  // namespace sallyport::http_proxy
