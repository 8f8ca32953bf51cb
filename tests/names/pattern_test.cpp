#include "names/pattern.hpp"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace sallyport {

void PrintTo(Breadth b, std::ostream* out) {
  static constexpr const char* kWords[] = {"too broad", "organisation", "public suffix", "multi-tenant"};
  *out << kWords[static_cast<int>(b)];
}

namespace {

using namespace std::string_literals;

struct Case {
  const char* why;
  std::string text;
  std::string expected;  // canonical text; empty: refused
  ErrorCode code = ErrorCode::kMalformed;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.text; }

class ParsePattern : public testing::TestWithParam<Case> {};

TEST_P(ParsePattern, CanonicalOrRefused) {
  const Result<Pattern> parsed = Pattern::parse(GetParam().text);
  if (GetParam().expected.empty()) {
    ASSERT_FALSE(parsed.ok()) << parsed->text();
    EXPECT_EQ(parsed.error().code, GetParam().code) << parsed.error().message;
    EXPECT_LE(parsed.error().offset, GetParam().text.size());
    return;
  }
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->text(), GetParam().expected);
  const Result<Pattern> again = Pattern::parse(parsed->text());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->kind, parsed->kind);
  EXPECT_TRUE(again->name == parsed->name);
}

constexpr ErrorCode kBad = ErrorCode::kMalformed;

