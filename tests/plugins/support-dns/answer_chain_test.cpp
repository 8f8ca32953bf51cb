#include "support/answer_chain.hpp"

#include <gtest/gtest.h>

#include "../../wire-dns/message_builder.hpp"
#include "wire/dns_message.hpp"

namespace sallyport::net {
namespace {

using wire::MessageBuilder;
using wire::name_octets;
using wire::Octets;
using wire::WireName;

MessageBuilder reply(unsigned an, unsigned ns = 0, unsigned rcode = 0) {
  MessageBuilder message;
  message.header(1, 0x8180 | rcode, 1, an, ns, 0).question("www.test");
  return message;
}
Octets soa(std::uint32_t minimum) {
  return MessageBuilder().name("ns.test").name("root.test").u32(1).u32(1).u32(1).u32(1).u32(minimum).octets;
}

struct Row {
  const char* why;
  Octets message;
  ChainKind kind;
  std::size_t addresses;
  std::uint32_t ttl;
  const char* end;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.why; }
class Chain : public testing::TestWithParam<Row> {};

TEST_P(Chain, SaysThisMuch) {
  const ChainReply chain = read_chain(GetParam().message, *WireName::from_text("WWW.test"), wire::kTypeA, 3);
  EXPECT_EQ(chain.kind, GetParam().kind);
  EXPECT_EQ(chain.addresses.size(), GetParam().addresses);
  if (GetParam().kind == ChainKind::kFailed) return;
  EXPECT_EQ(chain.ttl, GetParam().ttl);
  EXPECT_TRUE(chain.end == *WireName::from_text(GetParam().end)) << chain.end.text();
}

const Octets kOne = {192, 0, 2, 1}, kTwo = {192, 0, 2, 2};

INSTANTIATE_TEST_SUITE_P(
    Replies, Chain,
    testing::ValuesIn<Row>({
        {"Addresses", reply(2).pointer(12).record(1, 60, kOne).pointer(12).record(1, 50, kTwo).octets,
         ChainKind::kAnswers, 2, 50, "www.test"},
        {"Truncated", MessageBuilder().header(1, 0x8380, 1, 0, 0, 0).question("www.test").octets, ChainKind::kFailed, 0,
         0, ""},
        {"EachOnce", reply(2).pointer(12).record(1, 60, kOne).pointer(12).record(1, 60, kOne).octets,
         ChainKind::kAnswers, 1, 60, "www.test"},
        {"OneLink", reply(2).pointer(12).record(5, 30, name_octets("a.test")).name("A.TEST").record(1, 60, kOne).octets,
         ChainKind::kAnswers, 1, 30, "a.test"},
        {"LinksInAnyOrder",
         reply(3)
             .name("b.test")
             .record(1, 60, kOne)
             .name("a.test")
             .record(5, 20, name_octets("b.test"))
             .pointer(12)
             .record(5, 30, name_octets("a.test"))
             .octets,
         ChainKind::kAnswers, 1, 20, "b.test"},
        {"LeadsOut", reply(1).pointer(12).record(5, 30, name_octets("a.other")).octets, ChainKind::kElsewhere, 0, 30,
         "a.other"},
        {"LinksUpToTheBound",
         reply(4)
             .pointer(12)
             .record(5, 9, name_octets("a"))
             .name("a")
             .record(5, 9, name_octets("b"))
             .name("b")
             .record(5, 9, name_octets("c"))
             .name("c")
             .record(1, 9, kOne)
             .octets,
         ChainKind::kAnswers, 1, 9, "c"},
        {"LinksOverTheBound",
         reply(4)
             .pointer(12)
             .record(5, 9, name_octets("a"))
             .name("a")
             .record(5, 9, name_octets("b"))
             .name("b")
             .record(5, 9, name_octets("c"))
             .name("c")
             .record(5, 9, name_octets("d"))
             .octets,
         ChainKind::kFailed, 0, 0, ""},
        {"LoopOfOne", reply(1).pointer(12).record(5, 9, name_octets("www.test")).octets, ChainKind::kFailed, 0, 0, ""},
        {"LoopOfTwo",
         reply(2)
             .pointer(12)
             .record(5, 9, name_octets("a.test"))
             .name("a.test")
             .record(5, 9, name_octets("www.test"))
             .octets,
         ChainKind::kFailed, 0, 0, ""},
        {"TwoTargets",
         reply(2)
             .pointer(12)
             .record(5, 9, name_octets("a.test"))
             .pointer(12)
             .record(5, 9, name_octets("b.test"))
             .octets,
         ChainKind::kFailed, 0, 0, ""},
        {"SameTargetTwice",
         reply(2)
             .pointer(12)
             .record(5, 9, name_octets("a.test"))
             .pointer(12)
             .record(5, 9, name_octets("A.test"))
             .octets,
         ChainKind::kElsewhere, 0, 9, "a.test"},
        {"AliasAndData", reply(2).pointer(12).record(5, 9, name_octets("a.test")).pointer(12).record(1, 9, kOne).octets,
         ChainKind::kFailed, 0, 0, ""},
        // DNS-29
        {"ExtraNameOnly", reply(1).name("pkg.test").record(1, 60, kOne).octets, ChainKind::kNoData, 0, 0, "www.test"},
        {"ExtraNameBeside", reply(2).name("pkg.test").record(1, 5, kTwo).pointer(12).record(1, 60, kOne).octets,
         ChainKind::kAnswers, 1, 60, "www.test"},
        {"ExtraInOtherSections", reply(1, 1).pointer(12).record(1, 60, kOne).pointer(12).record(1, 1, kTwo).octets,
         ChainKind::kAnswers, 1, 60, "www.test"},
        {"OtherTypeBeside", reply(2).pointer(12).record(28, 5, Octets(16, 1)).pointer(12).record(1, 60, kOne).octets,
         ChainKind::kAnswers, 1, 60, "www.test"},
        {"OtherClass", reply(1).pointer(12).record(1, 60, kOne, 3).octets, ChainKind::kNoData, 0, 0, "www.test"},
        // DNS-06
        {"NoData", reply(0, 1).name("test").record(6, 100, soa(40)).octets, ChainKind::kNoData, 0, 40, "www.test"},
        {"NoDataForOnlyTheSoaTtl", reply(0, 1).name("test").record(6, 10, soa(40)).octets, ChainKind::kNoData, 0, 10,
         "www.test"},
        {"NoDataAfterALink",
         reply(1, 1).pointer(12).record(5, 7, name_octets("a.test")).name("test").record(6, 100, soa(40)).octets,
         ChainKind::kNoData, 0, 7, "a.test"},
        {"SoaOfAnotherZone",
         reply(1, 1).pointer(12).record(5, 7, name_octets("a.other")).name("test").record(6, 100, soa(40)).octets,
         ChainKind::kElsewhere, 0, 7, "a.other"},
        {"NxDomain", reply(0, 1, 3).name("test").record(6, 100, soa(40)).octets, ChainKind::kNxDomain, 0, 40,
         "www.test"},
        {"NxDomainAfterALink",
         reply(1, 1, 3).pointer(12).record(5, 7, name_octets("a.test")).name("").record(6, 100, soa(40)).octets,
         ChainKind::kNxDomain, 0, 7, "a.test"},
        {"NxDomainWithAddresses", reply(1, 0, 3).pointer(12).record(1, 60, kOne).octets, ChainKind::kNxDomain, 0, 0,
         "www.test"},
        {"Referral", reply(0, 1).name("test").record(2, 60, name_octets("ns.test")).octets, ChainKind::kFailed, 0, 0,
         ""},
        {"ServFail", reply(0, 0, 2).octets, ChainKind::kFailed, 0, 0, ""},
        {"Refused", reply(1, 0, 5).pointer(12).record(1, 60, kOne).octets, ChainKind::kFailed, 0, 0, ""},
        {"MalformedBehindTheAnswer", reply(2).pointer(12).record(1, 60, kOne).pointer(12).record(5, 60, {0xc0}).octets,
         ChainKind::kFailed, 0, 0, ""},
        {"TrailingOctet", reply(1).pointer(12).record(1, 60, kOne).u8(0).octets, ChainKind::kFailed, 0, 0, ""},
    }),
    [](const auto& row) { return row.param.why; });

TEST(ChainTest, UnstatedTtlIsNotForEver) {
  // Without a SOA an absence has no time of its own, so it is not kept.
  const ChainReply chain = read_chain(reply(0).octets, *WireName::from_text("www.test"), wire::kTypeA, 16);
  EXPECT_EQ(chain.kind, ChainKind::kNoData);
  EXPECT_EQ(chain.ttl, 0u);
}

TEST(ChainTest, ManyAddressesAreCutAndTooManyRefused) {
  const auto with = [](unsigned count) {
    MessageBuilder message = reply(count);
    for (unsigned i = 0; i < count; ++i) message.pointer(12).record(1, 60, {192, 0, 2, static_cast<std::uint8_t>(i)});
    return read_chain(message.octets, *WireName::from_text("www.test"), wire::kTypeA, 16);
  };
  EXPECT_EQ(with(200).addresses.size(), kMaxAddresses);
  EXPECT_EQ(with(257).kind, ChainKind::kFailed);
}

TEST(ChainTest, Ipv6) {
  Octets address(16, 0);
  address[0] = 0x20;
  address[1] = 0x01;
  address[15] = 7;
  const ChainReply chain = read_chain(reply(1).pointer(12).record(28, 60, address).octets,
                                      *WireName::from_text("www.test"), wire::kTypeAaaa, 16);
  ASSERT_EQ(chain.addresses.size(), 1u);
  EXPECT_TRUE(chain.addresses[0].is_v6());
  EXPECT_TRUE(std::equal(address.begin(), address.end(), chain.addresses[0].octets().begin()));
}

}  // namespace
}  // namespace sallyport::net
