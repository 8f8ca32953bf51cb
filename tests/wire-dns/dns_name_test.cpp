#include "wire/dns_name.hpp"

#include <gtest/gtest.h>

#include "message_builder.hpp"

namespace sallyport::wire {
namespace {

WireName name_of(std::string_view text) {
  const Result<WireName> name = WireName::from_text(text);
  EXPECT_TRUE(name.ok()) << text;
  return name.ok() ? *name : WireName();
}

// 255 octets with the closing zero: three labels of 63, one of 61.
const std::string kLongest =
    std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');

struct BadName {
  const char* why;
  Octets octets;
  ErrorCode code;
};
void PrintTo(const BadName& row, std::ostream* out) { *out << row.why; }

class NamesRefused : public testing::TestWithParam<BadName> {};

TEST_P(NamesRefused, WithoutMovingTheOffset) {
  std::size_t offset = 0;
  const Result<WireName> name = WireName::read(GetParam().octets, offset);
  ASSERT_FALSE(name.ok());
  EXPECT_EQ(name.error().code, GetParam().code) << name.error().message;
  EXPECT_EQ(offset, 0u);
}

INSTANTIATE_TEST_SUITE_P(Wire, NamesRefused,
                         testing::ValuesIn<BadName>({
                             {"Empty", {}, ErrorCode::kIncomplete},
                             {"NoClosingZero", {1, 'a'}, ErrorCode::kIncomplete},
                             {"LabelCutShort", {5, 'a', 'b'}, ErrorCode::kIncomplete},
                             {"Label64", MessageBuilder().label(std::string(64, 'a')).u8(0).octets,
                              ErrorCode::kTooLong},                                               // DNS-16
                             {"Octets256", name_octets(kLongest + "d"), ErrorCode::kTooLong},     // DNS-16
                             {"Labels128", name_octets(repeat("a.", 128)), ErrorCode::kTooLong},  // DNS-16
                             {"Pointer", {0xc0, 0x00}, ErrorCode::kMalformed},                    // DNS-15
                             {"PointerAfterLabel", {1, 'a', 0xc0, 0x00}, ErrorCode::kMalformed},
                             {"Reserved0x80", {0x80, 0}, ErrorCode::kTooLong},
                             {"Reserved0x40", {0x41, 1, 0}, ErrorCode::kTooLong},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(WireNameTest, ExactlyTheLimitsAreHandled) {  // DNS-16
  const Result<WireName> longest = WireName::from_wire(name_octets(kLongest));
  ASSERT_TRUE(longest.ok());
  EXPECT_EQ(longest->octets().size(), 255u);
  EXPECT_EQ(longest->text(), kLongest);
  const Result<WireName> deepest = WireName::from_wire(name_octets(repeat("a.", 127)));
  ASSERT_TRUE(deepest.ok());
  EXPECT_EQ(deepest->labels(), 127u);
  EXPECT_EQ(deepest->octets().size(), 255u);
}

TEST(WireNameTest, OctetsAfterTheNameAreRefused) {
  EXPECT_FALSE(WireName::from_wire(Octets{1, 'a', 0, 0}).ok());
  Octets message{1, 'a', 0, 7};
  std::size_t offset = 0;
  EXPECT_TRUE(WireName::read(message, offset).ok());
  EXPECT_EQ(offset, 3u);
}

TEST(WireNameTest, CaseIsKeptAndDoesNotCount) {
  const WireName mixed = name_of("API.ExAmPlE.TeSt");
  EXPECT_EQ(mixed, name_of("api.example.test"));
  EXPECT_FALSE(mixed.has_same_case(name_of("api.example.test")));
  EXPECT_EQ(mixed.text(), "API.ExAmPlE.TeSt");
  EXPECT_TRUE(mixed.lower().has_same_case(name_of("api.example.test")));
  // '[' is '{' less 0x20, and neither is a letter (RFC 4343).
  EXPECT_NE(name_of("a[b"), name_of("a{b"));
  EXPECT_NE(name_of("a@b"), name_of("a`b"));
}

TEST(WireNameTest, CaseBitsReachEveryLetterAndNothingElse) {
  const WireName name = name_of("a-1.bc_d.test");
  EXPECT_EQ(name.with_case(Octets{0xff}).text(), "A-1.BC_D.TEST");
  EXPECT_EQ(name.with_case(Octets{0x00}).text(), "a-1.bc_d.test");
  EXPECT_EQ(name.with_case(Octets{0x05, 0x00}).text(), "A-1.bC_d.test");
  EXPECT_EQ(name.with_case(Octets{}).text(), name.text());
}

struct WithinRow {
  const char* why;
  const char* name;
  const char* ancestor;
  bool within;
};
void PrintTo(const WithinRow& row, std::ostream* out) { *out << row.why; }
class Within : public testing::TestWithParam<WithinRow> {};
TEST_P(Within, WholeLabels) {
  EXPECT_EQ(name_of(GetParam().name).is_within(name_of(GetParam().ancestor)), GetParam().within);
}
INSTANTIATE_TEST_SUITE_P(Names, Within,
                         testing::ValuesIn<WithinRow>({
                             {"Itself", "a.test", "A.TEST", true},
                             {"Below", "x.y.a.test", "a.test", true},
                             {"TextSuffix", "nota.test", "a.test", false},
                             {"Above", "test", "a.test", false},
                             {"Root", "a.test", ".", true},
                             {"OtherTop", "a.test", "a.best", false},
                         }),
                         [](const auto& row) { return row.param.why; });

struct TextRow {
  const char* why;
  Octets octets;
  const char* text;
};
void PrintTo(const TextRow& row, std::ostream* out) { *out << row.why; }
class Text : public testing::TestWithParam<TextRow> {};
TEST_P(Text, IsPrintableAndUnambiguous) {  // DNS-17
  const Result<WireName> name = WireName::from_wire(GetParam().octets);
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->text(), GetParam().text);
}
INSTANTIATE_TEST_SUITE_P(Names, Text,
                         testing::ValuesIn<TextRow>({
                             {"Root", {0}, "."},
                             {"Plain", {1, 'a', 2, 'b', 'C', 0}, "a.bC"},
                             {"Nul", {2, 'a', 0, 1, 'b', 0}, "a\\000.b"},
                             {"DotInside", {3, 'a', '.', 'b', 0}, "a\\.b"},
                             {"Backslash", {1, '\\', 0}, "\\\\"},
                             {"Quote", {1, '"', 0}, "\\034"},
                             {"CrLf", {2, '\r', '\n', 0}, "\\013\\010"},
                             {"HighOctets", {2, 0x80, 0xff, 0}, "\\128\\255"},
                             {"SpaceAndDelete", {2, 0x20, 0x7f, 0}, "\\032\\127"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(WireNameTest, TheWorstNameFitsTheTextBuffer) {
  const Result<WireName> name = WireName::from_wire(MessageBuilder()
                                                        .label(std::string(63, '\0'))
                                                        .label(std::string(63, '\0'))
                                                        .label(std::string(63, '\0'))
                                                        .label(std::string(61, '\0'))
                                                        .u8(0)
                                                        .octets);
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->text().size(), 250u * 4 + 3);
  EXPECT_LT(name->text().size(), WireName::TextBuffer().size());
}

TEST(WireNameTest, TextFormThatIsNotPlainIsRefused) {
  for (const char* text : {"", ".a", "a..b", "..", "a\\.b"}) EXPECT_FALSE(WireName::from_text(text).ok()) << text;
  EXPECT_FALSE(WireName::from_text(std::string(64, 'a')).ok());
  EXPECT_FALSE(WireName::from_text(kLongest + "d").ok());
  EXPECT_TRUE(WireName::from_text(kLongest + ".").ok());
  EXPECT_TRUE(name_of(".").is_root());
}

// Names as read_compressed() meets them; the header is 12 octets of no matter.
struct PointerRow {
  const char* why;
  Octets after_header;
  std::size_t start;
  const char* text;  // nullptr: refused
  std::size_t end;
};
void PrintTo(const PointerRow& row, std::ostream* out) { *out << row.why; }
class Pointers : public testing::TestWithParam<PointerRow> {};
TEST_P(Pointers, LeadBackwards) {  // DNS-15
  Octets message(12, 0);
  message.insert(message.end(), GetParam().after_header.begin(), GetParam().after_header.end());
  std::size_t offset = GetParam().start;
  const Result<WireName> name = WireName::read_compressed(message, offset);
  ASSERT_EQ(name.ok(), GetParam().text != nullptr) << (name.ok() ? name->text() : name.error().message);
  if (!name.ok()) return;
  EXPECT_EQ(name->text(), GetParam().text);
  EXPECT_EQ(offset, GetParam().end);
}
INSTANTIATE_TEST_SUITE_P(Names, Pointers,
                         testing::ValuesIn<PointerRow>({
                             {"None", {1, 'a', 0}, 12, "a", 15},
                             {"Whole", {1, 'a', 0, 0xc0, 12}, 15, "a", 17},
                             {"Tail", {1, 'a', 0, 1, 'b', 0xc0, 12}, 15, "b.a", 19},
                             {"TwoHops", {1, 'a', 0, 1, 'b', 0xc0, 12, 1, 'c', 0xc0, 15}, 19, "c.b.a", 23},
                             {"ToTheRoot", {0, 0xc0, 12}, 13, ".", 15},
                             {"Itself", {0xc0, 12}, 12, nullptr, 0},
                             {"Loop", {1, 'a', 0xc0, 12}, 12, nullptr, 0},
                             {"LoopOfTwo", {1, 'a', 0xc0, 16, 1, 'b', 0xc0, 12}, 16, nullptr, 0},
                             {"Forward", {0xc0, 14, 1, 'a', 0}, 12, nullptr, 0},
                             {"IntoOwnLabels", {3, 'a', 1, 'b', 0xc0, 14}, 12, nullptr, 0},
                             {"IntoTheHeader", {1, 'a', 0xc0, 4}, 12, nullptr, 0},
                             {"PastTheEnd", {1, 'a', 0xff, 0xff}, 12, nullptr, 0},
                             {"ToAPointer", {1, 'a', 0, 0xc0, 12, 0xc0, 15}, 17, nullptr, 0},
                             {"HalfAPointer", {1, 'a', 0xc0}, 12, nullptr, 0},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(WireNameTest, PointersCannotMakeANameTooLong) {
  MessageBuilder message;
  message.raw(Octets(12, 0)).name(std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c'));
  const std::size_t start = message.octets.size();
  message.label(std::string(62, 'd')).pointer(12);
  std::size_t offset = start;
  const Result<WireName> name = WireName::read_compressed(message.octets, offset);
  ASSERT_FALSE(name.ok());
  EXPECT_EQ(name.error().code, ErrorCode::kTooLong);
}

}  // namespace
}  // namespace sallyport::wire
