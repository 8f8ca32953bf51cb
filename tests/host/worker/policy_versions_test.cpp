// A new policy under threads that decide all the time. Run it under TSan.
#include "host/worker/policy_versions.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "gate_fixture.hpp"

namespace sallyport {
namespace {

PolicyVersion version_of(std::uint64_t generation, std::weak_ptr<const Snapshot>* watch = nullptr) {
  PolicyModel model;
  model.default_action = generation % 2 == 0 ? Action::kAllow : Action::kDeny;
  const auto bytes = *compile(model, generation);
  auto* kept = new std::vector<std::byte>(bytes);
  // The octets live as long as the snapshot does, and are overwritten with its end: a late reader would see it.
  std::shared_ptr<const Snapshot> inner = *Snapshot::open(*kept);
  std::shared_ptr<const Snapshot> snapshot(inner.get(), [inner, kept](const Snapshot*) mutable {
    inner.reset();
    std::fill(kept->begin(), kept->end(), std::byte{0xee});
    delete kept;
  });
  inner.reset();
  if (watch != nullptr) *watch = snapshot;
  return {snapshot, {{5, "cell"}}, {}, nullptr};
}

TEST(PolicyVersions, FreesWhatNobodyHolds) {
  PolicyVersions versions;
  PolicyVersions::Reader busy(versions), idle(versions);
  EXPECT_EQ(busy.now(), nullptr);
  std::weak_ptr<const Snapshot> first, second, third;
  versions.publish(version_of(1, &first));
  EXPECT_EQ(busy.now()->snapshot->generation(), 1u);
  EXPECT_EQ(idle.now()->snapshot->generation(), 1u);
  versions.publish(version_of(2, &second));
  EXPECT_EQ(busy.held()->snapshot->generation(), 1u) << "one generation until it asks again";
  EXPECT_EQ(busy.now()->snapshot->generation(), 2u);
  versions.publish(version_of(3, &third));
  EXPECT_EQ(busy.now()->snapshot->generation(), 3u);
  versions.reclaim();
  EXPECT_FALSE(first.expired()) << "the idle reader holds it";
  EXPECT_TRUE(second.expired()) << "a sleeper holds up its own version alone";
  EXPECT_EQ(versions.retained(), 2u);
  EXPECT_EQ(idle.now()->snapshot->generation(), 3u);
  versions.reclaim();
  EXPECT_TRUE(first.expired());
  EXPECT_EQ(versions.retained(), 1u);
}

TEST(PolicyVersions, AReaderThatEndsHoldsNothing) {
  PolicyVersions versions;
  versions.publish(version_of(1));
  {
    PolicyVersions::Reader reader(versions);
    reader.now();
    versions.publish(version_of(2));
    EXPECT_EQ(versions.retained(), 2u);
  }
  versions.reclaim();
  EXPECT_EQ(versions.retained(), 1u);
}

TEST(PolicyVersions, PublishUnderConcurrentDecisions) {
  PolicyVersions versions;
  versions.publish(version_of(1));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> decisions{0};
  const auto decide = [&] {
    PolicyVersions::Reader reader(versions);
    std::uint64_t last = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      const PolicyVersion* version = reader.now();
      Query query;
      query.layer = Layer::kDial;
      const Verdict verdict = version->snapshot->decide(query);
      // Verdict and generation are of one policy, and generations never go back.
      ASSERT_EQ(verdict.allowed(), verdict.generation % 2 == 0) << verdict.generation;
      ASSERT_EQ(verdict.generation, version->snapshot->generation());
      ASSERT_GE(verdict.generation, last);
      last = verdict.generation;
      decisions.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::thread one(decide), other(decide);
  std::size_t most = 0;
  for (std::uint64_t generation = 2; generation < 2000; ++generation) {
    versions.publish(version_of(generation));
    most = std::max(most, versions.retained());
    if (generation % 16 == 0) std::this_thread::yield();
  }
  while (decisions.load() < 1000) std::this_thread::yield();
  stop = true;
  one.join();
  other.join();
  EXPECT_LE(most, 3u) << "one a reader, and the current one";
  versions.reclaim();
  EXPECT_EQ(versions.retained(), 1u);
}

// Mapped memory of this process, in kB.
long mapped() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmSize:") {
      long kilobytes = 0;
      status >> kilobytes;
      return kilobytes;
    }
  }
  return 0;
}

// As a worker gets it: sealed memory, mapped.
std::shared_ptr<const Snapshot> sealed(const PolicyModel& model, std::uint64_t generation) {
  const auto bytes = *compile(model, generation);
  const int fd = ::memfd_create("policy", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t step = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (step <= 0) return nullptr;
    written += static_cast<std::size_t>(step);
  }
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return nullptr;
  auto snapshot = Snapshot::map(fd);
  ::close(fd);
  return snapshot.ok() ? *snapshot : nullptr;
}

