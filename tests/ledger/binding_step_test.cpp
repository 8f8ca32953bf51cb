// record() stopped after each of its instructions: what readers see there, and what the next writer makes of it if the
// process had died there. As synthetic_step_test does for assign(), and with the same kernel-made lock word.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using Found = BindingTable::Found;

constexpr std::uint64_t kNow = 10'000'000;
constexpr std::uint32_t kCapacity = 4, kPerClient = 3;

struct Given {
  std::uint64_t client;
  const char* name;
  std::uint64_t at;  // recorded for 30 s
};

BindingTable::Binding binding(const Given& given, unsigned addr = 1) {
  return {given.client, std::nullopt, Address::v4(0xcb007100u + addr), *DomainName::parse(given.name), 30'000};
}

struct Scenario {
  const char* why;
  std::vector<Given> before;
  Given recorded;           // by the process that dies
  const char* victim = "";  // whose place it may take
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

class SteppedRecord : public ::testing::TestWithParam<Scenario> {
 protected:
  using Seen = std::map<std::string, std::uint64_t>;  // client and name -> sequence
  static std::string key(const Given& given) { return std::to_string(given.client) + " " + given.name; }

  static Seen found_in(const BindingTable& table, std::uint64_t now) {
    Seen seen;
    std::vector<Found> out(8);
    for (std::uint64_t client = 1; client <= 2; ++client) {
      const std::size_t count = table.find(client, Address::v4(0xcb007101u), now, out);
      for (std::size_t i = 0; i < count; ++i) {
        const auto fresh =
            seen.emplace(std::to_string(client) + " " + std::string(out[i].name->text()), out[i].sequence);
        EXPECT_TRUE(fresh.second) << "twice";
      }
    }
    return seen;
  }

  // Who was told a binding finds it, but for the one that goes; and nothing is there that nobody recorded.
  void check(const BindingTable& table, const char* when) {
    const Seen seen = found_in(table, kNow);
    for (const Given& given : promises_) {
      if (std::string(given.name) == GetParam().victim) continue;
      ASSERT_TRUE(seen.contains(key(given))) << when << " after " << steps_ << " instructions: " << key(given);
    }
    for (const auto& [name, sequence] : seen) {
      bool known = name == key(GetParam().recorded);
      for (const Given& given : promises_) known |= name == key(given);
      ASSERT_TRUE(known) << when << " after " << steps_ << " instructions: " << name;
    }
  }

  void check_recovery(int copy, std::uint64_t cursor, Seen followed) {
    BindingTable table = *BindingTable::map(copy);
    check(table, "before the repair");
    if (HasFatalFailure()) return;
    const auto again =
        table.record(binding({2, "another.test", kNow}, 2), kNow);  // not the same: it shall not mend that
    // With every entry live there is no room for it; the repair is done all the same.
    check(table, "after the repair");
    if (HasFatalFailure()) return;
    // A follower that came so far before misses nothing, whatever the dead one had half logged.
    std::vector<Found> out(8);
    while (true) {
      const auto count = table.next(cursor, kNow, out);
      ASSERT_TRUE(count.ok());
      if (*count == 0) break;
      for (std::size_t i = 0; i < *count; ++i)
        followed[std::to_string(out[i].client_id) + " " + std::string(out[i].name->text())] = out[i].sequence;
    }
    for (const auto& [name, sequence] : found_in(table, kNow)) {
      ASSERT_TRUE(followed.contains(name)) << "after " << steps_ << " instructions: " << name << " was not told";
      ASSERT_EQ(followed[name], sequence) << "after " << steps_ << " instructions: " << name;
    }
    const auto whole = table.record(binding(GetParam().recorded), kNow);
    // There was room for one of the two at least: the dead one's place, or what it replaced.
    ASSERT_TRUE(whole.ok() || again.ok()) << "after " << steps_;
    // No entry is lost, none is doubled; the shares are counted right.
    const std::uint64_t later = kNow + 10'000'000;
    for (std::uint32_t n = 0; n < kCapacity; ++n) {
      ASSERT_TRUE(table.record(binding({10 + n, "later.test", later}), later).ok()) << "after " << steps_;
    }
    ASSERT_FALSE(table.record(binding({20, "toomany.test", later}), later).ok()) << "after " << steps_;
    const std::uint64_t last = later + 10'000'000;
    for (std::uint32_t n = 0; n < kPerClient + 1; ++n) {
      const std::string name = "own" + std::to_string(n) + ".test";
      ASSERT_TRUE(table.record(binding({10, name.c_str(), last + n}), last + n).ok()) << "after " << steps_;
    }
    ASSERT_EQ(table.find(10, Address::v4(0xcb007101u), last + 10, out), kPerClient) << "after " << steps_;
  }

  std::vector<Given> promises_;
  unsigned steps_ = 0;
};

TEST_P(SteppedRecord, EveryInstructionIsSafeToDieAt) {
  BindingTable table = *BindingTable::create({kCapacity, kPerClient, 77});
  for (const Given& given : GetParam().before) {
    ASSERT_TRUE(table.record(binding(given), given.at).ok());
    if (kNow < given.at + 30'000) promises_.push_back(given);
  }
  std::uint64_t cursor = 0;
  Seen followed;
  std::vector<Found> out(8);
  const auto count = table.next(cursor, kNow, out);
  for (std::size_t i = 0; i < *count; ++i)
    followed[std::to_string(out[i].client_id) + " " + std::string(out[i].name->text())] = out[i].sequence;
  ASSERT_EQ(*table.next(cursor, kNow, out), 0u);

  const pid_t writer = fork();
  ASSERT_GE(writer, 0);
  if (writer == 0) {
    const BindingTable::Binding mine = binding(GetParam().recorded);
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(3);
    raise(SIGSTOP);
    const auto sequence = table.record(mine, kNow);
    _exit(sequence.ok() ? 0 : 4);
  }
  int status = 0;
  unsigned changed = 0;
  std::string last;
  for (; waitpid(writer, &status, 0) == writer && WIFSTOPPED(status); ++steps_) {
    // Instructions that left the file as it was need no second look.
    std::string now(4096 * 4, '\0');
    ASSERT_GT(pread(table.fd(), now.data(), now.size(), 0), 4096);
    if (now != last) {
      ++changed;
      last = now;
      check(table, "as a reader");
      const int copy = copy_after_death(table.fd(), writer);
      if (!HasFatalFailure()) check_recovery(copy, cursor, followed);
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
  EXPECT_GT(changed, 8u);  // lock, entry, chain, heaps, cell, log, unlock: seen one by one
}

INSTANTIATE_TEST_SUITE_P(
    Paths, SteppedRecord,
    ::testing::ValuesIn<Scenario>({
        {"First", {}, {1, "new.test", 0}},
        {"Unused", {{1, "a.test", kNow - 1}, {2, "b.test", kNow - 2}}, {1, "new.test", 0}},
        {"ExpiredOfAnother",
         {{1, "a.test", kNow - 1}, {2, "quite-a-long-old-name.example.test", 0}, {2, "b.test", kNow - 2}},
         {1, "new.test", 0}},
        {"ExpiredAndItsClientGoes", {{2, "b", 0}, {1, "a.test", kNow - 1}}, {1, "a-long-new-name.of-labels.test", 0}},
        {"FullShare",
         {{1, "a.test", kNow - 9}, {2, "b.test", kNow - 20}, {1, "c.test", kNow - 1}, {1, "d.test", kNow - 5}},
         {1, "new.test", 0},
         "a.test"},
        {"Extended",
         {{1, "a.test", kNow - 9}, {2, "b.test", kNow - 20}, {1, "new.test", kNow - 10}, {1, "d.test", kNow - 5}},
         {1, "new.test", 0}},
        {"BackFromTheDead", {{1, "new.test", 0}, {2, "b.test", kNow - 20}}, {1, "new.test", 0}},
    }),
    [](const auto& row) { return row.param.why; });

}  // namespace
}  // namespace sallyport
