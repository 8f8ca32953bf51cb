// FlowTable: the open tickets of this process (policy.flow/1), and how a new policy reaches them.
//
// Revoked  A ticket that a new version of the policy would not have allowed: live() says 0, its callback is called, and
//          kGrace later the host shuts down what is attached, with a line in the log that names the plugin.
// Lent     A descriptor that stays the plugin's: this only knows its number, under the shard's lock, which take_back()
// and
//          close() take too. So shutdown(2) never meets a number that has been closed and given out again.
// Threads  open(), attach(), lend() and close() from any thread, a ticket from one at a time; decide_again(),
// shut_late() and
//          next_due() on [main]. No lock is held while a callback runs; close() waits for that of its own ticket.
// Time     Nanoseconds of CLOCK_MONOTONIC, passed in.
#pragma once

#include <policy/abi.h>
#include <policy/ext/flow.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "engine/decide.hpp"

namespace sallyport {
struct PolicyVersion;
struct WorkerShared;
}  // namespace sallyport

// A ticket: the query that was allowed, with all that it points to.
struct policy_flow {
  policy_host* host = nullptr;
  policy_thread* thread = nullptr;  // that opened it
  std::uint64_t id = 0;
  policy_query query{};
  policy_verdict verdict{};
  policy_addr client{}, dest{};
  policy_name name{};
  std::string credential, method, path;
  policy_revoked_fn revoked = nullptr;
  void* user = nullptr;
  std::uint64_t opened_ns = 0;

  std::atomic<std::uint32_t> live{1};
  // Under the lock of its shard.
  struct Held {
    int fd = -1;
    bool lent = false;  // not ours to close
  };
  std::array<Held, 2> attached{};
  std::uint64_t revoked_ns = 0;  // 0: not
  bool shut = false;             // the grace is over
  bool calling = false;          // its callback runs
};

namespace sallyport {

class FlowTable {
 public:
  static constexpr std::uint64_t kGraceNs = 1'000'000'000;

  FlowTable() = default;
  ~FlowTable();
  FlowTable(const FlowTable&) = delete;
  FlowTable& operator=(const FlowTable&) = delete;

  policy_code open(policy_thread& thread, const policy_query& query, const policy_verdict& verdict,
                   policy_revoked_fn revoked, void* user, std::uint64_t now_ns, policy_flow** out);
  policy_code attach(policy_flow& flow, int fd);
  policy_code lend(policy_flow& flow, int fd);
  void take_back(policy_flow& flow, int fd);
  // Frees it.
  void close(policy_flow* flow);

  // By what was just published. Returns how many were revoked.
  std::size_t decide_again(const WorkerShared& shared, const PolicyVersion& version, std::uint64_t now_ns);
  // Shuts down what was revoked a second ago and is still open.
  void shut_late(const WorkerShared& shared, std::uint64_t now_ns);
  std::optional<std::uint64_t> next_due() const noexcept {
    const std::uint64_t due = next_due_ns_.load(std::memory_order_relaxed);
    return due != 0 ? std::optional(due) : std::nullopt;
  }
  std::size_t size() const;

 private:
  // Threads open and close at the same time; a shard a ticket keeps them apart.
  static constexpr std::size_t kShards = 16;
  struct Shard {
    mutable std::mutex mutex;
    std::condition_variable called;
    std::unordered_set<policy_flow*> flows;
  };
  Shard& shard_of(const policy_flow& flow) noexcept { return shards_[flow.id % kShards]; }

  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> last_id_{0};
  std::atomic<std::uint64_t> next_due_ns_{0};
};

}  // namespace sallyport
