// Pins: a binding that a live flow uses stays, and lets nobody else in.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using Binding = BindingTable::Binding;
using Found = BindingTable::Found;

constexpr std::uint64_t kNow = 5'000'000;
const Address kClient = *Address::parse("172.20.0.7"), kOther = *Address::parse("172.20.0.8");
const Address kServer = *Address::parse("203.0.113.1");

Binding binding(std::uint64_t id, const std::string& name, std::uint32_t ttl_ms, const Address& client = kClient) {
  return {id, client, kServer, *DomainName::parse(name), ttl_ms};
}
BindingTable table_of(std::uint32_t capacity, std::uint32_t per_client) {
  return *BindingTable::create({capacity, per_client, 0x1234567});
}
std::size_t bound(const BindingTable& table, std::uint64_t id, std::uint64_t now) {
  std::vector<Found> out(64);
  return table.find(id, kServer, now, out);
}
// What a new enforcer reads: names, with * for those that are only pinned.
std::set<std::string> read(const BindingTable& table, std::uint64_t now) {
  std::set<std::string> out;
  std::vector<Found> some(7);
  std::uint64_t cursor = 0;
  for (;;) {
    const Result<std::size_t> count = table.next(cursor, now, some);
    if (!count.ok() || *count == 0) return out;
    for (std::size_t i = 0; i < *count; ++i)
      out.insert(std::string(some[i].name->text()) + (some[i].expires_ms <= now ? "*" : ""));
  }
}
using Names = std::set<std::string>;

