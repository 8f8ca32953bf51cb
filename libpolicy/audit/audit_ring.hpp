// AuditRing: how a worker's records reach the warden: a bounded queue in shared memory, many writers, one reader.
//
// Form     A sealed memfd: header, then slots of one record each. One ring belongs to one worker process (all of its
//          threads); the next worker in its place may go on with the same ring.
// Threads  write() from any thread of the worker: wait-free, one atomic addition and a copy. A full ring loses the
//          record and counts it. read(), arm() and skip_unfinished() from one thread of the warden.
// Errors   A writer that dies in the middle of a record leaves a slot unfinished, and read() stops before it; once
//          the process is known to be gone, skip_unfinished() counts it as lost and goes on.
// Wake-up  An eventfd passed in. It is written only after arm() said that the reader is about to sleep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "audit/audit_record.hpp"
#include "memory/shared_memory.hpp"
#include "result/result.hpp"

namespace sallyport {

class AuditRing {
 public:
  // Threads that may be inside write() at once. So many slots stay free, so that a ticket always finds its slot empty.
  static constexpr std::uint32_t kMaxWriters = 64;
  static constexpr std::uint32_t kDefaultSlots = 2048;  // 3.3 MB, touched as used; some 100 ms of a busy worker

  // slots: a power of two, at least 2 * kMaxWriters. wake_fd (-1: none) is borrowed and must outlive the ring.
  // ref_seed: random, of the run; writers make their records' refs with it.
  static Result<AuditRing> create(std::uint32_t slots, int wake_fd, std::uint64_t ref_seed = 0);
  static Result<AuditRing> map(int fd, int wake_fd);

  int fd() const noexcept { return memory_.fd(); }  // for the worker; -1 for a mapped ring

  std::uint64_t ref_seed() const noexcept { return ref_seed_; }  // as it was when the ring was made or mapped

  // False: the ring is full, the record is lost and counted.
  bool write(const AuditRecord& record) noexcept;

  // Takes finished records, oldest first, sanitized. Returns how many; 0: nothing more now.
  std::size_t read(std::span<AuditRecord> out) noexcept;

  // Before the reader sleeps on the eventfd: true if it may, false if records are there already.
  bool arm() noexcept;

  // Only after every writer's process is gone. Passes over the unfinished records up to the next finished one; they
  // count as lost. Returns how many: call read() and this in turn until both say 0.
  std::size_t skip_unfinished() noexcept;

  // Records lost so far, by a full ring or a dead writer.
  std::uint64_t lost() const noexcept;

 private:
  struct Header;
  struct Slot;

  AuditRing() = default;
  Header& header() const noexcept;
  Slot& slot(std::uint64_t ticket) const noexcept;
  void expect_write(std::uint64_t ticket) const noexcept;
  void expect_read(std::uint64_t ticket) const noexcept;

  SharedMemory memory_;
  int wake_fd_ = -1;
  std::uint32_t slots_ = 0;
  std::uint64_t ref_seed_ = 0;
  std::uint64_t next_ = 0;  // the reader's own copy: shared memory cannot move it
};

}  // namespace sallyport
