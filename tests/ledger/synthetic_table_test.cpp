#include "ledger/synthetic_table.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace sallyport {
namespace {

using State = SyntheticTable::State;
constexpr std::uint64_t kGrace = SyntheticTable::kGraceMs;

DomainName name_of(const std::string& text) { return *DomainName::parse(text); }
DomainName numbered(unsigned n) { return name_of("n" + std::to_string(n) + ".example.test"); }

SyntheticTable table_of(std::uint32_t capacity) {
  return *SyntheticTable::create({capacity, {0xfd, 0x5a, 0x11, 0x19, 0x00, 0x70, 0x00, 0x01}, 0x1234567});
}

std::string found(const SyntheticTable& table, std::uint64_t client, std::uint32_t index, std::uint64_t now) {
  const auto result = table.find(client, index, now);
  if (result.state == State::kFound) return std::string(result.name->text());
  return result.state == State::kStale ? "stale" : "unknown";
}

TEST(Synthetic, SameIndexWhileLive) {
  SyntheticTable table = table_of(100);
  const auto a = table.assign(1, name_of("a.test"), 1000, 60'000);
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(*a, 2u);
  EXPECT_EQ(*table.assign(1, name_of("a.test"), 50'000, 60'000), *a);
  EXPECT_EQ(*table.assign(1, name_of("b.test"), 50'000, 60'000), 3u);
  EXPECT_EQ(*table.assign(2, name_of("a.test"), 50'000, 60'000), 4u);  // another client, another address
  EXPECT_EQ(found(table, 1, *a, 110'000), "a.test");                   // extended by the second answer
  EXPECT_EQ(found(table, 2, *a, 110'000), "unknown");
  EXPECT_EQ(found(table, 1, 99, 0), "unknown");
  EXPECT_EQ(table.used(), 3u);
}

TEST(Synthetic, ShorterTtlNeverShortens) {
  SyntheticTable table = table_of(1);
  const auto index = table.assign(1, name_of("a.test"), 0, 60'000);
  ASSERT_TRUE(table.assign(1, name_of("a.test"), 1, 1).ok());
  EXPECT_EQ(found(table, 1, *index, 60'000 + kGrace - 1), "a.test");
}

TEST(Synthetic, NoReuseBeforeTtlAndGrace) {  // CEL-15
  SyntheticTable table = table_of(2);
  const auto a = table.assign(1, name_of("a.test"), 0, 1000);
  const auto b = table.assign(1, name_of("b.test"), 500, 1000);
  const auto full = table.assign(1, name_of("c.test"), 1000 + kGrace - 1, 1000);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(found(table, 1, *a, 1000 + kGrace - 1), "a.test");
  EXPECT_EQ(found(table, 1, *a, 1000 + kGrace), "stale");
  const auto c = table.assign(1, name_of("c.test"), 1000 + kGrace, 1000);
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(*c, *a);
  EXPECT_EQ(found(table, 1, *c, 1000 + kGrace), "c.test");
  EXPECT_EQ(found(table, 1, *b, 1000 + kGrace), "b.test");
  EXPECT_FALSE(table.assign(1, name_of("d.test"), 1000 + kGrace + 1, 1000).ok());
}

TEST(Synthetic, StaleNameComesBackToItsOwnIndex) {
  SyntheticTable table = table_of(2);
  const auto a = table.assign(1, name_of("a.test"), 0, 1000);
  EXPECT_EQ(found(table, 1, *a, 10 * kGrace), "stale");
  EXPECT_EQ(*table.assign(1, name_of("a.test"), 10 * kGrace, 1000), *a);
  EXPECT_EQ(found(table, 1, *a, 10 * kGrace), "a.test");
}

// Random assignments and lookups on a tiny pool, against the plainest table that keeps the promise.
class AgainstOracle : public ::testing::TestWithParam<unsigned> {};

TEST_P(AgainstOracle, NeverMisMapped) {  // CEL-15; GetParam(): seed
  std::mt19937 random(GetParam());
  const std::uint32_t capacity = 1 + random() % 20;
  SyntheticTable table = table_of(capacity);
  const SyntheticTable reader = *SyntheticTable::map(table.fd());
  struct Row {
    std::uint64_t client;
    std::string name;
    std::uint64_t expires;
  };
  std::map<std::uint32_t, Row> oracle;
  std::uint64_t now = 1'000'000;
  unsigned exhausted = 0;
  for (int step = 0; step < 3000; ++step) {
    now += random() % 3 == 0 ? random() % (kGrace / 4) : random() % 100;
    const std::uint64_t client = 1 + random() % 2;
    const DomainName name = numbered(random() % 30);
    const std::uint32_t ttl = random() % 100'000;
    const auto index = table.assign(client, name, now, ttl);

    std::uint32_t expected = 0;
    bool reusable = oracle.size() < capacity;
    for (const auto& [i, row] : oracle) {
      if (row.client == client && row.name == name.text()) expected = i;
      reusable |= row.expires + kGrace <= now;
    }
    if (expected != 0) {
      ASSERT_TRUE(index.ok()) << "seed " << GetParam() << " step " << step;
      ASSERT_EQ(*index, expected);
      oracle[*index].expires = std::max(oracle[*index].expires, now + ttl);
    } else if (index.ok()) {
      const auto before = oracle.find(*index);
      if (before != oracle.end()) {
        ASSERT_LE(before->second.expires + kGrace, now) << "seed " << GetParam() << " step " << step;
      }
      oracle[*index] = {client, std::string(name.text()), now + ttl};
    } else {
      ASSERT_FALSE(reusable) << "seed " << GetParam() << " step " << step;
      ++exhausted;
    }
    ASSERT_LE(oracle.size(), capacity);
    for (const auto& [i, row] : oracle) {
      ASSERT_EQ(found(reader, row.client, i, now), now < row.expires + kGrace ? row.name : "stale")
          << "seed " << GetParam();
      ASSERT_EQ(found(reader, 3 - row.client, i, now), "unknown");
    }
  }
  if (capacity < 10) {
    EXPECT_GT(exhausted, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstOracle, ::testing::Range(0u, 20u));

TEST(Synthetic, EveryIndexIsUniqueAndPlain) {
  SyntheticTable table = table_of(SyntheticTable::kMaxCapacity);
  std::set<std::uint32_t> seen;
  for (unsigned n = 0; n < SyntheticTable::kMaxCapacity; ++n) {
    const auto index = table.assign(7, numbered(n), 0, 1000);
    ASSERT_TRUE(index.ok()) << n;
    ASSERT_TRUE(seen.insert(*index).second);
    ASSERT_NE(*index & 0xff, 0u);
    ASSERT_NE(*index & 0xff, 255u);
    ASSERT_GE(*index, 2u);
    ASSERT_LT(*index, 1u << 17);
    ASSERT_EQ(table.index_of(table.v4(*index)), *index);
    ASSERT_EQ(table.index_of(table.v6(*index)), *index);
  }
  EXPECT_FALSE(table.assign(7, numbered(SyntheticTable::kMaxCapacity), 0, 1000).ok());
  for (unsigned n = 0; n < SyntheticTable::kMaxCapacity; n += 997) {
    EXPECT_EQ(found(table, 7, *table.assign(7, numbered(n), 0, 1000), 0), numbered(n).text());
  }
}

TEST(Synthetic, Addresses) {
  const SyntheticTable table = table_of(1000);
  EXPECT_EQ(table.v4(2).text(), "198.18.0.2");
  EXPECT_EQ(table.v4(257).text(), "198.18.1.1");
  EXPECT_EQ(table.v6(257).text(), "fd5a:1119:70:1::101");
  const auto index = [&](const char* text) { return table.index_of(*Address::parse(text)).value_or(0); };
  EXPECT_EQ(index("198.18.0.2"), 2u);
  EXPECT_EQ(index("fd5a:1119:70:1::2"), 2u);
  EXPECT_EQ(index("198.18.0.1"), 0u);  // the gateway's
  EXPECT_EQ(index("198.18.0.255"), 0u);
  EXPECT_EQ(index("198.18.1.0"), 0u);
  EXPECT_EQ(index("198.19.1.1"), 0u);  // beyond the capacity
  EXPECT_EQ(index("fd5a:1119:70:1:1::2"), 0u);
  EXPECT_EQ(index("203.0.113.2"), 0u);
  EXPECT_TRUE(table.contains(*Address::parse("198.18.0.1")));
  EXPECT_TRUE(table.contains(*Address::parse("198.19.255.255")));
  EXPECT_TRUE(table.contains(*Address::parse("fd5a:1119:70:1:1::2")));
  EXPECT_FALSE(table.contains(*Address::parse("198.20.0.2")));
  EXPECT_FALSE(table.contains(*Address::parse("198.17.255.255")));
  EXPECT_FALSE(table.contains(*Address::parse("fd5a:1119:70:2::2")));
}

TEST(Synthetic, MemoryOnlyForWhatWasAssigned) {
  SyntheticTable table = table_of(SyntheticTable::kMaxCapacity);
  for (unsigned n = 0; n < 100; ++n) ASSERT_TRUE(table.assign(1, numbered(n), 0, 1000).ok());
  for (std::uint32_t i = 0; i < 1u << 17; ++i) table.find(1, i, 0);  // a client that connects everywhere
  struct stat status{};
  ASSERT_EQ(fstat(table.fd(), &status), 0);
  EXPECT_GT(status.st_size, 30'000'000);
  EXPECT_LT(status.st_blocks * 512, 1'000'000);
}

TEST(Synthetic, LongestNameComesBackWhole) {
  std::string text;
  while (text.size() < 240) text += "abcdefghi.";
  text += std::string(253 - text.size(), 'z');
  SyntheticTable table = table_of(10);
  const auto index = table.assign(1, name_of(text), 0, 1000);
  EXPECT_EQ(found(table, 1, *index, 0), text);
}

TEST(Synthetic, CapacityIsBounded) {
  EXPECT_FALSE(SyntheticTable::create({.capacity = 0}).ok());
  EXPECT_FALSE(SyntheticTable::create({.capacity = SyntheticTable::kMaxCapacity + 1}).ok());
}

TEST(Synthetic, ForeignFilesAreRefused) {
  const SyntheticTable table = table_of(10);
  const auto copy_with = [&](std::size_t at, int change, bool seal) {
    struct stat status{};
    EXPECT_EQ(fstat(table.fd(), &status), 0);
    std::vector<char> bytes(static_cast<std::size_t>(status.st_size));
    EXPECT_EQ(pread(table.fd(), bytes.data(), bytes.size(), 0), status.st_size);
    bytes[at] = static_cast<char>(bytes[at] ^ change);
    const int fd = memfd_create("copy", MFD_ALLOW_SEALING);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), status.st_size);
    if (seal) EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    const auto mapped = SyntheticTable::map(fd);
    close(fd);
    return mapped.ok();
  };
  EXPECT_TRUE(copy_with(0, 0, true));
  EXPECT_FALSE(copy_with(0, 0, false));  // could be cut under a reader
  for (std::size_t at = 0; at < 56; ++at) EXPECT_FALSE(copy_with(at, 0x10, true)) << at;
  EXPECT_FALSE(SyntheticTable::map(-1).ok());
  const int empty = memfd_create("empty", MFD_ALLOW_SEALING);
  fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_FALSE(SyntheticTable::map(empty).ok());
  close(empty);
}

TEST(Synthetic, DamagedEntryIsUnknown) {
  SyntheticTable table = table_of(4);
  const auto index = table.assign(1, name_of("needle-in-the-file.test"), 0, 1000);
  struct stat status{};
  ASSERT_EQ(fstat(table.fd(), &status), 0);
  const auto size = static_cast<std::size_t>(status.st_size);
  auto* bytes = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(), 0));
  void* at = memmem(bytes, size, "needle", 6);
  ASSERT_NE(at, nullptr);
  static_cast<char*>(at)[2] = 'x';
  EXPECT_EQ(found(table, 1, *index, 0), "unknown");
  static_cast<char*>(at)[2] = 'e';
  EXPECT_EQ(found(table, 1, *index, 0), "needle-in-the-file.test");
  munmap(bytes, size);
}

TEST(Synthetic, ThreadsAgreeAndReadersSeeWholeNames) {
  SyntheticTable table = table_of(64);
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0}, hits{0}, refused{0};
  std::vector<std::thread> threads;
  // The clock of each writer jumps past TTL and grace, so that entries change names all the time. A name says its
  // client.
  for (unsigned w = 0; w < 3; ++w) {
    threads.emplace_back([&, w] {
      for (unsigned i = 0; i < 20'000; ++i) {
        const std::uint64_t client = 1 + i % 3;
        const std::string text =
            std::string(1 + i % 60, 'a') + ".c" + std::to_string(client) + ".w" + std::to_string(w);
        if (!table.assign(client, name_of(text), std::uint64_t{i} * kGrace, 1).ok()) ++refused;
      }
    });
  }
  for (unsigned r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      std::mt19937 random(r);
      while (!stop) {
        const std::uint64_t client = 1 + random() % 3;
        const auto result = table.find(client, 2 + random() % 64, 0);
        if (result.state != State::kFound) continue;
        ++hits;
        const std::string_view text = result.name->text();
        const std::size_t dot = text.find('.');
        if (text.substr(0, dot).find_first_not_of('a') != text.npos ||
            text.substr(dot, 4) != ".c" + std::to_string(client) + ".")
          ++wrong;
      }
    });
  }
  for (unsigned w = 0; w < 3; ++w) threads[w].join();
  stop = true;
  for (std::size_t r = 3; r < threads.size(); ++r) threads[r].join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(hits, 0u);
  EXPECT_LT(refused, 60'000u);  // writers whose clock is behind find no reusable entry
}

TEST(Synthetic, OneNameFromManyThreadsHasOneIndex) {
  SyntheticTable table = table_of(1000);
  std::vector<std::vector<std::uint32_t>> indexes(4, std::vector<std::uint32_t>(200));
  std::vector<std::thread> threads;
  for (auto& mine : indexes) {
    threads.emplace_back([&] {
      for (unsigned n = 0; n < 200; ++n) mine[n] = *table.assign(1, numbered(n), 0, 1000);
    });
  }
  for (auto& thread : threads) thread.join();
  for (unsigned t = 1; t < 4; ++t) EXPECT_EQ(indexes[t], indexes[0]);
  EXPECT_EQ(table.used(), 200u);
}

}  // namespace
}  // namespace sallyport
