// Two processes charge one table, and one is killed at any instruction: what is counted is never less than what was
// allowed, and at most one charge more.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <string>

#include "limits/limits_table.hpp"

namespace sallyport {
namespace {

struct Shared {
  std::atomic<std::uint64_t> allowed, rounds, inside;
};

constexpr LimitsTable::Now kNow{5'000'000'000, 20'000 * 86'400};

class KilledWorker : public testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(KilledWorker, LeavesWhatItCharged) {
  std::mt19937 random(GetParam());
  LimitsTable table = *LimitsTable::create({.capacity = 64, .seed = {GetParam(), 9}});
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Shared& shared = *static_cast<Shared*>(memory);
  LimitsModel limits;
  limits.upload = RateModel{4'000'000'000'000, 86'400};
  const LimitsTable::Key key = table.key(table.rule_hash("r"), "client");
  constexpr std::uint64_t kChunk = 1000;

  std::uint64_t lives = 0;
  for (int life = 0; life < 30; ++life) {
    const std::uint64_t until = shared.rounds + 10 + random() % 500;
    const unsigned spin = random() % 400;
    const pid_t worker = fork();
    ASSERT_GE(worker, 0);
    if (worker == 0) {
      LimitsTable mine = *LimitsTable::map(table.fd());
      for (;;) {
        const LimitsTable::Place place = mine.enter(key, 3, 1, kNow);
        if (!place.valid()) _exit(8);
        if (!mine.charge(key, limits, Charge::kUp, kChunk, kNow).ok()) _exit(9);
        shared.allowed.fetch_add(kChunk);
        mine.leave(place);
        shared.rounds.fetch_add(1);
      }
    }
    while (shared.rounds.load() < until) {
      if (table.charge(key, limits, Charge::kUp, kChunk, kNow).ok()) shared.allowed.fetch_add(kChunk);
    }
    for (volatile unsigned i = 0; i < spin; i = i + 1) {  // dies somewhere inside a round
    }
    kill(worker, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(worker, &status, 0), worker);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    ++lives;
    table.forget_holder(3);
    ASSERT_EQ(table.connections(key, kNow), 0u);
    const std::uint64_t left = table.room(key, limits, Charge::kUp, kNow);
    const std::uint64_t counted = 4'000'000'000'000 - left;
    ASSERT_GE(counted, shared.allowed.load()) << "seed " << GetParam();
    ASSERT_LE(counted, shared.allowed.load() + lives * kChunk) << "seed " << GetParam();
  }
  munmap(memory, sizeof(Shared));
}

INSTANTIATE_TEST_SUITE_P(Seeds, KilledWorker, testing::Range(0u, 4u));

}  // namespace
}  // namespace sallyport
