// SyntheticTable: which private address stands for which name, for each client (DESIGN, answers: synthetic).
//
// Form     An index i is the host part of 198.18.0.0/15 and of a ULA /64. Indexes start at 2 (198.18.0.1 is the
//          gateway's) and leave out every i that ends in .0 or .255: stacks and people take those for networks and
//          broadcasts.
// Promise  An index never goes to another (client, name) before its TTL and kGraceMs have passed, whatever process
//          died at whatever instruction. A reader gets the whole name or none.
// Memory   One sealed memfd that the warden creates and workers map; it outlives them all. Sparse: entries are used
//          in order, so only those that were ever assigned take memory.
// Threads  Any thread of any process that maps it. find() is lock-free; assign() holds one robust lock, and waits for
//          it a bounded time.
// Trust    Workers that parse traffic write here: what find() reads is checked and bounded, and enforcers with
//          privileges only find(). assign() takes a robust pthread lock, whose list pointers lie in the file, so it
//          is for processes that trust each other.
// Time     Milliseconds of CLOCK_BOOTTIME, passed in. The same clock for all.
// Errors   kExhausted: every index is taken, or the lock could not be had. kCorrupt: a file that is no such table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "memory/shared_memory.hpp"
#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "result/result.hpp"

namespace sallyport {

class SyntheticTable {
 public:
  // 512 blocks of 254, less 198.18.0.1.
  static constexpr std::uint32_t kMaxCapacity = 512 * 254 - 1;

  // How long an index still means its name after the TTL, and is kept from others. Programs use an address past its
  // TTL: pools that reconnect, runtimes that cache for minutes, retries of a slow connect. Ten minutes covers those and
  // costs one entry.
  static constexpr std::uint64_t kGraceMs = 10 * 60 * 1000;

  struct Options {
    std::uint32_t capacity = kMaxCapacity;    // 1 to kMaxCapacity indexes
    std::array<std::uint8_t, 8> v6_prefix{};  // the first 64 bits, fc00::/7
    std::uint64_t seed = 0;                   // random; clients choose names, and must not choose hash buckets
  };

  // A new table in a new memfd, sealed against any change of size.
  static Result<SyntheticTable> create(const Options& options);
  // Maps the table of a descriptor that came from create(), which stays the caller's. Everything that lookups rely on
  // is checked here and copied out of shared memory, so that another process cannot change it afterwards.
  static Result<SyntheticTable> map(int fd);

  // The descriptor to hand to workers; -1 for a mapped table. Valid while *this lives.
  int fd() const noexcept { return memory_.fd(); }

  // The index of (client, name), good until now_ms + ttl_ms at least; the same one while it lives.
  Result<std::uint32_t> assign(std::uint64_t client_id, const DomainName& name, std::uint64_t now_ms,
                               std::uint32_t ttl_ms) noexcept;

  enum class State : std::uint8_t {
    kUnknown = 0,  // never assigned, assigned to another client, or damaged
    kStale,        // TTL and grace have passed
    kFound,
  };
  struct Found {
    State state = State::kUnknown;
    std::optional<DomainName> name;  // only if kFound
  };
  Found find(std::uint64_t client_id, std::uint32_t index, std::uint64_t now_ms) const noexcept;

  Address v4(std::uint32_t index) const noexcept;
  Address v6(std::uint32_t index) const noexcept;
  // In one of the two ranges, assigned or not: such an address never means a destination of its own.
  bool contains(const Address& address) const noexcept;
  // Nothing if outside the ranges or an address that is never assigned.
  std::optional<std::uint32_t> index_of(const Address& address) const noexcept;

  std::uint32_t capacity() const noexcept { return capacity_; }
  std::uint32_t used() const noexcept;  // entries that were ever assigned

 private:
  struct Header;
  struct Entry;
  struct Layout;

  SyntheticTable() = default;

  Header& header() const noexcept;
  std::uint64_t hash(std::uint64_t client_id, const DomainName& name) const noexcept;
  std::uint32_t find_slot(std::uint64_t hash, std::uint64_t client_id, const DomainName& name) const noexcept;
  std::uint32_t free_slot(std::uint64_t now_ms) noexcept;
  void link(std::uint32_t slot, std::uint64_t hash) noexcept;
  void unlink(std::uint32_t slot) noexcept;
  void write(std::uint32_t slot, std::uint64_t hash, std::uint64_t client_id, const DomainName& name,
             std::uint64_t expires_ms) noexcept;
  void repair() noexcept;

  SharedMemory memory_;
  // Copies of what the header says.
  std::uint32_t capacity_ = 0, buckets_ = 0;
  std::uint64_t seed_ = 0;
  std::array<std::uint8_t, 8> v6_prefix_{};
};

}  // namespace sallyport
