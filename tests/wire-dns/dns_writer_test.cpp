#include "wire/dns_writer.hpp"

#include <gtest/gtest.h>

#include "message_builder.hpp"

namespace sallyport::wire {
namespace {

DnsQuery query_of(std::string_view name, unsigned type = kTypeA, std::optional<unsigned> edns_size = 1232,
                  unsigned flags = 0x0100) {
  MessageBuilder message;
  message.header(0x1234, flags, 1, 0, 0, edns_size ? 1 : 0).question(name, type);
  if (edns_size) message.opt(*edns_size);
  return read_query(message.octets);
}

struct Reply {
  DnsHeader header;
  DnsQuestion question;
  std::vector<DnsRecord> records;
  std::uint16_t rcode = 0;
};

Reply read(std::span<const std::uint8_t> message) {
  Reply reply;
  Result<DnsResponseReader> reader = DnsResponseReader::open(message);
  EXPECT_TRUE(reader.ok()) << (reader.ok() ? "" : reader.error().message);
  if (!reader.ok()) return reply;
  reply.header = reader->header();
  reply.question = reader->question();
  for (;;) {
    DnsRecord record;
    const Result<bool> more = reader->next(record);
    EXPECT_TRUE(more.ok()) << (more.ok() ? "" : more.error().message);
    if (!more.ok() || !*more) break;
    reply.records.push_back(record);
  }
  reply.rcode = reader->rcode();
  return reply;
}

WireName name_of(std::string_view text) { return *WireName::from_text(text); }

const DnsSoa kSoa = {name_of("ns.evil.test"), name_of("hostmaster.invalid"), 1, 2, 3, 4, 5};
constexpr std::array<std::uint8_t, 4> kAddress = {192, 0, 2, 7};

TEST(ReplyTest, AnswersInTheClientsCase) {  // DNS-01, DNS-05
  std::array<std::uint8_t, 1232> buffer;
  DnsReplyWriter writer(buffer, query_of("API.ExAmPlE.TeSt"), 1232, Rcode::kNoError);
  writer.add_a(60, kAddress);
  writer.add_aaaa(61, std::array<std::uint8_t, 16>{0x20, 1});
  const Reply reply = read(writer.finish());
  EXPECT_EQ(reply.header.id, 0x1234);
  EXPECT_EQ(reply.header.flags, 0x8180);  // QR RD RA, not AA
  EXPECT_EQ(reply.question.name.text(), "API.ExAmPlE.TeSt");
  ASSERT_EQ(reply.records.size(), 3u);
  EXPECT_EQ(reply.records[0].owner.text(), "API.ExAmPlE.TeSt");
  EXPECT_EQ(reply.records[0].ttl, 60u);
  EXPECT_TRUE(std::equal(kAddress.begin(), kAddress.end(), reply.records[0].rdata.begin()));
  EXPECT_EQ(reply.records[1].type, kTypeAaaa);
  EXPECT_EQ(reply.records[2].type, kTypeOpt);
  EXPECT_EQ(reply.records[2].klass, kDnsMaxUdp);
}

TEST(ReplyTest, DenialWithSoaAndExtendedError) {  // DNS-02
  std::array<std::uint8_t, 1232> buffer;
  DnsReplyWriter writer(buffer, query_of("a.evil.test"), 1232, Rcode::kNxDomain);
  writer.add_soa(name_of("evil.test"), 10, kSoa);
  writer.set_error(EdeCode::kBlocked, "no_rule ref k3f9");
  const std::span<const std::uint8_t> message = writer.finish();
  const Reply reply = read(message);
  EXPECT_EQ(reply.rcode, 3);
  EXPECT_EQ(reply.header.ancount, 0);
  EXPECT_EQ(reply.header.nscount, 1);
  ASSERT_EQ(reply.records.size(), 2u);
  EXPECT_EQ(reply.records[0].section, DnsSection::kAuthority);
  EXPECT_EQ(reply.records[0].owner.text(), "evil.test");
  const Result<DnsSoa> soa = DnsResponseReader::open(message)->soa_data(reply.records[0]);
  ASSERT_TRUE(soa.ok()) << soa.error().message;
  EXPECT_TRUE(soa->mname.has_same_case(kSoa.mname));
  EXPECT_TRUE(soa->rname.has_same_case(kSoa.rname));
  EXPECT_EQ(soa->serial, 1u);
  EXPECT_EQ(soa->minimum, 5u);
  const auto option = reply.records[1].rdata;
  EXPECT_EQ(Octets(option.begin(), option.begin() + 6), (Octets{0, 15, 0, 18, 0, 15}));
  EXPECT_EQ(std::string(option.begin() + 6, option.end()), "no_rule ref k3f9");
}

TEST(ReplyTest, AuthorityOfTheQuestionsOwnName) {  // also behind an alias: the owner is the QNAME
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("A.evil.test"), 512, Rcode::kNoError);
  writer.add_cname(60, name_of("elsewhere.test"));
  writer.add_authority(kTypeNs, 7, name_octets("ns.test"));
  const std::span<const std::uint8_t> message = writer.finish();
  const Reply reply = read(message);
  EXPECT_EQ(reply.header.nscount, 1);
  ASSERT_GE(reply.records.size(), 2u);
  EXPECT_EQ(reply.records[1].section, DnsSection::kAuthority);
  EXPECT_EQ(reply.records[1].owner.text(), "A.evil.test");
  EXPECT_EQ(reply.records[1].ttl, 7u);
  EXPECT_EQ(DnsResponseReader::open(message)->name_data(reply.records[1])->text(), "ns.test");
}

TEST(ReplyTest, AuthorityThatDoesNotFitIsTruncated) {
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("a.test"), 512, Rcode::kNoError);
  writer.add_authority(kTypeSoa, 7, Octets(500));
  const Reply reply = read(writer.finish());
  EXPECT_TRUE(reply.header.is_truncated());
  EXPECT_EQ(reply.header.nscount, 0);
}

