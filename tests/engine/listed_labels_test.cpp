// Snapshot::listed_labels(): how much of a name is the policy's own, against the slowest way to say it.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "small_world.hpp"

namespace sallyport {
namespace {

using small_world::name;
using small_world::pattern;

std::shared_ptr<const Snapshot> compiled(const PolicyModel& policy, std::vector<std::byte>& bytes) {
  bytes = *compile(policy, 1);
  return *Snapshot::open(bytes);
}

RuleModel rule_of(std::vector<const char*> domains) {
  RuleModel rule;
  rule.action = Action::kAllow;
  for (const char* text : domains) rule.domains.push_back(pattern(text));
  return rule;
}

TEST(ListedLabels, OfAListedNameAndBelowAWildcard) {  // DNS-32
  PolicyModel policy;
  policy.rules = {rule_of({"*.cdn.test", "*.deep.cdn.test", "www.cdn.test"}), rule_of({".pkg.test"}), rule_of({})};
  std::vector<std::byte> bytes;
  const auto snapshot = compiled(policy, bytes);
  EXPECT_EQ(snapshot->listed_labels(name("www.cdn.test"), 0), 3u);
  EXPECT_EQ(snapshot->listed_labels(name("a.cdn.test"), 0), 2u);
  EXPECT_EQ(snapshot->listed_labels(name("a.b.c.cdn.test"), 0), 2u);
  EXPECT_EQ(snapshot->listed_labels(name("a.deep.cdn.test"), 0), 2u)
      << "the shallowest, or each name below it would have "
         "a budget of its own";
  EXPECT_EQ(snapshot->listed_labels(name("a.www.cdn.test"), 0), 2u);
  EXPECT_EQ(snapshot->listed_labels(name("pkg.test"), 1), 2u);
  EXPECT_EQ(snapshot->listed_labels(name("a.pkg.test"), 1), 2u);
  EXPECT_EQ(snapshot->listed_labels(name("a.pkg.test"), 2), 0u) << "another rule let it pass, which takes any name";
  EXPECT_EQ(snapshot->listed_labels(name("a.other.test"), 2), 0u);
  EXPECT_EQ(snapshot->listed_labels(name("a.other.test"), kNoRuleIndex), 0u) << "default: allow";
}

TEST(ListedLabels, AgainstTheSlowestWay) {
  const char* const kLabels[] = {"a", "b", "c"};
  std::vector<std::string> all;
  for (const char* one : kLabels) {
    all.push_back(one);
    for (const char* two : kLabels) {
      all.push_back(std::string(two) + "." + one);
      for (const char* three : kLabels) {
        all.push_back(std::string(three) + "." + two + "." + one);
        for (const char* four : kLabels) all.push_back(std::string(four) + "." + three + "." + two + "." + one);
      }
    }
  }
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    PolicyModel policy;
    for (int i = 0; i < 3; ++i) {
      RuleModel rule;
      rule.action = random() % 4 == 0 ? Action::kDeny : Action::kAllow;
      for (unsigned n = random() % 6; n > 0; --n) {
        const char* const prefix[] = {"", ".", "*."};
        rule.domains.push_back(*Pattern::parse(prefix[random() % 3] + all[3 + random() % (all.size() - 3)]));
      }
      policy.rules.push_back(rule);
    }
    std::vector<std::byte> bytes;
    const auto snapshot = compiled(policy, bytes);
    for (const std::string& text : all) {
      const DomainName asked = name(text);
      for (std::uint32_t rule = 0; rule < policy.rules.size(); ++rule) {
        unsigned expected = 0;
        bool listed = false;
        for (const RuleModel& any : policy.rules) {
          for (const Pattern& p : any.domains) listed = listed || p.name == asked;
        }
        for (const Pattern& p : policy.rules[rule].domains) {
          if (p.kind == PatternKind::kExact || p.name == asked || !asked.is_within(p.name)) continue;
          expected = expected == 0 ? p.name.labels() : std::min(expected, p.name.labels());
        }
        EXPECT_EQ(snapshot->listed_labels(asked, rule), listed ? asked.labels() : expected)
            << text << " rule " << rule << " seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace sallyport
