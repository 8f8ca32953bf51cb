// One form of a request's path: what servers read alike is alike, and what they read differently has no form.
#include "names/request_path.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace sallyport {
namespace {

std::string canonical(std::string_view target) {
  std::array<char, kMostPathOctets> room;
  const Result<std::string_view> path = canonical_path(target, room);
  return path.ok() ? std::string(*path) : "refused";
}

struct Case {
  const char* why;
  const char* target;
  const char* path;  // "refused": nobody can say
};

class RequestPath : public testing::TestWithParam<Case> {};

TEST_P(RequestPath, HasOneForm) { EXPECT_EQ(canonical(GetParam().target), GetParam().path); }

INSTANTIATE_TEST_SUITE_P(Paths, RequestPath,
                         testing::ValuesIn<Case>({
                             {"Plain", "/repos/acme/x", "/repos/acme/x"},
                             {"Root", "/", "/"},
                             {"QueryIsNoPath", "/a?b=/../c;d//", "/a"},
                             {"TrailingSlashStays", "/a/", "/a/"},
                             {"CaseStays", "/A/b", "/A/b"},
                             {"EncodedLetter", "/%61dmin", "/admin"},
                             {"EncodedDotInName", "/a%2Etxt", "/a.txt"},
                             {"EncodedTilde", "/%7euser", "/~user"},
                             {"EncodedSubDelimiter", "/a%28b%29", "/a(b)"},
                             {"EncodedSpaceUpperCase", "/a%20b", "/a%20b"},
                             {"EncodedUtf8", "/caf%c3%a9", "/caf%C3%A9"},
                             {"EncodedQuestionMark", "/a%3Fb", "/a%3Fb"},
                             {"ThreeDotsAreAName", "/.../a", "/.../a"},
                             {"DotFile", "/.git", "/.git"},
                             {"DotSegment", "/a/../b", "refused"},
                             {"DotSegmentAtEnd", "/a/..", "refused"},
                             {"SingleDot", "/./a", "refused"},
                             {"EncodedDotSegment", "/a/%2e%2E/b", "refused"},
                             {"HalfEncodedDotSegment", "/a/.%2e/b", "refused"},
                             {"EmptySegment", "//a", "refused"},
                             {"EmptySegmentInside", "/a//b", "refused"},
                             {"Parameters", "/admin;x=1", "refused"},
                             {"ParametersBehindDots", "/a/..;/b", "refused"},
                             {"EncodedSemicolon", "/admin%3Bx", "refused"},
                             {"EncodedSlash", "/a%2Fb", "refused"},
                             {"Backslash", "/a\\b", "refused"},
                             {"EncodedBackslash", "/a%5cb", "refused"},
                             {"EncodedNul", "/a%00b", "refused"},
                             {"EncodedLineFeed", "/a%0ab", "refused"},
                             {"EncodedTwice", "/%2561dmin", "refused"},
                             {"BrokenPercent", "/a%zz", "refused"},
                             {"PercentAtEnd", "/a%", "refused"},
                             {"PercentAndOneDigit", "/a%4", "refused"},
                             {"Fragment", "/a#b", "refused"},
                             {"NotAscii", "/caf\xc3\xa9", "refused"},
                             {"Asterisk", "*", "refused"},
                             {"NoSlash", "a", "refused"},
                             {"Empty", "", "refused"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(RequestPath, TooLongHasNoForm) {
  EXPECT_EQ(canonical("/" + std::string(kMostPathOctets, 'a')), "refused");
  EXPECT_NE(canonical("/" + std::string(kMostPathOctets - 1, 'a')), "refused");
}

// To bring it to its form twice changes nothing, and no form has an octet that a path must encode.
TEST(RequestPath, TheFormIsStable) {
  std::mt19937 random(7);
  static constexpr std::string_view kParts[] = {"/", "a",   "%61", "%2e", ".",   "%2F", ";",
                                                "%", "%25", "?",   "B",   "%c3", "*"};
  std::size_t formed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string target = "/";
    for (unsigned n = random() % 8; n > 0; --n) target += kParts[random() % std::size(kParts)];
    const std::string once = canonical(target);
    if (once == "refused") continue;
    ++formed;
    EXPECT_EQ(canonical(once), once) << target;
    EXPECT_EQ(once.find_first_of("?;\\#"), std::string::npos) << target;
    EXPECT_EQ(("/" + once + "/").find("/../"), std::string::npos) << target;
  }
  EXPECT_GT(formed, 1000u);
}

TEST(RequestPath, PatternsHaveTheSameForm) {
  EXPECT_EQ(*canonical_path_pattern("/%61/*"), "/a/*");
  EXPECT_EQ(*canonical_path_pattern("*"), "*");
  EXPECT_EQ(*canonical_path_pattern("*.json"), "*.json");
  for (const char* wrong : {"", "a/*", "/a/../b", "/a?b", "/a//b", "/a;b", "/%2A"}) {
    EXPECT_FALSE(canonical_path_pattern(wrong).ok()) << wrong;
  }
}

TEST(RequestPath, MethodsAreUpperCase) {
  EXPECT_TRUE(is_canonical_method("GET"));
  EXPECT_TRUE(is_canonical_method("M-SEARCH"));
  EXPECT_FALSE(is_canonical_method("get"));
  EXPECT_FALSE(is_canonical_method(""));
}

}  // namespace
}  // namespace sallyport
