#include "audit/decision_journal.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

namespace sallyport {
namespace {

DecisionRecord numbered(std::uint64_t n) {
  DecisionRecord record;
  record.realtime_ns = n;
  record.client_id = n;
  record.dest_port = static_cast<std::uint16_t>(n);
  record.client = Address::v4(static_cast<std::uint32_t>(n));
  const std::string name = std::string(1 + n % 40, 'x') + std::to_string(n) + ".test";
  record.name_size = static_cast<std::uint8_t>(name.size());
  std::copy(name.begin(), name.end(), record.name.begin());
  return record;
}
bool fits(const DecisionRecord& record) {
  const DecisionRecord expected = numbered(record.client_id);
  return record.realtime_ns == record.client_id && record.client == expected.client && !record.dest &&
         record.name_text() == expected.name_text();
}

TEST(DecisionJournal, ReaderFollows) {
  DecisionJournal journal = *DecisionJournal::create(16);
  const DecisionJournal reader = *DecisionJournal::map(journal.fd());
  std::array<DecisionRecord, 4> out;
  std::uint64_t cursor = 0;
  EXPECT_EQ(*reader.next(cursor, out), 0u);
  for (std::uint64_t n = 1; n <= 6; ++n) journal.append(numbered(n));
  ASSERT_EQ(*reader.next(cursor, out), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(fits(out[i]) && out[i].client_id == i + 1);
  ASSERT_EQ(*reader.next(cursor, out), 2u);
  EXPECT_EQ(out[1].client_id, 6u);
  EXPECT_EQ(*reader.next(cursor, out), 0u);
}

TEST(DecisionJournal, OverrunIsToldOnceAndMovesOn) {
  DecisionJournal journal = *DecisionJournal::create(16);
  std::array<DecisionRecord, 32> out;
  std::uint64_t cursor = 0;
  journal.append(numbered(1));
  ASSERT_EQ(*journal.next(cursor, out), 1u);
  for (std::uint64_t n = 2; n <= 100; ++n) journal.append(numbered(n));
  const auto overrun = journal.next(cursor, out);
  ASSERT_FALSE(overrun.ok());
  EXPECT_EQ(overrun.error().code, ErrorCode::kExhausted);
  const auto rest = journal.next(cursor, out);
  ASSERT_TRUE(rest.ok());
  ASSERT_EQ(*rest, 8u);
  EXPECT_EQ(out[7].client_id, 100u);
  std::uint64_t from_start = 0;  // a reader that comes late has lost nothing it could have had
  ASSERT_TRUE(journal.next(from_start, out).ok());
}

TEST(DecisionJournal, NobodyElseCanWrite) {
  DecisionJournal journal = *DecisionJournal::create(16);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, journal.fd(), 0), MAP_FAILED);
  EXPECT_EQ(pwrite(journal.fd(), "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  DecisionJournal reader = *DecisionJournal::map(journal.fd());
  reader.append(numbered(1));  // nothing happens
  std::array<DecisionRecord, 1> out;
  std::uint64_t cursor = 0;
  EXPECT_EQ(*journal.next(cursor, out), 0u);
}

TEST(DecisionJournal, ComesFromAnAuditRecord) {
  AuditRecord record;
  record.realtime_ns = 5;
  record.client_id = 6;
  record.layer = Layer::kTls;
  record.verdict = Effect::kContinue;
  record.effective = Effect::kAllow;
  record.reason = Reason::kOk;
  record.proto = kProtoTcp;
  record.port = 443;
  record.set_name(*DomainName::parse("a.test"));
  record.set_addr(*Address::parse("198.51.100.7"));
  record.set_client_addr(*Address::parse("2001:db8::7"), 1234);
  record.set_plugin("sni-filter");
  const DecisionRecord out = DecisionRecord::of(record);
  EXPECT_EQ(out.realtime_ns, 5u);
  EXPECT_EQ(out.client_id, 6u);
  EXPECT_EQ(out.plugin_text(), "sni-filter");
  EXPECT_EQ(out.layer, Layer::kTls);
  EXPECT_EQ(out.verdict, Effect::kAllow);  // what was done
  EXPECT_EQ(out.reason, Reason::kOk);
  EXPECT_EQ(out.client, *Address::parse("2001:db8::7"));
  EXPECT_EQ(out.client_port, 1234);
  EXPECT_EQ(out.dest, *Address::parse("198.51.100.7"));
  EXPECT_EQ(out.dest_port, 443);
  EXPECT_EQ(out.name_text(), "a.test");
  record.set_raw("bad name");
  EXPECT_EQ(DecisionRecord::of(record).name_text(), "");
  record.addr_family = record.client_addr_family = 0;
  EXPECT_FALSE(DecisionRecord::of(record).dest.has_value());
  EXPECT_FALSE(DecisionRecord::of(record).client.has_value());
}

TEST(DecisionJournal, ReadersSeeWholeRecordsInOrder) {
  DecisionJournal journal = *DecisionJournal::create(64);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  std::atomic<unsigned> wrong{0}, seen{0};
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      const DecisionJournal mine = *DecisionJournal::map(journal.fd());
      std::uint64_t cursor = 0, last = 0;
      std::array<DecisionRecord, 8> out;
      while (!stop) {
        const auto count = mine.next(cursor, out);
        if (!count.ok()) continue;
        for (std::size_t i = 0; i < *count; ++i) {
          if (!fits(out[i]) || out[i].client_id <= last) ++wrong;
          last = out[i].client_id;
        }
        seen += static_cast<unsigned>(*count);
      }
    });
  }
  for (std::uint64_t n = 1; n <= 100'000; ++n) journal.append(numbered(n));
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(seen, 0u);
}

TEST(DecisionJournal, ForeignFilesAreRefused) {
  EXPECT_FALSE(DecisionJournal::create(100).ok());
  EXPECT_FALSE(DecisionJournal::create(1).ok());
  EXPECT_FALSE(DecisionJournal::map(-1).ok());
  const int fd = memfd_create("other", MFD_ALLOW_SEALING);
  ASSERT_EQ(ftruncate(fd, 1 << 20), 0);
  EXPECT_FALSE(DecisionJournal::map(fd).ok());
  close(fd);
}

}  // namespace
}  // namespace sallyport
