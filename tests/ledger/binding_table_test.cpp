#include "ledger/binding_table.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace sallyport {
namespace {

using Binding = BindingTable::Binding;
using Found = BindingTable::Found;

constexpr std::uint64_t kNow = 5'000'000;

DomainName name_of(const std::string& text) { return *DomainName::parse(text); }
Address address(const std::string& text) { return *Address::parse(text); }

Binding binding(std::uint64_t client, const std::string& addr, const std::string& name, std::uint32_t ttl_ms = 60'000) {
  return {client, address("172.20.0.7"), address(addr), name_of(name), ttl_ms};
}

BindingTable table_of(std::uint32_t capacity, std::uint32_t per_client = 0) {
  return *BindingTable::create({capacity, per_client == 0 ? capacity : per_client, 0x1234567});
}

std::set<std::string> names(const BindingTable& table, std::uint64_t client, const std::string& addr,
                            std::uint64_t now) {
  std::vector<Found> out(64);
  const std::size_t count = table.find(client, address(addr), now, out);
  std::set<std::string> text;
  for (std::size_t i = 0; i < count; ++i) EXPECT_TRUE(text.emplace(out[i].name->text()).second) << "twice";
  return text;
}

// Everything that next() has to say now.
std::vector<std::string> follow(const BindingTable& table, std::uint64_t& cursor, std::uint64_t now,
                                std::size_t room = 3) {
  std::vector<std::string> out;
  std::vector<Found> some(room);
  while (true) {
    const Result<std::size_t> count = table.next(cursor, now, some);
    if (!count.ok()) {
      EXPECT_EQ(count.error().code, ErrorCode::kExhausted);
      EXPECT_EQ(cursor, 0u);
      out.push_back("overrun");
      return out;
    }
    if (*count == 0) return out;
    for (std::size_t i = 0; i < *count; ++i) out.emplace_back(some[i].name->text());
  }
}

using Names = std::set<std::string>;
using List = std::vector<std::string>;

TEST(Ledger, FindsWhatWasRecordedForThisClientAlone) {
  BindingTable table = table_of(100);
  EXPECT_EQ(*table.record(binding(1, "203.0.113.1", "a.test"), kNow), 1u);
  EXPECT_EQ(*table.record(binding(1, "203.0.113.1", "b.test"), kNow), 2u);
  EXPECT_EQ(*table.record(binding(2, "203.0.113.1", "c.test"), kNow), 3u);
  EXPECT_EQ(*table.record(binding(1, "2001:db8::1", "d.test"), kNow), 4u);
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow), (Names{"a.test", "b.test"}));
  EXPECT_EQ(names(table, 2, "203.0.113.1", kNow), (Names{"c.test"}));
  EXPECT_EQ(names(table, 1, "2001:db8::1", kNow), (Names{"d.test"}));
  EXPECT_EQ(names(table, 1, "203.0.113.2", kNow), (Names{}));
  EXPECT_EQ(names(table, 3, "203.0.113.1", kNow), (Names{}));
  EXPECT_EQ(names(table, 1, "cb00:7101::", kNow), (Names{}));  // the octets of 203.0.113.1, in the other family
  EXPECT_EQ(table.last(), 4u);
}

TEST(Ledger, ForgetsAClientAndNoOther) {
  BindingTable table = table_of(100);
  Binding other = binding(2, "203.0.113.1", "b.test"), six = binding(3, "2001:db8::1", "c.test");
  other.client = address("172.20.0.8");
  six.client = address("ac14:7::");  // the octets of 172.20.0.7, in the other family
  const Binding cell{4, std::nullopt, address("203.0.113.1"), name_of("d.test"), 60'000};
  for (const Binding& one :
       {binding(1, "203.0.113.1", "a.test"), binding(1, "203.0.113.2", "a.test"), other, six, cell})
    ASSERT_TRUE(table.record(one, kNow).ok());
  EXPECT_EQ(table.forget(address("172.20.0.7"), kNow + 1), 2u);
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 1), (Names{}));
  EXPECT_EQ(names(table, 1, "203.0.113.2", kNow + 1), (Names{}));
  EXPECT_EQ(names(table, 2, "203.0.113.1", kNow + 1), (Names{"b.test"}));
  EXPECT_EQ(names(table, 3, "2001:db8::1", kNow + 1), (Names{"c.test"}));
  EXPECT_EQ(names(table, 4, "203.0.113.1", kNow + 1), (Names{"d.test"}));
  std::uint64_t cursor = 0;
  const List left = follow(table, cursor, kNow + 1);
  EXPECT_EQ(std::set(left.begin(), left.end()), (Names{"b.test", "c.test", "d.test"})) << "who reads all again";
  EXPECT_EQ(table.forget(address("172.20.0.7"), kNow + 2), 0u);
}

