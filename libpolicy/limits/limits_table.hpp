// LimitsTable: what each client has done by each rule that has `limits` (policy.limits/1, docs/limits.md).
//
// Form      One entry a (rule, client), found by a keyed hash of the rule's name and of who the client is: a reload
//           that keeps the rule keeps what was counted. Connections are counted a holder (a worker process) each.
// Bounds    kWays places an entry may have. All taken, and none of them at rest: the rule's overflow entry, which all
//           such clients share. So a full table makes limits stricter, and never lifts one.
// Memory    One sealed memfd that the warden creates and workers map; it outlives them all. Sparse.
// Threads   Any thread of any process that maps it. Wait-free, no allocation.
// Trust     Workers that parse traffic write here: nothing read from it is followed as an offset or a size. What a
//           worker could gain by writing here, namely traffic without limits, it could have by not asking.
// Crashes   A process may die between any two instructions: what it held is given back by forget_holder(), and at most
//           one charge of it is counted that was not forwarded.
// Exact     A charge that returned is counted, whatever others do; except that two processes which meet a client for
//           the first time in the same instant may count their first charge apart, while a place of the table changes
//           hands.
// Time      Passed in: the steady clock's nanoseconds, the same for all, and seconds of wall-clock time for quotas.
// Errors    kCorrupt: a file that is no such table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/model.hpp"
#include "memory/shared_memory.hpp"
#include "result/result.hpp"

namespace sallyport {

// Values are those of policy/ext/limits.h.
enum class Charge : std::uint32_t { kRequest = 1, kUp = 2, kDown = 3, kQuestion = 4 };
enum class Limit : std::uint32_t { kNone = 0, kRequests, kConnections, kBandwidth, kUpload, kDownload };
std::string_view to_string(Limit limit) noexcept;  // "requests"; the word of the policy

class LimitsTable {
 public:
  static constexpr std::uint32_t kMaxCapacity = 1u << 18;
  static constexpr std::uint32_t kDefaultCapacity = 1u << 15;
  static constexpr std::size_t kWays = 16;
  static constexpr std::size_t kOverflow = 256;  // entries; rules that share one are bound together
  static constexpr unsigned kHolders = 24;       // workers at once, as GateMemory has
  static constexpr std::uint64_t kRestNs = std::uint64_t{600} * 1'000'000'000;  // then a place may be given away
  static constexpr std::uint64_t kQuestionsARequest = 3;                        // A, AAAA and HTTPS of one name

  struct Options {
    std::uint32_t capacity = kDefaultCapacity;  // a power of two, kWays to kMaxCapacity
    std::array<std::uint64_t, 2> seed{};        // random; clients choose addresses, and must not choose places
  };
  static Result<LimitsTable> create(const Options& options);
  static Result<LimitsTable> map(int fd);  // the descriptor stays the caller's

  int fd() const noexcept { return memory_.fd(); }  // to hand to workers; -1 for a mapped table

  struct Key {
    std::uint64_t client = 0;  // never 0 but by default
    std::uint64_t rule = 0;
  };
  std::uint64_t rule_hash(std::string_view rule) const noexcept;
  // client: octets that tell one from another.
  Key key(std::uint64_t rule_hash, std::string_view client) const noexcept;

  struct Now {
    std::uint64_t steady_ns = 0;
    std::int64_t wall_s = 0;
  };
  struct Charged {
    Limit exceeded = Limit::kNone;  // unless kNone nothing was charged
    std::uint64_t wait_ns = 0;      // until it may go on; if exceeded: until it is worth asking again
    bool ok() const noexcept { return exceeded == Limit::kNone; }
  };
  Charged charge(const Key& key, const LimitsModel& limits, Charge kind, std::uint64_t amount,
                 const Now& now) const noexcept;
  // The most octets that one charge should be for: a share of the bandwidth's burst, or what is left of a quota; at
  // least 1.
  std::uint64_t room(const Key& key, const LimitsModel& limits, Charge kind, const Now& now) const noexcept;

  // One connection more, at most `most`. Of two at the last place in the same instant both may be refused, never both
  // let in. The place is what leave() takes.
  struct Place {
    std::uint32_t entry = UINT32_MAX;
    unsigned holder = 0;
    bool valid() const noexcept { return entry != UINT32_MAX; }
  };
  static constexpr std::uint32_t kAnyNumber = UINT32_MAX;
  Place enter(const Key& key, unsigned holder, std::uint32_t most, const Now& now) const noexcept;
  void leave(const Place& place) const noexcept;
  std::uint32_t connections(const Key& key, const Now& now) const noexcept;
  // The process is gone, and with it all that it held.
  void forget_holder(unsigned holder) const noexcept;

  // What quotas have used, to be kept in a file.
  struct Used {
    std::uint64_t key = 0, upload = 0, download = 0;  // words, as in buckets.hpp
    bool operator==(const Used&) const = default;
  };
  std::vector<Used> used(std::int64_t wall_s) const;
  // Into a table that nobody charges yet.
  void restore(std::span<const Used> used, const Now& now) const noexcept;
  // What was used in the windows of this time is not known: it counts as all. 0: it is known.
  void lose(std::int64_t wall_s) const noexcept;
  std::int64_t lost_at() const noexcept;

  std::uint32_t capacity() const noexcept { return capacity_; }
  const std::array<std::uint64_t, 2>& seed() const noexcept { return seed_; }
  std::uint64_t overflowed() const noexcept;  // charges to overflow entries

 private:
  struct Header;
  struct Entry;
  LimitsTable() = default;

  Header& header() const noexcept;
  Entry& at(std::uint32_t index) const noexcept;
  std::uint32_t find(const Key& key, const Now& now) const noexcept;
  std::uint32_t overflow_of(const Key& key) const noexcept;
  static bool is_at_rest(const Entry& entry, const Now& now) noexcept;

  SharedMemory memory_;
  std::uint32_t capacity_ = 0;
  std::array<std::uint64_t, 2> seed_{};
};

}  // namespace sallyport
