// The text below the language: what YAML may hold here, and hostile files (REL-10, CFG-01 "a line with NUL").
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "found.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Row {
  const char* why;
  std::string text;
  std::string said;  // the first diagnostic; "" for valid
  const char* repair;
};
class Yaml : public testing::TestWithParam<Row> {};

TEST_P(Yaml, IsReadOrRefusedWithItsPlace) {
  const LoadOutcome outcome = load_policy(GetParam().text, "p");
  if (GetParam().said.empty()) {
    EXPECT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
    return;
  }
  ASSERT_FALSE(outcome.diagnostics.empty());
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(found(outcome.diagnostics)[0], GetParam().said) << render(outcome.diagnostics, false);
  if (GetParam().repair != nullptr) EXPECT_EQ(outcome.diagnostics[0].repair, GetParam().repair);
}

std::string domains(std::string_view list) {
  return "version: 1\nrules:\n  - name: r\n    action: deny\n    domains: " + std::string(list) + "\n";
}

INSTANTIATE_TEST_SUITE_P(
    Texts, Yaml,
    testing::ValuesIn<Row>({
        {"UnquotedStar", domains("[*.example.com]"), "P002 5:15 an unquoted `*` means a YAML alias",
         "write \"*.example.com\" in quotes"},
        {"UnquotedStarInABlock", domains("\n      - *.example.com"), "P002 6:9 an unquoted `*` means a YAML alias",
         "write \"*.example.com\" in quotes"},
        {"UnquotedTwoStars", domains("[**.example.com]"), "P002 5:15 an unquoted `*` means a YAML alias",
         "write \"**.example.com\" in quotes"},
        {"Nul", std::string("version: 1\nru\0les: []\n", 22), "P002 2:3 a NUL octet",
         "a policy is text; is this the right file?"},
        {"NotUtf8", "version: 1\n# \xff\n", "P002 2:3 not UTF-8", "save the file as UTF-8"},
        {"OverlongUtf8", "version: 1\n# \xc0\xaf\n", "P002 2:3 not UTF-8", "save the file as UTF-8"},
        {"Surrogate", "version: 1\n# \xed\xa0\x80\n", "P002 2:3 not UTF-8", "save the file as UTF-8"},
        {"CutInsideACharacter", "version: 1\n# \xe2\x82", "P002 2:3 not UTF-8", "save the file as UTF-8"},
        {"RightToLeftOverride", "version: 1\n# \xe2\x80\xae\n", "P002 2:3 a hidden character, U+202E", "remove it"},
        {"ZeroWidthSpace", domains("[\"a\xe2\x80\x8b.example\"]"), "P002 5:17 a hidden character, U+200B", "remove it"},
        {"Escape", "version: 1\n# \x1b[2J\n", "P002 2:3 a hidden character, U+001B", "remove it"},
        {"BareCarriageReturn", "version: 1\rrules: []\n", "P002 1:11 a carriage return without a line feed",
         "end lines with a line feed"},
        {"CarriageReturnLineFeed", "version: 1\r\nrules: []\r\n", "", ""},
        {"ByteOrderMark", "\xef\xbb\xbfversion: 1\n", "", ""},
        {"Utf16", std::string("\xff\xfev\0e\0r\0", 8), "P002 1:1 not UTF-8", "save the file as UTF-8"},
        {"TwoDocuments", "version: 1\n---\nversion: 1\n", "P002 3:1 a second YAML document",
         "one file holds one policy: remove the `---` between them"},
        {"TwoDocumentsTheSecondEmpty", "version: 1\n---\n", "P002 3:1 a second YAML document",
         "one file holds one policy: remove the `---` between them"},
        {"OneDocumentWithMarks", "---\nversion: 1\n...\n", "", ""},
        {"Tag", "version: !!int 1\n", "P002 1:10 YAML tags have no meaning here", nullptr},
        {"TagOnAMapping", "version: 1\nclients: !evil {}\n", "P002 2:10 YAML tags have no meaning here", nullptr},
        {"TabIndentation", "version: 1\nrules:\n\t- name: r\n", "P002 3:1 a tab in the indentation",
         "indent with spaces"},
        {"Anchor",
         "version: 1\nrules:\n  - { name: a, action: deny, domains: &d [a.example] }\n  - { name: b, action: allow, "
         "domains: *d, ports: [1] }\n",
         "P021 4:13 rule `b` can never take effect", "all it covers is decided before it by `a`"},
        {"UnknownAlias", "version: 1\nrules: *nothing\n", "P002 2:8 an unquoted `*` means a YAML alias",
         "write \"*nothing\" in quotes"},
        {"AliasOfItself", "version: 1\nrules: &r [*r]\n", "P002 2:12 an alias that contains itself",
         "write the values out"},
        {"MergeKey", "version: 1\n<<: { default: allow }\n", "P003 2:1 unknown key `<<`",
         "YAML merge keys are not supported; write the keys out"},
        {"KeyAList", "version: 1\n? [a]\n: 1\n", "P005 2:3 expected a key, found a list", ""},
        {"TruncatedInAList", "version: 1\nrules:\n  - name: r\n    domains: [a.example, b.exa",
         "P002 4:14 the bracket `[` is never closed", "close it with `]`"},
        {"TruncatedInAMapping", "version: 1\nrules:\n  - { name: r, domains: [a.example]\n",
         "P002 3:5 the brace `{` is never closed", "close it with `}`"},
        {"BracketForgottenBeforeTheNextRule", domains("[a.example, \"b[.example\"  # ]\n  - name: s\n"),
         "P002 5:14 the bracket `[` is never closed", "close it with `]`"},
        {"TruncatedInAString", "version: 1\nrules:\n  - name: \"r", "P002 3:11 the quote `\"` is never closed",
         "close it with another `\"`"},
        {"TruncatedInAStringInAList", "version: 1\nrules:\n  - name: r\n    domains: [\"a.example]\n    ports: [443]\n",
         "P002 4:15 the quote `\"` is never closed", "close it with another `\"`"},
        {"TwoColonsInAMapping", "version: 1\nrules:\n  - { name: a: b, action: deny }\n",
         "P002 3:14 a second `:` in one value", "put the value in quotes, or each key on a line of its own"},
        {"TwoKeysOnALine", "version: 1\nrules:\n  - name: r action: allow\n", "P002 3:19 a second `:` in one value",
         "put the value in quotes, or each key on a line of its own"},
        {"KeyTooFarToTheRight", "version: 1\nrules:\n  - name: r\n      action: allow\n",
         "P002 4:7 a key where none can stand", "keys of one mapping start in the same column, below each other"},
        {"KeyTooFarToTheLeft", "version: 1\nrules:\n  - name: r\n   action: allow\n",
         "P002 4:4 this line does not fit the ones above it",
         "keys of one mapping start in the same column, and so do the `- ` of one list"},
        {"BracketClosedByABrace", domains("[a.example}"), "P002 5:14 the bracket `[` is not closed by its own kind",
         "close it with `]`"},
        {"BracketThatNothingOpens", "version: 1\nrules: ]\n", "P002 2:8 a closing bracket that nothing opens",
         "remove it, or open it"},
        {"V6AddressesInAList",
         "version: 1\nrules:\n  - { name: r, action: deny, addresses: [2001:db8::/32, ::1, fe80::1, \"::\"] }\n", "",
         ""},
        {"V6AddressThatEndsInAColon", "version: 1\nrules:\n  - { name: r, action: deny, addresses: [fe80::] }\n",
         "P005 3:42 expected a single value, found a mapping",
         "a `:` at the end of a word makes a mapping: put it in quotes"},
    }),
    [](const auto& row) { return row.param.why; });

