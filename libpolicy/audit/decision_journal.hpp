// DecisionJournal: what the enforcers decided lately, for an observer that holds traffic against it
// (policy.decisions/draft1).
//
// Form     A sealed memfd: a ring of records that is overwritten, each with a sequence number.
// Writer   The warden alone, one thread, with the mapping of create(); every later one is read-only, by a seal
//          (F_SEAL_FUTURE_WRITE): an observer that was taken over can change nothing for the others.
// Threads  next() from any thread of any process that maps it: no lock, no waiting, every loop bounded.
// Errors   kExhausted: records were overwritten before they were read. kCorrupt: a file that is no such journal.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "audit/audit_record.hpp"
#include "memory/shared_memory.hpp"
#include "names/address.hpp"
#include "result/result.hpp"

namespace sallyport {

struct DecisionRecord {
  std::uint64_t realtime_ns = 0;
  std::uint64_t client_id = 0;
  Layer layer = Layer::kNone;
  Effect verdict = Effect::kDeny;  // what was done
  Reason reason = Reason::kNoRule;
  std::uint16_t proto = 0;
  std::optional<Address> client, dest;           // none: not known
  std::uint16_t client_port = 0, dest_port = 0;  // 0: not known
  std::uint8_t name_size = 0, plugin_size = 0;
  std::array<char, AuditRecord::kMaxPlugin + 1> plugin{};  // whose decision it is
  std::array<char, 255> name{};  // canonical; the last member, of which append() writes what is used

  std::string_view name_text() const noexcept { return {name.data(), name_size}; }
  std::string_view plugin_text() const noexcept { return {plugin.data(), plugin_size}; }

  // Of a sanitized record. Refused input is no name.
  static DecisionRecord of(const AuditRecord& record) noexcept;
};

class DecisionJournal {
 public:
  static constexpr std::uint32_t kDefaultSlots = 8192;  // 2.9 MB; some seconds of a busy gateway

  // slots: a power of two, 2 to 2^20.
  static Result<DecisionJournal> create(std::uint32_t slots = kDefaultSlots);
  static Result<DecisionJournal> map(int fd);  // for reading; the descriptor stays the caller's

  int fd() const noexcept { return memory_.fd(); }  // for the observer's worker; -1 for a mapped journal

  // Only on what create() returned; nothing happens otherwise.
  void append(const DecisionRecord& record) noexcept;

  // Records after cursor (0: all there are), oldest first; moves the cursor. Returns how many; 0: nothing more now.
  // kExhausted: some were overwritten; the cursor has moved past them.
  Result<std::size_t> next(std::uint64_t& cursor, std::span<DecisionRecord> out) const noexcept;

 private:
  struct Header;
  struct Slot;

  DecisionJournal() = default;
  Header& header() const noexcept;
  Slot& slot(std::uint64_t sequence) const noexcept;

  SharedMemory memory_;
  std::uint32_t slots_ = 0;
  bool writable_ = false;
  std::uint64_t last_ = 0;  // the writer's own copy
};

}  // namespace sallyport
