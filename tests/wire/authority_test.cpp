#include "wire/authority.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sallyport::wire {
namespace {

struct GoodCase {
  const char* why;
  const char* text;
  HostKind kind;
  const char* host;
  int port;  // 0: none
};

class GoodAuthority : public ::testing::TestWithParam<GoodCase> {};

TEST_P(GoodAuthority, IsRead) {
  const auto authority = parse_authority(GetParam().text);
  ASSERT_TRUE(authority.ok()) << authority.error().message;
  EXPECT_EQ(authority->kind, GetParam().kind);
  EXPECT_EQ(authority->host, GetParam().host);
  EXPECT_EQ(authority->port.value_or(0), GetParam().port);
}

INSTANTIATE_TEST_SUITE_P(Authorities, GoodAuthority,
                         ::testing::ValuesIn<GoodCase>({
                             {"Name", "pkg.test", HostKind::kName, "pkg.test", 0},
                             {"NameAndPort", "pkg.test:443", HostKind::kName, "pkg.test", 443},
                             {"UpperCase", "PKG.test", HostKind::kName, "PKG.test", 0},
                             {"TrailingDot", "pkg.test.:80", HostKind::kName, "pkg.test.", 80},
                             {"SingleLabel", "supervisor:8080", HostKind::kName, "supervisor", 8080},
                             {"Underscore", "my_service", HostKind::kName, "my_service", 0},
                             {"LowestPort", "a:1", HostKind::kName, "a", 1},
                             {"HighestPort", "a:65535", HostKind::kName, "a", 65535},
                             {"Ipv4", "192.0.2.1:8080", HostKind::kIpv4, "192.0.2.1", 8080},
                             {"Ipv6", "[2001:db8::1]", HostKind::kIpv6, "2001:db8::1", 0},
                             {"Ipv6AndPort", "[::1]:443", HostKind::kIpv6, "::1", 443},
                             {"Ipv6Mapped", "[::ffff:127.0.0.1]:80", HostKind::kIpv6, "::ffff:127.0.0.1", 80},
                             {"NumberInside", "1.2.3.4.test", HostKind::kName, "1.2.3.4.test", 0},
                             {"HexLettersAtTheEnd", "a.0xg", HostKind::kName, "a.0xg", 0},
                         }),
                         [](const auto& row) { return row.param.why; });

struct BadCase {
  const char* why;
  std::string text;
};

class BadAuthority : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadAuthority, IsRefused) { EXPECT_FALSE(parse_authority(GetParam().text).ok()) << GetParam().text; }

INSTANTIATE_TEST_SUITE_P(Authorities, BadAuthority,
                         ::testing::ValuesIn<BadCase>({
                             {"Empty", ""},
                             {"UserInfo", "user:pw@pkg.test"},  // HTP-08
                             {"UserThatLooksLikeAHost", "pkg.test@evil.test"},
                             {"UserWithPort", "a@b:443"},
                             {"TwoPorts", "pkg.test:80:443"},  // HTP-09
                             {"EmptyPort", "pkg.test:"},
                             {"Fragment", "pkg.test#@evil.test"},
                             {"Backslash", "pkg.test\\@evil.test"},
                             {"BracketedName", "[pkg.test]"},  // HTP-10
                             {"DoubleBrackets", "[[pkg.test]]"},
                             {"DoubleBracketsIpv6", "[[::1]]"},
                             {"BracketedIpv4", "[192.0.2.1]"},
                             {"BracketOpen", "[::1"},
                             {"BracketClose", "::1]"},
                             {"BareIpv6", "2001:db8::1"},
                             {"Ipv6Zone", "[fe80::1%25eth0]"},
                             {"Ipv6ZoneBare", "[fe80::1%eth0]"},
                             {"OctetsAfterBracket", "[::1]x"},
                             {"EmptyBrackets", "[]"},
                             {"Percent", "pkg%2etest"},
                             {"Comma", "pkg.test,evil.test"},  // HTP-07
                             {"Space", "pkg.test evil.test"},
                             {"LeadingSpace", " pkg.test"},
                             {"Slash", "pkg.test/"},
                             {"Question", "pkg.test?"},
                             {"Nul", std::string("pkg.test\0.evil.test", 19)},
                             {"NulInBrackets", std::string("[::1\0]", 6)},
                             {"HighOctet",
                              "b\xc3\xbc"
                              "cher.test"},
                             {"PortZero", "pkg.test:0"},  // HTP-04
                             {"PortTooHigh", "pkg.test:65536"},
                             {"PortNegative", "pkg.test:-1"},
                             {"PortPlus", "pkg.test:+80"},
                             {"PortHex", "pkg.test:0x50"},
                             {"PortLeadingZero", "pkg.test:080"},
                             {"PortLong", "pkg.test:000443"},
                             {"PortSpace", "pkg.test: 80"},
                             {"OnlyPort", ":80"},
                             {"EmptyLabel", "pkg..test"},
                             {"LeadingDot", ".pkg.test"},
                             {"TwoTrailingDots", "pkg.test.."},
                             {"OnlyDot", "."},
                             {"OneNumber", "2130706433"},
                             {"Hex", "0x7f000001"},
                             {"HexDotted", "0x7f.1"},
                             {"Short", "127.1"},
                             {"Octal", "017.0.0.1"},
                             {"QuadAndDot", "127.0.0.1."},
                             {"QuadOver255", "256.1.1.1"},
                             {"FiveParts", "1.2.3.4.5"},
                             {"NameThatEndsInNumber", "pkg.1"},
                             {"NameThatEndsInHex", "pkg.0x1"},
                             {"Over254", std::string(255, 'a')},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Authority, HostAloneHasNoPort) {
  EXPECT_TRUE(parse_host("pkg.test").ok());
  EXPECT_FALSE(parse_host("pkg.test:80").ok());
  EXPECT_FALSE(parse_host("[::1]:80").ok());
  EXPECT_EQ(parse_host("[::1]")->kind, HostKind::kIpv6);
}

}  // namespace
}  // namespace sallyport::wire
