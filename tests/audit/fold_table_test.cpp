// The table of folded decisions against a map, through growth, sweeps and want of room.
#include "audit/fold_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace sallyport {
namespace {

constexpr std::size_t kOctets = 256 * 1024;

// GetParam(): seed.
class FoldTableAgainstMap : public testing::TestWithParam<unsigned> {};

TEST_P(FoldTableAgainstMap, HoldsWhatWasPutIn) {
  std::mt19937 random(GetParam());
  FoldTable table(GetParam(), kOctets);
  std::map<std::string, std::uint64_t> expected;  // key to its count; open ones only
  std::size_t refused = 0, swept = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::string key = std::string(random() % 200, 'k') + std::to_string(random() % 4000);
    const std::uint64_t hash = table.hash_of(key);
    table.prefetch_place(hash);
    table.prefetch_group(hash);
    FoldTable::Group* group = table.find(key, hash);
    const auto known = expected.find(key);
    if (known != expected.end()) {
      ASSERT_NE(group, nullptr) << key;
      ASSERT_TRUE(group->is_open);
      ASSERT_EQ(group->repeats, known->second);
    }
    if (group == nullptr) group = table.insert(key, hash);
    if (group == nullptr) {
      ++refused;
      table.sweep();
      group = table.insert(key, hash);
      if (group == nullptr) {  // all are open
        table.clear();
        expected.clear();
        ASSERT_EQ(table.find(key, hash), nullptr);
        continue;
      }
      ++swept;
    }
    ASSERT_EQ(group->key(), key);
    if (random() % 3 == 0) {  // ends
      group->is_open = false;
      group->repeats = 0;
      expected.erase(key);
    } else {
      group->is_open = true;
      expected[key] = ++group->repeats;
    }
  }
  std::size_t open = 0, groups = 0;
  table.for_each([&](FoldTable::Group& group) {
    ++groups;
    if (!group.is_open) return;
    ++open;
    EXPECT_EQ(expected.at(std::string(group.key())), group.repeats);
  });
  EXPECT_EQ(open, expected.size());
  EXPECT_EQ(groups, table.groups());
  EXPECT_GT(refused, 0u);
  EXPECT_GT(swept, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FoldTableAgainstMap, testing::Range(0U, 10U));

TEST(FoldTable, KeysThatShareAHashAreApart) {
  FoldTable table(1, kOctets);
  const std::uint64_t hash = table.hash_of("a");
  ASSERT_NE(table.insert("a", hash), nullptr);
  EXPECT_EQ(table.find("b", hash), nullptr);
  ASSERT_NE(table.insert("b", hash), nullptr);
  EXPECT_EQ(table.find("a", hash)->key(), "a");
  EXPECT_EQ(table.find("b", hash)->key(), "b");
}

TEST(FoldTable, AnotherSeedIsAnotherOrder) {
  EXPECT_NE(FoldTable(1, kOctets).hash_of("a.test"), FoldTable(2, kOctets).hash_of("a.test"));
}

}  // namespace
}  // namespace sallyport
