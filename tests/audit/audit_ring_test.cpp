#include "audit/audit_ring.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace sallyport {
namespace {

AuditRecord numbered(std::uint64_t n) {
  AuditRecord record;
  record.client_id = n;
  record.set_name(*DomainName::parse("n" + std::to_string(n) + ".test"));
  record.set_plugin("dns");
  record.set_detail("{\"n\":" + std::to_string(n) + "}");
  return record;
}

AuditRing ring_of(std::uint32_t slots, int wake = -1) { return *AuditRing::create(slots, wake); }

bool readable(int fd) {
  pollfd poll_fd{fd, POLLIN, 0};
  return poll(&poll_fd, 1, 0) == 1;
}

TEST(AuditRing, RecordsComeInOrderAndWhole) {
  AuditRing ring = ring_of(128);
  AuditRing worker = *AuditRing::map(ring.fd(), -1);
  std::array<AuditRecord, 16> out;
  EXPECT_EQ(ring.read(out), 0u);
  for (std::uint64_t n = 0; n < 1000; ++n) {
    ASSERT_TRUE(worker.write(numbered(n)));
    if (n % 10 != 9) continue;
    ASSERT_EQ(ring.read(out), 10u);
    for (std::uint64_t i = 0; i < 10; ++i) {
      const std::uint64_t expected = n - 9 + i;
      EXPECT_EQ(out[i].client_id, expected);
      EXPECT_EQ(out[i].name_text(), "n" + std::to_string(expected) + ".test");
      EXPECT_EQ(out[i].detail_text(), "{\"n\":" + std::to_string(expected) + "}");
    }
  }
  EXPECT_EQ(ring.lost(), 0u);
}

TEST(AuditRing, FullRingLosesAndCounts) {  // LOG-02
  AuditRing ring = ring_of(128);
  unsigned written = 0;
  for (std::uint64_t n = 0; n < 500; ++n) written += ring.write(numbered(n)) ? 1 : 0;
  EXPECT_EQ(written, 128 - AuditRing::kMaxWriters);
  EXPECT_EQ(ring.lost(), 500 - written);
  std::array<AuditRecord, 200> out;
  EXPECT_EQ(ring.read(out), written);
  EXPECT_EQ(out[written - 1].client_id, written - 1);
  EXPECT_TRUE(ring.write(numbered(1)));  // room again
}

TEST(AuditRing, WakesOnlyASleepingReader) {
  const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  AuditRing ring = ring_of(128, wake);
  ring.write(numbered(1));
  EXPECT_FALSE(readable(wake));
  EXPECT_FALSE(ring.arm());  // a record is there already
  std::array<AuditRecord, 4> out;
  EXPECT_EQ(ring.read(out), 1u);
  EXPECT_TRUE(ring.arm());
  ring.write(numbered(2));
  EXPECT_TRUE(readable(wake));
  std::uint64_t count = 0;
  ASSERT_EQ(read(wake, &count, sizeof count), static_cast<ssize_t>(sizeof count));
  ring.write(numbered(3));
  EXPECT_FALSE(readable(wake));  // it is awake
  EXPECT_EQ(ring.read(out), 2u);
  close(wake);
}

TEST(AuditRing, ManyWritersLoseNothingThatTheyWereNotTold) {
  const int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  AuditRing ring = ring_of(256, wake);
  constexpr unsigned kWriters = 4, kRecords = 20'000;
  std::array<std::atomic<unsigned>, kWriters> accepted{};
  std::atomic<unsigned> running{kWriters};
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (unsigned i = 0; i < kRecords; ++i) {
        AuditRecord record = numbered(i);
        record.generation = w;
        if (ring.write(record)) ++accepted[w];
      }
      --running;
    });
  }
  std::array<unsigned, kWriters> seen{};
  std::array<std::uint64_t, kWriters> last{};
  std::array<AuditRecord, 32> out;
  while (true) {
    const bool over = running == 0;
    const std::size_t count = ring.read(out);
    for (std::size_t i = 0; i < count; ++i) {
      const auto w = out[i].generation;
      ASSERT_LT(w, kWriters);
      ASSERT_EQ(out[i].name_text(), "n" + std::to_string(out[i].client_id) + ".test");
      if (seen[w]++ > 0) ASSERT_LT(last[w], out[i].client_id);  // each writer's own order holds
      last[w] = out[i].client_id;
    }
    if (count == 0 && over) break;
    if (count == 0 && ring.arm()) {
      pollfd poll_fd{wake, POLLIN, 0};
      poll(&poll_fd, 1, 10);
      std::uint64_t drained = 0;
      [[maybe_unused]] const ssize_t size = read(wake, &drained, sizeof drained);
    }
  }
  for (auto& thread : threads) thread.join();
  unsigned total = 0;
  for (unsigned w = 0; w < kWriters; ++w) {
    EXPECT_EQ(seen[w], accepted[w]);
    total += seen[w];
  }
  EXPECT_EQ(total + ring.lost(), kWriters * kRecords);
}

