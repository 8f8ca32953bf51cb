// BindingTable: which client was told which address for which name, until when (policy.ledger/1; `answers: real`).
//
// Form     (client, addr, name) is unique: a repeat extends it. Every record, repeats included, has a sequence number
//          of its own, one more than the last. A bounded log of them lets enforcers follow; what a reader misses there
//          it finds by reading everything again.
// Pins     A binding that a live flow uses stays until its pin ends, whatever its TTL and however full the table is; in
//          that time it admits nothing new: find() passes it over, next() says so.
// Bounds   A client's share: its own that ends first goes. The whole table: expired ones go, else record() fails.
//          A TTL is at least kMinTtlMs and at most kMaxTtlMs (DNS-30).
// Memory   One sealed memfd that the warden creates and workers map; it outlives them all. Sparse: only what was used
//          takes memory.
// Threads  Any thread of any process that maps it. find(), next() and the applied functions take no lock and never
//          wait: every loop is bounded. record() holds one robust lock and waits for it a bounded time.
// Trust    Workers that parse traffic write here: whatever is read is checked and bounded, a reader gets a whole
// binding
//          or none, and enforcers with privileges only read, store what they applied, and end or pin bindings with
//          one store each. record() takes a robust pthread lock, whose list pointers lie in the file, so it is for
//          processes that trust each other: never call it in the warden or in an enforcer. Who reads decides again
//          before it acts: a hostile worker can write any binding.
// Crashes  A writer may die at any instruction: the next one repairs, and no reader ever sees a half of anything.
//          A binding whose record() returned stays.
// Time     Milliseconds of CLOCK_BOOTTIME, passed in (REL-06). The same clock for all.
// Errors   kExhausted: the table is full of live bindings, the lock could not be had, or the log has overrun a reader.
//          kCorrupt: a file that is no such table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "memory/shared_memory.hpp"
#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "result/result.hpp"

namespace sallyport {

class BindingTable {
 public:
  static constexpr std::uint32_t kMaxCapacity = 1u << 18;  // 18 bits of a log entry
  static constexpr std::uint32_t kDefaultCapacity = 1u << 16;
  static constexpr std::uint32_t kDefaultPerClient = 4096;  // 16 busy clients fill the table, not one
  static constexpr unsigned kMaxEnforcers = 8;

  static constexpr std::uint32_t kMinTtlMs = 30'000;     // a TTL of 0 would end before the client has connected
  static constexpr std::uint32_t kMaxPinMs = 120'000;    // a pin is renewed while its flow lives
  static constexpr std::uint32_t kMaxTtlMs = 3'600'000;  // no origin keeps an address in the policy for days

  struct Options {
    std::uint32_t capacity = kDefaultCapacity;     // 1 to kMaxCapacity bindings
    std::uint32_t per_client = kDefaultPerClient;  // 1 to capacity
    std::uint64_t seed = 0;                        // random; clients choose names, and must not choose hash buckets
  };

  // A new table in a new memfd, sealed against any change of size.
  static Result<BindingTable> create(const Options& options);
  // Maps the table of a descriptor that came from create(), which stays the caller's. Everything that lookups rely on
  // is checked here and copied out of shared memory.
  static Result<BindingTable> map(int fd);

  int fd() const noexcept { return memory_.fd(); }  // to hand to workers; -1 for a mapped table

  static constexpr std::uint32_t clamped_ttl(std::uint32_t ttl_ms) noexcept {
    return ttl_ms < kMinTtlMs ? kMinTtlMs : ttl_ms > kMaxTtlMs ? kMaxTtlMs : ttl_ms;
  }

  struct Binding {
    std::uint64_t client_id = 0;
    std::optional<Address> client;  // the client's own address; none for a cell
    Address addr;
    DomainName name;
    std::uint32_t ttl_ms = 0;  // clamped
  };
  // Its sequence number, from 1. Never shortens a binding. Several of one answer: one call each; the last number
  // stands for all.
  Result<std::uint64_t> record(const Binding& binding, std::uint64_t now_ms) noexcept {
    return record(binding, now_ms, now_ms);
  }
  // asked_ms: when the client asked. kUnsupported if forget() was called since: whoever asked is no longer there.
  Result<std::uint64_t> record(const Binding& binding, std::uint64_t now_ms, std::uint64_t asked_ms) noexcept;

  // Whoever had this address is gone: its bindings end, and none comes for what it asked up to now. What is asked later
  // is somebody else's. Takes no lock and waits for nobody, so it is for enforcers. How many ended.
  std::size_t forget(const Address& client, std::uint64_t now_ms) noexcept;

  // A flow of this client to this address is open: the bindings that let it in stay for `for_ms` (kMaxPinMs at most).
  // Takes no lock, so it is for enforcers. How many there are; 0: they have gone before.
  std::size_t pin(std::uint64_t client_id, const Address& client, const Address& addr, std::uint64_t now_ms,
                  std::uint32_t for_ms) noexcept;

  struct Found {
    std::uint64_t client_id = 0;
    std::optional<Address> client;
    Address addr;
    std::optional<DomainName> name;  // always set in what find() and next() return
    std::uint64_t expires_ms = 0;    // later than now, but for one that is only pinned
    std::uint64_t pinned_ms = 0;     // until when; 0: it is not
    std::uint64_t sequence = 0;      // of its last record
  };
  // Live bindings of (client, addr); returns how many were written, out.size() at most. 0: none.
  std::size_t find(std::uint64_t client_id, const Address& addr, std::uint64_t now_ms,
                   std::span<Found> out) const noexcept;

  // Bindings recorded after cursor that live or are pinned; moves the cursor. From 0: all of them, in no order, and on.
  // A binding that was recorded again since comes once, later. Returns how many; 0: nothing more now, and only then is
  // the cursor a sequence number, namely that of the last record seen (in between it says where the reading stands).
  // kExhausted: the log has overrun the cursor, which is 0 now: read again.
  Result<std::size_t> next(std::uint64_t& cursor, std::uint64_t now_ms, std::span<Found> out) const noexcept;

  // The number of the last record; 0: none yet.
  std::uint64_t last() const noexcept;

  // Enforcer i of 0 .. kMaxEnforcers - 1 has everything in force up to seq; never lowers. A seq that was not given out,
  // or a cursor between, counts as nothing.
  void applied(unsigned enforcer, std::uint64_t seq) noexcept;
  // Enforcer i starts anew and has nothing in force.
  void forget_applied(unsigned enforcer) noexcept;
  // What the first n enforcers all have in force; last() for n 0.
  std::uint64_t applied_by_all(unsigned n) const noexcept;

  std::uint32_t capacity() const noexcept { return capacity_; }
  std::uint32_t per_client() const noexcept { return per_client_; }
  std::uint32_t used() const noexcept;       // entries in use, expired ones that were not used again included
  std::uint64_t evictions() const noexcept;  // live bindings that went before their time, since a share was full
  std::uint64_t repairs() const noexcept;    // after the death of a writer

 private:
  struct Header;
  struct Entry;
  struct HeapNode;
  struct ClientCell;
  struct Layout;
  class Heap;
  class Writer;
  struct Key;

  BindingTable() = default;

  Header& header() const noexcept;
  bool read_entry(std::uint32_t slot, Found& out) const noexcept;
  template <typename Visit>
  void walk(std::uint64_t client_id, const Address& addr, Visit visit) const noexcept;

  SharedMemory memory_;
  // Copies of what the header says.
  std::uint32_t capacity_ = 0, per_client_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace sallyport