TEST(Ledger, WhoeverAskedBeforeHisAddressWasForgottenIsBoundToNothing) {
  BindingTable table = table_of(100);
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "a.test"), kNow, kNow).ok());
  table.forget(address("172.20.0.7"), kNow + 10);
  // The upstream took its time: the question came before.
  const auto late = table.record(binding(1, "203.0.113.1", "a.test"), kNow + 500, kNow + 10);
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 500), (Names{}));
  // The next one at this address asks for itself, for the same name.
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "a.test"), kNow + 500, kNow + 11).ok());
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 500), (Names{"a.test"}));
}

// A share that is full of what has ended has room: the ended ones go first, whatever the heaps believed.
TEST(Ledger, WhatWasForgottenMakesRoom) {
  BindingTable table = table_of(16, 8);
  for (int round = 0; round < 4; ++round) {
    const std::uint64_t now = kNow + static_cast<std::uint64_t>(round) * 1000;
    for (int i = 0; i < 8; ++i) {
      const std::string name = "n" + std::to_string(round) + "-" + std::to_string(i) + ".test";
      ASSERT_TRUE(
          table.record(binding(1, "203.0.113.1", name, 60'000 - static_cast<std::uint32_t>(i) * 100), now).ok());
    }
    EXPECT_EQ(names(table, 1, "203.0.113.1", now).size(), 8u);
    EXPECT_EQ(table.forget(address("172.20.0.7"), now + 1), 8u);
  }
  EXPECT_EQ(table.evictions(), 0u);
}

TEST(Ledger, EveryFieldComesBack) {
  BindingTable table = table_of(10);
  Binding given = binding(~std::uint64_t{0}, "2001:db8::9", std::string(60, 'x') + ".example.test", 45'000);
  given.client = address("2001:db8:1::7");
  ASSERT_TRUE(table.record(given, kNow).ok());
  const BindingTable worker = *BindingTable::map(table.fd());
  std::array<Found, 2> out;
  ASSERT_EQ(worker.find(given.client_id, given.addr, kNow, out), 1u);
  EXPECT_EQ(out[0].client_id, given.client_id);
  EXPECT_EQ(out[0].client, given.client);
  EXPECT_EQ(out[0].addr, given.addr);
  EXPECT_EQ(*out[0].name, given.name);
  EXPECT_EQ(out[0].expires_ms, kNow + 45'000);
  EXPECT_EQ(out[0].sequence, 1u);
  given.client = std::nullopt;  // another binding: this one is of a cell
  ASSERT_TRUE(table.record(given, kNow).ok());
  ASSERT_EQ(worker.find(given.client_id, given.addr, kNow, out), 2u);
  EXPECT_NE(out[0].client.has_value(), out[1].client.has_value());
}

TEST(Ledger, TtlHasAFloorAndACap) {  // DNS-30
  BindingTable table = table_of(10);
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "zero.test", 0), kNow).ok());
  ASSERT_TRUE(table.record(binding(1, "203.0.113.2", "huge.test", 0xffffffff), kNow).ok());
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 29'999), (Names{"zero.test"}));
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 30'000), (Names{}));
  EXPECT_EQ(names(table, 1, "203.0.113.2", kNow + 3'599'999), (Names{"huge.test"}));
  EXPECT_EQ(names(table, 1, "203.0.113.2", kNow + 3'600'000), (Names{}));
  EXPECT_EQ(BindingTable::clamped_ttl(0), 30'000u);
  EXPECT_EQ(BindingTable::clamped_ttl(45'000), 45'000u);
}

TEST(Ledger, RepeatExtendsAndHasANewNumber) {
  BindingTable table = table_of(10);
  ASSERT_EQ(*table.record(binding(1, "203.0.113.1", "a.test", 60'000), kNow), 1u);
  ASSERT_EQ(*table.record(binding(1, "203.0.113.1", "a.test", 60'000), kNow + 50'000), 2u);
  EXPECT_EQ(table.used(), 1u);
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 109'999), (Names{"a.test"}));
  ASSERT_EQ(*table.record(binding(1, "203.0.113.1", "a.test", 30'000), kNow + 51'000), 3u);  // never shortens
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 109'999), (Names{"a.test"}));
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow + 110'000), (Names{}));
  ASSERT_EQ(*table.record(binding(1, "203.0.113.1", "a.test", 30'000), kNow + 200'000), 4u);  // back again
  EXPECT_EQ(table.used(), 1u);
}

TEST(Ledger, FullShareLosesItsOwnEarliest) {
  BindingTable table = table_of(10, 3);
  for (const auto& [name, ttl] : {std::pair{"b.test", 50'000u}, {"a.test", 40'000u}, {"c.test", 60'000u}}) {
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", name, ttl), kNow).ok());
  }
  ASSERT_TRUE(table.record(binding(2, "203.0.113.1", "other.test", 30'000), kNow).ok());
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "d.test", 30'000), kNow).ok());
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow), (Names{"b.test", "c.test", "d.test"}));
  EXPECT_EQ(names(table, 2, "203.0.113.1", kNow), (Names{"other.test"}));  // earlier, and another's
  EXPECT_EQ(table.evictions(), 1u);
}

TEST(Ledger, FullTableTellsAndRecovers) {
  BindingTable table = table_of(4, 3);
  for (std::uint64_t client = 1; client <= 4; ++client) {
    ASSERT_TRUE(table.record(binding(client, "203.0.113.1", "a.test", 30'000 + 1000 * client), kNow).ok());
  }
  const auto full = table.record(binding(5, "203.0.113.1", "a.test"), kNow);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow), (Names{"a.test"}));         // nobody pays for it
  EXPECT_TRUE(table.record(binding(4, "203.0.113.1", "a.test"), kNow).ok());  // repeats go on
  EXPECT_FALSE(table.record(binding(5, "203.0.113.1", "a.test"), kNow + 30'999).ok());
  EXPECT_TRUE(table.record(binding(5, "203.0.113.1", "a.test"), kNow + 31'000).ok());  // the first has expired
  EXPECT_EQ(names(table, 5, "203.0.113.1", kNow + 31'000), (Names{"a.test"}));
  EXPECT_EQ(table.used(), 4u);
  EXPECT_EQ(table.evictions(), 0u);
}

TEST(Ledger, ManyNamesOfOneAddress) {  // a CDN
  BindingTable table = table_of(1000);
  for (int n = 0; n < 500; ++n) {
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "n" + std::to_string(n) + ".test"), kNow).ok());
  }
  std::vector<Found> out(1000);
  EXPECT_EQ(table.find(1, address("203.0.113.1"), kNow, out), 500u);
  EXPECT_EQ(table.find(1, address("203.0.113.1"), kNow, std::span(out).first(7)), 7u);
  EXPECT_EQ(table.find(1, address("203.0.113.1"), kNow, {}), 0u);
}

TEST(Ledger, LogIsFollowed) {
  BindingTable table = table_of(20);
  std::uint64_t cursor = 0;
  EXPECT_EQ(follow(table, cursor, kNow), List{});
  for (const char* name : {"a.test", "b.test", "c.test", "d.test"})
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", name), kNow).ok());
  EXPECT_EQ(follow(table, cursor, kNow), (List{"a.test", "b.test", "c.test", "d.test"}));
  EXPECT_EQ(cursor, 4u);
  EXPECT_EQ(follow(table, cursor, kNow), List{});
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "b.test"), kNow).ok());
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "e.test"), kNow).ok());
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "b.test"), kNow).ok());
  EXPECT_EQ(follow(table, cursor, kNow), (List{"e.test", "b.test"}));  // once, where it stands now
  EXPECT_EQ(cursor, 7u);
  std::uint64_t later = 0;
  EXPECT_EQ(follow(table, later, kNow + 60'000), List{});  // all have ended
  EXPECT_EQ(later, 7u);
}

TEST(Ledger, OverrunIsToldAndReadAgain) {
  BindingTable table = table_of(32);
  std::uint64_t cursor = 0;
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "first.test"), kNow).ok());
  EXPECT_EQ(follow(table, cursor, kNow), (List{"first.test"}));
  for (int n = 0; n < 500; ++n) {
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "n" + std::to_string(n % 20) + ".test"), kNow).ok());
  }
  EXPECT_EQ(follow(table, cursor, kNow), (List{"overrun"}));
  const List all = follow(table, cursor, kNow);
  EXPECT_EQ(all.size(), 21u);
  EXPECT_EQ(cursor, 501u);
}

TEST(Ledger, ReadingAllIsRestartedAnywhere) {
  BindingTable table = table_of(32);
  for (int n = 0; n < 20; ++n) {
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "n" + std::to_string(n) + ".test"), kNow).ok());
  }
  std::uint64_t cursor = 0;
  std::array<Found, 7> out;
  ASSERT_EQ(*table.next(cursor, kNow, out), 7u);
  table.applied(0, cursor);  // stands for nothing yet
  EXPECT_EQ(table.applied_by_all(1), 0u);
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "late.test"), kNow).ok());
  const List rest = follow(table, cursor, kNow);
  EXPECT_EQ(std::count(rest.begin(), rest.end(), "late.test"), 2);  // in the reading, and in the log after it
  EXPECT_EQ(rest.size(), 15u);
  EXPECT_EQ(cursor, 21u);
}

