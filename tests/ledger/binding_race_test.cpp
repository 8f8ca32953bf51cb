// Writers and readers at once, threads and processes: whole bindings, none missed, every number once.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using Found = BindingTable::Found;

// A name says its client and address, so that a mixture shows.
BindingTable::Binding binding(std::uint64_t client, unsigned addr, unsigned length) {
  const std::string text =
      std::string(1 + length % 60, 'a') + ".c" + std::to_string(client) + ".a" + std::to_string(addr) + ".test";
  return {client, std::nullopt, Address::v4(0xcb007100u + addr), *DomainName::parse(text), 30'000};
}
bool fits(const Found& found) {
  const std::string_view text = found.name->text();
  const unsigned addr = found.addr.v4_host_order() & 0xff;
  return text.ends_with(".c" + std::to_string(found.client_id) + ".a" + std::to_string(addr) + ".test") &&
         text.find_first_not_of('a') == text.find('.');
}

TEST(LedgerRace, ReadersSeeWholeBindings) {
  BindingTable table = *BindingTable::create({64, 24, 5});
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0}, hits{0}, followed{0}, overruns{0};
  std::vector<std::thread> threads;
  // Time flies, so that entries expire and change names all the time; the readers' clock is a writer's.
  std::atomic<std::uint64_t> clock{1};
  for (unsigned w = 0; w < 3; ++w) {
    threads.emplace_back([&, w] {
      std::mt19937 random(w);
      for (std::uint64_t i = 1; i <= 20'000; ++i) {
        (void)table.record(binding(1 + random() % 3, random() % 4, random()), i * 200);
        clock.store(i * 200, std::memory_order_relaxed);
      }
    });
  }
  threads.emplace_back([&] {
    std::mt19937 random(9);
    std::vector<Found> out(16);
    while (!stop) {
      const std::size_t count = table.find(1 + random() % 3, Address::v4(0xcb007100u + random() % 4),
                                           clock.load(std::memory_order_relaxed), out);
      for (std::size_t i = 0; i < count; ++i) wrong += fits(out[i]) ? 0 : 1;
      hits += static_cast<unsigned>(count);
    }
  });
  threads.emplace_back([&] {
    std::uint64_t cursor = 0;
    std::vector<Found> out(16);
    while (!stop) {
      const auto count = table.next(cursor, clock.load(std::memory_order_relaxed), out);
      if (!count.ok()) {
        ++overruns;
        continue;
      }
      for (std::size_t i = 0; i < *count; ++i) wrong += fits(out[i]) ? 0 : 1;
      followed += static_cast<unsigned>(*count);
      table.applied(0, cursor);
      if (table.applied_by_all(1) > table.last()) ++wrong;
    }
  });
  for (unsigned w = 0; w < 3; ++w) threads[w].join();
  stop = true;
  threads[3].join();
  threads[4].join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(hits, 0u);
  EXPECT_GT(followed, 0u);
  EXPECT_EQ(table.repairs(), 0u);
}

TEST(LedgerRace, WhatLivesIsNeverMissed) {
  BindingTable table = *BindingTable::create({64, 64, 5});
  // These stay, in chains that change around them all the time.
  for (unsigned n = 0; n < 8; ++n) ASSERT_TRUE(table.record(binding(1, n % 2, n), 1'000'000).ok());
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (unsigned w = 0; w < 2; ++w) {
    writers.emplace_back([&, w] {
      std::mt19937 random(w);
      for (unsigned i = 0; !stop; ++i) {
        // Already expired by the reader's clock, and used again at once.
        (void)table.record(binding(2 + random() % 60, random() % 4, random()), 900'000 - (i % 2 == 0 ? 60'000 : 0));
      }
    });
  }
  std::vector<Found> out(16);
  unsigned missed = 0;
  for (unsigned i = 0; i < 100'000; ++i) {
    missed += table.find(1, Address::v4(0xcb007100u + i % 2), 1'001'000, out) == 4 ? 0 : 1;
  }
  stop = true;
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(missed, 0u);
}

