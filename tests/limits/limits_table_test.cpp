#include "limits/limits_table.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

namespace sallyport {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNoon = 20'000 * 86'400 + 43'200;

LimitsTable::Now at(std::uint64_t seconds) {
  return {(1000 + seconds) * kSecond, kNoon + static_cast<std::int64_t>(seconds)};
}

class Table : public testing::Test {
 protected:
  LimitsTable table = *LimitsTable::create({.capacity = 64, .seed = {1, 2}});
  LimitsTable::Key key(std::string_view rule, std::string_view client) const {
    return table.key(table.rule_hash(rule), client);
  }
};

LimitsModel requests(std::uint64_t amount, std::uint32_t seconds) {
  LimitsModel out;
  out.requests = RateModel{amount, seconds};
  return out;
}

TEST_F(Table, EachClientAndRuleHasItsOwn) {
  const LimitsModel limits = requests(3, 60);
  for (const auto& [rule, client] : {std::pair{"a", "1"}, {"a", "2"}, {"b", "1"}}) {
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(table.charge(key(rule, client), limits, Charge::kRequest, 1, at(0)).ok()) << rule << client << i;
    const auto over = table.charge(key(rule, client), limits, Charge::kRequest, 1, at(0));
    EXPECT_EQ(over.exceeded, Limit::kRequests);
    EXPECT_EQ(over.wait_ns, 20 * kSecond);
  }
}

TEST_F(Table, AnotherProcessSeesTheSame) {
  LimitsTable other = *LimitsTable::map(table.fd());
  const LimitsModel limits = requests(2, 60);
  EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0)).ok());
  EXPECT_TRUE(other.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0)).ok());
  EXPECT_FALSE(other.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0)).ok());
  EXPECT_FALSE(table.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0)).ok());
}

TEST_F(Table, BandwidthIsOneForBothDirections) {
  LimitsModel limits;
  limits.bandwidth = RateModel{1'000'000, 1};  // a burst of 250 kB
  std::uint64_t waited = 0;
  for (int i = 0; i < 10; ++i) {
    const auto charged = table.charge(key("a", "1"), limits, i % 2 == 0 ? Charge::kUp : Charge::kDown, 100'000, at(0));
    ASSERT_TRUE(charged.ok());
    waited = charged.wait_ns;
  }
  EXPECT_EQ(waited, 750'000'000u);  // a megabyte less the burst
}

TEST_F(Table, QuotasAreOneForEachDirectionAndStopARequest) {
  LimitsModel limits;
  limits.upload = RateModel{1000, 86'400};
  limits.download = RateModel{2000, 3600};
  EXPECT_EQ(table.room(key("a", "1"), limits, Charge::kUp, at(0)), 1000u);
  EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kUp, 900, at(0)).ok());
  EXPECT_EQ(table.room(key("a", "1"), limits, Charge::kUp, at(0)), 100u);
  EXPECT_EQ(table.charge(key("a", "1"), limits, Charge::kUp, 101, at(0)).exceeded, Limit::kUpload);
  EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kUp, 100, at(0)).ok());
  EXPECT_EQ(table.room(key("a", "1"), limits, Charge::kUp, at(0)), 1u);
  EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kDown, 2000, at(0)).ok());
  const auto refused = table.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0));
  EXPECT_EQ(refused.exceeded, Limit::kUpload);
  EXPECT_EQ(refused.wait_ns, 43'200 * kSecond);
}

TEST_F(Table, QuestionsAreCountedApartFromRequests) {
  const LimitsModel limits = requests(2, 60);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kQuestion, 1, at(0)).ok()) << i;
  EXPECT_EQ(table.charge(key("a", "1"), limits, Charge::kQuestion, 1, at(0)).exceeded, Limit::kRequests);
  EXPECT_TRUE(table.charge(key("a", "1"), limits, Charge::kRequest, 1, at(0)).ok());
}

TEST_F(Table, WithoutALimitNothingIsRefused) {
  const LimitsModel limits = requests(1, 86'400);
  for (int i = 0; i < 100; ++i) {
    const auto charged = table.charge(key("a", "1"), limits, Charge::kUp, 1u << 30, at(0));
    EXPECT_TRUE(charged.ok() && charged.wait_ns == 0);
  }
}

TEST_F(Table, AKindThatIsNotKnownIsRefused) {
  EXPECT_FALSE(table.charge(key("a", "1"), requests(9, 1), static_cast<Charge>(9), 1, at(0)).ok());
}

TEST_F(Table, ConnectionsAreThoseOfAllHolders) {
  std::vector<LimitsTable::Place> places;
  for (unsigned i = 0; i < 4; ++i) places.push_back(table.enter(key("a", "1"), i % 2, 4, at(0)));
  for (const auto& place : places) EXPECT_TRUE(place.valid());
  EXPECT_FALSE(table.enter(key("a", "1"), 2, 4, at(0)).valid());
  EXPECT_TRUE(table.enter(key("a", "2"), 2, 4, at(0)).valid());
  EXPECT_EQ(table.connections(key("a", "1"), at(0)), 4u);
  table.leave(places[0]);
  EXPECT_TRUE(table.enter(key("a", "1"), 2, 4, at(0)).valid());
  EXPECT_FALSE(table.enter(key("a", "1"), 2, 4, at(0)).valid());
}

TEST_F(Table, AHolderThatDiedGivesBackWhatItHeld) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(table.enter(key("a", "1"), 1, 4, at(0)).valid());
  ASSERT_TRUE(table.enter(key("a", "1"), 2, 4, at(0)).valid());
  table.forget_holder(1);
  EXPECT_EQ(table.connections(key("a", "1"), at(0)), 1u);
}