TEST(Ledger, AppliedIsTheLeastOfAll) {
  BindingTable table = table_of(8);
  for (int n = 0; n < 5; ++n) {
    ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "n" + std::to_string(n) + ".test"), kNow).ok());
  }
  BindingTable enforcer = *BindingTable::map(table.fd());
  EXPECT_EQ(table.applied_by_all(0), 5u);
  EXPECT_EQ(table.applied_by_all(2), 0u);
  enforcer.applied(0, 4);
  EXPECT_EQ(table.applied_by_all(1), 4u);
  EXPECT_EQ(table.applied_by_all(2), 0u);
  enforcer.applied(1, 5);
  EXPECT_EQ(table.applied_by_all(2), 4u);
  enforcer.applied(0, 2);  // does not go back
  EXPECT_EQ(table.applied_by_all(2), 4u);
  enforcer.applied(0, 6);  // was not given out
  EXPECT_EQ(table.applied_by_all(2), 4u);
  enforcer.applied(BindingTable::kMaxEnforcers, 5);
  enforcer.forget_applied(0);
  EXPECT_EQ(table.applied_by_all(1), 0u);
}

TEST(Ledger, MemoryOnlyForWhatWasRecorded) {
  BindingTable table = table_of(BindingTable::kMaxCapacity);
  std::array<Found, 4> out;
  for (unsigned n = 0; n < 100; ++n)
    ASSERT_TRUE(table.record(binding(n, "203.0.113.1", "n" + std::to_string(n) + ".test"), kNow).ok());
  std::uint64_t cursor = 0;
  EXPECT_EQ(follow(table, cursor, kNow).size(), 100u);
  EXPECT_EQ(table.find(3, address("203.0.113.1"), kNow, out), 1u);
  struct stat status{};
  ASSERT_EQ(fstat(table.fd(), &status), 0);
  EXPECT_GT(status.st_size, 80'000'000);
  EXPECT_LT(status.st_blocks * 512, 3'000'000);
}

