// A writer killed at any instruction leaves every binding that it had told somebody about, and the table usable; the
// reader's walks and the follower's log miss none of them.
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
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using Found = BindingTable::Found;

constexpr unsigned kNames = 40;
constexpr std::uint32_t kCapacity = 48;  // expired entries are used again all the time; live ones never fill it
constexpr std::uint64_t kStepMs = 1000;

// What the writer has told its clients, in memory that outlives it. `until` is written last.
struct Answer {
  std::atomic<std::uint64_t> sequence, until;
};
struct Shared {
  std::atomic<std::uint64_t> rounds;
  std::array<Answer, kNames> answers;
};

// Few addresses: long chains.
BindingTable::Binding binding(unsigned n) {
  return {1 + n % 2, std::nullopt, Address::v4(0xcb007100u + n % 3),
          *DomainName::parse(std::string(1 + n, 'x') + ".n" + std::to_string(n)), 30'000};
}

[[noreturn]] void write_forever(BindingTable& table, Shared& shared, unsigned seed) {
  std::mt19937 random(seed);
  while (true) {
    const std::uint64_t now = shared.rounds.load() * kStepMs;
    const unsigned n = random() % kNames;
    shared.answers[n].until.store(0);
    const auto sequence = table.record(binding(n), now);
    if (!sequence.ok()) _exit(9);
    shared.answers[n].sequence.store(*sequence);
    shared.answers[n].until.store(now + 30'000);
    shared.rounds.fetch_add(1);
  }
}

class KilledRecorder : public ::testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(KilledRecorder, LosesNoBinding) {
  std::mt19937 random(GetParam());
  BindingTable table = *BindingTable::create({kCapacity, kCapacity, GetParam()});
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Shared& shared = *static_cast<Shared*>(memory);
  shared.rounds = 1;
  std::map<std::pair<std::uint64_t, std::string>, std::uint64_t> followed;  // client, name -> sequence
  std::uint64_t cursor = 0;

  for (int life = 0; life < 40; ++life) {
    const std::uint64_t until = shared.rounds + 20 + random() % 200;
    const unsigned spin = random() % 400;
    const pid_t writer = fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      BindingTable mine = *BindingTable::map(table.fd());  // as a worker does
      write_forever(mine, shared, random());
    }
    while (shared.rounds.load() < until) {
    }
    for (volatile unsigned i = 0; i < spin; i = i + 1) {  // dies somewhere inside a round
    }
    kill(writer, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);

    const std::uint64_t now = shared.rounds.load() * kStepMs;
    const auto check = [&](const std::string& when) {
      std::vector<Found> out(kNames);
      while (true) {
        const auto count = table.next(cursor, now, out);
        if (!count.ok()) continue;
        if (*count == 0) break;
        for (std::size_t i = 0; i < *count; ++i)
          followed[{out[i].client_id, std::string(out[i].name->text())}] = out[i].sequence;
      }
      for (unsigned n = 0; n < kNames; ++n) {
        if (shared.answers[n].until.load() <= now) continue;  // never told, or no longer promised
        const auto b = binding(n);
        const std::size_t count = table.find(b.client_id, b.addr, now, out);
        const Found* found = nullptr;
        for (std::size_t i = 0; i < count; ++i) {
          if (*out[i].name == b.name) found = &out[i];
        }
        ASSERT_NE(found, nullptr) << when << " seed " << GetParam() << " life " << life << " name " << n;
        ASSERT_EQ(found->sequence, shared.answers[n].sequence.load()) << when << " seed " << GetParam();
        ASSERT_TRUE(followed.contains({b.client_id, std::string(b.name.text())}))
            << when << ": not followed, name " << n;
        ASSERT_EQ((followed[{b.client_id, std::string(b.name.text())}]), found->sequence) << when;
      }
    };
    check("before repair");
    if (HasFatalFailure()) return;
    // The next writer takes over the dead one's lock.
    BindingTable::Binding fresh = binding(0);
    fresh.client_id = 77;  // not the dead one's, which it would mend
    ASSERT_TRUE(table.record(fresh, now).ok());
    check("after repair");
    if (HasFatalFailure()) return;
    shared.rounds.fetch_add(10);
  }
  // Complete again: no slot was lost, none is used twice.
  const std::uint64_t end = (shared.rounds.load() + 3600) * kStepMs;
  for (unsigned n = 0; n < kCapacity; ++n) {
    BindingTable::Binding b = binding(n % kNames);
    b.client_id = 100 + n;
    ASSERT_TRUE(table.record(b, end).ok()) << n << ": an entry was lost, seed " << GetParam();
  }
  BindingTable::Binding more = binding(0);
  more.client_id = 999;
  ASSERT_FALSE(table.record(more, end).ok());
  munmap(memory, sizeof(Shared));
}

INSTANTIATE_TEST_SUITE_P(Seeds, KilledRecorder, ::testing::Range(0u, 10u));

}  // namespace
}  // namespace sallyport
