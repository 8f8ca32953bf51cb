// LedgerService: policy.ledger/1 over the shared table of bindings: who waits for enforcers, and who is one.
//
// Wake-up  Eventfds that nobody reads: every write is an edge to whoever polls with EPOLLET, so one descriptor wakes
// any
//          number of processes. recorded: written by record(). applied: one a worker, all written by applied().
// Threads  wait(), told() from any thread; run_due() and next_due() on [main].
// Time     Nanoseconds of CLOCK_MONOTONIC, passed in.
#pragma once

#include <policy/abi.h>
#include <policy/ext/ledger.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "ledger/binding_table.hpp"

namespace sallyport {

class LedgerService {
 public:
  struct Descriptors {  // owned by the worker process, -1: none
    int recorded = -1;
    int own_applied = -1;           // wakes this worker's [main]
    std::vector<int> applied = {};  // of every worker; an enforcer's worker has them
  };
  static constexpr std::size_t kMostWaiting = 65536;  // answers on hold; each is bounded in time as well

  LedgerService(BindingTable table, Descriptors descriptors, unsigned enforcers, unsigned first_enforcer = 0)
      : table_(std::move(table)),
        descriptors_(std::move(descriptors)),
        enforcers_(enforcers),
        next_enforcer_(first_enforcer) {}

  BindingTable& table() noexcept { return table_; }
  const Descriptors& descriptors() const noexcept { return descriptors_; }

  void recorded() const noexcept;  // tells the enforcers
  void applied(policy_host& host, std::uint64_t seq) noexcept;

  // POLICY_OK: called later. POLICY_NOT_FOUND: nothing to wait for. POLICY_EXHAUSTED: too many wait.
  policy_code wait(policy_host* host, std::uint64_t seq, std::uint64_t deadline_ns, policy_applied_fn callback,
                   void* user) noexcept;

  void subscribe(policy_host& host, policy_recorded_fn callback, void* user);
  void forget(policy_host* host);

  void notify_recorded();              // calls the subscribers
  void run_due(std::uint64_t now_ns);  // calls whoever waited long enough, one way or the other
  // When run_due() is to be called at the latest. [main] must ask again after it was woken.
  std::optional<std::uint64_t> next_due() const noexcept;
  bool has_subscribers() const noexcept { return !subscribers_.empty(); }

 private:
  struct Waiting {
    policy_host* host;
    std::uint64_t id, seq, deadline_ns;
    policy_applied_fn callback;
    void* user;
  };
  struct Subscriber {
    policy_host* host;
    policy_recorded_fn callback;
    void* user;
  };
  bool in_force(std::uint64_t seq) const noexcept { return table_.applied_by_all(enforcers_) >= seq; }
  unsigned place_of(policy_host& host) noexcept;

  BindingTable table_;
  const Descriptors descriptors_;
  const unsigned enforcers_;
  mutable std::mutex mutex_;
  unsigned next_enforcer_;
  std::vector<Waiting> waiting_;
  std::uint64_t last_id_ = 0;
  mutable std::uint64_t planned_ns_ = 0;  // when [main] wakes by itself; 0: not
  std::vector<Subscriber> subscribers_;   // of [main]
};

}  // namespace sallyport
