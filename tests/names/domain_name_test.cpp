#include "names/domain_name.hpp"

#include <gtest/gtest.h>
#include <policy/abi.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <vector>

namespace sallyport {
namespace {

using namespace std::string_literals;

static_assert(std::is_standard_layout_v<DomainName> && std::is_trivially_copyable_v<DomainName>);
static_assert(sizeof(DomainName) == sizeof(policy_name) && alignof(DomainName) == alignof(policy_name));

DomainName name(std::string_view text) {
  Result<DomainName> parsed = DomainName::parse(text);
  if (!parsed.ok()) {
    ADD_FAILURE() << '"' << text << "\": " << parsed.error().message;
    return *DomainName::parse("unparsable.invalid");
  }
  return *parsed;
}

std::vector<std::uint8_t> wire_of(const std::vector<std::string>& labels) {
  std::vector<std::uint8_t> wire;
  for (const std::string& label : labels) {
    wire.push_back(static_cast<std::uint8_t>(label.size()));
    wire.insert(wire.end(), label.begin(), label.end());
  }
  wire.push_back(0);
  return wire;
}

std::string repeated(std::string_view part, std::size_t times) {
  std::string text;
  for (std::size_t i = 0; i < times; ++i) text += part;
  return text;
}

// 253 octets: three labels of 63 and one of 61.
const std::string kLongest =
    std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');

struct Accepted {
  const char* why;
  std::string text;
  std::string canonical;
  unsigned labels;
};
void PrintTo(const Accepted& c, std::ostream* out) { *out << c.text; }

class ParseAccepts : public testing::TestWithParam<Accepted> {};

TEST_P(ParseAccepts, AndCanonicalises) {
  const Result<DomainName> parsed = DomainName::parse(GetParam().text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->text(), GetParam().canonical);
  EXPECT_EQ(parsed->labels(), GetParam().labels);
  EXPECT_TRUE(DomainName::is_canonical(GetParam().canonical));
  EXPECT_EQ(DomainName::is_canonical(GetParam().text), GetParam().text == GetParam().canonical);
  const Result<DomainName> again = DomainName::parse(parsed->text());
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(*again == *parsed);
  EXPECT_EQ(again->hash(), parsed->hash());
}

INSTANTIATE_TEST_SUITE_P(Names, ParseAccepts,
                         testing::ValuesIn(std::vector<Accepted>{
                             {"Plain", "api.example.test", "api.example.test", 3},
                             {"Nam01TrailingDot", "api.example.test.", "api.example.test", 3},  // NAM-01
                             {"UpperCase", "API.Example.TEST", "api.example.test", 3},
                             {"SingleLabel", "supervisor", "supervisor", 1},
                             {"Dns18Underscore", "_dns.cdn.test", "_dns.cdn.test", 3},      // DNS-18
                             {"Dns18UnderscoreInside", "a_b.cdn.test", "a_b.cdn.test", 3},  // DNS-18
                             {"HyphensAtTheEdge", "-a-.cdn.test", "-a-.cdn.test", 3},
                             {"HyphensInPlaces3And4", "r3---sn-4g5e.cdn.test", "r3---sn-4g5e.cdn.test", 3},
                             {"NumericInnerLabels", "1.2.3.4.cdn.test", "1.2.3.4.cdn.test", 6},
                             {"LastLabelStartsWithDigit", "a.1x", "a.1x", 2},
                             {"LastLabelLooksHexOnly", "a.beef", "a.beef", 2},
                             {"LastLabel0xWithOtherLetters", "a.0xyz", "a.0xyz", 2},
                             {"ReverseTree", "1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa", 6},
                             {"ALabel", "xn--pi-uia.example.test", "xn--pi-uia.example.test", 3},
                             {"ALabelUpperCase", "XN--PI-UIA.example.test", "xn--pi-uia.example.test", 3},
                             {"ALabelSharpS", "xn--fa-hia.de", "xn--fa-hia.de", 2},
                             {"LabelOf63", std::string(63, 'x') + ".test", std::string(63, 'x') + ".test", 2},
                             {"NameOf253", kLongest, kLongest, 4},
                             {"NameOf253AndTrailingDot", kLongest + ".", kLongest, 4},
                             {"Labels127", repeated("a.", 126) + "b", repeated("a.", 126) + "b", 127},
                         }),
                         [](const auto& row) { return row.param.why; });

struct Refused {
  const char* why;
  std::string text;
  ErrorCode code = ErrorCode::kMalformed;
  std::size_t offset = 0;
};
void PrintTo(const Refused& c, std::ostream* out) { *out << c.text; }

class ParseRefuses : public testing::TestWithParam<Refused> {};

TEST_P(ParseRefuses, WithCodeAndPlace) {
  const Result<DomainName> parsed = DomainName::parse(GetParam().text);
  ASSERT_FALSE(parsed.ok()) << parsed->text();
  EXPECT_FALSE(DomainName::is_canonical(GetParam().text));
  EXPECT_EQ(parsed.error().code, GetParam().code) << parsed.error().message;
  EXPECT_EQ(parsed.error().offset, GetParam().offset) << parsed.error().message;
  EXPECT_STRNE(parsed.error().message, "");
}

constexpr ErrorCode kBad = ErrorCode::kMalformed;
constexpr ErrorCode kLong = ErrorCode::kTooLong;

INSTANTIATE_TEST_SUITE_P(Names, ParseRefuses,
                         testing::ValuesIn(std::vector<Refused>{
                             {"Empty", ""},
                             {"RootDot", "."},
                             {"Nam02TwoTrailingDots", "api.example.test..", kBad, 17},  // NAM-02
                             {"Nam02LeadingDot", ".api.example.test", kBad, 0},         // NAM-02
                             {"Nam02EmptyLabel", "a..b", kBad, 2},                      // NAM-02
                             {"TwoDots", ".."},
                             {"LabelOf64", std::string(64, 'x') + ".test", kLong, 0},
                             {"NameOf254", "x" + kLongest, kLong, 0},  // its first label has 64
                             {"NameOf254ByLabels", repeated("a.", 126) + "bc", kLong, 252},
                             {"Labels128", repeated("a.", 127) + "b", kLong, 254},
                             {"Nam05Utf8", "\xc3\xa4pi.example.test", kBad, 0},           // NAM-05: never raw
                             {"Nam05FullWidth", "\xef\xbd\x81pi.example.test", kBad, 0},  // NAM-05
                             {"Nam05IdeographicDot",
                              "a\xe3\x80\x82"
                              "b.test",
                              kBad, 1},                                                       // NAM-05
                             {"Nam07Nul", "api.example.test\0.evil.test"s, kBad, 16},         // NAM-07
                             {"Nam07PercentNul", "api.example.test%00.evil.test", kBad, 16},  // NAM-07
                             {"Nam07PercentDot", "api%2eexample.test", kBad, 3},              // NAM-07
                             {"Space", "a b.test", kBad, 1},
                             {"TrailingSpace", "a.test ", kBad, 6},
                             {"LineFeed", "a.test\n", kBad, 6},
                             {"Port", "a.test:443", kBad, 6},
                             {"Scheme", "http://a.test", kBad, 4},
                             {"User", "u@a.test", kBad, 1},
                             {"Wildcard", "*.a.test", kBad, 0},
                             {"Backslash", "a\\.b.test", kBad, 1},
                             {"Brackets", "[::1]", kBad, 0},
                             {"Adr01Decimal", "2130706433"},             // ADR-01
                             {"Adr01Octal", "017700000001"},             // ADR-01
                             {"Adr01HexShort", "0x7f.1", kBad, 5},       // ADR-01
                             {"Adr01Short", "127.1", kBad, 4},           // ADR-01
                             {"Adr01Quad", "1.2.3.4", kBad, 6},          // ADR-01
                             {"Adr01FiveParts", "1.2.3.4.5", kBad, 8},   // ADR-01
                             {"Adr01TrailingDot", "1.2.3.4.", kBad, 6},  // ADR-01
                             {"Adr01HexLast", "a.test.0x7F", kBad, 7},
                             {"Adr01BareHexPrefix", "a.0x", kBad, 2},
                             {"NumberLast", "cdn.test.1", kBad, 9},
                             {"Nam06NothingBehindPrefix", "xn--.test", kBad, 0},   // NAM-06
                             {"Nam06OnlyHyphen", "a.xn---.test", kBad, 2},         // NAM-06
                             {"Nam06PlainAscii", "xn--abc-.test", kBad, 0},        // NAM-06
                             {"Nam06BadPunycode", "xn--99zzzzzz.test", kBad, 0},   // NAM-06
                             {"Nam06DecodesToDisallowed", "xn--a.test", kBad, 0},  // NAM-06
                             {"Nam06NotNfc", "xn--u-ccb.test", kBad, 0},           // NAM-06
                             {"Nam06UpperCaseInside", "xn--a-ecp.test", kBad, 0},  // NAM-06: would be written otherwise
                             {"Nam06PrefixTwice", "xn--xn---epa.test", kBad, 0},   // NAM-06
                             {"Nam06BareJoiner", "xn--1ug.test", kBad, 0},         // NAM-06
                             {"Nam06UnderscoreInside", "xn--a_-uia.test", kBad, 0},  // NAM-06
                             {"Nam06UpperCasePrefix", "Xn--u-ccb.test", kBad, 0},    // NAM-06
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(FromWire, EqualsWhatTheTextParsesTo) {
  const Result<DomainName> parsed = DomainName::from_wire(wire_of({"_A", "Cdn", "test"}));
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->text(), "_a.cdn.test");
  EXPECT_EQ(parsed->hash(), name("_a.cdn.test").hash());
}

TEST(FromWire, Dns16NameOfExactly255Octets) {
  const std::vector<std::uint8_t> wire =
      wire_of({std::string(63, 'a'), std::string(63, 'b'), std::string(63, 'c'), std::string(61, 'd')});
  ASSERT_EQ(wire.size(), 255U);
  const Result<DomainName> parsed = DomainName::from_wire(wire);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->text(), kLongest);
}

struct Wire {
  const char* why;
  std::vector<std::uint8_t> octets;
  ErrorCode code;
};
void PrintTo(const Wire& c, std::ostream* out) { *out << c.why; }

class FromWireRefuses : public testing::TestWithParam<Wire> {};

TEST_P(FromWireRefuses, WithCode) {
  const Result<DomainName> parsed = DomainName::from_wire(GetParam().octets);
  ASSERT_FALSE(parsed.ok()) << parsed->text();
  EXPECT_EQ(parsed.error().code, GetParam().code) << parsed.error().message;
  EXPECT_LE(parsed.error().offset, GetParam().octets.size());
}

INSTANTIATE_TEST_SUITE_P(
    Names, FromWireRefuses,
    testing::ValuesIn(std::vector<Wire>{
        {"Nothing", {}, ErrorCode::kIncomplete},
        {"Root", {0}, kBad},
        {"NoRootLabel", {1, 'a'}, ErrorCode::kIncomplete},
        {"LabelPastTheEnd", {5, 'a', 'b'}, ErrorCode::kIncomplete},
        {"OctetsBehind", {1, 'a', 0, 0}, kBad},
        {"Pointer", {1, 'a', 0xc0, 0x00}, kBad},
        {"PointerFirst", {0xc0, 0x0c}, kBad},
        {"ReservedType01", {0x41, 'a', 0}, kBad},
        {"Dns16LabelOf64", wire_of({std::string(64, 'a'), "test"}), kBad},  // DNS-16
        {"Dns16NameOf256",
         wire_of({std::string(63, 'a'), std::string(63, 'b'), std::string(63, 'c'), std::string(62, 'd')}),
         kLong},                                                                 // DNS-16
        {"Dns16Labels128", wire_of(std::vector<std::string>(128, "a")), kLong},  // DNS-16
        {"Dns17Nul", wire_of({"a\0b"s, "test"}), kBad},                          // DNS-17
        {"Dns17DotInsideLabel", wire_of({"api.example", "test"}), kBad},         // DNS-17
        {"Dns17HighOctet", wire_of({"a\x80", "test"}), kBad},                    // DNS-17
        {"Dns17Utf8", wire_of({"\xc3\xa4pi", "test"}), kBad},                    // DNS-17
        {"Dns17CrLf", wire_of({"a\r\nb", "test"}), kBad},                        // DNS-17
        {"Space", wire_of({"a b", "test"}), kBad},
        {"Star", wire_of({"*", "test"}), kBad},
        {"AddressAsName", wire_of({"1", "2", "3", "4"}), kBad},
        {"Nam06BadALabel", wire_of({"xn--u-ccb", "test"}), kBad},
    }),
    [](const auto& row) { return row.param.why; });

// Every octet alone in a label, against the repertoire as the header words it.
TEST(FromWire, Dns17EveryOctet) {
  for (unsigned octet = 0; octet < 256; ++octet) {
    const char c = static_cast<char>(octet);
    const bool legal =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    const Result<DomainName> wire = DomainName::from_wire(wire_of({std::string(1, c), "test"}));
    EXPECT_EQ(wire.ok(), legal) << octet;
    if (octet != '.') EXPECT_EQ(DomainName::parse(std::string(1, c) + ".test").ok(), legal) << octet;
  }
}

struct Within {
  const char* why;
  const char* candidate;
  const char* ancestor;
  bool expected;
};
void PrintTo(const Within& c, std::ostream* out) { *out << c.candidate << " in " << c.ancestor; }

class IsWithin : public testing::TestWithParam<Within> {};

TEST_P(IsWithin, WholeLabels) {
  EXPECT_EQ(name(GetParam().candidate).is_within(name(GetParam().ancestor)), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Names, IsWithin,
                         testing::ValuesIn(std::vector<Within>{
                             {"Apex", "cdn.test", "cdn.test", true},
                             {"Child", "a.cdn.test", "cdn.test", true},
                             {"Nam04Deep", "a.b.cdn.test", "cdn.test", true},                               // NAM-04
                             {"Nam03TextSuffix", "xapi.example.test", "api.example.test", false},           // NAM-03
                             {"Nam03TextPrefix", "api.example.test.evil.test", "api.example.test", false},  // NAM-03
                             {"Nam03Parent", "test", "cdn.test", false},                                    // NAM-03
                             {"SameLength", "cdn.tesu", "cdn.test", false},
                         }),
                         [](const auto& row) { return row.param.why; });

std::vector<std::string> labels_of(std::string_view text) {
  std::vector<std::string> labels;
  std::string label;
  for (const char c : text) {
    if (c == '.') {
      labels.push_back(label);
      label.clear();
    } else {
      label += c;
    }
  }
  labels.push_back(label);
  return labels;
}

bool slowest_correct_is_within(std::string_view candidate, std::string_view ancestor) {
  std::vector<std::string> inner = labels_of(candidate);
  std::vector<std::string> outer = labels_of(ancestor);
  while (!outer.empty()) {
    if (inner.empty() || inner.back() != outer.back()) return false;
    inner.pop_back();
    outer.pop_back();
  }
  return true;
}

// All names of up to 4 labels out of "a", "b", "ab": small enough for every pair.
std::vector<std::string> small_world() {
  const std::vector<std::string> parts = {"a", "b", "ab"};
  std::vector<std::string> names = parts;
  for (std::size_t first = 0, depth = 1; depth < 4; ++depth) {
    const std::size_t last = names.size();
    for (; first < last; ++first) {
      for (const std::string& part : parts) names.push_back(part + "." + names[first]);
    }
  }
  return names;
}

TEST(SmallWorld, IsWithinAgreesWithTheOracle) {
  std::vector<DomainName> names;
  for (const std::string& text : small_world()) names.push_back(name(text));
  ASSERT_EQ(names.size(), 120U);
  for (const DomainName& candidate : names) {
    for (const DomainName& ancestor : names) {
      EXPECT_EQ(candidate.is_within(ancestor), slowest_correct_is_within(candidate.text(), ancestor.text()))
          << candidate.text() << " in " << ancestor.text();
    }
  }
}

TEST(SmallWorld, EqualSuffixesHaveEqualHashesAndOthersDiffer) {
  std::map<std::string, std::uint64_t> hash_of;
  std::unordered_map<std::uint64_t, std::string> text_of;
  for (const std::string& text : small_world()) {
    const DomainName parsed = name(text);
    for (unsigned n = 1; n <= parsed.labels(); ++n) {
      const std::string suffix(parsed.suffix(n));
      EXPECT_TRUE(slowest_correct_is_within(text, suffix)) << text;
      EXPECT_EQ(labels_of(suffix).size(), n) << text;
      const std::uint64_t hash = parsed.suffix_hash(n);
      EXPECT_EQ(hash_of.try_emplace(suffix, hash).first->second, hash) << suffix << " of " << text;
      EXPECT_EQ(text_of.try_emplace(hash, suffix).first->second, suffix) << "collision";
    }
  }
  EXPECT_EQ(hash_of.size(), 120U);
}

// Texts of the parts that names trip over, among them octets that no name holds.
TEST(SmallWorld, CanonicalIsWhatParsesToItself) {
  const std::vector<std::string> parts = {
      "a", "A", "1", "0x7f", ".", "..", "xn--", "xn--mnchen-3ya", "-", "_", "\0"s, "\xff", " ", std::string(63, 'l')};
  std::mt19937 random(1);
  unsigned canonical = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::string text;
    for (unsigned count = 1 + random() % 6; count > 0; --count) text += parts[random() % parts.size()];
    const Result<DomainName> parsed = DomainName::parse(text);
    const bool expected = parsed.ok() && parsed->text() == text;
    canonical += expected ? 1 : 0;
    ASSERT_EQ(DomainName::is_canonical(text), expected) << text;
  }
  EXPECT_GT(canonical, 1000U);
}

class RandomNames : public testing::TestWithParam<unsigned> {};

// GetParam(): seed. Labels of every length, names deeper than kStoredSuffixes included.
TEST_P(RandomNames, SuffixHashIsTheHashOfTheSuffixParsedAlone) {
  std::mt19937 random(GetParam());
  for (int round = 0; round < 200; ++round) {
    std::string text;
    const unsigned labels = 1 + random() % (round % 2 == 0 ? 6 : 60);
    for (unsigned i = 0; i < labels; ++i) {
      std::string label;
      const unsigned length = 1 + random() % (labels > 6 ? 3 : 40);
      for (unsigned k = 0; k < length; ++k) label += "abcdefghijklmnopqrstuvwxyz_"[random() % 27];
      text = label + (text.empty() ? "" : ".") + text;
    }
    if (text.size() > DomainName::kMaxOctets) continue;
    const DomainName whole = name(text);
    for (unsigned n = 1; n <= whole.labels(); ++n) {
      const DomainName part = name(whole.suffix(n));
      EXPECT_EQ(part.labels(), n) << text << " seed " << GetParam();
      EXPECT_EQ(part.hash(), whole.suffix_hash(n)) << text << " " << n << " seed " << GetParam();
      EXPECT_TRUE(whole.is_within(part)) << text << " " << n << " seed " << GetParam();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Names, RandomNames, testing::Range(0U, 20U));

TEST(DomainName, HashesOfCanonicalTextAreThoseOfParse) {
  std::string deepest = "x";
  while (deepest.size() + 2 <= DomainName::kMaxOctets) deepest.insert(0, "x.");
  for (const std::string text : {"a", "a.test", "www.some-longer-label-than-sixteen.cdn.test", deepest.c_str()}) {
    std::array<std::uint64_t, DomainName::kMaxLabels> hashes{};
    const DomainName parsed = name(text);
    DomainName::SuffixLengths lengths{};
    const std::string padded = std::string(32, '.') + text;  // whatever is in front of it
    ASSERT_EQ(DomainName::hash_suffixes(std::string_view(padded).substr(32), hashes, lengths), parsed.labels()) << text;
    EXPECT_EQ(lengths, parsed.suffix_lengths()) << text;
    for (unsigned n = 1; n <= parsed.labels(); ++n) EXPECT_EQ(hashes[n - 1], parsed.suffix_hash(n)) << text << " " << n;
  }
}

// A hash that loses entropy shows in its low or high bits: 65,536 names into 65,536 slots leave e^-1 of them empty.
TEST(Hash, SpreadsLikeARandomFunction) {
  std::vector<int> low(65536);
  std::vector<int> high(65536);
  for (int i = 0; i < 65536; ++i) {
    const std::uint64_t hash = name("host" + std::to_string(i) + ".cdn.test").hash();
    ++low[hash & 0xffff];
    ++high[hash >> 48];
  }
  const auto empty = [](const std::vector<int>& slots) { return std::count(slots.begin(), slots.end(), 0); };
  EXPECT_NEAR(static_cast<double>(empty(low)), 24109.0, 600.0);  // about 6 standard deviations
  EXPECT_NEAR(static_cast<double>(empty(high)), 24109.0, 600.0);
}

TEST(Layout, IsThatOfTheAbi) {
  const DomainName parsed = name("Api.example.test");
  policy_name crossed;
  std::memcpy(&crossed, &parsed, sizeof crossed);
  EXPECT_EQ(crossed.seal, 0U);
  EXPECT_EQ(crossed.labels, 3);
  ASSERT_EQ(crossed.len, 16);
  EXPECT_STREQ(crossed.text, "api.example.test");  // the rest of the buffer is zero: nothing old crosses with it
  for (unsigned n = 1; n <= 3; ++n) EXPECT_EQ(crossed.suffix_hash[n - 1], parsed.suffix_hash(n));
  EXPECT_EQ(crossed.suffix_hash[3], 0U);
  for (unsigned n = 1; n <= 3; ++n) EXPECT_EQ(crossed.suffix_len[n - 1], parsed.suffix(n).size());
  EXPECT_EQ(crossed.suffix_len[3], 0U);
}

TEST(Hash, KnowsLabelBoundaries) {
  EXPECT_NE(name("ab.c").hash(), name("a.bc").hash());
  EXPECT_NE(name("a.a").hash(), name("a.a.a").hash());
  EXPECT_NE(name("aaaa.test").hash(), name("aaaaa.test").hash());
}

}  // namespace
}  // namespace sallyport