INSTANTIATE_TEST_SUITE_P(
    Patterns, ParsePattern,
    testing::ValuesIn(std::vector<Case>{
        {"Exact", "api.example.test", "api.example.test"},
        {"Below", "*.cdn.test", "*.cdn.test"},
        {"BelowTwoStars", "**.cdn.test", "*.cdn.test"},
        {"ExactAndBelow", ".cdn.test", ".cdn.test"},
        {"UpperCase", "*.CDN.Test", "*.cdn.test"},
        {"Nam01TrailingDot", "api.example.test.", "api.example.test"},  // NAM-01
        {"SingleLabel", "supervisor", "supervisor"},
        {"Underscore", "_dmarc.example.test", "_dmarc.example.test"},
        {"Nam05Umlaut", "\xc3\xa4pi.example.test", "xn--pi-uia.example.test"},                        // NAM-05
        {"Nam05UmlautBelow", "*.\xc3\xa4pi.test", "*.xn--pi-uia.test"},                               // NAM-05
        {"Nam05UmlautUpperCase", "\xc3\x84PI.test", "xn--pi-uia.test"},                               // NAM-05
        {"Nam05Decomposed", "a\xcc\x88pi.test", "xn--pi-uia.test"},                                   // NAM-05
        {"Nam05FullWidth", "\xef\xbd\x81\xef\xbd\x90\xef\xbd\x89.example.test", "api.example.test"},  // NAM-05
        {"Nam05IdeographicDot",
         "a\xe3\x80\x82"
         "b.test",
         "a.b.test"},                                                  // NAM-05
        {"Nam05CyrillicA", "\xd0\xb0pple.test", "xn--pple-43d.test"},  // NAM-05: never "apple.test"
        {"SharpSNonTransitional", "fa\xc3\x9f.de", "xn--fa-hia.de"},
        {"UmlautWithUnderscore", "_a.\xc3\xa4pi.test", "_a.xn--pi-uia.test"},
        {"Nam06Good", "*.xn--pi-uia.test", "*.xn--pi-uia.test"},
        {"Nam06BadPunycode", "*.xn--99zzzzzz.test", ""},             // NAM-06
        {"Nam06NotNfc", "xn--u-ccb.test", ""},                       // NAM-06
        {"Nam06BesideUmlaut", "\xc3\xa4.xn--u-ccb.test", ""},        // NAM-06
        {"Nam07Percent", "api.example.test%00.evil.test", ""},       // NAM-07
        {"Nam07PercentBesideUmlaut", "\xc3\xa4%00.evil.test", ""},   // NAM-07: libidn2 would drop the '%'
        {"Nam07Nul", "api.test\0.evil.test"s, ""},                   // NAM-07
        {"Nam07NulBesideUmlaut", "\xc3\xa4.test\0.evil.test"s, ""},  // NAM-07: libidn2 stops at NUL
        {"InvalidUtf8", "\xff.test", ""},
        {"OverlongDot",
         "a\xc0\xae"
         "b.test",
         ""},
        {"AccountOf", "\xe2\x84\x80.test", ""},  // U+2100 maps to "a/c"
        {"FullWidthQuad", "\xef\xbc\x91.\xef\xbc\x92.\xef\xbc\x93.\xef\xbc\x94", ""},
        {"FullWidthStar", "\xef\xbc\x8a.cdn.test", ""},
        {"SoftHyphenAlone", "\xc2\xad.cdn.test", ""},
        {"IdeographicDotFirst",
         "\xe3\x80\x82"
         "cdn.test",
         ""},
        {"ZeroWidthBeforeStar", "\xe2\x80\x8b*.cdn.test", ""},
        {"TooLongUtf8", std::string(2000, 'a') + "\xc3\xa4", "", ErrorCode::kTooLong},
        {"Cfg01Star", "*", "", ErrorCode::kTooBroad},  // CFG-01 from here on
        {"Cfg01TwoStars", "**", "", ErrorCode::kTooBroad},
        {"Cfg01Dot", ".", "", ErrorCode::kTooBroad},
        {"Cfg01Empty", "", ""},
        {"Cfg01StarInside", "a*.b.test", ""},
        {"Cfg01StarBehind", "a.*.test", ""},
        {"Cfg01StarLast", "a.*", ""},
        {"Cfg01ThreeStars", "***.b.test", ""},
        {"Cfg01StarTwice", "*.*.test", ""},
        {"Cfg01StarWithoutDot", "*b.test", ""},
        {"Cfg01StarDot", "*.", ""},
        {"Cfg01StarDotDot", "*..b.test", ""},
        {"Cfg01TwoDots", "..", ""},
        {"Cfg01DotDotName", "..b.test", ""},
        {"Cfg01Url", "http://x", ""},
        {"Cfg01UrlPath", "x.test/", ""},
        {"Cfg01Port", "x:99999", ""},
        {"Cfg01GoodPort", "x.test:443", ""},
        {"Cfg01Space", "x y", ""},
        {"Cfg01SpaceBehind", "x.test ", ""},
        {"Cfg01Nul", "x\0.test"s, ""},
        {"Cfg01Octets254",
         std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(62, 'd'),
         "", ErrorCode::kTooLong},
        {"Cfg01Label64", std::string(64, 'a') + ".test", "", ErrorCode::kTooLong},
        {"Nam02TwoTrailingDots", "api.example.test..", "", kBad},  // NAM-02
        {"Nam02EmptyLabel", "a..b", ""},                           // NAM-02
        {"Adr01Quad", "1.2.3.4", ""},
        {"Adr01BelowQuad", "*.2.3.4", ""},
        {"Adr01Short", "127.1", ""},
        {"Adr01V6", "::1", ""},
    }),
    [](const auto& row) { return row.param.why; });

struct Match {
  const char* why;
  const char* pattern;
  const char* name;
  bool expected;
};
void PrintTo(const Match& c, std::ostream* out) { *out << c.pattern << " and " << c.name; }

class Matches : public testing::TestWithParam<Match> {};