TEST(LedgerRace, ProcessesGiveEveryNumberOnce) {
  constexpr unsigned kWriters = 3, kEach = 3000;
  BindingTable table = *BindingTable::create({8192, 8192, 5});
  void* memory = mmap(nullptr, kWriters * kEach * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* given = static_cast<std::uint64_t*>(memory);
  std::vector<pid_t> writers;
  for (unsigned w = 0; w < kWriters; ++w) {
    const pid_t writer = fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      BindingTable mine = *BindingTable::map(table.fd());
      for (unsigned i = 0; i < kEach; ++i) {
        // On a loaded machine a holder of the lock may be off its processor for longer than others wait: try again.
        Result<std::uint64_t> sequence = Error{};
        for (int attempt = 0; attempt < 100 && !sequence.ok(); ++attempt)
          sequence = mine.record(binding(1 + i % 7, i % 200, w * 20 + i % 20), 1'000'000 + i);
        if (!sequence.ok()) _exit(1);
        given[w * kEach + i] = *sequence;
      }
      _exit(0);
    }
    writers.push_back(writer);
  }
  // A follower meanwhile, as an enforcer is one.
  std::uint64_t cursor = 0;
  std::vector<Found> out(32);
  std::size_t followed = 0, alive = kWriters;
  while (true) {
    const auto count = table.next(cursor, 1'000'000, out);
    if (count.ok()) {
      for (std::size_t i = 0; i < *count; ++i) ASSERT_TRUE(fits(out[i]));
      followed += *count;
      if (*count > 0) continue;
    }
    if (alive == 0) break;
    int status = 0;
    while (waitpid(-1, &status, WNOHANG) > 0) {
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      --alive;
    }
  }
  std::vector<std::uint64_t> all(given, given + kWriters * kEach);
  std::sort(all.begin(), all.end());
  for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], i + 1);
  EXPECT_EQ(table.last(), kWriters * kEach);
  EXPECT_EQ(cursor, table.last());
  EXPECT_GE(followed, std::size_t{table.used()});
  EXPECT_EQ(table.repairs(), 0u);
  munmap(memory, kWriters * kEach * 8);
}

// Whatever way it falls: once forget() has returned, nothing that was asked before lives, nor begins to.
TEST(LedgerRace, NobodyIsBoundByWhatWasAskedBeforeHeWasForgotten) {
  const Address gone = Address::v4(0xac140007), stays = Address::v4(0xac140008);
  for (unsigned round = 0; round < 300; ++round) {
    BindingTable table = *BindingTable::create({64, 64, round});
    const std::uint64_t asked = 1000, forgotten = 1001;
    std::atomic<unsigned> ready{0};
    std::vector<std::thread> threads;
    for (unsigned w = 0; w < 2; ++w) {
      threads.emplace_back([&, w] {
        ++ready;
        while (ready < 3) {
        }
        for (unsigned i = 0; i < 24; ++i) {
          BindingTable::Binding one = binding(1, i % 4, w);
          one.client = gone;
          (void)table.record(one, 2000, asked);
          BindingTable::Binding other = binding(2, i % 4, w);
          other.client = stays;
          ASSERT_TRUE(table.record(other, 2000, 2000).ok());
        }
      });
    }
    ++ready;
    while (ready < 3) {
    }
    table.forget(gone, forgotten);
    std::vector<Found> out(16);
    for (std::thread& thread : threads) thread.join();
    for (unsigned addr = 0; addr < 4; ++addr) {
      ASSERT_EQ(table.find(1, Address::v4(0xcb007100u + addr), 2000, out), 0u) << "round " << round;
      ASSERT_EQ(table.find(2, Address::v4(0xcb007100u + addr), 2000, out), 2u) << "round " << round;
    }
    std::uint64_t cursor = 0;
    std::vector<Found> all(128);
    const auto count = table.next(cursor, 2000, all);
    ASSERT_TRUE(count.ok());
    for (std::size_t i = 0; i < *count; ++i) ASSERT_EQ(all[i].client_id, 2u) << "round " << round;
  }
}

}  // namespace
}  // namespace sallyport
