// A writer killed at any instruction leaves every address it handed out with its name, and the table usable.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <random>
#include <string>

#include "ledger/synthetic_table.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kGrace = SyntheticTable::kGraceMs;
constexpr unsigned kNames = 40;
constexpr std::uint32_t kCapacity = 16;  // entries change names all the time

// What the writer has told its clients, in memory that outlives it. `at` is written last.
struct Answer {
  std::atomic<std::uint32_t> index;
  std::atomic<std::uint64_t> at;
};
struct Shared {
  std::atomic<std::uint64_t> rounds;
  std::array<Answer, kNames> answers;
};

DomainName name_of(unsigned n) { return *DomainName::parse(std::string(1 + n, 'x') + ".n" + std::to_string(n)); }

// Assigns until it is killed. Time moves by 1/8 of the grace each round.
[[noreturn]] void write_forever(SyntheticTable& table, Shared& shared, unsigned seed) {
  std::mt19937 random(seed);
  while (true) {
    const std::uint64_t now = shared.rounds.load() * (kGrace / 8);
    const unsigned n = random() % kNames;
    shared.answers[n].at.store(0);
    const auto index = table.assign(1, name_of(n), now, 1000);
    if (index.ok()) {
      shared.answers[n].index.store(*index);
      shared.answers[n].at.store(now + 1);
    }
    shared.rounds.fetch_add(1);
  }
}

class KilledWriter : public ::testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(KilledWriter, LeavesNoMisMapping) {
  std::mt19937 random(GetParam());
  SyntheticTable table = *SyntheticTable::create({kCapacity, {0xfd}, GetParam()});
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Shared& shared = *static_cast<Shared*>(memory);
  shared.rounds = 1;

  for (int life = 0; life < 40; ++life) {
    const std::uint64_t until = shared.rounds + 20 + random() % 200;
    const unsigned spin = random() % 400;
    const pid_t writer = fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      SyntheticTable mine = *SyntheticTable::map(table.fd());  // as a worker does
      write_forever(mine, shared, random());
    }
    while (shared.rounds.load() < until) {
    }
    for (volatile unsigned i = 0; i < spin; i = i + 1) {  // dies somewhere inside a round
    }
    kill(writer, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status));

    const std::uint64_t now = shared.rounds.load() * (kGrace / 8);
    const auto check = [&](const char* when) {
      std::map<std::uint32_t, unsigned> owners;
      for (unsigned n = 0; n < kNames; ++n) {
        const std::uint64_t at = shared.answers[n].at.load();
        if (at == 0 || at - 1 + 1000 + kGrace <= now) continue;  // never told, or no longer promised
        const std::uint32_t index = shared.answers[n].index.load();
        const auto found = table.find(1, index, now);
        ASSERT_EQ(found.state, SyntheticTable::State::kFound)
            << when << " seed " << GetParam() << " life " << life << " name " << n;
        ASSERT_EQ(found.name->text(), name_of(n).text()) << when << " seed " << GetParam() << " life " << life;
        ASSERT_TRUE(owners.emplace(index, n).second) << when << ": one index, two names";
      }
    };
    check("before repair");
    if (HasFatalFailure()) return;
    // The next writer takes over the dead one's lock; later the pool is all reusable, and complete again.
    ASSERT_TRUE(table.assign(1, name_of(random() % kNames), now + 2 * kGrace, 0).ok());
    shared.rounds.fetch_add(40);  // past every promise
  }
  const std::uint64_t end = shared.rounds.load() * kGrace;
  for (unsigned n = 0; n < kCapacity; ++n) {
    ASSERT_TRUE(table.assign(2, name_of(n), end, 1000).ok()) << "an entry was lost, seed " << GetParam();
  }
  ASSERT_FALSE(table.assign(2, name_of(kCapacity), end, 1000).ok());
  munmap(memory, sizeof(Shared));
}

INSTANTIATE_TEST_SUITE_P(Seeds, KilledWriter, ::testing::Range(0u, 10u));

}  // namespace
}  // namespace sallyport
