#include "metrics/metrics_table.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace sallyport {
namespace {

std::string labels_of(unsigned n) { return "n=\"" + std::to_string(n) + "\""; }

TEST(Metrics, SamePairSameSeries) {
  MetricsTable table = *MetricsTable::create();
  MetricsTable worker = *MetricsTable::map(table.fd());
  const auto a = table.define("sallyport_dns_queries_total", R"(transport="udp")");
  const auto b = worker.define("sallyport_dns_queries_total", R"(transport="tcp")");
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(*a, *b);
  EXPECT_EQ(*worker.define("sallyport_dns_queries_total", R"(transport="udp")"), *a);
  worker.add(*a, 3);
  table.add(*a, 4);
  table.set(*b, 9);
  table.set(*b, 5);
  EXPECT_EQ(worker.value(*a), 7u);
  EXPECT_EQ(table.value(*b), 5u);
  EXPECT_EQ(table.series(), 3u);
  EXPECT_NE(table.text().find("sallyport_dns_queries_total{transport=\"udp\"} 7\n"), std::string::npos);
}

TEST(Metrics, FullTableCountsIntoOverflow) {
  MetricsTable table = *MetricsTable::create();
  for (unsigned n = 1; n < MetricsTable::kMaxSeries; ++n)
    ASSERT_TRUE(table.define("sallyport_x", labels_of(n)).ok()) << n;
  const auto more = table.define("sallyport_x", labels_of(0));
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(table.define("sallyport_x", labels_of(77)).ok());  // those that are there are found
  table.add(MetricsTable::kOverflow, 2);
  table.add(99'999, 3);  // an id that nobody gave out
  EXPECT_NE(table.text().find("\nsallyport_metric_overflow_total 5\n"), std::string::npos);
}

TEST(Metrics, RefusesWhatWouldNotBeShown) {
  MetricsTable table = *MetricsTable::create();
  EXPECT_EQ(table.define("evil_total", "").error().code, ErrorCode::kMalformed);
  EXPECT_FALSE(table.define("sallyport_x", "a=\"\n\"").ok());
  EXPECT_FALSE(table.define("sallyport_" + std::string(MetricsTable::kMaxName, 'x'), "").ok());
  EXPECT_FALSE(table.define("sallyport_x", "a=\"" + std::string(MetricsTable::kMaxLabels, 'x') + "\"").ok());
  EXPECT_EQ(table.series(), 1u);
}

TEST(Metrics, ThreadsAndProcessesDefineOnceAndLoseNoCount) {
  MetricsTable table = *MetricsTable::create();
  constexpr unsigned kSeries = 50, kRounds = 200;
  const auto count = [](MetricsTable& mine) {
    for (unsigned i = 0; i < kRounds; ++i) {
      for (unsigned n = 0; n < kSeries; ++n) {
        const auto id = mine.define("sallyport_x_total", labels_of(n));
        if (!id.ok()) return false;
        mine.add(*id, 1);
      }
    }
    return true;
  };
  std::vector<pid_t> children;
  for (int c = 0; c < 2; ++c) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      MetricsTable mine = *MetricsTable::map(table.fd());
      _exit(count(mine) ? 0 : 1);
    }
    children.push_back(child);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) threads.emplace_back([&] { EXPECT_TRUE(count(table)); });
  for (auto& thread : threads) thread.join();
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  const std::string text = table.text();
  for (unsigned n = 0; n < kSeries; ++n) {
    EXPECT_NE(text.find("sallyport_x_total{" + labels_of(n) + "} " + std::to_string(4 * kRounds) + "\n"),
              std::string::npos);
  }
}

TEST(Metrics, DefinerMayDieAnywhere) {
  MetricsTable table = *MetricsTable::create();
  std::mt19937 random(3);
  unsigned next = 0;
  for (int life = 0; life < 60; ++life) {
    const auto before = table.series();
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      MetricsTable mine = *MetricsTable::map(table.fd());
      // No more than a life's share, however late its end comes: the table stays half empty.
      for (unsigned n = next; n < next + 50; ++n) {
        if (!mine.define("sallyport_x", labels_of(n)).ok()) break;
      }
      for (;;) pause();
    }
    while (table.series() < before + 5) sched_yield();
    for (volatile unsigned i = 0; i < random() % 2000; i = i + 1) {
    }
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    next += 50;
    if (table.series() > MetricsTable::kMaxSeries / 2) break;
  }
  const auto id = table.define("sallyport_after_total", "");
  ASSERT_TRUE(id.ok());
  table.add(*id, 1);
  EXPECT_NE(table.text().find("sallyport_after_total 1\n"), std::string::npos);
}

// A worker that was taken over may write anything: the text stays well formed.
TEST(Metrics, HostileSeriesAreLeftOut) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    MetricsTable table = *MetricsTable::create();
    for (unsigned n = 0; n < 200; ++n) ASSERT_TRUE(table.define("sallyport_x", labels_of(n)).ok());
    const off_t size = lseek(table.fd(), 0, SEEK_END);
    auto* bytes = static_cast<char*>(
        mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(), 0));
    for (int i = 0; i < 50'000; ++i)
      bytes[64 + random() % (static_cast<unsigned long>(size) - 64)] =
          static_cast<char>(random() % 3 == 0 ? '\n' : random());
    std::string rest = table.text();
    EXPECT_TRUE(rest.empty() || rest.back() == '\n');
    for (std::size_t at = 0; at < rest.size();) {
      const std::size_t end = rest.find('\n', at);
      const std::string line = rest.substr(at, end - at);
      EXPECT_TRUE(line.starts_with("# HELP sallyport_") || line.starts_with("# TYPE sallyport_") ||
                  line.starts_with("sallyport_"))
          << line;
      at = end + 1;
    }
    (void)table.define("sallyport_y", "");
    munmap(bytes, static_cast<std::size_t>(size));
  }
}

TEST(Metrics, ForeignFilesAreRefused) {
  EXPECT_FALSE(MetricsTable::map(-1).ok());
  const int fd = memfd_create("other", MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, 1 << 21), 0);
  EXPECT_FALSE(MetricsTable::map(fd).ok());
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_FALSE(MetricsTable::map(fd).ok());
  close(fd);
}

}  // namespace
}  // namespace sallyport
