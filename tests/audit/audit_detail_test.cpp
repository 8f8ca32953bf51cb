// The plain reader and the parser say the same of every detail.
#include "audit/audit_detail.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace sallyport {
namespace {

using Json = nlohmann::ordered_json;

// With a space the text is not plain, and means the same.
std::string spaced(const std::string& text) { return " " + text; }

void expect_same(const std::string& text, bool log_paths) {
  const std::string other = spaced(text);
  const AuditDetail plain(text, log_paths), parsed(other, log_paths);
  EXPECT_EQ(plain.whole, parsed.whole) << text;
  EXPECT_EQ(plain.dns_has_qtype, parsed.dns_has_qtype) << text;
  EXPECT_EQ(plain.tls, parsed.tls) << text;
  EXPECT_EQ(plain.dns, parsed.dns) << text;
  EXPECT_EQ(plain.http, parsed.http) << text;
  EXPECT_EQ(plain.bytes, parsed.bytes) << text;
  EXPECT_EQ(plain.duration_ms, parsed.duration_ms) << text;
  EXPECT_EQ(plain.flow, parsed.flow) << text;
  EXPECT_EQ(plain.raw, parsed.raw) << text;
  EXPECT_EQ(plain.cause, parsed.cause) << text;
  EXPECT_EQ(plain.raw.data() == nullptr, parsed.raw.data() == nullptr) << text;
  EXPECT_EQ(plain.cause.data() == nullptr, parsed.cause.data() == nullptr) << text;
  for (const std::string_view part : {plain.tls, plain.dns, plain.http, plain.bytes, plain.duration_ms, plain.flow}) {
    EXPECT_TRUE(part.empty() || Json::accept(part)) << text << ": " << part;
    for (const char c : part) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << text;
  }
}

TEST(AuditDetail, IsInTheTextItselfIfPlain) {
  const std::string text = R"({"dns":{"qtype":"A","rcode":"NOERROR","transport":"udp"},"cause":"no answer"})";
  const AuditDetail detail(text, false);
  EXPECT_EQ(detail.dns, R"({"qtype":"A","rcode":"NOERROR","transport":"udp"})");
  EXPECT_EQ(detail.dns.data(), text.data() + 7);  // nothing was copied
  EXPECT_EQ(detail.cause, "no answer");
  EXPECT_TRUE(detail.dns_has_qtype);
  EXPECT_TRUE(detail.whole);
}

TEST(AuditDetail, TargetsAreLeftOutUnlessAskedFor) {
  const std::string text = R"({"http":{"method":"GET","path":"/secret","status":200}})";
  EXPECT_EQ(AuditDetail(text, false).http, R"({"method":"GET","status":200})");
  EXPECT_EQ(AuditDetail(text, true).http, R"({"method":"GET","path":"/secret","status":200})");
}

TEST(AuditDetail, AKeyThatComesTwiceIsThereOnce) {
  const std::string text = R"({"tls":{"sni":"a.test","sni":"b.test"},"flow":"1","flow":"2"})";
  const AuditDetail detail(text, false);
  EXPECT_EQ(Json::parse(detail.tls).size(), 1u);
  EXPECT_EQ(detail.tls.find("sni"), detail.tls.rfind("sni"));
}

// GetParam(): seed. Texts of the pieces that details are made of, most of them broken somewhere.
class RandomDetail : public testing::TestWithParam<unsigned> {};

TEST_P(RandomDetail, BothReadersAgree) {
  const std::vector<std::string> keys = {"tls",  "dns", "http",  "bytes", "duration_ms",
                                         "flow", "raw", "cause", "other", ""};
  const std::vector<std::string> inner = {"qtype", "path", "target", "a", "b\\u0041", "\\n", "\xc3\xa9", "\xff", "\n"};
  const std::vector<std::string> values = {
      "1",    "0",      "01",   "-1",     "1.5",       "1e3",      "123456789012345678",
      "true", "false",  "null", R"("x")", R"("a\"b")", "\"\x7f\"", "\"\xff\"",
      "[]",   "[1,{}]", "",     "nul"};
  std::mt19937 random(GetParam());
  const auto any_of = [&](const std::vector<std::string>& from) { return from[random() % from.size()]; };
  const auto object = [&] {
    std::string out = "{";
    for (unsigned i = random() % 4; i > 0; --i) {
      out += '"' + any_of(inner) + "\":" + any_of(values);
      if (i > 1 || random() % 16 == 0) out += ',';
    }
    return out + "}";
  };
  for (int round = 0; round < 500; ++round) {
    std::string text = "{";
    for (unsigned i = random() % 4; i > 0; --i) {
      text += '"' + any_of(keys) + "\":" + (random() % 2 == 0 ? object() : any_of(values));
      if (i > 1 || random() % 16 == 0) text += ',';
    }
    text += random() % 16 == 0 ? "" : "}";
    expect_same(text, random() % 2 == 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomDetail, testing::Range(0U, 40U));

}  // namespace
}  // namespace sallyport
