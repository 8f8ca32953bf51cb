// GateMemory: what a gateway remembers in shared memory, made once by the warden and kept over the death of workers and
// over reloads: bindings, synthetic addresses, decisions, counters, what limits have counted.
//
// Threads  [main]; the tables have rules of their own.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "audit/decision_journal.hpp"
#include "host/warden/memory_file.hpp"
#include "ledger/binding_table.hpp"
#include "ledger/synthetic_table.hpp"
#include "limits/limits_table.hpp"
#include "metrics/metrics_table.hpp"

namespace sallyport {

class GateMemory {
 public:
  // Each running worker has one eventfd by which it learns that a binding is in force; old and new ones overlap while
  // they drain.
  static constexpr std::size_t kSlots = 24;

  static_assert(kSlots <= LimitsTable::kHolders);

  // limits_seed: of the file that holds what quotas used, so that its records are found; none: a random one.
  static absl::StatusOr<GateMemory> create(const std::optional<std::array<std::uint64_t, 2>>& limits_seed = {});

  BindingTable ledger;
  SyntheticTable synthetic;
  DecisionJournal journal;
  MetricsTable metrics;
  LimitsTable limits;
  Descriptor recorded;                     // eventfd: a binding was recorded
  std::array<Descriptor, kSlots> applied;  // eventfds
  std::array<bool, kSlots> slot_taken{};
  std::string client_key;  // hex; ids of IPv6 clients are a hash under it

  // -1: all are taken.
  int take_slot();
  // Its process has ended: nothing is open there any more.
  void free_slot(int slot) {
    slot_taken[static_cast<std::size_t>(slot)] = false;
    limits.forget_holder(static_cast<unsigned>(slot));
  }
};

}  // namespace sallyport
