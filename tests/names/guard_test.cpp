// The guard against a table of its own: ranges by first and last address, as a reader of the registries would write
// them down, so that a wrong prefix length in guard.cpp shows. Every range is probed at both ends, in the middle, and
// one address outside on either side (ADR-03).
#include "names/guard.hpp"

#include <gtest/gtest.h>

#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace sallyport {

void PrintTo(AddressClass c, std::ostream* out) { *out << to_string(c); }

namespace {

using enum AddressClass;

Address address(const std::string& text) {
  const Result<Address> parsed = Address::parse(text);
  if (!parsed.ok()) ADD_FAILURE() << '"' << text << "\" is no address";
  return parsed.ok() ? *parsed : Address();
}

// The address next to it, up or down; nullopt past the end of the space.
std::optional<Address> next(const Address& from, int step) {
  std::array<std::uint8_t, 16> octets = from.octets();
  std::size_t i = from.is_v4() ? 4 : 16;
  while (i-- > 0) {
    octets[i] = static_cast<std::uint8_t>(octets[i] + step);
    if (octets[i] != (step > 0 ? 0 : 255)) {
      if (from.is_v6()) return Address::v6(octets);
      return Address::v4(static_cast<std::uint32_t>(octets[0]) << 24 | static_cast<std::uint32_t>(octets[1]) << 16 |
                         static_cast<std::uint32_t>(octets[2]) << 8 | octets[3]);
    }
  }
  return std::nullopt;
}

struct Range {
  const char* why;
  const char* first;
  const char* last;
  AddressClass expected;
  AddressClass before = kPublic;  // of the address below the first
  AddressClass after = kPublic;   // of the address above the last
};
void PrintTo(const Range& c, std::ostream* out) { *out << c.first << " - " << c.last; }

class Adr03 : public testing::TestWithParam<Range> {};

TEST_P(Adr03, ClassifiedToTheLastAddress) {
  const Range& range = GetParam();
  EXPECT_EQ(classify(address(range.first)), range.expected);
  EXPECT_EQ(classify(address(range.last)), range.expected);
  EXPECT_EQ(is_guarded(range.expected), range.expected != kPublic);
  if (const std::optional<Address> below = next(address(range.first), -1)) {
    EXPECT_EQ(classify(*below), range.before) << below->text();
  }
  if (const std::optional<Address> above = next(address(range.last), +1)) {
    EXPECT_EQ(classify(*above), range.after) << above->text();
  }
}

INSTANTIATE_TEST_SUITE_P(
    V4, Adr03,
    testing::ValuesIn(std::vector<Range>{
        {"ThisNetwork", "0.0.0.0", "0.255.255.255", kUnspecified},
        {"ThisHost", "0.0.0.0", "0.0.0.0", kUnspecified, kPublic, kUnspecified},
        {"Private10", "10.0.0.0", "10.255.255.255", kPrivate},
        {"SharedCgnat", "100.64.0.0", "100.127.255.255", kSharedCgnat},
        {"Loopback", "127.0.0.0", "127.255.255.255", kLoopback},
        {"LinkLocal", "169.254.0.0", "169.254.255.255", kLinkLocal},
        {"Private172", "172.16.0.0", "172.31.255.255", kPrivate},
        {"IetfProtocol", "192.0.0.0", "192.0.0.255", kReserved},
        {"ServiceContinuity", "192.0.0.0", "192.0.0.7", kReserved, kPublic, kReserved},
        {"DummyAddress", "192.0.0.8", "192.0.0.8", kReserved, kReserved, kReserved},
        {"PcpAnycast", "192.0.0.9", "192.0.0.9", kReserved, kReserved, kReserved},
        {"TurnAnycast", "192.0.0.10", "192.0.0.10", kReserved, kReserved, kReserved},
        {"Nat64Discovery", "192.0.0.170", "192.0.0.171", kReserved, kReserved, kReserved},
        {"TestNet1", "192.0.2.0", "192.0.2.255", kDocumentation},
        {"As112", "192.31.196.0", "192.31.196.255", kReserved},
        {"Amt", "192.52.193.0", "192.52.193.255", kReserved},
        {"SixToFourRelay", "192.88.99.0", "192.88.99.255", kReserved},
        {"Private192", "192.168.0.0", "192.168.255.255", kPrivate},
        {"As112Direct", "192.175.48.0", "192.175.48.255", kReserved},
        {"Benchmarking", "198.18.0.0", "198.19.255.255", kBenchmarking},
        {"TestNet2", "198.51.100.0", "198.51.100.255", kDocumentation},
        {"TestNet3", "203.0.113.0", "203.0.113.255", kDocumentation},
        {"Multicast", "224.0.0.0", "239.255.255.255", kMulticast, kPublic, kReserved},
        {"Reserved", "240.0.0.0", "255.255.255.254", kReserved, kMulticast, kBroadcast},
        {"Broadcast", "255.255.255.255", "255.255.255.255", kBroadcast, kReserved},
        {"MetadataEverywhere", "169.254.169.254", "169.254.169.254", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataEcs", "169.254.170.2", "169.254.170.2", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataEks", "169.254.170.23", "169.254.170.23", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataRancher", "169.254.169.250", "169.254.169.250", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataTencent", "169.254.0.23", "169.254.0.23", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataScaleway", "169.254.42.42", "169.254.42.42", kMetadata, kLinkLocal, kLinkLocal},
        {"MetadataAlibaba", "100.100.100.200", "100.100.100.200", kMetadata, kSharedCgnat, kSharedCgnat},
        {"MetadataAzure", "168.63.129.16", "168.63.129.16", kMetadata, kPublic, kPublic},
        {"MetadataOracleClassic", "192.0.0.192", "192.0.0.192", kMetadata, kReserved, kReserved},
    }),
    [](const auto& row) { return row.param.why; });

// Outside 2000::/3 a neighbour is space reserved by the IETF, which is guarded too.
INSTANTIATE_TEST_SUITE_P(
    V6, Adr03,
    testing::ValuesIn(std::vector<Range>{
        {"Unspecified", "::", "::", kUnspecified, kPublic, kLoopback},
        {"Loopback", "::1", "::1", kLoopback, kUnspecified, kEmbedded},
        {"V4Compatible", "::2", "::ffff:ffff", kEmbedded, kLoopback, kReserved},
        {"V4Mapped", "::ffff:0:0", "::ffff:ffff:ffff", kEmbedded, kReserved, kReserved},
        {"V4Translated", "::ffff:0:0:0", "::ffff:0:ffff:ffff", kEmbedded, kReserved, kReserved},
        {"Nat64", "64:ff9b::", "64:ff9b::ffff:ffff", kEmbedded, kReserved, kReserved},
        {"Nat64Local", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", kEmbedded, kReserved, kReserved},
        {"Discard", "100::", "100::ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"Dummy", "100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"BelowGlobalUnicast", "1fff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kPublic},
        {"GlobalUnicastStart", "2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kPublic, kReserved, kEmbedded},
        {"Teredo", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", kEmbedded, kPublic, kReserved},
        {"IetfProtocol", "2001:1::", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kEmbedded, kBenchmarking},
        {"PcpAnycast", "2001:1::1", "2001:1::1", kReserved, kReserved, kReserved},
        {"TurnAnycast", "2001:1::2", "2001:1::2", kReserved, kReserved, kReserved},
        {"SrpAnycast", "2001:1::3", "2001:1::3", kReserved, kReserved, kReserved},
        {"Benchmarking", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", kBenchmarking, kReserved, kReserved},
        {"Amt", "2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"As112", "2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"Orchid", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"OrchidV2", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"Drip", "2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"IetfProtocolEnd", "2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kPublic},
        {"Documentation", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", kDocumentation},
        {"SixToFour", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kEmbedded},
        {"As112Direct", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", kReserved},
        {"DocumentationNew", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", kDocumentation},
        {"GlobalUnicastEnd", "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kPublic, kDocumentation,
         kReserved},
        {"SegmentRouting", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kReserved, kReserved, kReserved},
        {"UniqueLocal", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kUniqueLocal, kReserved, kReserved},
        {"LinkLocal", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kLinkLocal, kReserved, kPrivate},
        {"SiteLocal", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kPrivate, kLinkLocal, kMulticast},
        {"Multicast", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", kMulticast, kPrivate},
        {"MetadataAws", "fd00:ec2::254", "fd00:ec2::254", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataEks", "fd00:ec2::23", "fd00:ec2::23", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataGoogle", "fd20:ce::254", "fd20:ce::254", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataOracle", "fd00:c1::a9fe:a9fe", "fd00:c1::a9fe:a9fe", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataLinode", "fd00:a9fe:a9fe::1", "fd00:a9fe:a9fe::1", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataScaleway", "fd00:42::42", "fd00:42::42", kMetadata, kUniqueLocal, kUniqueLocal},
        {"MetadataOpenStack", "fe80::a9fe:a9fe", "fe80::a9fe:a9fe", kMetadata, kLinkLocal, kLinkLocal},
    }),
    [](const auto& row) { return row.param.why; });

struct Embedded {
  const char* why;
  const char* text;
  const char* v4;  // "": none
  AddressClass expected;
};
void PrintTo(const Embedded& c, std::ostream* out) { *out << c.text; }

class EmbeddedForms : public testing::TestWithParam<Embedded> {};

TEST_P(EmbeddedForms, AreGuardedAndUnwrapped) {
  const Address outer = address(GetParam().text);
  const std::optional<Address> inner = embedded_v4(outer);
  EXPECT_EQ(inner ? inner->text() : "", GetParam().v4);
  EXPECT_EQ(classify(outer), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Forms, EmbeddedForms,
                         testing::ValuesIn(std::vector<Embedded>{
                             {"Adr02MappedMetadata", "::ffff:169.254.169.254", "169.254.169.254", kMetadata},  // ADR-02
                             {"MappedLoopback", "::ffff:127.0.0.1", "127.0.0.1", kEmbedded},
                             {"MappedPublic", "::ffff:8.8.8.8", "8.8.8.8", kEmbedded},
                             {"MappedAzure", "::ffff:168.63.129.16", "168.63.129.16", kMetadata},
                             {"CompatibleMetadata", "::169.254.169.254", "169.254.169.254", kMetadata},
                             {"CompatibleLoopback", "::127.0.0.1", "127.0.0.1", kEmbedded},
                             {"TranslatedMetadata", "::ffff:0:169.254.169.254", "169.254.169.254", kMetadata},
                             {"TranslatedPublic", "::ffff:0:8.8.8.8", "8.8.8.8", kEmbedded},
                             {"Nat64Metadata", "64:ff9b::169.254.169.254", "169.254.169.254", kMetadata},
                             {"Nat64Public", "64:ff9b::8.8.8.8", "8.8.8.8", kEmbedded},
                             {"Nat64Local96Metadata", "64:ff9b:1::169.254.169.254", "169.254.169.254", kMetadata},
                             {"Nat64Local64Metadata", "64:ff9b:1:7:a9:fea9:fe00:0", "169.254.169.254", kMetadata},
                             {"Nat64Local56Metadata", "64:ff9b:1:7a9:fe:a9fe:0:0", "169.254.169.254", kMetadata},
                             {"Nat64Local48Metadata", "64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254", kMetadata},
                             {"Nat64Local48Public", "64:ff9b:1:808:8:800::", "8.8.8.8", kEmbedded},
                             {"SixToFourMetadata", "2002:a9fe:a9fe::1", "169.254.169.254", kMetadata},
                             {"SixToFourPrivate", "2002:a00:1::1", "10.0.0.1", kEmbedded},
                             {"SixToFourPublic", "2002:808:808::1", "8.8.8.8", kEmbedded},
                             {"TeredoClientMetadata", "2001:0:808:808:0:0:5601:5601", "169.254.169.254", kMetadata},
                             {"TeredoServerMetadata", "2001:0:a9fe:a9fe:0:0:f7f7:f7f7", "8.8.8.8", kMetadata},
                             {"TeredoPublic", "2001:0:808:808:0:0:f7f7:f7f7", "8.8.8.8", kEmbedded},
                             {"IsatapBelowPublic", "2a00:1450:4001:82a:0:5efe:10.0.0.1", "10.0.0.1", kEmbedded},
                             {"IsatapUniversalBit", "2a00:1450:4001:82a:200:5efe:8.8.8.8", "8.8.8.8", kEmbedded},
                             {"IsatapMetadata", "2a00:1450:4001:82a:0:5efe:169.254.169.254", "169.254.169.254",
                              kMetadata},
                             {"IsatapLinkLocal", "fe80::5efe:10.0.0.1", "10.0.0.1", kLinkLocal},
                             {"NotIsatap", "2a00:1450:4001:82a:0:5eff:10.0.0.1", "", kPublic},
                             {"NotIsatapGroupBit", "2a00:1450:4001:82a:100:5efe:10.0.0.1", "", kPublic},
                             {"Plain", "2a00:1450:4001:82a::200e", "", kPublic},
                             {"Loopback", "::1", "", kLoopback},
                             {"Unspecified", "::", "", kUnspecified},
                             {"V4", "8.8.8.8", "", kPublic},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(AddressClass, ZeroIsGuarded) {
  EXPECT_TRUE(is_guarded(AddressClass{}));
  EXPECT_EQ(classify(Address()), AddressClass{});
}

TEST(AddressClass, EveryClassHasItsOwnWords) {
  std::set<std::string_view> words;
  for (int c = 0; c <= static_cast<int>(kMetadata); ++c) words.insert(to_string(static_cast<AddressClass>(c)));
  EXPECT_EQ(words.size(), static_cast<std::size_t>(kMetadata) + 1);
}

}  // namespace
}  // namespace sallyport