TEST(ReplyTest, NoOptWithoutOne) {
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("a.test", kTypeA, std::nullopt), 512, Rcode::kNxDomain);
  writer.set_error(EdeCode::kBlocked, "text");
  const Reply reply = read(writer.finish());
  EXPECT_TRUE(reply.records.empty());
  EXPECT_EQ(reply.header.arcount, 0);
}

TEST(ReplyTest, BadVersTakesTwelveBits) {  // DNS-22
  std::array<std::uint8_t, 512> buffer;
  const DnsQuery query = read_query(MessageBuilder().header(1, 0, 1, 0, 0, 1).question("a.test").opt(4096, 1).octets);
  ASSERT_EQ(query.outcome, QueryOutcome::kBadVers);
  const Reply reply = read(DnsReplyWriter(buffer, query, 512, rcode_of(query.outcome)).finish());
  EXPECT_EQ(reply.rcode, 16);
  EXPECT_EQ(reply.records[0].ttl >> 16 & 0xff, 0u);  // we speak version 0
}

TEST(ReplyTest, HeaderOnlyForWhatCouldNotBeRead) {  // DNS-19, DNS-20
  std::array<std::uint8_t, 512> buffer;
  const DnsQuery update = read_query(MessageBuilder().header(0xabcd, 0x2900, 1).question("a.test").octets);
  const auto message = DnsReplyWriter(buffer, update, 512, rcode_of(update.outcome)).finish();
  EXPECT_EQ(Octets(message.begin(), message.end()), (Octets{0xab, 0xcd, 0xa9, 0x84, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(ReplyTest, CnameMovesTheOwner) {
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("www.example.test"), 512, Rcode::kNoError);
  writer.add_cname(30, name_of("Edge.example.test"));
  writer.add_cname(30, name_of("other.invalid"));
  writer.add_a(30, kAddress);
  const auto message = writer.finish();
  const Reply reply = read(message);
  ASSERT_EQ(reply.records.size(), 4u);
  EXPECT_EQ(reply.records[0].owner.text(), "www.example.test");
  EXPECT_EQ(DnsResponseReader::open(message)->name_data(reply.records[0])->text(), "Edge.example.test");
  EXPECT_EQ(reply.records[1].owner.text(), "Edge.example.test");
  EXPECT_EQ(reply.records[2].owner.text(), "other.invalid");
}

TEST(ReplyTest, WhatDoesNotFitIsTruncatedWhole) {  // DNS-23
  std::array<std::uint8_t, 65535> buffer;
  const DnsQuery query = query_of("a.test", kTypeA, 512);
  const auto reply_with = [&](int addresses, std::size_t limit) {
    DnsReplyWriter writer(buffer, query, limit, Rcode::kNoError);
    for (int i = 0; i < addresses; ++i) writer.add_a(60, kAddress);
    writer.set_error(EdeCode::kOther, "kept");
    return writer.finish();
  };
  constexpr int kFit = (512 - 12 - 12 - 11) / 16;  // header, question, OPT; 16 octets an address
  EXPECT_EQ(read(reply_with(kFit, 512)).header.ancount, kFit);
  const Reply over = read(reply_with(kFit + 1, 512));
  EXPECT_TRUE(over.header.is_truncated());
  EXPECT_EQ(over.header.ancount, 0);
  EXPECT_EQ(over.question.name.text(), "a.test");
  ASSERT_EQ(over.records.size(), 1u);
  EXPECT_EQ(over.records[0].type, kTypeOpt);
  EXPECT_LE(reply_with(kFit, 512).size(), 512u);
  const Reply by_tcp = read(reply_with(kFit + 1, kDnsMaxMessage));
  EXPECT_FALSE(by_tcp.header.is_truncated());
  EXPECT_EQ(by_tcp.header.ancount, kFit + 1);
}

TEST(ReplyTest, ALimitBelow512IsRaised) {
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("a.test"), 0, Rcode::kNoError);
  writer.add_a(60, kAddress);
  EXPECT_EQ(read(writer.finish()).header.ancount, 1);
}

TEST(ReplyTest, ErrorTextIsCutAtACharacter) {
  std::array<std::uint8_t, 1232> buffer;
  DnsReplyWriter writer(buffer, query_of("a.test"), 1232, Rcode::kNxDomain);
  writer.set_error(EdeCode::kBlocked, std::string(127, 'x') + "\xc3\xa9");
  const Reply reply = read(writer.finish());
  EXPECT_EQ(reply.records[0].rdata.size(), 6u + 127);
}

TEST(ReplyTest, ErrorTextGivesWayWhereThereIsNoRoom) {
  std::array<std::uint8_t, 512> buffer;
  DnsReplyWriter writer(buffer, query_of("a.test"), 512, Rcode::kNoError);
  for (int i = 0; i < (512 - 12 - 12 - 11) / 16; ++i) writer.add_a(60, kAddress);
  writer.set_error(EdeCode::kStaleAnswer, std::string(100, 'x'));
  const auto message = writer.finish();
  EXPECT_LE(message.size(), 512u);
  EXPECT_EQ(read(message).records.back().rdata.size(), 6u);
}

TEST(QueryWriterTest, IsWhatAStubSends) {
  std::array<std::uint8_t, kDnsQueryMax> buffer;
  const std::size_t size = write_query(buffer, 0x4321, name_of("aPi.Example.test"), kTypeAaaa);
  EXPECT_EQ(Octets(buffer.begin(), buffer.begin() + size),
            MessageBuilder().header(0x4321, 0x0100, 1, 0, 0, 1).question("aPi.Example.test", 28).opt(1232).octets);
  EXPECT_EQ(read_query(std::span(buffer).first(size)).outcome, QueryOutcome::kQuery);
}

TEST(QueryWriterTest, TheLongestNameFits) {
  std::array<std::uint8_t, kDnsQueryMax> buffer;
  const WireName longest = *WireName::from_wire(name_octets(repeat("a.", 127)));
  EXPECT_EQ(write_query(buffer, 1, longest, kTypeA), kDnsQueryMax);
}

}  // namespace
}  // namespace sallyport::wire