TEST(Ledger, SizesAreBounded) {
  EXPECT_FALSE(BindingTable::create({.capacity = 0}).ok());
  EXPECT_FALSE(BindingTable::create({.capacity = BindingTable::kMaxCapacity + 1}).ok());
  EXPECT_FALSE(BindingTable::create({.capacity = 10, .per_client = 11}).ok());
  EXPECT_FALSE(BindingTable::create({.capacity = 10, .per_client = 0}).ok());
}

TEST(Ledger, ForeignFilesAreRefused) {
  const BindingTable table = table_of(10);
  const auto copy_with = [&](std::size_t at, int change, bool seal) {
    struct stat status{};
    EXPECT_EQ(fstat(table.fd(), &status), 0);
    std::vector<char> bytes(static_cast<std::size_t>(status.st_size));
    EXPECT_EQ(pread(table.fd(), bytes.data(), bytes.size(), 0), status.st_size);
    bytes[at] = static_cast<char>(bytes[at] ^ change);
    const int fd = memfd_create("copy", MFD_ALLOW_SEALING);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), status.st_size);
    if (seal) EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    const bool mapped = BindingTable::map(fd).ok();
    close(fd);
    return mapped;
  };
  EXPECT_TRUE(copy_with(0, 0, true));
  EXPECT_FALSE(copy_with(0, 0, false));  // could be cut under a reader
  for (std::size_t at = 0; at < 48; ++at) {
    if (at >= 36 && at < 40) continue;  // padding
    EXPECT_FALSE(copy_with(at, 0x10, true)) << at;
  }
  EXPECT_FALSE(BindingTable::map(-1).ok());
  const int empty = memfd_create("empty", MFD_ALLOW_SEALING);
  fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  EXPECT_FALSE(BindingTable::map(empty).ok());
  close(empty);
}

