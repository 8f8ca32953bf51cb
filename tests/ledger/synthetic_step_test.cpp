// assign() stopped after each of its instructions: what a reader sees there, and what the next writer makes of it if
// the process had died there. The writer is stepped by ptrace(2); its death is played on a copy of the file, with the
// lock word that the kernel leaves behind a dead owner (robust futexes: "owner died", no thread id).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "ledger/synthetic_table.hpp"

namespace sallyport {
namespace {

using State = SyntheticTable::State;
constexpr std::uint64_t kGrace = SyntheticTable::kGraceMs;
constexpr std::uint64_t kNow = 10 * kGrace;
constexpr std::uint32_t kCapacity = 3;

DomainName name_of(const std::string& text) { return *DomainName::parse(text); }

struct Promise {
  std::string name;
  std::uint32_t index;
};

struct Scenario {
  const char* why;
  std::vector<std::pair<const char*, std::uint64_t>> before;  // names and when they were assigned, with a TTL of 1 s
  const char* assigned;                                       // by the process that dies
};

// A copy of the file as the kernel would leave it after the writer's death.
int copy_after_death(int fd, pid_t writer) {
  struct stat status{};
  EXPECT_EQ(fstat(fd, &status), 0);
  std::vector<char> octets(static_cast<std::size_t>(status.st_size));
  EXPECT_EQ(pread(fd, octets.data(), octets.size(), 0), status.st_size);
  // The lock word is the first of the header's that holds the owner's thread id.
  for (std::size_t at = 0; at < 256; at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, octets.data() + at, sizeof word);
    if ((word & FUTEX_TID_MASK) != static_cast<std::uint32_t>(writer)) continue;
    word = FUTEX_OWNER_DIED;
    std::memcpy(octets.data() + at, &word, sizeof word);
    break;
  }
  const int copy = memfd_create("copy", MFD_ALLOW_SEALING);
  EXPECT_EQ(write(copy, octets.data(), octets.size()), status.st_size);
  EXPECT_EQ(fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
  return copy;
}

class Stepped : public ::testing::TestWithParam<Scenario> {
 protected:
  // What was promised is there, and nothing else under another name.
  void check(const SyntheticTable& table, const char* when) {
    for (const Promise& promise : promises_) {
      const auto found = table.find(1, promise.index, kNow);
      ASSERT_EQ(found.state, State::kFound) << when << " after " << steps_ << " instructions: " << promise.name;
      ASSERT_EQ(found.name->text(), promise.name) << when << " after " << steps_ << " instructions";
    }
    for (std::uint32_t index = 2; index < 2 + kCapacity; ++index) {
      const auto found = table.find(1, index, kNow);
      if (found.state != State::kFound) continue;
      bool known = found.name->text() == GetParam().assigned;
      for (const Promise& promise : promises_) known |= promise.index == index && found.name->text() == promise.name;
      ASSERT_TRUE(known) << when << " after " << steps_ << " instructions: " << found.name->text();
    }
  }

  // The next writer after a death here.
  void check_recovery(int copy) {
    SyntheticTable table = *SyntheticTable::map(copy);
    check(table, "before the repair");
    if (HasFatalFailure()) return;
    const auto again = table.assign(1, name_of(GetParam().assigned), kNow, 1000);
    ASSERT_TRUE(again.ok()) << "after " << steps_ << " instructions: " << again.error().message;
    promises_.push_back({GetParam().assigned, *again});
    check(table, "after the repair");
    promises_.pop_back();
    if (HasFatalFailure()) return;
    // No entry is lost, none is doubled.
    for (std::uint32_t n = 0; n < kCapacity; ++n) {
      ASSERT_TRUE(table.assign(2, name_of("later" + std::to_string(n) + ".test"), 100 * kGrace, 1000).ok())
          << "after " << steps_;
    }
    ASSERT_FALSE(table.assign(2, name_of("toomany.test"), 100 * kGrace, 1000).ok())
        << "after " << steps_ << " instructions";
  }

  std::vector<Promise> promises_;
  unsigned steps_ = 0;
};

TEST_P(Stepped, EveryInstructionIsSafeToDieAt) {  // CEL-15
  SyntheticTable table = *SyntheticTable::create({kCapacity, {0xfd}, 77});
  for (const auto& [name, at] : GetParam().before) {
    const auto index = table.assign(1, name_of(name), at, 1000);
    ASSERT_TRUE(index.ok());
    if (kNow < at + 1000 + kGrace) promises_.push_back({name, *index});
  }
  const DomainName assigned = name_of(GetParam().assigned);
  const pid_t writer = fork();
  ASSERT_GE(writer, 0);
  if (writer == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(3);
    raise(SIGSTOP);
    const auto index = table.assign(1, assigned, kNow, 1000);
    _exit(index.ok() ? 0 : 4);
  }
  int status = 0;
  unsigned changed = 0;
  std::string last;
  for (; waitpid(writer, &status, 0) == writer && WIFSTOPPED(status); ++steps_) {
    // Instructions that left the file as it was need no second look.
    std::string now(4096 * 2, '\0');
    ASSERT_GT(pread(table.fd(), now.data(), now.size(), 0), 4096);
    if (now != last) {
      ++changed;
      last = now;
      check(table, "as a reader");
      const int copy = copy_after_death(table.fd(), writer);
      if (!HasFatalFailure()) check_recovery(copy);
      close(copy);
      if (HasFatalFailure()) {
        kill(writer, SIGKILL);
        waitpid(writer, &status, 0);
        return;
      }
    }
    ASSERT_EQ(ptrace(PTRACE_SINGLESTEP, writer, nullptr, nullptr), 0);
  }
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0);
  EXPECT_GT(steps_, 100u);
  EXPECT_GT(changed, 5u);  // lock, entry, chain, count, unlock: seen one by one
}

INSTANTIATE_TEST_SUITE_P(
    Paths, Stepped,
    ::testing::ValuesIn<Scenario>({
        {"FirstEntry", {}, "new.example.test"},
        {"UnusedEntry", {{"a.test", kNow - 1}, {"b.test", kNow - 1}}, "new.example.test"},
        {"ReusedEntry",
         {{"a.test", kNow - 1}, {"quite-long-old-name.example.test", 0}, {"c.test", kNow - 1}},
         "new.example.test"},
        {"ReusedForALongerName",
         {{"a.test", kNow - 1}, {"b", 0}, {"c.test", kNow - 1}},
         "a-rather-long-new-name.of-several.labels.example.test"},
        {"Extended", {{"new.example.test", kNow - 5000}, {"b.test", kNow - 1}}, "new.example.test"},
    }),
    [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport
