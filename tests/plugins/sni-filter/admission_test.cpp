// The pure parts: which reason, which status, which alert.
#include "support/admission.hpp"

#include <gtest/gtest.h>

#include "sni-filter/config.hpp"
#include "support/reason.hpp"

namespace sallyport::sni {
using namespace net;
namespace {

using namespace std::chrono_literals;

TEST(RefusalResponse, IsProblemJsonWithProxyStatus) {
  const std::string text = refusal_response(403, "host_mismatch", "k3f9a", false);
  EXPECT_TRUE(
      text.starts_with("HTTP/1.1 403 Forbidden\r\nProxy-Status: sallyport; error=http_request_denied; "
                       "details=\"host_mismatch ref=k3f9a\"\r\n"));
  EXPECT_TRUE(text.ends_with(
      "\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403,\"detail\":\"refused by policy: "
      "host_mismatch; this is not a fault, do not retry\",\"ref\":\"k3f9a\"}\n"));
}

TEST(RefusalResponse, WithoutARefSaysNothingOfIt) {
  const std::string text = refusal_response(502, "framing_ambiguous", "", false);
  EXPECT_NE(text.find("error=http_protocol_error; details=\"framing_ambiguous\"\r\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("ref"), text.find("refused")) << text;
  EXPECT_EQ(text.find("retry"), std::string::npos) << text;
}

TEST(RefusalResponse, HeadHasNoBody) {
  EXPECT_TRUE(refusal_response(403, "host_mismatch", "k3f9a", true).ends_with("\r\n\r\n"));
}

TEST(TlsAlert, IsOneFatalRecord) {
  EXPECT_EQ(tls_alert(POLICY_REASON_ECH_DENIED), std::string("\x15\x03\x03\x00\x02\x02\x31", 7));
  EXPECT_EQ(tls_alert(POLICY_REASON_SNI_MISMATCH), std::string("\x15\x03\x03\x00\x02\x02\x70", 7));
  EXPECT_EQ(tls_alert(POLICY_REASON_TLS_MALFORMED), std::string("\x15\x03\x03\x00\x02\x02\x32", 7));
}

TEST(ReasonWord, UnknownIsTheStrictest) {
  EXPECT_EQ(net::reason_word(POLICY_REASON_OK), "ok");
  EXPECT_EQ(net::reason_word(POLICY_REASON_HELLO_TIMEOUT), "hello_timeout");
  EXPECT_EQ(net::reason_word(60000), "no_rule");
}

TEST(SniConfig, EveryKey) {
  Config config;
  const policy::Status status = parse_config(
      R"({"listen":["a","b"],"upstreams":["9.9.9.9","[::1]:5353"],"hello_timeout":"250ms","connect_timeout":"3s","idle_timeout":"2h","allow_grease_ech":true,"max_flows":10})",
      config);
  ASSERT_TRUE(status.ok()) << status.text;
  EXPECT_EQ(config.listen, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(config.upstreams.size(), 2u);
  EXPECT_EQ(config.upstreams[1].port, 5353);
  EXPECT_EQ(config.hello_timeout, 250ms);
  EXPECT_EQ(config.idle_timeout, 2h);
  EXPECT_TRUE(config.allow_grease_ech);
  EXPECT_EQ(config.max_flows, 10u);
}

struct ConfigCase {
  const char* why;
  const char* json;
  const char* pointer;
};
class BadSniConfig : public testing::TestWithParam<ConfigCase> {};

TEST_P(BadSniConfig, NamesTheKey) {
  Config config;
  const policy::Status status = parse_config(GetParam().json, config);
  EXPECT_EQ(status.code, POLICY_INVALID);
  EXPECT_EQ(status.pointer, GetParam().pointer) << status.text;
}

INSTANTIATE_TEST_SUITE_P(Configs, BadSniConfig,
                         testing::ValuesIn<ConfigCase>({
                             {"NoUnit", R"({"hello_timeout":"5"})", "/hello_timeout"},
                             {"NumberAsDuration", R"({"hello_timeout":5})", "/hello_timeout"},
                             {"TooLong", R"({"hello_timeout":"2h"})", "/hello_timeout"},
                             {"ZeroFlows", R"({"max_flows":0})", "/max_flows"},
                             {"TextAsBool", R"({"allow_grease_ech":"yes"})", "/allow_grease_ech"},
                             {"Unknown", R"({"timeout":"5s"})", "/timeout"},
                         }),
                         [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport::sni