TEST(AuditRing, WriterKilledInsideARecord) {
  AuditRing ring = ring_of(128);
  std::array<AuditRecord, 64> out;
  unsigned unfinished = 0;
  // The child's record ends at a page that it may not read: it dies in the middle of the copy, with a ticket taken.
  for (int life = 0; life < 20; ++life) {
    const pid_t writer = fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      AuditRing mine = *AuditRing::map(ring.fd(), -1);
      mine.write(numbered(7));
      void* pages = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      auto* record = new (static_cast<char*>(pages) + (4096 - offsetof(AuditRecord, detail)) / 8 * 8) AuditRecord();
      record->detail_size = AuditRecord::kMaxDetail;
      signal(SIGSEGV, SIG_DFL);
      mprotect(static_cast<char*>(pages) + 4096, 4096, PROT_NONE);
      mine.write(*record);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(writer, &status, 0), writer);
    ASSERT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child was to die in write()";
    ASSERT_TRUE(ring.write(numbered(8)));  // the next worker, before the reader has noticed
    ASSERT_EQ(ring.read(out), 1u);         // up to the unfinished one
    EXPECT_EQ(out[0].client_id, 7u);
    ASSERT_EQ(ring.read(out), 0u);
    ASSERT_EQ(ring.skip_unfinished(), 1u);
    ASSERT_EQ(ring.read(out), 1u);
    EXPECT_EQ(out[0].client_id, 8u);
    ASSERT_EQ(ring.skip_unfinished(), 0u);
    ++unfinished;
  }
  EXPECT_EQ(ring.lost(), unfinished);
}

TEST(AuditRing, NonsenseFromAWorkerIsBroughtIntoRange) {
  AuditRecord record = numbered(1);
  record.name_size = 255;
  record.plugin_size = 255;
  record.detail_size = 65535;
  record.verdict = static_cast<Effect>(77);
  record.effective = static_cast<Effect>(99);
  record.reason = static_cast<Reason>(9999);
  record.layer = static_cast<Layer>(9999);
  record.kind = static_cast<AuditKind>(200);
  record.mode = static_cast<AuditMode>(200);
  record.addr_family = 5;
  AuditRing ring = ring_of(128);
  ASSERT_TRUE(ring.write(record));
  std::array<AuditRecord, 1> out;
  ASSERT_EQ(ring.read(out), 1u);
  EXPECT_EQ(out[0].verdict, Effect::kDeny);
  EXPECT_EQ(out[0].effective, Effect::kDeny);
  EXPECT_LE(out[0].reason, Reason::kLast);
  EXPECT_EQ(out[0].layer, Layer::kNone);
  EXPECT_LE(out[0].plugin_size, AuditRecord::kMaxPlugin);
  EXPECT_LE(out[0].detail_size, AuditRecord::kMaxDetail);
  EXPECT_EQ(out[0].addr_family, 0);
  EXPECT_NE(out[0].flags & kAuditRaw, 0);  // "n1.test\0\0..." is no canonical name
}

TEST(AuditRing, NameThatIsNotCanonicalBecomesRaw) {
  AuditRecord record = numbered(1);
  record.name[0] = 'N';
  record.sanitize();
  EXPECT_NE(record.flags & kAuditRaw, 0);
  AuditRecord fine = numbered(1);
  fine.sanitize();
  EXPECT_EQ(fine.flags & kAuditRaw, 0);
}

TEST(AuditRing, SettersCutAndMark) {
  AuditRecord record;
  record.set_raw(std::string(300, 'x'));
  EXPECT_EQ(record.name_size, 255);
  EXPECT_NE(record.flags & kAuditTruncated, 0);
  record.set_detail(std::string(1025, ' '));
  EXPECT_EQ(record.detail_size, 0);
  EXPECT_NE(record.flags & kAuditDetailDropped, 0);
  record.set_name(*DomainName::parse("a.test"));
  EXPECT_EQ(record.flags & (kAuditRaw | kAuditTruncated), 0);
}

TEST(AuditRing, ForeignFilesAreRefused) {
  EXPECT_FALSE(AuditRing::create(100, -1).ok());
  EXPECT_FALSE(AuditRing::create(64, -1).ok());
  EXPECT_FALSE(AuditRing::map(-1, -1).ok());
  const int fd = memfd_create("other", MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
  EXPECT_FALSE(AuditRing::map(fd, -1).ok());
  ASSERT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  EXPECT_FALSE(AuditRing::map(fd, -1).ok());
  close(fd);
}

}  // namespace
}  // namespace sallyport
