#include "wire/dns_response.hpp"

#include <gtest/gtest.h>

#include "message_builder.hpp"

namespace sallyport::wire {
namespace {

MessageBuilder response(unsigned an = 0, unsigned ns = 0, unsigned ar = 0, unsigned flags = 0x8180) {
  MessageBuilder message;
  message.header(7, flags, 1, an, ns, ar).question("www.example.test");  // names at 12, 16 (example.test), 24 (test)
  return message;
}

struct Walk {
  bool whole = false;
  std::string error;
  std::vector<DnsRecord> records;
  std::uint16_t rcode = 0;
};

Walk walk(const Octets& message) {
  Walk walk;
  Result<DnsResponseReader> reader = DnsResponseReader::open(message);
  if (!reader.ok()) {
    walk.error = reader.error().message;
    return walk;
  }
  for (;;) {
    DnsRecord record;
    const Result<bool> more = reader->next(record);
    if (!more.ok()) {
      walk.error = more.error().message;
      return walk;
    }
    if (!*more) break;
    walk.records.push_back(record);
  }
  walk.whole = true;
  walk.rcode = reader->rcode();
  return walk;
}

TEST(ResponseTest, RecordsOfAllSectionsAreReadInOrder) {
  const Octets message = response(2, 1, 2)
                             .pointer(12)
                             .record(kTypeCname, 300, {3, 'c', 'd', 'n', 0xc0, 16})
                             .label("cdn")
                             .pointer(16)
                             .record(kTypeA, 60, {192, 0, 2, 1})
                             .pointer(16)
                             .record(kTypeNs, 1, {2, 'n', 's', 0xc0, 16})
                             .label("ns")
                             .pointer(16)
                             .record(kTypeAaaa, 1, Octets(16, 1))
                             .opt(1232, 0, 0x8000)
                             .octets;
  Result<DnsResponseReader> reader = DnsResponseReader::open(message);
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->question().name.text(), "www.example.test");
  const Walk all = walk(message);
  ASSERT_TRUE(all.whole) << all.error;
  ASSERT_EQ(all.records.size(), 5u);
  EXPECT_EQ(all.records[0].section, DnsSection::kAnswer);
  EXPECT_EQ(all.records[0].ttl, 300u);
  EXPECT_EQ(reader->name_data(all.records[0])->text(), "cdn.example.test");
  EXPECT_EQ(all.records[1].owner.text(), "cdn.example.test");
  EXPECT_EQ(Octets(all.records[1].rdata.begin(), all.records[1].rdata.end()), (Octets{192, 0, 2, 1}));
  EXPECT_EQ(all.records[2].section, DnsSection::kAuthority);
  EXPECT_EQ(reader->name_data(all.records[2])->text(), "ns.example.test");
  EXPECT_EQ(all.records[3].section, DnsSection::kAdditional);
  EXPECT_EQ(all.records[4].type, kTypeOpt);
}

TEST(ResponseTest, SoaAndItsNegativeTtl) {
  Octets rdata =
      MessageBuilder().label("ns").pointer(16).label("root").pointer(16).u32(1).u32(2).u32(3).u32(4).u32(5).octets;
  const Octets message = response(0, 1).pointer(16).record(kTypeSoa, 9, rdata).octets;
  const Walk all = walk(message);
  ASSERT_TRUE(all.whole) << all.error;
  const Result<DnsResponseReader> reader = DnsResponseReader::open(message);
  const Result<DnsSoa> soa = reader->soa_data(all.records[0]);
  ASSERT_TRUE(soa.ok()) << soa.error().message;
  EXPECT_EQ(soa->mname.text(), "ns.example.test");
  EXPECT_EQ(soa->rname.text(), "root.example.test");
  EXPECT_EQ(soa->serial, 1u);
  EXPECT_EQ(soa->expire, 4u);
  EXPECT_EQ(soa->negative_ttl(9), 5u);
  EXPECT_EQ(soa->negative_ttl(4), 4u);
}

TEST(ResponseTest, TtlWithItsTopBitIsZero) {  // DNS-30
  const Walk all = walk(response(2)
                            .pointer(12)
                            .record(kTypeA, 0x80000000, {192, 0, 2, 1})
                            .pointer(12)
                            .record(kTypeA, 0x7fffffff, {192, 0, 2, 2})
                            .octets);
  ASSERT_TRUE(all.whole) << all.error;
  EXPECT_EQ(all.records[0].ttl, 0u);
  EXPECT_EQ(all.records[1].ttl, 0x7fffffffu);
}

TEST(ResponseTest, ExtendedRcodeIsPutTogether) {
  const Walk all = walk(response(0, 0, 1, 0x8180).u8(0).u16(41).u16(1232).u8(1).u8(0).u16(0).u16(0).octets);
  ASSERT_TRUE(all.whole) << all.error;
  EXPECT_EQ(all.rcode, static_cast<std::uint16_t>(Rcode::kBadVers));
}

struct BadRow {
  const char* why;
  Octets message;
};
void PrintTo(const BadRow& row, std::ostream* out) { *out << row.why; }
class ResponsesRefused : public testing::TestWithParam<BadRow> {};
TEST_P(ResponsesRefused, Whole) { EXPECT_FALSE(walk(GetParam().message).whole); }

INSTANTIATE_TEST_SUITE_P(Wire, ResponsesRefused,
                         testing::ValuesIn<BadRow>({
                             {"Short", Octets(11, 0x80)},
                             {"Query", response(0, 0, 0, 0x0100).octets},
                             {"OpcodeNotify", response(0, 0, 0, 0xa000).octets},
                             {"NoQuestion", MessageBuilder().header(7, 0x8180, 0).octets},
                             {"TwoQuestions", MessageBuilder().header(7, 0x8180, 2).question("a").question("b").octets},
                             {"PointerInQuestion",
                              MessageBuilder().header(7, 0x8180, 1).pointer(12).u16(1).u16(1).octets},
                             {"TrailingOctet", response().u8(0).octets},
                             {"CountedNotThere", response(1).octets},
                             {"RecordCutShort", response(1).pointer(12).u16(1).u16(1).u32(0).u8(0).octets},
                             {"RdataPastTheEnd", response(1).pointer(12).u16(1).u16(1).u32(0).u16(4).u8(1).octets},
                             {"OwnerLoop", response(1).pointer(34).record(kTypeA, 1, {192, 0, 2, 1}).octets},  // DNS-15
                             {"OwnerForward", response(1).pointer(40).record(kTypeA, 1, {192, 0, 2, 1}).octets},
                             {"OwnerPastTheEnd", response(1).pointer(0x3fff).record(kTypeA, 1, {192, 0, 2, 1}).octets},
                             {"AddressOf3", response(1).pointer(12).record(kTypeA, 1, {192, 0, 2}).octets},
                             {"AddressOf17", response(1).pointer(12).record(kTypeAaaa, 1, Octets(17, 0)).octets},
                             {"TwoOpt", response(0, 0, 2).opt().opt().octets},
                             {"OptAsAnswer", response(1).opt().octets},
                             {"OptWithOwner", response(0, 0, 1).pointer(12).record(kTypeOpt, 0, {}).octets},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(ResponseTest, NameDataMustFillItsRecord) {
  const auto target = [](const Octets& rdata, const Octets& after = {}) {
    const Octets message =
        response(2).pointer(12).record(kTypeCname, 1, rdata).pointer(12).record(kTypeTxt, 1, after).octets;
    Result<DnsResponseReader> reader = DnsResponseReader::open(message);
    DnsRecord record;
    EXPECT_TRUE(reader.ok() && reader->next(record).ok());
    return reader->name_data(record).ok();
  };
  EXPECT_TRUE(target({1, 'a', 0}));
  EXPECT_TRUE(target({0xc0, 12}));
  EXPECT_FALSE(target({}));
  EXPECT_FALSE(target({1, 'a', 0, 0}));
  EXPECT_FALSE(target({1, 'a'}));  // runs on into the next record
  EXPECT_FALSE(target({0xc0}));
  EXPECT_FALSE(target({0xc0, 46}));  // itself
  EXPECT_FALSE(target({9, 'a'}, Octets(30, 0)));
}

TEST(ResponseTest, SoaOfTheWrongSizeIsRefused) {
  for (const std::size_t octets : {0, 1, 2, 19, 21, 22, 23, 40}) {
    Octets rdata(octets, 0);
    const Octets message = response(0, 1).pointer(12).record(kTypeSoa, 1, rdata).octets;
    const Walk all = walk(message);
    ASSERT_TRUE(all.whole);
    const Result<DnsResponseReader> reader = DnsResponseReader::open(message);
    EXPECT_EQ(reader->soa_data(all.records[0]).ok(), octets == 22) << octets;
  }
}

// The most names the largest message can hold, each with the most hops: time is bounded by the message.
TEST(ResponseTest, ALargeMessageFullOfPointersIsReadInLinearTime) {
  MessageBuilder message;
  message.header(7, 0x8180, 1, 5000).u8(0).u16(1).u16(1);
  std::size_t last = 0;
  for (int i = 0; i < 120; ++i) {  // a chain of 120 labels, each one ending in a pointer to the one before
    const std::size_t here = message.octets.size();
    if (i == 0)
      message.u8(1).u8('a').u8(0);
    else
      message.u8(1).u8('a').pointer(static_cast<unsigned>(last));
    last = here;
    message.record(kTypeTxt, 1, {});
  }
  for (int i = 120; i < 5000; ++i) message.pointer(static_cast<unsigned>(last)).record(kTypeTxt, 1, {});
  ASSERT_LE(message.octets.size(), kDnsMaxMessage);
  const Walk all = walk(message.octets);
  ASSERT_TRUE(all.whole) << all.error;
  ASSERT_EQ(all.records.size(), 5000u);
  EXPECT_EQ(all.records.back().owner.labels(), 120u);
}

}  // namespace
}  // namespace sallyport::wire
