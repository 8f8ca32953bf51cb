// DecisionCache: verdicts that a reader gave before, by name and every other field of the query that decide() reads.
//
// Form     4,096 entries of one line, two ways, 256 kB: it fits the second-level cache of a core. An entry holds the
//          name's octets and the generation, and both are compared; a new policy flushes nothing and finds nothing.
// Never    a query with a known address, method or path; a name over 40 octets or 16 labels; a client on trial, whose
//          verdict depends on the time, or a verdict that a trial watched. Those are decided each time. Limits and
//          ledger are no part of decide().
// Lifetime Of one reader. seed: random, since clients choose the names that are looked up.
// Threads  One.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/decide.hpp"

namespace sallyport {

class DecisionCache {
 public:
  // Policies of fewer rules are decided as fast as an entry is found (docs/decisions/0051).
  static constexpr std::size_t kFromRules = 64;

  explicit DecisionCache(std::uint64_t seed) : entries_(kSets * kWays), seed_(seed) {}

  // What snapshot.decide(query) gives.
  Verdict decide(const Snapshot& snapshot, const Query& query) noexcept;

 private:
  static constexpr std::size_t kSets = 2048, kWays = 2, kName = 40;

  struct alignas(64) Entry {
    std::array<std::uint64_t, kName / 8> name = {};
    std::uint64_t groups = 0;
    std::uint32_t generation = 0;  // the low half
    std::uint32_t rule = 0;
    std::uint16_t port = 0;
    std::uint8_t proto = 0;
    std::uint8_t length = 0;   // of the name; 0: the entry was never used
    std::uint16_t sights = 0;  // known, deferred from bit 5 on, layer from bit 10 on
    std::uint8_t reason = 0;
    std::uint8_t answer = 0;  // effect, and the flag behind it from bit 2 on
    bool is_for(const Entry& wanted) const noexcept;
  };
  static_assert(sizeof(Entry) == 64);

  std::vector<Entry> entries_;
  std::uint64_t seed_;
};

}  // namespace sallyport
