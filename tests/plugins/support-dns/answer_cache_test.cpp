#include "support/answer_cache.hpp"

#include <gtest/gtest.h>

namespace sallyport::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Clock::time_point kStart{std::chrono::hours(1)};

ResolveResult answer(std::uint32_t ttl, std::uint32_t address = 0xc0000201) {
  return {ResolveOutcome::kAnswers, {Address::v4(address)}, ttl};
}

TEST(AnswerCacheTest, KeepsUntilTheTtlEndsAndCountsDown) {
  AnswerCache cache(4);
  cache.store({"a.test", 1}, answer(10), kStart);
  EXPECT_EQ(cache.find({"a.test", 1}, kStart)->ttl, 10u);
  EXPECT_EQ(cache.find({"a.test", 1}, kStart + milliseconds(1))->ttl, 10u);
  EXPECT_EQ(cache.find({"a.test", 1}, kStart + seconds(9))->ttl, 1u);
  EXPECT_FALSE(cache.find({"a.test", 1}, kStart + seconds(10)));
  EXPECT_EQ(cache.size(), 0u);
}

TEST(AnswerCacheTest, TypesAndNamesAreApart) {
  AnswerCache cache(4);
  cache.store({"a.test", 1}, answer(10), kStart);
  EXPECT_FALSE(cache.find({"a.test", 28}, kStart));
  EXPECT_FALSE(cache.find({"b.test", 1}, kStart));
}

TEST(AnswerCacheTest, TtlZeroIsNotKept) {
  AnswerCache cache(4);
  cache.store({"a.test", 1}, answer(0), kStart);
  EXPECT_EQ(cache.size(), 0u);
}

TEST(AnswerCacheTest, FullItForgetsTheOneUsedLongestAgo) {
  AnswerCache cache(2);
  cache.store({"a.test", 1}, answer(10), kStart);
  cache.store({"b.test", 1}, answer(10), kStart);
  EXPECT_TRUE(cache.find({"a.test", 1}, kStart));
  cache.store({"c.test", 1}, answer(10), kStart);
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_TRUE(cache.find({"a.test", 1}, kStart));
  EXPECT_FALSE(cache.find({"b.test", 1}, kStart));
  EXPECT_TRUE(cache.find({"c.test", 1}, kStart));
}

TEST(AnswerCacheTest, ANewAnswerReplacesTheOld) {
  AnswerCache cache(1);
  cache.store({"a.test", 1}, answer(10), kStart);
  cache.store({"a.test", 1}, answer(20, 0xc0000202), kStart + seconds(5));
  EXPECT_EQ(cache.find({"a.test", 1}, kStart + seconds(5))->addresses[0], Address::v4(0xc0000202));
  EXPECT_EQ(cache.find({"a.test", 1}, kStart + seconds(24))->ttl, 1u);
}

TEST(AnswerCacheTest, WithoutRoomItKeepsNothing) {
  AnswerCache cache(0);
  cache.store({"a.test", 1}, answer(10), kStart);
  EXPECT_FALSE(cache.find({"a.test", 1}, kStart));
}

}  // namespace
}  // namespace sallyport::net
