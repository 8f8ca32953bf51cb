// REL-09: a policy of 10,000 names and 1,000 wildcards. What is measured is this thread's own processor time, which
// neighbours on the machine do not lengthen; bounds of a ratio leave room for the caches that they share.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "language/load.hpp"

namespace sallyport {
namespace {

std::uint64_t thread_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string policy_of(unsigned names, unsigned wildcards) {
  std::string out = "version: 1\nrules:\n  - name: many\n    action: allow\n    domains:\n";
  for (unsigned i = 0; i < names; ++i)
    out += "      - host" + std::to_string(i) + ".site" + std::to_string(i % 97) + ".example\n";
  for (unsigned i = 0; i < wildcards; ++i) out += "      - \"*.zone" + std::to_string(i) + ".test\"\n";
  return out;
}

struct Compiled {
  explicit Compiled(const std::string& yaml) {
    const LoadOutcome loaded = load_policy(yaml, "scale.yaml");
    EXPECT_TRUE(loaded.ok());
    bytes = *compile(*loaded.model, 1);
    snapshot = *Snapshot::open(bytes);
  }
  std::vector<std::byte> bytes;
  std::shared_ptr<const Snapshot> snapshot;
};

Effect decided(const Snapshot& snapshot, const DomainName& name) {
  Query query;
  query.layer = Layer::kDns;
  query.name = &name;
  query.known = kKnowName;
  query.deferred = kKnowAddress | kKnowPort;
  return snapshot.decide(query).effect;
}

std::vector<DomainName> asked() {
  std::vector<DomainName> out;
  for (unsigned i = 0; i < 4000; ++i) {
    const std::string n = std::to_string(i * 7919 % 12'000);
    out.push_back(*DomainName::parse("host" + n + ".site" + std::to_string(i * 7919 % 12'000 % 97) + ".example"));
    out.push_back(*DomainName::parse("a.b.zone" + std::to_string(i % 1200) + ".test"));
    out.push_back(*DomainName::parse("no" + n + ".elsewhere.test"));
  }
  return out;
}

// The least of several rounds, of all lookups together.
std::uint64_t least_ns(const Snapshot& snapshot, const std::vector<DomainName>& names) {
  std::uint64_t least = ~std::uint64_t{0};
  unsigned passed = 0;
  for (int round = 0; round < 9; ++round) {
    const std::uint64_t began = thread_ns();
    for (const DomainName& name : names) passed += decided(snapshot, name) != Effect::kDeny;
    least = std::min(least, thread_ns() - began);
  }
  EXPECT_LE(passed, 9 * names.size());
  return std::max<std::uint64_t>(least, 1);
}

TEST(Scale, TenThousandNamesAreRight) {  // REL-09
  const Compiled compiled(policy_of(10'000, 1'000));
  unsigned allowed = 0, denied = 0;
  for (const DomainName& name : asked()) (decided(*compiled.snapshot, name) == Effect::kDeny ? denied : allowed)++;
  // host0 to host9999 and zone0 to zone999 are there.
  EXPECT_GT(allowed, 6'000u);
  EXPECT_GT(denied, 4'000u);
  EXPECT_EQ(decided(*compiled.snapshot, *DomainName::parse("host9999.site8.example")), Effect::kContinue);
  EXPECT_EQ(decided(*compiled.snapshot, *DomainName::parse("host10000.site9.example")), Effect::kDeny);
  EXPECT_EQ(decided(*compiled.snapshot, *DomainName::parse("a.b.c.zone999.test")), Effect::kContinue);
  EXPECT_EQ(decided(*compiled.snapshot, *DomainName::parse("zone999.test")), Effect::kDeny);
}

TEST(Scale, NinetyNineOfAHundredLookupsAreUnderTwentyMicroseconds) {  // REL-09
  const Compiled compiled(policy_of(10'000, 1'000));
  const std::vector<DomainName> names = asked();
  std::vector<std::uint64_t> took;
  took.reserve(names.size());
  for (const DomainName& name : names) {  // each for the first time: cold
    const std::uint64_t began = thread_ns();
    (void)decided(*compiled.snapshot, name);
    took.push_back(thread_ns() - began);
  }
  std::sort(took.begin(), took.end());
  const std::uint64_t p99 = took[took.size() * 99 / 100];
  RecordProperty("p50_ns", std::to_string(took[took.size() / 2]));
  RecordProperty("p99_ns", std::to_string(p99));
  EXPECT_LT(p99, 20'000u) << "ns, two reads of the clock included";
}

TEST(Scale, CostIsOfLabelsNotOfNames) {  // REL-09
  const Compiled many(policy_of(10'000, 1'000)), few(policy_of(10, 1));
  const double names = static_cast<double>(least_ns(*many.snapshot, asked())) / least_ns(*few.snapshot, asked());
  EXPECT_LT(names, 8) << "a thousand times the names; a search of any kind would be 14 steps more";

  std::vector<DomainName> shallow, deep;
  for (unsigned i = 0; i < 4000; ++i) {
    const std::string n = std::to_string(i);
    shallow.push_back(*DomainName::parse("x" + n + ".zone5.test"));
    std::string text;
    while (text.size() < 200) text += "a.";
    deep.push_back(*DomainName::parse(text + "x" + n + ".zone5.test"));
  }
  const double labels = deep[0].labels() / 3.0;
  const double ratio = static_cast<double>(least_ns(*many.snapshot, deep)) / least_ns(*many.snapshot, shallow);
  EXPECT_LT(ratio, labels) << "103 labels";
}

}  // namespace
}  // namespace sallyport
