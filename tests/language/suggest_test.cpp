#include "language/suggest.hpp"

#include <gtest/gtest.h>

#include <array>

namespace sallyport {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsChangesAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("domain", "domains"), 1u);
  EXPECT_EQ(edit_distance("domians", "domains"), 1u);  // a swap is one slip
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
}

TEST(EditDistance, LongWordsAreFarApart) { EXPECT_EQ(edit_distance(std::string(65, 'a'), std::string(65, 'a')), 65u); }

TEST(Nearest, FindsWhatIsNearAndNothingElse) {
  constexpr std::array<std::string_view, 3> kKeys = {"domains", "addresses", "ports"};
  const std::span<const std::string_view> keys(kKeys);
  EXPECT_EQ(nearest("domain", keys), "domains");
  EXPECT_EQ(nearest("port", keys), "ports");
  EXPECT_EQ(nearest("adresses", keys), "addresses");
  EXPECT_EQ(nearest("colour", keys), "");
  EXPECT_EQ(nearest("x", keys), "");
}

TEST(InTicks, ShowsControlOctetsAndCutsBetweenCharacters) {
  EXPECT_EQ(in_ticks(std::string_view("a\0b\x1b", 4)), "`a\\x00b\\x1b`");
  std::string long_value;
  for (int i = 0; i < 60; ++i) long_value += "ü";
  const std::string cut = in_ticks(long_value);
  EXPECT_TRUE(cut.ends_with("ü...`")) << cut;
}

}  // namespace
}  // namespace sallyport
