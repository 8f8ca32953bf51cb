// decide() allocates nothing: every operator new of this program counts.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/decision_cache.hpp"
#include "small_world.hpp"

namespace {
std::atomic<std::size_t> allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void* operator new[](std::size_t size) { return operator new(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace sallyport {
namespace {

static_assert(noexcept(std::declval<Reader&>().decide(std::declval<const Query&>())));

TEST(Allocation, CounterWorks) {
  const std::size_t before = allocations;
  const auto memory = std::make_unique<int>(1);
  EXPECT_NE(allocations, before) << *memory;
}

TEST(Allocation, DecideNone) {
  const small_world::World world;
  std::size_t queries = 0, allowed = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    const small_world::Compiled compiled(small_world::random_policy(seed));
    ASSERT_NE(compiled.snapshot, nullptr);
    Reader reader(compiled.snapshot);
    DecisionCache cache(seed);
    const std::size_t before = allocations;
    small_world::World::each_flow([&](const small_world::Flow& flow) {
      allowed += reader.decide(world.query(flow)).allowed() ? 1 : 0;
      allowed += cache.decide(*compiled.snapshot, world.query(flow)).allowed() ? 1 : 0;
      ++queries;
    });
    EXPECT_EQ(allocations, before) << "seed " << seed;
  }
  EXPECT_GT(allowed, 0u);
  EXPECT_LT(allowed, 2 * queries);
}

// As large as the issue has it: a hundred rules, a hundred thousand names.
TEST(Allocation, DecideNoneWithManyNames) {
  PolicyModel policy;
  policy.rules.resize(100);
  std::vector<std::shared_ptr<PatternSet>> lists;
  for (RuleModel& rule : policy.rules) {
    rule.action = Action::kAllow;
    lists.push_back(std::make_shared<PatternSet>());
    rule.lists.push_back(lists.back());
  }
  std::vector<DomainName> asked;
  for (unsigned i = 0; i < 100'000; ++i) {
    asked.push_back(small_world::name("n" + std::to_string(i) + ".d" + std::to_string(i % 977) + ".test"));
    lists[i % lists.size()]->add(asked.back(), PatternKind::kExactAndBelow);
  }
  const small_world::Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  Query query;
  query.known = kKnowName;
  std::size_t allowed = 0;
  const std::size_t before = allocations;
  for (const DomainName& name : asked) {
    query.name = &name;
    allowed += compiled.snapshot->decide(query).allowed() ? 1 : 0;
  }
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(allowed, asked.size());
}

TEST(Allocation, LookupsOfASnapshotNone) {
  PolicyModel policy = small_world::random_policy(1);
  policy.clients[0].cells = {"build-*"};
  policy.clients[1].addresses = {small_world::prefix("172.20.0.0/16")};
  const small_world::Compiled compiled(policy);
  ASSERT_NE(compiled.snapshot, nullptr);
  const DomainName name = small_world::name("host");
  const Address client = small_world::address("172.20.0.7");
  std::array<Address, 4> out;
  const std::size_t before = allocations;
  const std::uint64_t groups =
      compiled.snapshot->groups_of_cell("build-1") | compiled.snapshot->groups_of_address(client);
  const std::size_t hosts = compiled.snapshot->host_addresses(name, groups, out);
  EXPECT_EQ(allocations, before) << hosts;
  EXPECT_EQ(groups, 3u);
}

}  // namespace
}  // namespace sallyport