// No more clients than places: each is exact. More: they share, and never have more than one of them would.
TEST_F(Table, WhatFindsNoPlaceSharesOne) {
  const LimitsModel limits = requests(2, 86'400);
  std::size_t allowed = 0;
  constexpr int kClients = 2000;
  for (int i = 0; i < kClients; ++i) {
    for (int j = 0; j < 3; ++j)
      allowed += table.charge(key("a", std::to_string(i)), limits, Charge::kRequest, 1, at(0)).ok() ? 1 : 0;
  }
  EXPECT_LE(allowed, 2u * (64 + 1));
  EXPECT_GE(allowed, 2u * 60);
  EXPECT_GT(table.overflowed(), 0u);
  // One of those that have a place goes on as before; the shared ones are bound together.
  EXPECT_FALSE(table.charge(key("a", std::to_string(kClients - 1)), limits, Charge::kRequest, 1, at(0)).ok());
}

TEST_F(Table, APlaceAtRestIsGivenAway) {
  const LimitsModel limits = requests(2, 60);
  for (int i = 0; i < 500; ++i) table.charge(key("a", std::to_string(i)), limits, Charge::kRequest, 1, at(0));
  const std::uint64_t before = table.overflowed();
  for (int i = 1000; i < 1040; ++i)
    EXPECT_TRUE(table.charge(key("a", std::to_string(i)), limits, Charge::kRequest, 2, at(601)).ok()) << i;
  EXPECT_LE(table.overflowed() - before, 12u);  // sets of sixteen are not filled evenly
}

// What still counts is not given away, however long it rests: a quota's window, a connection, a bucket in debt.
TEST_F(Table, APlaceThatCountsIsKept) {
  LimitsModel daily = requests(1, 86'400);
  daily.upload = RateModel{1000, 86'400};
  ASSERT_TRUE(table.charge(key("a", "quota"), daily, Charge::kUp, 1000, at(0)).ok());
  ASSERT_TRUE(table.charge(key("a", "debt"), daily, Charge::kRequest, 1, at(0)).ok());
  ASSERT_TRUE(table.enter(key("a", "open"), 0, 1, at(0)).valid());
  for (int i = 0; i < 3000; ++i)
    table.charge(key("b", std::to_string(i)), requests(1, 1), Charge::kRequest, 1, at(3600));
  EXPECT_EQ(table.charge(key("a", "quota"), daily, Charge::kUp, 1, at(3601)).exceeded, Limit::kUpload);
  EXPECT_EQ(table.charge(key("a", "debt"), daily, Charge::kRequest, 1, at(3601)).exceeded, Limit::kRequests);
  EXPECT_FALSE(table.enter(key("a", "open"), 1, 1, at(3601)).valid());
}

// Two readers of a bucket at once never get more than it holds.
TEST_F(Table, ThreadsAtOnceGetNoMoreThanThereIs) {
  LimitsModel limits = requests(1000, 86'400);
  limits.upload = RateModel{100'000, 86'400};
  std::atomic<std::uint64_t> allowed{0}, octets{0}, most{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        if (table.charge(key("a", "1"), limits, Charge::kUp, 37, at(0)).ok()) octets += 37;
        if (table.charge(key("b", "1"), requests(1000, 86'400), Charge::kRequest, 1, at(0)).ok()) ++allowed;
        const LimitsTable::Place place = table.enter(key("c", "1"), t, 2, at(0));
        if (!place.valid()) continue;
        const std::uint64_t now = table.connections(key("c", "1"), at(0));
        for (std::uint64_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        table.leave(place);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(allowed, 1000u);
  EXPECT_GT(octets, 100'000u - 37);
  EXPECT_LE(octets, 100'000u);
  EXPECT_EQ(table.connections(key("c", "1"), at(0)), 0u);
}

TEST_F(Table, WhatQuotasUsedIsRestored) {
  LimitsModel limits;
  limits.upload = RateModel{1000, 86'400};
  for (int i = 0; i < 200; ++i) table.charge(key("a", std::to_string(i)), limits, Charge::kUp, 600, at(0));
  const std::vector<LimitsTable::Used> used = table.used(at(0).wall_s);
  EXPECT_GE(used.size(), 60u);
  LimitsTable later = *LimitsTable::create({.capacity = 64, .seed = table.seed()});
  later.restore(used, {5 * kSecond, kNoon + 100});
  std::size_t same = 0;
  for (int i = 0; i < 200; ++i) {
    const auto charged =
        later.charge(key("a", std::to_string(i)), limits, Charge::kUp, 600, {6 * kSecond, kNoon + 100});
    same += charged.exceeded == Limit::kUpload ? 1 : 0;
  }
  EXPECT_EQ(same, 200u);  // those that shared an entry, too
  EXPECT_TRUE(table.used(kNoon + 86'400).empty());
}

TEST(LimitsTableFile, IsRefusedIfItIsNone) {
  EXPECT_FALSE(LimitsTable::create({.capacity = 100}).ok());
  EXPECT_FALSE(LimitsTable::create({.capacity = LimitsTable::kMaxCapacity * 2}).ok());
  SharedMemory other = *SharedMemory::create("other", 1 << 20);
  EXPECT_EQ(LimitsTable::map(other.fd()).error().code, ErrorCode::kCorrupt);
  EXPECT_FALSE(LimitsTable::map(-1).ok());
}

}  // namespace
}  // namespace sallyport
