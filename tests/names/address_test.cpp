#include "names/address.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>
#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace sallyport {
namespace {

using namespace std::string_literals;

struct Case {
  const char* why;
  std::string text;
  std::string expected;  // canonical text; empty: refused
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.text; }

class ParseAddress : public testing::TestWithParam<Case> {};

TEST_P(ParseAddress, CanonicalOrRefused) {
  const Result<Address> parsed = Address::parse(GetParam().text);
  if (GetParam().expected.empty()) {
    ASSERT_FALSE(parsed.ok()) << parsed->text();
    EXPECT_EQ(parsed.error().code, ErrorCode::kMalformed);
    return;
  }
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->text(), GetParam().expected);
  const Result<Address> again = Address::parse(parsed->text());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *parsed);
}

INSTANTIATE_TEST_SUITE_P(Addresses, ParseAddress,
                         testing::ValuesIn(std::vector<Case>{
                             {"Quad", "203.0.113.9", "203.0.113.9"},
                             {"QuadZero", "0.0.0.0", "0.0.0.0"},
                             {"QuadHighest", "255.255.255.255", "255.255.255.255"},
                             {"Adr01Decimal", "2130706433", ""},    // ADR-01
                             {"Adr01Octal", "017700000001", ""},    // ADR-01
                             {"Adr01HexShort", "0x7f.1", ""},       // ADR-01
                             {"Adr01Short", "127.1", ""},           // ADR-01
                             {"Adr01FiveParts", "1.2.3.4.5", ""},   // ADR-01
                             {"Adr01TrailingDot", "1.2.3.4.", ""},  // ADR-01
                             {"OctalPart", "017.0.0.1", ""},
                             {"LeadingZero", "1.2.3.04", ""},
                             {"HexPart", "0x7f.0.0.1", ""},
                             {"PartTooBig", "1.2.3.256", ""},
                             {"PartEmpty", "1..3.4", ""},
                             {"PartSigned", "1.2.3.+4", ""},
                             {"Blank", " 1.2.3.4", ""},
                             {"BlankBehind", "1.2.3.4 ", ""},
                             {"NulBehind", "1.2.3.4\0"s, ""},
                             {"Port", "1.2.3.4:80", ""},
                             {"Empty", "", ""},
                             {"FullWidthDigits", "\xef\xbc\x91.2.3.4", ""},
                             {"V6Full", "2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
                             {"V6Any", "::", "::"},
                             {"V6Loopback", "::1", "::1"},
                             {"V6GapAtTheEnd", "2001:db8::", "2001:db8::"},
                             {"V6LongestRunWins", "2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
                             {"V6FirstOfEqualRuns", "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
                             {"V6SingleZeroIsNoRun", "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
                             {"V6GapOfOneGroup", "2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
                             {"V6MappedStaysV6", "::ffff:169.254.169.254", "::ffff:169.254.169.254"},
                             {"V6MappedHex", "::ffff:a9fe:a9fe", "::ffff:169.254.169.254"},
                             {"V6QuadInTheTail", "64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
                             {"V6QuadWithoutGap", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
                             {"Adr02Zone", "fe80::1%eth0", ""},           // ADR-02
                             {"Adr02ZoneEncoded", "fe80::1%25eth0", ""},  // ADR-02
                             {"Adr02Brackets", "[::1]", ""},              // ADR-02
                             {"Adr02Future", "[v1.x]", ""},               // ADR-02
                             {"V6QuadOctal", "::ffff:010.0.0.1", ""},
                             {"V6QuadShort", "::ffff:1.2.3", ""},
                             {"V6QuadNotLast", "1.2.3.4::", ""},
                             {"V6QuadTooFar", "1:2:3:4:5:6:7:1.2.3.4", ""},
                             {"V6TwoGaps", "1::2::3", ""},
                             {"V6ThreeColons", "1:::2", ""},
                             {"V6GapOfNothing", "1:2:3:4::5:6:7:8", ""},
                             {"V6Nine", "1:2:3:4:5:6:7:8:9", ""},
                             {"V6Seven", "1:2:3:4:5:6:7", ""},
                             {"V6FiveDigits", "1:2:3:4:5:6:7:00008", ""},
                             {"V6LeadingColon", ":1:2:3:4:5:6:7", ""},
                             {"V6TrailingColon", "1:2:3:4:5:6:7:", ""},
                             {"V6OneColon", ":", ""},
                             {"V6NotHex", "::g", ""},
                             {"V6Signed", "::-1", ""},
                             {"V6HexPrefix", "::0x1", ""},
                         }),
                         [](const auto& row) { return row.param.why; });

class AgainstInetPton : public testing::TestWithParam<unsigned> {};

// GetParam(): seed. Random octets with long runs of zeros, printed by both and read by both; then random mutations of
// the text, on which both must agree.
TEST_P(AgainstInetPton, SameTextSameOctets) {
  std::mt19937 random(GetParam());
  for (int round = 0; round < 500; ++round) {
    std::array<std::uint8_t, 16> octets{};
    for (std::size_t i = 0; i < 16; i += 2) {
      if (random() % 2 == 0) continue;
      octets[i] = static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random());
      octets[i + 1] = static_cast<std::uint8_t>(random());
    }
    char buffer[INET6_ADDRSTRLEN];
    ASSERT_NE(::inet_ntop(AF_INET6, octets.data(), buffer, sizeof buffer), nullptr);
    const Address address = Address::v6(octets);
    const Result<Address> theirs = Address::parse(buffer);
    ASSERT_TRUE(theirs.ok()) << buffer;
    EXPECT_EQ(*theirs, address) << buffer;
    std::array<std::uint8_t, 16> back{};
    ASSERT_EQ(::inet_pton(AF_INET6, address.text().c_str(), back.data()), 1) << address.text();
    EXPECT_EQ(back, octets) << address.text();

    std::string mutated = buffer;
    mutated[random() % mutated.size()] = "0123456789abcdef:."[random() % 18];
    const Result<Address> ours = Address::parse(mutated);
    std::array<std::uint8_t, 16> pton{};
    const bool v6 = mutated.find(':') != std::string::npos;
    const bool accepted = v6 && ::inet_pton(AF_INET6, mutated.c_str(), pton.data()) == 1;
    EXPECT_EQ(ours.ok(), accepted) << mutated << " seed " << GetParam();
    if (ours.ok() && accepted) EXPECT_EQ(ours->octets(), pton) << mutated << " seed " << GetParam();
  }
}

INSTANTIATE_TEST_SUITE_P(Addresses, AgainstInetPton, testing::Range(0U, 20U));

TEST(Address, DefaultIsUnspecified) { EXPECT_EQ(Address().text(), "0.0.0.0"); }

TEST(FromSockaddr, BothFamilies) {
  ::sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(443);
  in.sin_addr.s_addr = htonl(0xcb007109);
  const Result<Address> v4 = Address::from_sockaddr(reinterpret_cast<const ::sockaddr*>(&in), sizeof in);
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->text(), "203.0.113.9");

  ::sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:10.0.0.1", &in6.sin6_addr), 1);
  const Result<Address> v6 = Address::from_sockaddr(reinterpret_cast<const ::sockaddr*>(&in6), sizeof in6);
  ASSERT_TRUE(v6.ok());
  EXPECT_TRUE(v6->is_v6());  // mapped stays what it is: the guard refuses it as such
  EXPECT_EQ(v6->text(), "::ffff:10.0.0.1");
}

TEST(FromSockaddr, RefusesZoneLengthAndFamily) {
  ::sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_scope_id = 2;
  const auto* const generic = reinterpret_cast<const ::sockaddr*>(&in6);
  EXPECT_FALSE(Address::from_sockaddr(generic, sizeof in6).ok());
  in6.sin6_scope_id = 0;
  EXPECT_TRUE(Address::from_sockaddr(generic, sizeof in6).ok());
  EXPECT_FALSE(Address::from_sockaddr(generic, sizeof in6 - 1).ok());
  EXPECT_FALSE(Address::from_sockaddr(generic, sizeof(::sockaddr_in)).ok());
  EXPECT_FALSE(Address::from_sockaddr(generic, 1).ok());
  EXPECT_FALSE(Address::from_sockaddr(nullptr, 0).ok());
  in6.sin6_family = AF_UNIX;
  EXPECT_FALSE(Address::from_sockaddr(generic, sizeof in6).ok());
}

class ParsePrefix : public testing::TestWithParam<Case> {};

TEST_P(ParsePrefix, CanonicalOrRefused) {
  const Result<Prefix> parsed = Prefix::parse(GetParam().text);
  EXPECT_EQ(parsed.ok() ? parsed->text() : "", GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Prefixes, ParsePrefix,
                         testing::ValuesIn(std::vector<Case>{
                             {"V4", "203.0.113.0/24", "203.0.113.0/24"},
                             {"V4Single", "203.0.113.9", "203.0.113.9/32"},
                             {"V4All", "0.0.0.0/0", "0.0.0.0/0"},
                             {"V6", "2001:db8::/32", "2001:db8::/32"},
                             {"V6Single", "2001:db8::1", "2001:db8::1/128"},
                             {"V6OddBits", "fe80::/10", "fe80::/10"},
                             {"HostBits", "203.0.113.9/24", ""},
                             {"HostBitsV6", "2001:db8::1/32", ""},
                             {"TooManyBits", "203.0.113.0/33", ""},
                             {"TooManyBitsV6", "2001:db8::/129", ""},
                             {"NoBits", "203.0.113.0/", ""},
                             {"LeadingZero", "203.0.113.0/024", ""},
                             {"Signed", "203.0.113.0/+24", ""},
                             {"Netmask", "203.0.113.0/255.255.255.0", ""},
                             {"TwoSlashes", "203.0.113.0/24/24", ""},
                             {"ShortQuad", "10/8", ""},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Prefix, ContainsAgreesWithBitsComparedOneByOne) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::array<std::uint8_t, 16> a{};
    for (std::uint8_t& octet : a) octet = static_cast<std::uint8_t>(random());
    std::array<std::uint8_t, 16> b = a;
    const unsigned flipped = random() % 128;
    b[flipped / 8] = static_cast<std::uint8_t>(b[flipped / 8] ^ (0x80U >> flipped % 8));
    const unsigned bits = random() % 129;
    EXPECT_EQ(Prefix::of(Address::v6(a), bits).contains(Address::v6(b)), bits <= flipped) << bits << " " << flipped;
    EXPECT_TRUE(Prefix::of(Address::v6(a), bits).contains(Address::v6(a)));
  }
}

TEST(Prefix, ContainsIsFalseAcrossFamilies) {
  EXPECT_FALSE(Prefix::of(Address::v6({}), 0).contains(Address::v4(0)));
  EXPECT_FALSE(Prefix::of(Address::v4(0), 0).contains(Address::v6({})));
}

TEST(Prefix, ContainsPrefix) {
  const Prefix wide = *Prefix::parse("10.0.0.0/8");
  const Prefix narrow = *Prefix::parse("10.1.0.0/16");
  EXPECT_TRUE(wide.contains(narrow));
  EXPECT_TRUE(wide.contains(wide));
  EXPECT_FALSE(narrow.contains(wide));
  EXPECT_FALSE(narrow.contains(*Prefix::parse("10.2.0.0/16")));
}

}  // namespace
}  // namespace sallyport
