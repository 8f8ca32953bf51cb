// Every way to write a domain, an address or a port wrong, and what is said of it.
#include "language/values.hpp"

#include <gtest/gtest.h>

#include "language/load.hpp"

namespace sallyport {
namespace {

struct Refused {
  const char* why;
  std::string text;
  const char* code;
  const char* message;
  const char* repair;
};

// CFG-01, one row an entry; MoreEntries are those of the same kind.
const Refused kDomains[] = {
    {"Star", "*", "P014", "`*` covers every name there is",
     "name the organisations (*.example.com); to allow everything, set default: allow"},
    {"Dot", ".", "P014", "`.` covers every name there is",
     "name the organisations (*.example.com); to allow everything, set default: allow"},
    {"TwoStars", "**", "P014", "`**` covers every name there is",
     "name the organisations (*.example.com); to allow everything, set default: allow"},
    {"Empty", "", "P008", "an empty domain", "write a name, or remove the entry"},
    {"TopLevel", "com", "P014", "`com` is a top-level name",
     "name the organisation (example.com), or set allow_public_suffix: true"},
    {"BelowTopLevel", "*.com", "P014", "`*.com` covers every registrant below a top-level name",
     "name the organisation (*.example.com), or set allow_public_suffix: true"},
    {"TopLevelAndBelow", ".com", "P014", "`.com` covers every registrant below a top-level name",
     "name the organisation (*.example.com), or set allow_public_suffix: true"},
    {"PublicSuffix", "*.co.uk", "P014", "`*.co.uk` covers every registrant below a public suffix",
     "name the organisation (*.example.co.uk), or set allow_public_suffix: true"},
    {"PublicSuffixItself", "co.uk", "P014", "`co.uk` is a public suffix",
     "name the organisation (example.co.uk), or set allow_public_suffix: true"},
    {"ManyTenants", "*.github.io", "P015", "`*.github.io` is shared by many tenants: anyone can have a name there",
     "name the tenant (yours.github.io), or set multi_tenant: true"},
    {"StarInsideALabel", "a*.b.test", "P008", "`a*.b.test`: `*` stands for whole labels, and only in front",
     "did you mean `*.b.test`?"},
    {"StarInTheMiddle", "a.*.test", "P008", "`a.*.test`: `*` stands for whole labels, and only in front",
     "list the names, or what they lie below (*.example.com)"},  // *.test is no better
    {"StarInTheMiddleOfAnOrganisation", "a.*.b.test", "P008",
     "`a.*.b.test`: `*` stands for whole labels, and only in front", "did you mean `*.b.test`?"},
    {"StarWithoutItsDot", "*foo.com", "P008", "`*foo.com`: `*` stands for whole labels, and only in front",
     "did you mean `*.foo.com`?"},
    {"TwoStarsWithoutTheirDot", "**foo.com", "P008", "`**foo.com`: `*` stands for whole labels, and only in front",
     "did you mean `*.foo.com`?"},
    {"StarWithoutItsDotAndTooBroad", "*com", "P008", "`*com`: `*` stands for whole labels, and only in front",
     "list the names, or what they lie below (*.example.com)"},
    {"TwoNames", "a.example,b.example", "P008", "`a.example,b.example`: an octet that no name may hold",
     "write two names as two entries"},
    {"BadALabel", "xn--a.example", "P008",
     "`xn--a.example`: an A-label that does not decode to valid Unicode (IDNA 2008)",
     "write the name in Unicode, such as b\xc3\xbc"
     "cher.example: it is mapped here"},
    {"LongLabel", std::string(64, 'a') + ".test.example", "P008",
     "`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test.example`: a label has more than 63 octets",
     "63 is the most: is this a name?"},
    {"StrangeOctet", "a!b.example", "P008", "`a!b.example`: an octet that no name may hold",
     "a name has letters, digits, `-` and `_`, with dots between labels"},
    {"AnyDepthBelowTopLevel", "**.x", "P014", "`**.x` covers every registrant below a top-level name",
     "name the organisation (*.example.x), or set allow_public_suffix: true"},
    {"Url", "http://x", "P007", "expected a domain, found a URL", "write domains: [x], ports: [80]"},
    {"UrlWithPath", "https://api.example.com/v1", "P007", "expected a domain, found a URL",
     "write domains: [api.example.com], ports: [443], paths: [/v1]"},
    {"UrlWithPort", "https://u@api.example.com:8443", "P007", "expected a domain, found a URL",
     "write domains: [api.example.com], ports: [8443]"},
    {"UrlWithAddress", "http://203.0.113.9/", "P007", "expected a domain, found a URL",
     "write addresses: [203.0.113.9], ports: [80]"},
    {"PortOutOfRange", "x:99999", "P007", "a port does not belong in a domain: `x:99999`",
     "write the port in ports; it must be 1 to 65535"},
    {"Port", "example.com:443", "P007", "a port does not belong in a domain: `example.com:443`",
     "write domains: [example.com], ports: [443]"},
    {"Blank", "x y", "P008", "a blank inside `x y`", "write two names as two entries"},
    {"Nul", std::string("a\0.example", 10), "P008", "`a\\x00.example`: an octet that no name may hold",
     "a name has letters, digits, `-` and `_`, with dots between labels"},
    {"TooLong", std::string(250, 'a') + ".com", "P008", nullptr, ""},
    {"FourLabelsTooLong",
     std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(60, 'd') +
         ".example",
     "P008", nullptr, ""},
    {"EmptyLabel", "a..b", "P008", "`a..b`: a label is empty", "remove the extra dot"},
    {"TwoTrailingDots", "api.example.test..", "P008", "`api.example.test..`: a label is empty",
     "remove the extra dot"},  // NAM-02
    {"Address", "203.0.113.9", "P007", "expected a domain, found the address `203.0.113.9`",
     "write addresses: [203.0.113.9]"},
    {"AddressAndPort", "203.0.113.9:80", "P007", "expected a domain, found the address `203.0.113.9:80`",
     "write addresses: [203.0.113.9], ports: [80]"},
    {"AddressV6", "2001:db8::1", "P007", "expected a domain, found the address `2001:db8::1`",
     "write addresses: [2001:db8::1]"},
    {"AddressV6InBrackets", "[2001:db8::1]:443", "P007", "expected a domain, found the address `[2001:db8::1]:443`",
     "write addresses: [2001:db8::1], ports: [443]"},
    {"Block", "10.0.0.0/8", "P007", "expected a domain, found the address `10.0.0.0/8`",
     "write addresses: [10.0.0.0/8]"},
    {"BlockWithHostBits", "10.0.0.1/8", "P007", "expected a domain, found the address block `10.0.0.1/8`",
     "write it in addresses"},
    {"Path", "example.com/x", "P007", "expected a domain, found a path in `example.com/x`", "write `example.com`"},
    {"Account", "git@github.com", "P007", "expected a domain, found an account in `git@github.com`",
     "write `github.com`"},
    {"DecimalAddress", "2130706433", "P008", "`2130706433`: the last label is a number, so this reads as an address",
     "write a name, or in addresses an address of four decimal numbers"},  // ADR-01
    {"PercentNul", "api.example.test%00.evil.test", "P008", nullptr, ""},  // NAM-07
};

class RefusedDomain : public testing::TestWithParam<Refused> {};

TEST_P(RefusedDomain, IsNamedWithItsRepair) {  // CFG-01
  const Parsed<Pattern> parsed = read_domain(GetParam().text, {});
  const Problem* problem = std::get_if<Problem>(&parsed);
  ASSERT_NE(problem, nullptr);
  EXPECT_EQ(problem->code, GetParam().code);
  if (GetParam().message != nullptr) {
    EXPECT_EQ(problem->message, GetParam().message);
    EXPECT_EQ(problem->repair, GetParam().repair);
  }
  EXPECT_LE(problem->offset + problem->length, GetParam().text.size() + 1);
}
INSTANTIATE_TEST_SUITE_P(Entries, RefusedDomain, testing::ValuesIn(kDomains),
                         [](const auto& row) { return row.param.why; });

// CFG-01 once more through a file: refused whole, with line and reason.
TEST_P(RefusedDomain, RefusesTheWholePolicyWithLineAndReason) {
  const std::string& text = GetParam().text;
  if (text.find('\0') != std::string::npos) {
    const LoadOutcome outcome =
        load_policy("version: 1\nrules:\n  - { name: r, action: deny, domains: [" + text + "] }\n", "p");
    ASSERT_EQ(outcome.diagnostics.size(), 1u);
    EXPECT_EQ(outcome.diagnostics[0].code, "P002");
    EXPECT_EQ(outcome.diagnostics[0].where.line, 3u);
    return;
  }
  const LoadOutcome outcome =
      load_policy("version: 1\nrules:\n  - name: r\n    action: allow\n    domains:\n      - ok.example\n      - \"" +
                      text + "\"\n",
                  "p");
  EXPECT_FALSE(outcome.ok());
  ASSERT_EQ(outcome.diagnostics.size(), 1u) << render(outcome.diagnostics, false);
  EXPECT_EQ(outcome.diagnostics[0].where.line, 7u);
  const bool broad = outcome.diagnostics[0].code == "P014" || outcome.diagnostics[0].code == "P015";
  const std::string json = render_json(outcome.diagnostics);
  EXPECT_NE(json.find(broad ? "\"reason\": \"pattern_too_broad\"" : "\"reason\": \"policy_invalid\""),
            std::string::npos)
      << json;
}

TEST(Domain, WhatTheRuleKeysPermitIsTaken) {
  EXPECT_TRUE(std::holds_alternative<Pattern>(read_domain("*.co.uk", {.allow_public_suffix = true})));
  EXPECT_TRUE(std::holds_alternative<Pattern>(read_domain("*.github.io", {.multi_tenant = true})));
  EXPECT_TRUE(std::holds_alternative<Pattern>(read_domain("mine.github.io", {})));
  // One key does not stand for the other, and nothing permits every name.
  EXPECT_TRUE(std::holds_alternative<Problem>(read_domain("*.github.io", {.allow_public_suffix = true})));
  EXPECT_TRUE(std::holds_alternative<Problem>(read_domain("*.co.uk", {.multi_tenant = true})));
  EXPECT_TRUE(std::holds_alternative<Problem>(read_domain("*", {true, true})));
}

const Refused kAddresses[] = {
    {"HostBits", "172.20.0.5/16", "P009", "`172.20.0.5/16` has host bits set",
     "did you mean 172.20.0.0/16 (the network) or 172.20.0.5/32 (one host)?"},
    {"HostBitsV6", "2001:db8::1/32", "P009", "`2001:db8::1/32` has host bits set",
     "did you mean 2001:db8::/32 (the network) or 2001:db8::1/128 (one host)?"},
    {"LongPrefix", "10.0.0.0/33", "P010", "`33` is no prefix length", "write /0 to /32"},
    {"LeadingZeroInPrefix", "10.0.0.0/08", "P010", "`08` is no prefix length", "write /0 to /32"},
    {"EmptyPrefix", "10.0.0.0/", "P010", "`` is no prefix length", "write /0 to /32"},
    {"Brackets", "[::1]", "P010", "brackets around the address `[::1]`", "write `::1`"},
    {"Port", "10.0.0.1:80", "P010", "a port does not belong in an address: `10.0.0.1:80`",
     "write `10.0.0.1`, and the port in ports"},
    {"Range", "10.0.0.1-10.0.0.9", "P010", "a range of addresses: `10.0.0.1-10.0.0.9`",
     "write CIDR blocks, such as 203.0.113.0/24"},
    {"Zone", "fe80::1%eth0", "P010", "`fe80::1%eth0` has a zone",
     "remove `%` and what follows: a zone has no meaning outside one host"},
    {"Legacy", "0x7f.1", "P010", nullptr, ""},
    {"LegacyShort", "127.1", "P010", "`127.1` is no address of four decimal numbers",
     "legacy spellings are refused: write all four, without leading zeros"},  // ADR-01
    {"LegacyDecimal", "2130706433", "P010", "`2130706433` is no address of four decimal numbers",
     "legacy spellings are refused: write all four, without leading zeros"},
    {"Name", "example.com", "P010", "expected an address, found the name `example.com`", "write it in domains"},
    {"Url", "https://203.0.113.9/", "P010", "expected an address, found a URL", "write `203.0.113.9`"},
    {"Mapped", "::ffff:169.254.169.254", "P010", "`::ffff:169.254.169.254` is an IPv4 address in IPv6 clothes",
     "write 169.254.169.254/32"},
    {"Empty", "", "P010", "`` is no address", "write an address such as 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32"},
};

class RefusedAddress : public testing::TestWithParam<Refused> {};

TEST_P(RefusedAddress, IsNamedWithItsRepair) {
  const Parsed<Prefix> parsed = read_prefix(GetParam().text);
  const Problem* problem = std::get_if<Problem>(&parsed);
  ASSERT_NE(problem, nullptr);
  EXPECT_EQ(problem->code, GetParam().code);
  if (GetParam().message == nullptr) return;
  EXPECT_EQ(problem->message, GetParam().message);
  EXPECT_EQ(problem->repair, GetParam().repair);
}
INSTANTIATE_TEST_SUITE_P(Entries, RefusedAddress, testing::ValuesIn(kAddresses),
                         [](const auto& row) { return row.param.why; });

const Refused kPorts[] = {
    {"TooHigh", "65536", "P011", "`65536` is out of range", "ports are 1 to 65535"},
    {"Zero", "0", "P011", "`0` is out of range", "ports are 1 to 65535"},
    {"ManyDigits", "4294967739", "P011", "`4294967739` is out of range", "ports are 1 to 65535"},
    {"LeadingZero", "0443", "P011", "`0443` has leading zeros", "ports are 1 to 65535"},
    {"Service", "https", "P011", "ports are numbers, not service names: `https`", "did you mean 443?"},
    {"Protocol", "443/sctp", "P011", "`sctp` is no protocol", "write tcp or udp, in lower case"},
    {"ProtocolInCapitals", "443/TCP", "P011", "`TCP` is no protocol", "write tcp or udp, in lower case"},
    {"ProtocolMissing", "443/", "P011", "`` is no protocol", "write tcp or udp, in lower case"},
    {"Swapped", "tcp/22", "P011", "`tcp/22` is no port", "did you mean `22/tcp`?"},
    {"Backwards", "8010-8000", "P011", "the range `8010-8000` runs backwards", "did you mean `8000-8010`?"},
    {"OpenRange", "8000-", "P011", "`8000-` is no port", "write 443, 22/tcp, 123/udp or 8000-8010"},
    {"RangeTooHigh", "8000-99999", "P011", "`99999` is out of range", "ports are 1 to 65535"},
    {"Any", "*", "P011", "`*` is no port", "write 1-65535 for every port"},
    {"Negative", "-1", "P011", "`-1` is no port", "write 443, 22/tcp, 123/udp or 8000-8010"},
    {"Hexadecimal", "0x1bb", "P011", "`0x1bb` is no port", "write 443, 22/tcp, 123/udp or 8000-8010"},
    {"Blank", "443 ", "P011", "`443 ` is no port", "write 443, 22/tcp, 123/udp or 8000-8010"},
    {"Empty", "", "P011", "`` is no port", "write 443, 22/tcp, 123/udp or 8000-8010"},
};

class RefusedPort : public testing::TestWithParam<Refused> {};

TEST_P(RefusedPort, IsNamedWithItsRepair) {
  const Parsed<PortRange> parsed = read_port(GetParam().text);
  const Problem* problem = std::get_if<Problem>(&parsed);
  ASSERT_NE(problem, nullptr);
  EXPECT_EQ(problem->code, GetParam().code);
  EXPECT_EQ(problem->message, GetParam().message);
  EXPECT_EQ(problem->repair, GetParam().repair);
}
INSTANTIATE_TEST_SUITE_P(Entries, RefusedPort, testing::ValuesIn(kPorts),
                         [](const auto& row) { return row.param.why; });

struct GoodPort {
  const char* why;
  const char* text;
  const char* canonical;
};
class AcceptedPort : public testing::TestWithParam<GoodPort> {};
TEST_P(AcceptedPort, HasOneMeaning) {
  const Parsed<PortRange> parsed = read_port(GetParam().text);
  ASSERT_TRUE(std::holds_alternative<PortRange>(parsed));
  EXPECT_EQ(port_text(std::get<PortRange>(parsed)), GetParam().canonical);
}
INSTANTIATE_TEST_SUITE_P(Entries, AcceptedPort,
                         testing::ValuesIn<GoodPort>({{"Bare", "443", "443/tcp"},
                                                      {"Tcp", "22/tcp", "22/tcp"},
                                                      {"Udp", "123/udp", "123/udp"},
                                                      {"Range", "8000-8010", "8000-8010/tcp"},
                                                      {"RangeOfOne", "80-80", "80/tcp"},
                                                      {"All", "1-65535/udp", "1-65535/udp"}}),
                         [](const auto& row) { return row.param.why; });

// ---- limits

const Refused kRequestRates[] = {
    {"NoPeriod", "600", "P056", "`600` has no period", "write what it is for each of: 600/s, /m, /h or /day"},
    {"OtherWordForAPeriod", "600/min", "P056", "`min` is no period", "did you mean `600/m`?"},
    {"PeriodInCapitals", "5/DAY", "P056", "`DAY` is no period", "did you mean `5/day`?"},
    {"PeriodOfNothing", "5/", "P056", "`` is no period", "write s, m, h or day"},
    {"LongerPeriod", "600/10m", "P056", "`10m` is no period", "write s, m, h or day"},
    {"Unit", "600k/m", "P056", "`k` has no meaning in a number of requests", "write it as 600/m"},
    {"Fraction", "1.5/s", "P056", "`1.5/s` is no whole number", "use a longer period: 90/m is 1.5/s"},
    {"Word", "many", "P056", "`many` is no limit", "write it as 600/m"},
    {"Negative", "-1/s", "P056", "a limit is not negative: `-1/s`", "write it as 600/m"},
    {"Blank", "600 / m", "P056", "a blank inside `600 / m`", "write 600/m"},
    {"Zero", "0/s", "P057", "`0/s` allows nothing", "to stop these flows, write a deny rule; or remove the key"},
    {"TooMany", "1000000001/s", "P057", "`1000000001/s` is more than can be counted",
     "at most 1000000000 a period; or leave the key out"},
    {"Overflow", "18446744073709551616/s", "P057", "`18446744073709551616/s` is more than can be counted",
     "leave the key out: nothing is bound by it"},
};

const Refused kBandwidths[] = {
    {"NoUnit", "1000000/s", "P056", "an amount without a unit: `1000000/s`", "did you mean `1000000B/s`?"},
    {"SmallLetters", "10mb/s", "P056", "`mb` is no unit of octets", "did you mean `10MB/s`?"},
    {"UnitAlone", "10M/s", "P056", "`M` is no unit of octets", "did you mean `10MB/s`?"},
    {"Bits", "10Mbit/s", "P056", "`Mbit` is no unit of octets",
     "limits count octets: divide by 8, as 10Mbit/s is 1250kB/s"},
    {"BitsASecond", "10mbps", "P056", "`mbps` is no unit of octets",
     "limits count octets: divide by 8, as 10Mbit/s is 1250kB/s"},
    {"UnknownUnit", "10PB/s", "P056", "`PB` is no unit of octets", "write B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"},
    {"NoPeriod", "10MB", "P056", "`10MB` has no period", "write what it is for each of: 10MB/s, /m, /h or /day"},
    {"Fraction", "1.5MB/s", "P056", "`1.5MB/s` is no whole number", "use a smaller unit: 1500kB/s is 1.5 MB/s"},
    {"Overflow", "99999999999TB/s", "P057", "`99999999999TB/s` is more than can be counted",
     "leave the key out: nothing is bound by it"},
    {"TooMuch", "1001GB/s", "P057", "`1001GB/s` is more than can be counted", "at most 1TB/s; or leave the key out"},
};

const Refused kQuotas[] = {
    {"EachSecond", "10MB/s", "P056", "a quota for each second is a bandwidth", "write bandwidth: 10MB/s"},
    {"TooMuch", "4001GB/day", "P057", "`4001GB/day` is more than can be counted",
     "at most 4TB a period; or leave the key out"},
    {"Zero", "0GB/day", "P057", "`0GB/day` allows nothing",
     "to stop these flows, write a deny rule; or remove the key"},
};

void expect_refused(const Refused& row, const Parsed<RateModel>& parsed) {
  const auto* problem = std::get_if<Problem>(&parsed);
  ASSERT_NE(problem, nullptr) << row.why;
  EXPECT_EQ(problem->code, row.code) << row.why;
  EXPECT_EQ(problem->message, row.message) << row.why;
  EXPECT_EQ(problem->repair, row.repair) << row.why;
  EXPECT_LE(problem->offset + problem->length, std::max<std::size_t>(row.text.size(), problem->offset + 1)) << row.why;
}

TEST(LimitValues, AreRefusedInWords) {
  for (const Refused& row : kRequestRates) expect_refused(row, read_request_rate(row.text));
  for (const Refused& row : kBandwidths) expect_refused(row, read_octet_rate(row.text, OctetLimit::kBandwidth));
  for (const Refused& row : kQuotas) expect_refused(row, read_octet_rate(row.text, OctetLimit::kQuota));
}

TEST(LimitValues, AreReadAndWrittenAlike) {
  for (const char* text : {"1/s", "600/m", "7/h", "1000000000/day"}) {
    const auto parsed = read_request_rate(text);
    ASSERT_TRUE(std::holds_alternative<RateModel>(parsed)) << text;
    EXPECT_EQ(request_rate_text(std::get<RateModel>(parsed)), text);
  }
  for (const char* text : {"1B/s", "10MB/s", "3KiB/m", "100MB/h", "5GB/day", "1TB/s", "7TiB/h", "1500kB/s"}) {
    const auto parsed = read_octet_rate(text, OctetLimit::kBandwidth);
    ASSERT_TRUE(std::holds_alternative<RateModel>(parsed)) << text;
    EXPECT_EQ(octet_rate_text(std::get<RateModel>(parsed)), text);
  }
  const auto quota = read_octet_rate("4TB/day", OctetLimit::kQuota);
  ASSERT_TRUE(std::holds_alternative<RateModel>(quota));
  EXPECT_EQ(std::get<RateModel>(quota).amount, 4'000'000'000'000u);
  EXPECT_EQ(std::get<RateModel>(quota).seconds, 86'400u);
}

}  // namespace
}  // namespace sallyport