// A million names are benchmarks/engine's; here no verdict is wrong, and the old list's memory is returned each time.
TEST(PolicyVersions, ReloadOfManyNamesWhileReadersDecide) {
  constexpr unsigned kNames = 50'000;
  auto list = std::make_shared<PatternSet>();
  std::vector<DomainName> asked;
  for (unsigned i = 0; i < kNames; ++i) {
    const DomainName name = *DomainName::parse("n" + std::to_string(i) + ".d" + std::to_string(i % 977) + ".test");
    list->add(name, PatternKind::kExactAndBelow);
    if (i % 100 == 0) asked.push_back(name);
  }
  PolicyModel allow, deny;
  allow.rules.resize(1);
  allow.rules[0].lists = {list};
  deny = allow;
  allow.rules[0].action = Action::kAllow;

  PolicyVersions versions;
  versions.publish({sealed(deny, 1), {}, {}, nullptr});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> decisions{0};
  const auto decide = [&] {
    PolicyVersions::Reader reader(versions);
    Query query;
    query.layer = Layer::kTls;
    query.known = kKnowName;
    for (std::size_t i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      query.name = &asked[i % asked.size()];
      const Verdict verdict = reader.now()->snapshot->decide(query);
      ASSERT_EQ(verdict.rule, 0u) << "every name asked for is on both lists";
      ASSERT_EQ(verdict.allowed(), verdict.generation % 2 == 0) << verdict.generation;
      decisions.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::thread one(decide), other(decide);
  long after_two = 0;
  for (std::uint64_t generation = 2; generation <= 12; ++generation) {
    const std::uint64_t before = decisions.load();
    std::shared_ptr<const Snapshot> next = sealed(generation % 2 == 0 ? allow : deny, generation);
    ASSERT_NE(next, nullptr);
    versions.publish({std::move(next), {}, {}, nullptr});
    while (decisions.load() < before + 1000) std::this_thread::yield();  // both readers have moved on, or nearly
    versions.reclaim();
    ASSERT_LE(versions.retained(), 3u) << "one a reader, and the current one";
    if (generation == 3) after_two = mapped();
  }
  stop = true;
  one.join();
  other.join();
  versions.reclaim();
  EXPECT_EQ(versions.retained(), 1u);
  EXPECT_LT(mapped() - after_two, 3 * 1024) << "eight lists of 2 MB went by";
}

// The same through the ABI, with flows that are decided again meanwhile.
class PublishUnderLoad : public GateFixture {};

TEST_F(PublishUnderLoad, DecideAndFlowsFromTwoThreads) {
  const PolicyModel open = allow("api.test"), closed;
  publish(open);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> opened{0}, revoked{0};
  const auto serve = [&] {
    policy::Reader mine(policy::Host(&host_, &host_api()));
    const policy_name api = name("api.test");
    const policy_addr peer = addr("10.0.0.1");
    const auto& flows = flow_extension();
    while (!stop.load(std::memory_order_relaxed)) {
      const policy_query asked = query(api, peer);
      const policy_verdict verdict = mine.decide(asked);
      ASSERT_EQ(verdict.verdict == POLICY_ALLOW, verdict.generation % 2 == 1);
      if (verdict.verdict != POLICY_ALLOW) continue;
      policy_flow* flow = nullptr;
      std::atomic<unsigned> called{0};
      const auto count = [](void* user, std::uint64_t, std::uint16_t) {
        static_cast<std::atomic<unsigned>*>(user)->fetch_add(1);
      };
      if (flows.open(mine.raw(), &asked, &verdict, count, &called, &flow) != POLICY_OK) continue;
      opened.fetch_add(1);
      for (int i = 0; i < 50; ++i) std::this_thread::yield();
      const bool dead = flows.live(flow) == 0;
      flows.close(flow, 0, 0, POLICY_REASON_OK);  // no callback runs or comes after it: `called` goes away
      ASSERT_LE(called.load(), 1u);
      if (dead) ASSERT_EQ(called.load(), 1u);
      revoked.fetch_add(called.load());
    }
  };
  std::thread one(serve), other(serve);
  for (int i = 0; i < 200; ++i) {
    publish(i % 2 == 0 ? closed : open);
    shared_.flows.decide_again(shared_, *shared_.versions.current(), monotonic_ns());
    audit();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stop = true;
  one.join();
  other.join();
  EXPECT_GT(opened.load(), 0u);
  EXPECT_GT(revoked.load(), 0u);
  EXPECT_EQ(shared_.flows.size(), 0u);
}

}  // namespace
}  // namespace sallyport
