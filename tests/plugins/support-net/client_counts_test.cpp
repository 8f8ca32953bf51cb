#include "support/client_counts.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace sallyport::net {
namespace {

using Place = ClientCounts::Place;

TEST(ClientCounts, AreExactForEachAndAll) {
  ClientCounts counts(3, 2);
  std::optional<Place> first = counts.enter(1);
  {
    const std::optional<Place> second = counts.enter(1);
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(counts.enter(1)) << "over its own bound";
    const std::optional<Place> other = counts.enter(2);
    EXPECT_TRUE(other);
    EXPECT_FALSE(counts.enter(3)) << "over the bound of all";
    EXPECT_EQ(counts.total(), 3u);
  }
  EXPECT_EQ(counts.total(), 1u);
  const Place moved = *std::move(first);
  first.reset();
  EXPECT_EQ(counts.total(), 1u) << "the share went with it";
  EXPECT_TRUE(counts.enter(1));
}

TEST(ClientCounts, WithoutAClientOnlyTheBoundOfAllHolds) {
  ClientCounts counts(3, 1);
  std::vector<Place> places;
  for (int i = 0; i < 3; ++i) {
    std::optional<Place> place = counts.enter(std::nullopt);
    ASSERT_TRUE(place);
    places.push_back(*std::move(place));
  }
  EXPECT_FALSE(counts.enter(std::nullopt));
}

TEST(ClientCounts, HoldOverThreads) {
  ClientCounts counts(64, 8);
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5'000; ++i) {
        std::vector<Place> held;
        for (int n = 0; n < 4; ++n) {
          std::optional<Place> place = counts.enter(7);
          if (!place) continue;
          held.push_back(*std::move(place));
          const int now = ++inside;
          for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
          }
        }
        inside -= static_cast<int>(held.size());  // before they go: never more are counted than are there
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 8);
  EXPECT_EQ(counts.total(), 0u);
}

}  // namespace
}  // namespace sallyport::net
