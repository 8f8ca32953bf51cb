#include "audit/denial_summary.hpp"

#include <gtest/gtest.h>

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
