#include "names/pattern_index.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace sallyport {
namespace {

constexpr const char* kLabels[] = {"a", "b", "c"};

std::vector<DomainName> all_names_up_to_3_labels() {
  std::vector<DomainName> names;
  std::vector<std::string> texts = {""};
  for (int depth = 0; depth < 3; ++depth) {
    std::vector<std::string> longer;
    for (const std::string& text : texts) {
      for (const char* label : kLabels) longer.push_back(std::string(label) + (text.empty() ? "" : "." + text));
    }
    for (const std::string& text : longer) names.push_back(*DomainName::parse(text));
    texts = longer;
  }
  return names;
}

bool covers(const Pattern& outer, const Pattern& inner) {
  const bool apex = inner.kind == PatternKind::kBelow || outer.matches(inner.name);
  const bool below = inner.kind == PatternKind::kExact ||
                     (inner.name.is_within(outer.name) &&
                      (outer.kind == PatternKind::kExactAndBelow || (outer.kind == PatternKind::kBelow)));
  return apex && below;
}

class PatternIndexAgainstOracle : public testing::TestWithParam<unsigned> {};

TEST_P(PatternIndexAgainstOracle, FindsWhatAWalkFinds) {
  const std::vector<DomainName> names = all_names_up_to_3_labels();
  std::mt19937 random(GetParam());
  auto set = std::make_shared<PatternSet>();
  const std::size_t size = random() % 20;
  for (std::size_t i = 0; i < size; ++i)
    set->add({names[random() % names.size()], static_cast<PatternKind>(random() % 3)});
  const PatternIndex index(set);
  EXPECT_TRUE(index.is_whole());
  for (const DomainName& name : names) {
    unsigned best = 0;  // labels, and one more for an exact pattern
    for (std::size_t i = 0; i < set->size(); ++i) {
      const Pattern pattern = set->pattern(i);
      if (pattern.matches(name))
        best = std::max(best, 2 * pattern.name.labels() + (pattern.kind == PatternKind::kExact));
    }
    const auto found = index.longest_match(name);
    ASSERT_EQ(found.has_value(), best != 0) << name.text() << " seed " << GetParam();
    if (found) {
      const Pattern pattern = set->pattern(*found);
      EXPECT_TRUE(pattern.matches(name));
      EXPECT_EQ(2 * pattern.name.labels() + (pattern.kind == PatternKind::kExact), best) << "seed " << GetParam();
    }
    for (const PatternKind kind : {PatternKind::kExact, PatternKind::kBelow, PatternKind::kExactAndBelow}) {
      // One pattern of the set for the apex and another for what is below will do as well.
      bool apex = kind == PatternKind::kBelow, below = kind == PatternKind::kExact;
      for (std::size_t i = 0; i < set->size(); ++i) {
        apex |= set->pattern(i).matches(name);
        below |= covers(set->pattern(i), {name, PatternKind::kBelow});
      }
      EXPECT_EQ(index.covers(name, kind), apex && below) << Pattern{name, kind}.text() << " seed " << GetParam();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PatternIndexAgainstOracle, testing::Range(0u, 200u));

TEST(PatternIndex, RepetitionsMakeNoLongRuns) {
  auto set = std::make_shared<PatternSet>();
  for (int i = 0; i < 10'000; ++i) set->add(*DomainName::parse("a.test"), PatternKind::kExact);
  const PatternIndex index(set);
  EXPECT_TRUE(index.is_whole());
  EXPECT_TRUE(index.covers(*DomainName::parse("a.test"), PatternKind::kExact));
}

}  // namespace
}  // namespace sallyport