TEST_P(Matches, LabelByLabel) {
  const Result<Pattern> pattern = Pattern::parse(GetParam().pattern);
  const Result<DomainName> name = DomainName::parse(GetParam().name);
  ASSERT_TRUE(pattern.ok() && name.ok());
  EXPECT_EQ(pattern->matches(*name), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Patterns, Matches,
                         testing::ValuesIn(std::vector<Match>{
                             {"ExactItself", "api.example.test", "api.example.test", true},
                             {"ExactCaseAndDot", "api.example.test", "API.example.TEST.", true},
                             {"ExactChild", "api.example.test", "a.api.example.test", false},
                             {"Nam03TextSuffix", "api.example.test", "xapi.example.test", false},           // NAM-03
                             {"Nam03TextPrefix", "api.example.test", "api.example.test.evil.test", false},  // NAM-03
                             {"Nam03Apex", "*.cdn.test", "cdn.test", false},                                // NAM-03
                             {"BelowChild", "*.cdn.test", "a.cdn.test", true},
                             {"Nam04BelowDeep", "*.cdn.test", "a.b.cdn.test", true},      // NAM-04
                             {"Nam04TwoStarsDeep", "**.cdn.test", "a.b.cdn.test", true},  // NAM-04
                             {"BelowTextSuffix", "*.cdn.test", "xcdn.test", false},
                             {"BelowTextSuffixChild", "*.cdn.test", "a.xcdn.test", false},
                             {"BothApex", ".cdn.test", "cdn.test", true},
                             {"BothDeep", ".cdn.test", "a.b.cdn.test", true},
                             {"BothTextSuffix", ".cdn.test", "xcdn.test", false},
                             {"BothParent", ".cdn.test", "test", false},
                             {"Nam05Mapped", "\xc3\xa4pi.test", "xn--pi-uia.test", true},     // NAM-05
                             {"Nam05MixedScript", "apple.test", "xn--pple-43d.test", false},  // NAM-05
                         }),
                         [](const auto& row) { return row.param.why; });

// Every pattern over every name of up to 3 labels out of "a", "b", "ab"; the oracle works on text with a dot in front.
TEST(SmallWorld, MatchesAgreesWithTheOracle) {
  const std::vector<std::string> parts = {"a", "b", "ab"};
  std::vector<std::string> names = parts;
  for (std::size_t first = 0, depth = 1; depth < 3; ++depth) {
    const std::size_t last = names.size();
    for (; first < last; ++first) {
      for (const std::string& part : parts) names.push_back(part + "." + names[first]);
    }
  }
  ASSERT_EQ(names.size(), 39U);
  for (const std::string& below : names) {
    const Pattern exact = *Pattern::parse(below);
    const Pattern descendants = *Pattern::parse("*." + below);
    const Pattern both = *Pattern::parse("." + below);
    for (const std::string& text : names) {
      const DomainName name = *DomainName::parse(text);
      const bool is_apex = text == below;
      const bool is_below = text.ends_with("." + below);
      EXPECT_EQ(exact.matches(name), is_apex) << below << " " << text;
      EXPECT_EQ(descendants.matches(name), is_below) << below << " " << text;
      EXPECT_EQ(both.matches(name), is_apex || is_below) << below << " " << text;
    }
  }
}

struct Width {
  const char* why;
  const char* pattern;
  Breadth expected;
};
void PrintTo(const Width& c, std::ostream* out) { *out << c.pattern; }

class BreadthOf : public testing::TestWithParam<Width> {};

TEST_P(BreadthOf, ByThePublicSuffixList) {
  const Result<Pattern> pattern = Pattern::parse(GetParam().pattern);
  ASSERT_TRUE(pattern.ok()) << pattern.error().message;
  EXPECT_EQ(breadth(*pattern), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Patterns, BreadthOf,
                         testing::ValuesIn(std::vector<Width>{
                             {"Cfg01Com", "com", Breadth::kPublicSuffix},         // CFG-01
                             {"Cfg01BelowCom", "*.com", Breadth::kPublicSuffix},  // CFG-01
                             {"Cfg01BothCom", ".com", Breadth::kPublicSuffix},
                             {"Cfg01BelowCoUk", "*.co.uk", Breadth::kPublicSuffix},  // CFG-01
                             {"Cfg01ExactCoUk", "co.uk", Breadth::kPublicSuffix},
                             {"Cfg01BelowGithubIo", "*.github.io", Breadth::kMultiTenant},  // CFG-01
                             {"Cfg01BothGithubIo", ".github.io", Breadth::kMultiTenant},
                             {"Cfg01ExactGithubIo", "github.io", Breadth::kMultiTenant},
                             {"Cfg01UnknownTopLevel", "**.x", Breadth::kPublicSuffix},  // CFG-01
                             {"UnknownTopLevelBoth", ".test", Breadth::kPublicSuffix},
                             {"SingleLabel", "supervisor", Breadth::kOrganisation},
                             {"BelowUnknownTopLevel", "*.cdn.test", Breadth::kOrganisation},
                             {"BelowRegistrable", "*.crates.io", Breadth::kOrganisation},
                             {"BothRegistrable", ".pypi.org", Breadth::kOrganisation},
                             {"Exact", "api.openai.com", Breadth::kOrganisation},
                             {"ExactBelowCoUk", "example.co.uk", Breadth::kOrganisation},
                             {"OneTenant", "acme.github.io", Breadth::kOrganisation},
                             {"BelowOneTenant", "*.acme.github.io", Breadth::kOrganisation},
                             {"S3", "*.s3.amazonaws.com", Breadth::kMultiTenant},
                             {"S3Exact", "s3.amazonaws.com", Breadth::kMultiTenant},
                             {"WildcardRuleTop", "*.ck", Breadth::kPublicSuffix},
                             {"WildcardRuleName", "*.foo.ck", Breadth::kPublicSuffix},
                             {"WildcardRuleBelow", "*.bar.foo.ck", Breadth::kOrganisation},
                             {"WildcardRuleException", ".www.ck", Breadth::kOrganisation},
                             {"WildcardRuleParent", "*.kawasaki.jp", Breadth::kPublicSuffix},
                             {"WildcardRuleParentException", "*.city.kawasaki.jp", Breadth::kOrganisation},
                             {"PrivateWildcardParent", "*.compute.amazonaws.com", Breadth::kMultiTenant},
                             {"AboveMultiTenant", "*.amazonaws.com", Breadth::kMultiTenant},
                             {"AboveMultiTenantBoth", ".amazonaws.com", Breadth::kMultiTenant},
                             {"AboveMultiTenantExact", "amazonaws.com", Breadth::kOrganisation},
                             {"AboveMultiTenantDeep", "*.us-east-2.amazonaws.com", Breadth::kMultiTenant},
                             {"InternationalTopLevel", "*.\xd1\x80\xd1\x84", Breadth::kPublicSuffix},
                             {"InternationalSuffix", "*.\xe5\x85\xac\xe5\x8f\xb8.cn", Breadth::kPublicSuffix},
                             {"InternationalSuffixALabel", "*.xn--55qx5d.cn", Breadth::kPublicSuffix},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(Breadth, ZeroIsTheStrictest) { EXPECT_EQ(Breadth{}, Breadth::kTooBroad); }

std::string registrable(std::string_view text) {
  const Result<DomainName> name = DomainName::parse(text);
  return name.ok() ? registrable_domain(*name) : "unparsable";
}

TEST(RegistrableDomain, OneLabelBelowTheSuffix) {
  EXPECT_EQ(registrable("a.b.example.co.uk"), "example.co.uk");
  EXPECT_EQ(registrable("example.co.uk"), "example.co.uk");
  EXPECT_EQ(registrable("co.uk"), "");
  EXPECT_EQ(registrable("com"), "");
  EXPECT_EQ(registrable("a.acme.github.io"), "acme.github.io");
  EXPECT_EQ(registrable("a.cdn.test"), "cdn.test");
}

TEST(ParseUserName, MapsOnceAndKnowsNoWildcard) {
  EXPECT_EQ(parse_user_name("\xc3\xa4pi.test.")->text(), "xn--pi-uia.test");
  EXPECT_EQ(parse_user_name("API.test")->text(), "api.test");
  EXPECT_FALSE(parse_user_name("*.api.test").ok());
  EXPECT_FALSE(parse_user_name(".api.test").ok());
  EXPECT_FALSE(parse_user_name("").ok());
}

}  // namespace
}  // namespace sallyport