TEST(Yaml, NestingIsBounded) {
  std::string text = "version: 1\nrules: ";
  for (int i = 0; i < 100'000; ++i) text += '[';
  const LoadOutcome outcome = load_policy(text, "p");
  EXPECT_THAT(codes_of(outcome.diagnostics), ElementsAre("P002"));
  EXPECT_EQ(outcome.diagnostics[0].message, "nested deeper than 32 levels");
}

TEST(Yaml, BlockNestingIsBounded) {
  std::string text = "version: 1\nrules:\n";
  for (int i = 0; i < 2000; ++i) text += std::string(static_cast<std::size_t>(i) + 1, ' ') + "a:\n";
  EXPECT_THAT(codes_of(load_policy(text, "p").diagnostics), ElementsAre("P002"));
}

TEST(Yaml, AliasesCannotMultiplyWithoutBound) {  // billion laughs
  std::string text = "version: 1\nrules:\n  - &r { name: r, action: deny, domains: &d [";
  for (int i = 0; i < 300; ++i) text += "h" + std::to_string(i) + ".example, ";
  text += "] }\n";
  for (int i = 0; i < 3000; ++i) text += "  - *r\n";  // a million values
  const LoadOutcome outcome = load_policy(text, "p");
  EXPECT_FALSE(outcome.ok());
  bool told = false;
  for (const Diagnostic& d : outcome.diagnostics) told |= d.message.starts_with("aliases multiply this file");
  EXPECT_TRUE(told);
}

// 10 MB each, made to cost the reader more than they cost the writer.
TEST(Yaml, BombsAreRefusedAndCostNoMoreThanTheirSize) {
  constexpr std::size_t kOctets = 10u << 20;
  const auto repeated = [](std::string_view piece) {
    std::string all;
    all.reserve(kOctets + piece.size());
    while (all.size() < kOctets) all += piece;
    return all;
  };
  const std::string list = "[" + [] {
    std::string names;
    for (int i = 0; i < 1000; ++i) names += "n" + std::to_string(i) + ".example, ";
    return names;
  }() + "z.example]";
  const std::pair<const char*, std::string> kBombs[] = {
      {"brackets", "version: 1\nrules: " + repeated("[")},
      {"braces", "version: 1\nclients: " + repeated("{a: ")},
      {"aliases of a long list", "version: 1\nx: &a " + list + "\nrules: [" + repeated("*a, ") + "*a]\n"},
      {"unknown keys", "version: 1\n" + repeated("k: v\n")},
      {"quotes", "version: 1\ndefault: \"" + repeated("\\\"") + "\n"},
      {"NUL", "version: 1\n" + std::string(kOctets, '\0')},
  };
  for (const auto& [what, text] : kBombs) {
    const LoadOutcome outcome = load_policy(text, "p");
    EXPECT_FALSE(outcome.ok()) << what;
    EXPECT_LE(outcome.diagnostics.size(), 1001u) << what;
    EXPECT_LT(render(outcome.diagnostics, false).size(), 1u << 20) << what;
  }
}

TEST(Yaml, AliasesThatShareAListWork) {
  const LoadOutcome outcome = load_policy(
      "version: 1\nrules:\n  - { name: a, action: allow, domains: &d [a.example], ports: [443] }\n"
      "  - { name: b, action: allow, domains: *d, ports: [22] }\n",
      "p");
  ASSERT_TRUE(outcome.ok()) << render(outcome.diagnostics, false);
  EXPECT_EQ(outcome.model->rules[1].domains[0].text(), "a.example");
}

}  // namespace
}  // namespace sallyport
