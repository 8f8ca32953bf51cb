// PatternSet: what goes in comes out, in order, whatever the length.
#include "names/pattern_set.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sallyport {
namespace {

TEST(PatternSet, KeepsOrderKindAndRepetitions) {
  const std::string longest =
      std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');
  const std::vector<std::string> texts = {"a.test", "*.b.test", ".c.test", "a.test", longest, "." + longest};
  PatternSet set;
  for (const std::string& text : texts) set.add(*Pattern::parse(text));
  ASSERT_EQ(set.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(set.pattern(i).text(), texts[i]);
  EXPECT_EQ(set[1].name, "b.test");
  EXPECT_EQ(set[1].kind, PatternKind::kBelow);
  EXPECT_EQ(set[5].name.size(), 253u);
}

TEST(PatternSet, StartsEmpty) {
  const PatternSet set;
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(set.size(), 0u);
}

}  // namespace
}  // namespace sallyport
