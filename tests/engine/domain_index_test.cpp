// The domain index alone, through the tables of a compiled snapshot.
#include "engine/domain_index.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "engine/domain_index_builder.hpp"
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

TEST(DomainIndex, ListsAreFurtherDomains) {
  auto list = std::make_shared<PatternSet>();
  list->add(pattern("*.example.org"));
  list->add(pattern("a.test"));
  list->add(pattern("a.test"));
  PolicyModel policy = rules_of({{"x.example.org"}, {}, {".a.test"}, {}});
  policy.rules[0].lists = {list};
  policy.rules[2].lists = {list, list};
  policy.rules[3].lists = {std::make_shared<PatternSet>()};
  const auto bytes = compile(policy, 1);
  ASSERT_TRUE(bytes.ok());
  const auto tables = verify(*bytes);
  ASSERT_TRUE(tables.ok()) << tables.error().message;
  EXPECT_EQ(found(*tables, name("x.example.org")), (Rules{0, 2}));
  EXPECT_EQ(found(*tables, name("y.x.example.org")), (Rules{0, 2}));
  EXPECT_EQ(found(*tables, name("example.org")), Rules{});
  EXPECT_EQ(found(*tables, name("a.test")), (Rules{0, 2}));
  EXPECT_EQ(found(*tables, name("b.a.test")), (Rules{2}));
  EXPECT_EQ(found(*tables, name("b.test")), Rules{});
  const auto has_domains = [&tables](std::size_t rule) {
    return (tables->rules[rule].flags & format::kRuleDomains) != 0;
  };
  EXPECT_TRUE(has_domains(2));
  EXPECT_FALSE(has_domains(1)) << "a rule without domains is about every name";
  EXPECT_TRUE(has_domains(3)) << "one with an empty list is about none";
}

// Names built to share buckets cost another seed; names that share a whole hash can't be spread, and are not here.
TEST(DomainIndex, ASeedThatCrowdsABucketIsDrawnAgain) {
  constexpr std::uint64_t kSeed = 42;
  constexpr std::size_t kNames = 1000, kCrowded = 31;  // one more than a bucket with its chain holds
  const std::uint64_t primary = static_cast<std::uint64_t>(kNames / (format::Bucket::kSlots * 0.78)) + 1;
  std::vector<RuleModel> rules(1);
  for (unsigned i = 0; rules[0].domains.size() < kCrowded; ++i) {
    const Pattern candidate = pattern("n" + std::to_string(i) + ".test");
    if (scale_to(index_key(candidate.name.hash(), kSeed), primary) == 7) rules[0].domains.push_back(candidate);
  }
  for (unsigned i = 0; rules[0].domains.size() < kNames; ++i) {
    rules[0].domains.push_back(pattern("m" + std::to_string(i) + ".test"));
  }
  ListPool pool;
  DomainIndexBuilder builder;
  builder.collect(rules, pool);
  ASSERT_TRUE(builder.build(kSeed, pool).ok());
  EXPECT_EQ(builder.primary_buckets, primary);
  EXPECT_NE(builder.seed, kSeed);
  format::Header header;
  header.index_seed = builder.seed;
  header.primary_buckets = primary;
  header.depths[0] = builder.depths[0];
  const DomainIndex index(header, builder.filter, builder.buckets, builder.sets, builder.names, pool.lists().data());
  for (const Pattern& each : rules[0].domains) ASSERT_EQ(index.find(each.name).size(), 1u) << each.text();
  EXPECT_TRUE(index.find(name("n.test")).empty());
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
  PolicyModel policy = rules_of(rules);
  for (auto& rule : policy.rules) {  // half of it as lists, one of them shared
    auto list = std::make_shared<PatternSet>();
    for (std::size_t half = rule.domains.size() / 2; half > 0; --half) {
      list->add(rule.domains.back());
      rule.domains.pop_back();
    }
    rule.lists.push_back(list);
    rule.lists.push_back(policy.rules.front().lists.front());
  }
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
  auto list = std::make_shared<PatternSet>();
  std::size_t text = 0;
  for (unsigned i = 0; i < kNames; ++i) {
    list->add(pattern("host" + std::to_string(i) + ".example.test"));
    text += (*list)[i].name.size();
  }
  PolicyModel policy;
  policy.rules.resize(1);
  policy.rules[0].lists = {list};
  const auto bytes = compile(policy, 1);
  ASSERT_TRUE(bytes.ok());
  const double per_name = static_cast<double>(bytes->size() - text) / kNames;
  EXPECT_LE(per_name, 18.0);
}

}  // namespace
}  // namespace sallyport
