#include "host/gate/gate_memory.hpp"

#include <absl/strings/str_format.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include <algorithm>

namespace sallyport {
namespace {

// "Sally" in a unique local prefix, as in a cell.
constexpr std::array<std::uint8_t, 8> kUla = {0xfd, 0x53, 0x61, 0x6c, 0x6c, 0x79, 0, 0};

template <typename T>
absl::Status refused(const char* what, const Result<T>& result) {
  return absl::ResourceExhaustedError(absl::StrFormat("%s: %s", what, result.error().message));
}

}  // namespace

absl::StatusOr<GateMemory> GateMemory::create(const std::optional<std::array<std::uint64_t, 2>>& limits_seed) {
  std::array<std::uint64_t, 6> random{};
  if (::getrandom(random.data(), sizeof random, 0) != sizeof random) return absl::UnavailableError("no random numbers");
  BindingTable::Options bindings;
  bindings.seed = random[0];
  Result<BindingTable> ledger = BindingTable::create(bindings);
  if (!ledger.ok()) return refused("the ledger", ledger);
  SyntheticTable::Options addresses;
  addresses.v6_prefix = kUla;
  addresses.seed = random[1];
  Result<SyntheticTable> synthetic = SyntheticTable::create(addresses);
  if (!synthetic.ok()) return refused("the table of synthetic addresses", synthetic);
  Result<DecisionJournal> journal = DecisionJournal::create();
  if (!journal.ok()) return refused("the journal of decisions", journal);
  Result<MetricsTable> metrics = MetricsTable::create();
  if (!metrics.ok()) return refused("the table of metrics", metrics);
  LimitsTable::Options buckets;
  buckets.seed = limits_seed.value_or(std::array{random[4], random[5]});
  Result<LimitsTable> limits = LimitsTable::create(buckets);
  if (!limits.ok()) return refused("the table of limits", limits);
  GateMemory memory{*std::move(ledger),
                    *std::move(synthetic),
                    *std::move(journal),
                    *std::move(metrics),
                    *std::move(limits),
                    {},
                    {},
                    {},
                    {}};
  memory.recorded = Descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  bool made = memory.recorded.get() >= 0;
  for (Descriptor& fd : memory.applied) {
    fd = Descriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    made = made && fd.get() >= 0;
  }
  if (!made) return absl::ResourceExhaustedError("no descriptors left; raise LimitNOFILE");
  memory.client_key = absl::StrFormat("%016x%016x", random[2], random[3]);
  return memory;
}

int GateMemory::take_slot() {
  const auto free = std::find(slot_taken.begin(), slot_taken.end(), false);
  if (free == slot_taken.end()) return -1;
  *free = true;
  return static_cast<int>(free - slot_taken.begin());
}

}  // namespace sallyport
