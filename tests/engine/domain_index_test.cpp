// The domain index alone, through the tables of a compiled snapshot.
#include "engine/domain_index.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "engine/tables.hpp"
#include "oracle.hpp"
#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::name;
using small_world::pattern;

std::vector<std::uint32_t> found(const Tables& tables, const DomainName& name) {
  const auto list = tables.index.find(name);
  return {list.begin(), list.end()};
}

PolicyModel rules_of(const std::vector<std::vector<std::string>>& rules) {
  PolicyModel policy;
  for (const auto& domains : rules) {
    RuleModel rule;
    rule.action = Action::kAllow;
    for (const auto& text : domains) rule.domains.push_back(pattern(text));
    policy.rules.push_back(rule);
  }
  return policy;
}

using Rules = std::vector<std::uint32_t>;

TEST(DomainIndex, MergesAncestorsIntoTheLongestHit) {
  const PolicyModel policy =
      rules_of({{"*.example.org"}, {".api.example.org"}, {"v1.api.example.org"}, {"org", "*.org"}});
  const auto bytes = compile(policy, 1);
  ASSERT_TRUE(bytes.ok());
  const auto tables = verify(*bytes);
  ASSERT_TRUE(tables.ok()) << tables.error().message;
  EXPECT_EQ(found(*tables, name("org")), (Rules{3}));
  EXPECT_EQ(found(*tables, name("example.org")), (Rules{3}));
  EXPECT_EQ(found(*tables, name("x.example.org")), (Rules{0, 3}));
  EXPECT_EQ(found(*tables, name("api.example.org")), (Rules{0, 1, 3}));
  EXPECT_EQ(found(*tables, name("v1.api.example.org")), (Rules{0, 1, 2, 3}));
  EXPECT_EQ(found(*tables, name("x.v1.api.example.org")),
            (Rules{0, 1, 3}));  // an exact entry does not end its wildcard
  EXPECT_EQ(found(*tables, name("xapi.example.org")), (Rules{0, 3}));
  EXPECT_EQ(found(*tables, name("example.com")), Rules{});
}

TEST(DomainIndex, EmptyPolicyFindsNothing) {
  const auto bytes = compile({}, 1);
  const auto tables = verify(*bytes);
  ASSERT_TRUE(tables.ok());
  EXPECT_EQ(found(*tables, name("a.test")), Rules{});
}

// Labels as many as a name can have, past the depths that DomainName stores hashes of and past one word of the depth
// mask.
TEST(DomainIndex, AnyDepth) {
  std::string deepest = "x";
  for (int i = 1; i < 127; ++i) deepest += ".x";
  for (const unsigned depth : {1u, 2u, 3u, 15u, 16u, 17u, 63u, 64u, 65u, 66u, 126u, 127u}) {
    const std::string text = deepest.substr(0, 2 * depth - 1);
    const PolicyModel policy = rules_of({{text}, {"." + text}});
    const auto bytes = compile(policy, 1);
    const auto tables = verify(*bytes);
    ASSERT_TRUE(tables.ok()) << depth;
    for (unsigned labels = 1; labels <= 127; ++labels) {
      const DomainName asked = name(deepest.substr(0, 2 * labels - 1));
      EXPECT_EQ(found(*tables, asked), oracle::listed(policy, asked)) << labels << " labels against " << depth;
    }
    EXPECT_EQ(found(*tables, name("y" + text.substr(1))), oracle::listed(policy, name("y" + text.substr(1)))) << depth;
  }
}

class IndexAgainstOracle : public testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(IndexAgainstOracle, AllNamesUpToFourLabels) {
  static constexpr const char* kLabels[] = {"a", "b", "aa"};
  std::vector<std::string> all;
  std::vector<std::string> layer = {""};
  for (int depth = 0; depth < 4; ++depth) {
    std::vector<std::string> next;
    for (const auto& tail : layer) {
      for (const char* label : kLabels) next.push_back(tail.empty() ? label : std::string(label) + "." + tail);
    }
    all.insert(all.end(), next.begin(), next.end());
    layer = next;
  }
  std::mt19937 random(GetParam());
  std::vector<std::vector<std::string>> rules(1 + random() % 6);
  for (auto& rule : rules) {
    for (unsigned n = random() % 8; n > 0; --n) {
      static constexpr const char* kForms[] = {"", "*.", "."};
      rule.push_back(kForms[random() % 3] + all[random() % all.size()]);
    }
  }
  const PolicyModel policy = rules_of(rules);
  const auto bytes = compile(policy, GetParam());
  ASSERT_TRUE(bytes.ok());
  const auto tables = verify(*bytes);
  ASSERT_TRUE(tables.ok()) << tables.error().message << " seed " << GetParam();
  for (const auto& text : all) {
    EXPECT_EQ(found(*tables, name(text)), oracle::listed(policy, name(text))) << text << " seed " << GetParam();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, IndexAgainstOracle, testing::Range(0u, 200u));

TEST(DomainIndex, ManyNames) {  // overflow buckets, and a filter that is asked about names it never saw
  constexpr unsigned kNames = 50'000;
  PolicyModel policy;
  policy.rules.resize(3);
  for (unsigned i = 0; i < kNames; ++i) {
    const std::string text = "n" + std::to_string(i) + ".d" + std::to_string(i % 977) + (i % 2 ? ".test" : ".co.test");
    policy.rules[i % 3].domains.push_back(pattern(i % 5 ? text : "." + text));
  }
  const auto bytes = compile(policy, 1);
  ASSERT_TRUE(bytes.ok());
  const auto tables = verify(*bytes);
  ASSERT_TRUE(tables.ok()) << tables.error().message;
  ASSERT_GT(tables->header->sections[format::kBuckets].count, tables->header->primary_buckets) << "no overflow to test";
  for (unsigned i = 0; i < kNames; ++i) {
    const std::string text = "n" + std::to_string(i) + ".d" + std::to_string(i % 977) + (i % 2 ? ".test" : ".co.test");
    ASSERT_EQ(found(*tables, name(text)), (Rules{i % 3})) << text;
    ASSERT_EQ(found(*tables, name("w." + text)), (i % 5 ? Rules{} : Rules{i % 3})) << text;
    ASSERT_EQ(found(*tables, name("m" + text)), Rules{}) << text;  // NAM-03, as a sibling
  }
}

TEST(DomainIndex, SizePerName) {  // PERF.md: at most 18 octets a name over the text
  constexpr unsigned kNames = 100'000;
  PolicyModel policy;
  policy.rules.resize(1);
  std::size_t text = 0;
  for (unsigned i = 0; i < kNames; ++i) {
    policy.rules[0].domains.push_back(pattern("host" + std::to_string(i) + ".example.test"));
    text += policy.rules[0].domains.back().name.text().size();
  }
  const auto bytes = compile(policy, 1);
  ASSERT_TRUE(bytes.ok());
  const double per_name = static_cast<double>(bytes->size() - text) / kNames;
  EXPECT_LE(per_name, 18.0);
}

}  // namespace
}  // namespace sallyport