TEST(LedgerPins, ALiveFlowKeepsItsBindingAndAdmitsNothingNew) {
  BindingTable table = table_of(8, 8);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), kNow).ok());
  ASSERT_TRUE(table.record(binding(2, "a.test", 30'000, kOther), kNow).ok());
  EXPECT_EQ(table.pin(1, kClient, kServer, kNow + 29'000, 90'000), 1u);
  const std::uint64_t later = kNow + 31'000;
  EXPECT_EQ(bound(table, 1, later), 0u) << "a new flow needs a new answer";
  EXPECT_EQ(read(table, later), (Names{"a.test*"})) << "and the other's has gone";
  EXPECT_EQ(table.pin(1, kClient, kServer, later, 90'000), 1u) << "renewed while the flow lives";
  EXPECT_EQ(read(table, later + 89'999), (Names{"a.test*"}));
  EXPECT_EQ(read(table, later + 90'000), (Names{}));
  EXPECT_EQ(table.pin(1, kClient, kServer, later + 90'000, 90'000), 0u) << "what has gone does not come back";
  EXPECT_EQ(table.pin(2, kOther, kServer, later, 90'000), 0u);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), later + 90'000).ok());
  EXPECT_EQ(read(table, later + 90'000), (Names{"a.test"}));
}

TEST(LedgerPins, OnlyOfThatClientAndAddress) {
  BindingTable table = table_of(8, 8);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), kNow).ok());
  EXPECT_EQ(table.pin(1, kOther, kServer, kNow, 90'000), 0u);
  EXPECT_EQ(table.pin(2, kClient, kServer, kNow, 90'000), 0u);
  EXPECT_EQ(table.pin(1, kClient, *Address::parse("203.0.113.2"), kNow, 90'000), 0u);
  EXPECT_EQ(read(table, kNow + 30'000), (Names{}));
}

TEST(LedgerPins, AreBounded) {
  BindingTable table = table_of(8, 8);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), kNow).ok());
  EXPECT_EQ(table.pin(1, kClient, kServer, kNow, 0xffffffff), 1u);
  EXPECT_EQ(read(table, kNow + BindingTable::kMaxPinMs - 1), (Names{"a.test*"}));
  EXPECT_EQ(read(table, kNow + BindingTable::kMaxPinMs), (Names{}));
}

TEST(LedgerPins, AFullShareGoesOnWithWhatNoFlowUses) {
  BindingTable table = table_of(10, 3);
  for (const char* name : {"a.test", "b.test", "c.test"})
    ASSERT_TRUE(table
                    .record({1, kClient, *Address::parse(name[0] == 'a' ? "203.0.113.1" : "203.0.113.2"),
                             *DomainName::parse(name), name[0] == 'a' ? 30'000u : 60'000u},
                            kNow)
                    .ok());
  ASSERT_EQ(table.pin(1, kClient, kServer, kNow, 90'000), 1u);  // a.test, which ends first
  for (const char* name : {"d.test", "e.test", "f.test"})
    ASSERT_TRUE(
        table.record({1, kClient, *Address::parse("203.0.113.3"), *DomainName::parse(name), 60'000}, kNow).ok());
  const Names left = read(table, kNow);
  EXPECT_TRUE(left.contains("a.test")) << "the one in use";
  EXPECT_EQ(left.size(), 3u);
  // All in use: this client gets nothing more, and loses nothing.
  ASSERT_EQ(table.pin(1, kClient, *Address::parse("203.0.113.3"), kNow, 90'000), 2u);
  EXPECT_FALSE(table.record(binding(1, "g.test", 60'000), kNow).ok());
  EXPECT_EQ(read(table, kNow), left);
  ASSERT_TRUE(table.record(binding(2, "g.test", 60'000, kOther), kNow).ok()) << "another client";
  EXPECT_TRUE(table.record(binding(1, "g.test", 60'000), kNow + 90'000).ok()) << "the flows have ended";
}

TEST(LedgerPins, AFullTableTakesWhatHasEndedAndIsNotInUse) {
  BindingTable table = table_of(100, 100);
  for (int i = 0; i < 100; ++i) {
    const Address address = *Address::parse("203.0.113." + std::to_string(i));
    ASSERT_TRUE(
        table.record({1, kClient, address, *DomainName::parse("n" + std::to_string(i) + ".test"), 30'000}, kNow).ok());
    if (i < 60) ASSERT_EQ(table.pin(1, kClient, address, kNow + 20'000, 90'000), 1u);
  }
  const std::uint64_t later = kNow + 40'000;
  for (int i = 0; i < 40; ++i)
    ASSERT_TRUE(table.record(binding(2, "x" + std::to_string(i) + ".test", 60'000, kOther), later).ok()) << i;
  EXPECT_FALSE(table.record(binding(2, "y.test", 60'000, kOther), later).ok()) << "what is left is in use";
  const Names left = read(table, later);
  for (int i = 0; i < 60; ++i) EXPECT_TRUE(left.contains("n" + std::to_string(i) + ".test*")) << i;
  EXPECT_EQ(table.repairs(), 0u);
  EXPECT_TRUE(table.record(binding(2, "y.test", 60'000, kOther), kNow + 110'000).ok());
}

TEST(LedgerPins, EndWithTheClient) {
  BindingTable table = table_of(8, 8);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), kNow).ok());
  ASSERT_EQ(table.pin(1, kClient, kServer, kNow, 90'000), 1u);
  table.forget(kClient, kNow + 1);
  EXPECT_EQ(table.pin(1, kClient, kServer, kNow + 2, 90'000), 0u);
  EXPECT_EQ(read(table, kNow + 2), (Names{}));

  ASSERT_TRUE(table.record(binding(1, "b.test", 30'000), kNow + 10).ok());
  ASSERT_EQ(table.pin(1, kClient, kServer, kNow + 10, 90'000), 1u);
  table.forget(kClient, kNow + 40'000);  // only pinned by now
  EXPECT_EQ(read(table, kNow + 40'001), (Names{}));
}

// An entry that is used again is not held by what was said of the one before.
TEST(LedgerPins, AreOfOneBinding) {
  BindingTable table = table_of(1, 1);
  ASSERT_TRUE(table.record(binding(1, "a.test", 30'000), kNow).ok());
  ASSERT_EQ(table.pin(1, kClient, kServer, kNow, 31'000), 1u);
  ASSERT_TRUE(table.record(binding(1, "b.test", 30'000), kNow + 31'000).ok());
  EXPECT_EQ(read(table, kNow + 61'000), (Names{}));
}

// Against the plainest rule, over random days of a small table: what is pinned or lives is there, and nothing else.
TEST(LedgerPins, AgainstThePlainestRule) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    BindingTable table = table_of(12, 12);
    const BindingTable reader = *BindingTable::map(table.fd());
    struct Row {
      std::uint64_t expires = 0, pinned = 0;
    };
    std::vector<Row> rows(10);  // fewer than there is room for: nothing goes before its time
    std::uint64_t now = kNow;
    for (int step = 0; step < 2000; ++step) {
      now += random() % 15'000;
      const unsigned n = random() % rows.size();
      Row& row = rows[n];
      const Address address = *Address::parse("203.0.113." + std::to_string(n));
      const bool there = row.expires > now || row.pinned > now;
      if (!there) row = {};
      if (random() % 2 == 0) {
        const auto ttl = static_cast<std::uint32_t>(30'000 + random() % 60'000);
        ASSERT_TRUE(table.record({1, kClient, address, *DomainName::parse("n.test"), ttl}, now).ok());
        row.expires = std::max(row.expires, now + ttl);
      } else {
        const auto ms = static_cast<std::uint32_t>(random() % 100'000);
        ASSERT_EQ(table.pin(1, kClient, address, now, ms), there ? 1u : 0u) << "seed " << seed << " step " << step;
        if (there) row.pinned = std::max(row.pinned, now + ms);
      }
      std::size_t expected = 0;
      for (const Row& r : rows) expected += r.expires > now || r.pinned > now;
      std::vector<Found> some(16);
      std::uint64_t cursor = 0;
      const Result<std::size_t> count = reader.next(cursor, now, some);
      ASSERT_TRUE(count.ok());
      ASSERT_EQ(*count, expected) << "seed " << seed << " step " << step;
    }
    EXPECT_EQ(table.repairs(), 0u);
  }
}

}  // namespace
}  // namespace sallyport
