// Each way to count against what it promises: over any window of time never more than burst + rate * time.
#include "limits/buckets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace sallyport::limits {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

struct Sent {
  std::uint64_t at_ns, amount;
};

// Over every pair of sends, in exact integers.
void expect_bounded(const std::vector<Sent>& sent, const Rate& rate, const std::string& what) {
  for (std::size_t i = 0; i < sent.size(); ++i) {
    unsigned __int128 sum = 0;
    for (std::size_t j = i; j < sent.size(); ++j) {
      sum += sent[j].amount;
      const auto allowed = static_cast<unsigned __int128>(rate.burst) * rate.seconds * kSecond +
                           static_cast<unsigned __int128>(rate.amount) * (sent[j].at_ns - sent[i].at_ns);
      ASSERT_LE(sum * rate.seconds * kSecond, allowed + (rate.amount - 1)) << what << " from " << i << " to " << j;
    }
  }
}

class AnyWindow : public testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(AnyWindow, TakesNoMoreThanBurstAndRate) {
  std::mt19937_64 random(GetParam());
  constexpr std::uint32_t kPeriods[] = {1, 60, 3600, 86'400};
  const Rate rate{1 + random() % 5'000, kPeriods[random() % 4], 1 + random() % 200};
  Word word{0};
  std::uint64_t now = random() % kSecond, refused = 0;
  std::vector<Sent> sent;
  for (int i = 0; i < 400; ++i) {
    now += random() % 3 == 0 ? random() % (rate.seconds * kSecond / rate.amount * 8 + 1) : random() % 1000;
    const std::uint64_t n = 1 + random() % 5;
    if (take(word, rate, n, now) == 0) {
      sent.push_back({now, n});
    } else {
      ++refused;
    }
  }
  if (rate.burst < 100) EXPECT_GT(refused, 0u);
  expect_bounded(sent, rate, "seed " + std::to_string(GetParam()));
}

TEST_P(AnyWindow, QueuesNoMoreThanBurstAndRate) {
  std::mt19937_64 random(GetParam());
  const Rate rate{1 + random() % 50'000'000, 1, 16 * 1024 + random() % 1'000'000};
  Word word{0};
  std::uint64_t now = random() % kSecond;
  std::vector<Sent> sent;
  for (int i = 0; i < 300; ++i) {
    now += random() % (kSecond / 10);
    const std::uint64_t n = 1 + random() % (rate.burst / 2);
    sent.push_back({now + queue(word, rate, n, now), n});
  }
  std::sort(sent.begin(), sent.end(), [](const Sent& a, const Sent& b) { return a.at_ns < b.at_ns; });
  expect_bounded(sent, rate, "seed " + std::to_string(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Seeds, AnyWindow, testing::Range(0u, 60u));

TEST(Take, GivesExactlyTheBurstAndThenTheRate) {
  const Rate rate{600, 60, 600};
  Word word{0};
  const std::uint64_t now = 5 * kSecond;
  for (int i = 0; i < 600; ++i) ASSERT_EQ(take(word, rate, 1, now), 0u) << i;
  EXPECT_EQ(take(word, rate, 1, now), kSecond / 10);  // one more each tenth of a second
  EXPECT_NE(take(word, rate, 1, now + kSecond / 10 - 1), 0u);
  EXPECT_EQ(take(word, rate, 1, now + kSecond / 10), 0u);
  EXPECT_NE(take(word, rate, 1, now + kSecond / 10), 0u);
}

TEST(Take, OfAnAmountThatDoesNotDivideItsPeriodGivesAllOfIt) {
  const Rate rate{7, 60, 7};
  Word word{0};
  for (int i = 0; i < 7; ++i) ASSERT_EQ(take(word, rate, 1, kSecond), 0u) << i;
  EXPECT_NE(take(word, rate, 1, kSecond), 0u);
}

TEST(Take, OfWhatIsRefusedNothingIsCharged) {
  const Rate rate{10, 1, 10};
  Word word{0};
  ASSERT_EQ(take(word, rate, 10, kSecond), 0u);
  const std::uint64_t before = word.load();
  for (int i = 0; i < 1000; ++i) EXPECT_NE(take(word, rate, 1, kSecond), 0u);
  EXPECT_EQ(word.load(), before);
  EXPECT_EQ(take(word, rate, 10, 2 * kSecond), 0u);
}

TEST(Queue, KeepsTheRateOfAStreamExactly) {
  const Rate rate{10'000'000, 1, 2'500'000};
  Word word{0};
  std::uint64_t now = kSecond, bytes = 0;
  while (bytes < 100'000'000) {
    now += queue(word, rate, 65'536, now);
    bytes += 65'536;
  }
  const double seconds = static_cast<double>(now - kSecond) / kSecond;
  EXPECT_NEAR(static_cast<double>(bytes - rate.burst) / seconds, 1e7, 1e5);
}

TEST(Queue, SurvivesAWordThatSomebodyHasFilled) {
  const Rate rate{1000, 1, 1000};
  Word word{UINT64_MAX};
  EXPECT_LE(queue(word, rate, 1, kSecond), kMostQueued + kSecond);
}

// ---- quotas: fixed windows

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kNoon = 20'000 * kDay + kDay / 2;

TEST(UseOfAQuota, IsExactInAWindowAndBeginsAnewInTheNext) {
  const Quota quota{1000, 86'400};
  Word word{0};
  EXPECT_EQ(left(word, quota, kNoon), 1000u);
  EXPECT_TRUE(use(word, quota, 999, kNoon));
  EXPECT_FALSE(use(word, quota, 2, kNoon));
  EXPECT_EQ(left(word, quota, kNoon), 1u);
  EXPECT_TRUE(use(word, quota, 1, kNoon + 3600));
  EXPECT_FALSE(use(word, quota, 1, kNoon + kDay / 2 - 1));
  EXPECT_EQ(seconds_to_next(word, quota, kNoon), static_cast<std::uint64_t>(kDay / 2));
  EXPECT_TRUE(use(word, quota, 1000, kNoon + kDay / 2));
}

TEST(UseOfAQuota, IsNotGivenBackByAClockThatGoesBack) {
  const Quota quota{1000, 86'400};
  for (const std::int64_t back : {std::int64_t{1}, kDay / 2 + 1, kDay, 3 * kDay, 300 * kDay}) {
    Word word{0};
    ASSERT_TRUE(use(word, quota, 1000, kNoon)) << back;
    EXPECT_FALSE(use(word, quota, 1, kNoon - back)) << back;
    EXPECT_EQ(left(word, quota, kNoon - back), 0u) << back;
    EXPECT_FALSE(use(word, quota, 1, kNoon)) << back;  // and forth
  }
}

// Around midnight a clock that wavers does not refill at each crossing.
TEST(UseOfAQuota, IsRefilledOnceByAClockThatWavers) {
  const Quota quota{1000, 86'400};
  Word word{0};
  const std::int64_t midnight = 20'001 * kDay;
  ASSERT_TRUE(use(word, quota, 1000, midnight - 1));
  ASSERT_TRUE(use(word, quota, 1000, midnight + 1));
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(use(word, quota, 1, midnight - 1));
    EXPECT_FALSE(use(word, quota, 1, midnight + 1));
  }
}

// A clock that was years ahead once does not bind for years.
TEST(UseOfAQuota, BeginsAnewAfterATimeFarAhead) {
  const Quota quota{1000, 86'400};
  Word word{0};
  ASSERT_TRUE(use(word, quota, 500, kNoon + 400 * kDay));
  EXPECT_TRUE(use(word, quota, 500, kNoon));
  EXPECT_FALSE(use(word, quota, 1, kNoon));
  EXPECT_TRUE(use(word, quota, 1000, kNoon + kDay));
}

TEST(UseOfAQuota, ThatIsNotKnownCountsAsAllOfIt) {
  const Quota quota{1000, 3600, kNoon};
  Word word{0};
  EXPECT_EQ(left(word, quota, kNoon + 10), 0u);
  EXPECT_FALSE(use(word, quota, 1, kNoon + 10));
  EXPECT_TRUE(use(word, quota, 1000, kNoon + 3600));
}

TEST(UseOfAQuota, HoldsTheLargest) {
  const Quota quota{4'000'000'000'000, 86'400};
  Word word{0};
  EXPECT_TRUE(use(word, quota, 4'000'000'000'000, kNoon));
  EXPECT_FALSE(use(word, quota, 1, kNoon));
  EXPECT_FALSE(use(word, quota, UINT64_MAX, kNoon));
  EXPECT_FALSE(is_over(word.load(), kNoon));
  EXPECT_TRUE(is_over(word.load(), kNoon + kDay));
}

}  // namespace
}  // namespace sallyport::limits
