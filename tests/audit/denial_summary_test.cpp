#include "audit/denial_summary.hpp"

#include <gtest/gtest.h>

#include "audit/failure_summary.hpp"

namespace sallyport {
namespace {

AuditRecord dns(std::string_view name, std::uint16_t qtype) {
  AuditRecord record;
  record.layer = Layer::kDns;
  record.qtype = qtype;
  record.set_name(*DomainName::parse(name));
  return record;
}

AuditRecord tcp(const char* address, std::uint16_t port, Reason reason) {
  AuditRecord record;
  record.layer = Layer::kTcp;
  record.proto = kProtoTcp;
  record.port = port;
  record.reason = reason;
  record.set_addr(*Address::parse(address));
  return record;
}

TEST(DenialSummary, GroupsInFirstSeenOrder) {
  DenialSummary summary;
  summary.add(dns("api.example.test", 1), "k3f9");
  summary.add(tcp("198.51.100.7", 443, Reason::kIpLiteralDenied), "k3fb");
  summary.add(dns("api.example.test", 28), "k3fc");
  summary.add(dns("api.example.test", 1), "k3fd");
  AuditRecord raw = tcp("198.51.100.7", 53, Reason::kNameMalformed);
  raw.proto = kProtoUdp;
  raw.set_raw("\x1b[31m");
  summary.add(raw, "k3fe");
  ASSERT_EQ(summary.rows().size(), 4u);
  EXPECT_EQ(summary.rows()[0].destination, "api.example.test");
  EXPECT_EQ(summary.rows()[0].asked, "dns A");
  EXPECT_EQ(summary.rows()[0].reason, "no_rule");
  EXPECT_EQ(summary.rows()[0].ref, "k3f9");
  EXPECT_EQ(summary.rows()[0].count, 2u);
  EXPECT_TRUE(summary.rows()[0].is_name);
  EXPECT_EQ(summary.rows()[1].destination, "198.51.100.7");
  EXPECT_EQ(summary.rows()[1].asked, "443");
  EXPECT_EQ(summary.rows()[1].reason, "ip_literal_denied");
  EXPECT_EQ(summary.rows()[2].asked, "dns AAAA");
  EXPECT_EQ(summary.rows()[3].destination, "\\x1b[31m");
  EXPECT_EQ(summary.rows()[3].asked, "53/udp");
  EXPECT_FALSE(summary.rows()[3].is_name);
  EXPECT_EQ(summary.total(), 5u);
  EXPECT_EQ(summary.destinations(), 3u);
}

TEST(DenialSummary, OnlyWhatTookEffectAsARefusal) {
  DenialSummary summary;
  AuditRecord allowed = dns("a.test", 1);
  allowed.verdict = allowed.effective = Effect::kAllow;
  summary.add(allowed, "aaaa");
  AuditRecord observed = dns("b.test", 1);
  observed.effective = Effect::kAllow;  // verdict deny, observe mode
  summary.add(observed, "bbbb");
  AuditRecord closing = dns("c.test", 1);
  closing.kind = AuditKind::kClose;
  summary.add(closing, "cccc");
  EXPECT_TRUE(summary.rows().empty());
  EXPECT_EQ(summary.total(), 0u);
}

TEST(DenialSummary, ServiceBindingQueriesAreEveryday) {
  DenialSummary summary;
  for (const std::uint16_t qtype : {64, 65}) {
    AuditRecord record = dns("api.example.test", qtype);
    record.reason = Reason::kQtypeDenied;
    summary.add(record, "aaaaa");
  }
  EXPECT_TRUE(summary.rows().empty());
  EXPECT_EQ(summary.total(), 0u);
  AuditRecord mail = dns("api.example.test", 15);
  mail.reason = Reason::kQtypeDenied;
  summary.add(mail, "aaaaa");
  summary.add(dns("evil.test", 65), "bbbbb");  // a name that is denied, whatever is asked of it
  EXPECT_EQ(summary.rows().size(), 2u);
}

TEST(DenialSummary, SaysWhatWasClaimed) {
  DenialSummary summary;
  const auto add = [&](Reason reason, std::string_view detail) {
    AuditRecord record = tcp("198.51.100.7", 443, reason);
    record.set_name(*DomainName::parse("api.example.test"));
    record.set_detail(detail);
    summary.add(record, "aaaaa");
    return summary.rows().back().claimed;
  };
  EXPECT_EQ(add(Reason::kHostMismatch, R"({"http":{"host":"evil.test","method":"GET"}})"), "evil.test");
  EXPECT_EQ(add(Reason::kHostMismatch, R"({"http":{"host":"worse.test"}})"), "worse.test");
  EXPECT_EQ(summary.rows().size(), 2u);
  EXPECT_EQ(add(Reason::kSniMismatch, R"({"tls":{"sni":"evil.test"}})"), "evil.test");
  EXPECT_EQ(add(Reason::kSniMalformed, R"({"tls":{"sni":"a\\x00b\u001b"}})"), "a\\x00b\\x1b");
  EXPECT_EQ(add(Reason::kSniNotAllowed, R"({"tls":{"sni":null}})"), "");
  EXPECT_EQ(add(Reason::kSniNotAllowed, R"({"tls":7})"), "");
  EXPECT_EQ(add(Reason::kHostMismatch, "{"), "");
  EXPECT_EQ(add(Reason::kNoRule, R"({"http":{"host":"evil.test"}})"), "");
}

TEST(DenialSummary, MalformedNamesHaveARowEach) {
  DenialSummary summary;
  for (const char* raw : {"a\nb", "c d"}) {
    AuditRecord record;
    record.layer = Layer::kDns;
    record.qtype = 1;
    record.reason = Reason::kNameMalformed;
    record.set_raw(raw);
    summary.add(record, "aaaaa");
  }
  ASSERT_EQ(summary.rows().size(), 2u);
  EXPECT_EQ(summary.rows()[0].destination, "a\\x0ab");
  EXPECT_EQ(summary.rows()[1].destination, "c d");
}

TEST(FailureSummary, AllowedAndNotReached) {
  FailureSummary summary;
  const auto failed = [](AuditRecord record, std::string_view detail) {
    record.reason = Reason::kUpstreamFailed;
    record.verdict = Effect::kContinue;
    record.effective = Effect::kAllow;
    record.set_detail(detail);
    return record;
  };
  const char* silent = R"({"cause":"no answer from 9.9.9.9:53 within 4.5 s"})";
  summary.add(failed(dns("api.example.test", 1), silent), "aaaaa");
  summary.add(failed(dns("api.example.test", 28), silent), "aaaaa");
  summary.add(failed(tcp("198.51.100.7", 5432, Reason::kOk), R"({"cause":"a\u001bb"})"), "bbbbb");
  summary.add(failed(tcp("198.51.100.7", 5432, Reason::kOk), "["), "bbbbb");
  summary.add(dns("evil.test", 1), "ccccc");  // denied
  AuditRecord closing = failed(dns("c.test", 1), "");
  closing.kind = AuditKind::kClose;
  summary.add(closing, "ddddd");
  ASSERT_EQ(summary.rows().size(), 3u);
  EXPECT_EQ(summary.rows()[0].destination, "api.example.test");
  EXPECT_EQ(summary.rows()[0].asked, "dns");
  EXPECT_EQ(summary.rows()[0].cause, "no answer from 9.9.9.9:53 within 4.5 s");
  EXPECT_EQ(summary.rows()[0].ref, "aaaaa");
  EXPECT_EQ(summary.rows()[0].count, 2u);
  EXPECT_EQ(summary.rows()[1].asked, "5432");
  EXPECT_EQ(summary.rows()[1].cause, "a\\x1bb");
  EXPECT_EQ(summary.rows()[2].cause, "");
  EXPECT_EQ(summary.total(), 4u);
  EXPECT_EQ(summary.destinations(), 2u);
  for (int i = 0; i < 500; ++i) summary.add(failed(dns("n" + std::to_string(i) + ".test", 1), ""), "r");
  EXPECT_EQ(summary.rows().size(), FailureSummary::kMaxRows);
  EXPECT_EQ(summary.total(), 504u);
}

TEST(DenialSummary, BeyondTheBoundOneRow) {
  DenialSummary summary;
  for (int i = 0; i < 3000; ++i) summary.add(dns("n" + std::to_string(i) + ".test", 1), "r");
  summary.add(dns("n5.test", 1), "r");  // known rows go on counting
  ASSERT_EQ(summary.rows().size(), DenialSummary::kMaxRows + 1);
  EXPECT_EQ(summary.rows().back().destination, "_other");
  EXPECT_EQ(summary.rows().back().count, 2000u);
  EXPECT_EQ(summary.rows()[5].count, 2u);
  EXPECT_EQ(summary.total(), 3001u);
}

}  // namespace
}  // namespace sallyport