// A worker that was taken over writes what it likes. Whatever that is, nobody crashes, loops for ever, or reads a
// binding that is none; a writer mends what can be mended.
class HostileFile : public ::testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(HostileFile, IsReadWithoutHarm) {
  std::mt19937 random(GetParam());
  BindingTable table = table_of(16, 8);
  for (int n = 0; n < 16; ++n) {
    ASSERT_TRUE(table.record(binding(1 + n % 3, "203.0.113.1", "n" + std::to_string(n % 8) + ".test"), kNow).ok());
  }
  struct stat status{};
  ASSERT_EQ(fstat(table.fd(), &status), 0);
  const auto size = static_cast<std::size_t>(status.st_size);
  auto* bytes = static_cast<unsigned char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(), 0));
  // The lock is left alone: a foreign word in it stops writers, which the deadline of the lock covers.
  const auto spoil = [&](std::size_t from) {
    for (int i = 0; i < 200; ++i) {
      const std::size_t at = from + random() % (size - from);
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<unsigned char>(random());
          break;
        case 1:
          bytes[at] = 0;
          break;
        default:
          bytes[at / 4 * 4] = static_cast<unsigned char>(random() % 18);  // small links
      }
    }
  };
  std::vector<Found> out(32);
  for (int round = 0; round < 50; ++round) {
    spoil(4096);
    std::memset(bytes + 96, static_cast<int>(random()), random() % 2 == 0 ? 0 : 32);  // counters after the lock
    for (std::uint64_t client = 0; client < 4; ++client) {
      const std::size_t count = table.find(client, address("203.0.113.1"), kNow, out);
      for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(out[i].client_id, client);
        EXPECT_TRUE(DomainName::parse(out[i].name->text()).ok());
        EXPECT_GT(out[i].expires_ms, kNow);
        EXPECT_LE(out[i].expires_ms, kNow + 3'660'000) << "lives for ever";
      }
    }
    std::uint64_t cursor = random() % 3 == 0 ? random() : 0;
    for (int i = 0; i < 100; ++i) {
      const auto count = table.next(cursor, kNow, std::span(out).first(5));
      if (!count.ok() || *count == 0) break;
    }
    table.applied(random() % 9, random() % 64);
    for (int n = 0; n < 4; ++n) {
      const auto seq = table.record(binding(random() % 4, "203.0.113.1", "m" + std::to_string(n) + ".test"), kNow);
      if (!seq.ok()) EXPECT_EQ(seq.error().code, ErrorCode::kExhausted);
    }
  }
  munmap(bytes, size);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HostileFile, ::testing::Range(0u, 50u));

TEST(Ledger, DamagedEntryIsNoBinding) {
  BindingTable table = table_of(4);
  ASSERT_TRUE(table.record(binding(1, "203.0.113.1", "needle-in-the-file.test"), kNow).ok());
  struct stat status{};
  ASSERT_EQ(fstat(table.fd(), &status), 0);
  const auto size = static_cast<std::size_t>(status.st_size);
  auto* bytes = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(), 0));
  void* at = memmem(bytes, size, "needle", 6);
  ASSERT_NE(at, nullptr);
  static_cast<char*>(at)[2] = 'x';
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow), (Names{}));
  std::uint64_t cursor = 0;
  EXPECT_EQ(follow(table, cursor, kNow), List{});
  static_cast<char*>(at)[2] = 'e';
  EXPECT_EQ(names(table, 1, "203.0.113.1", kNow), (Names{"needle-in-the-file.test"}));
  munmap(bytes, size);
}

}  // namespace
}  // namespace sallyport
