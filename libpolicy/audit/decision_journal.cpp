// One writer: a slot is changed between two stores of its stamp (2n - 1 while record n is written, 2n when it stands),
// so a reader sees that it was overwritten under it. A warden that died is followed by a new one with a new journal.
#include "audit/decision_journal.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

namespace sallyport {
namespace {

constexpr std::uint64_t kMagic = 0x324c'4e52'554f'4a53;  // "SJOURNL2"
constexpr std::uint32_t kMaxSlots = 1u << 20;
constexpr std::size_t kWords = (sizeof(DecisionRecord) + 7) / 8;

static_assert(std::is_trivially_copyable_v<DecisionRecord>, "records are copied word by word");

}  // namespace

struct DecisionJournal::Header {
  std::uint64_t magic;
  std::uint32_t slots, record_size;
  alignas(64) std::atomic<std::uint64_t> last;  // sequence number, from 1
};

struct DecisionJournal::Slot {
  std::atomic<std::uint64_t> stamp;
  std::array<std::atomic<std::uint64_t>, kWords> words;
};

DecisionRecord DecisionRecord::of(const AuditRecord& record) noexcept {
  DecisionRecord out;
  out.realtime_ns = record.realtime_ns;
  out.client_id = record.client_id;
  out.layer = record.layer;
  out.verdict = record.effective;
  out.reason = record.reason;
  out.proto = record.proto;
  if (record.client_addr_family != 0) out.client = record.client_address();
  out.client_port = record.client_port;
  if (record.addr_family != 0) out.dest = record.address();
  out.dest_port = record.port;
  out.plugin_size = record.plugin_size;
  std::copy_n(record.plugin.data(), out.plugin_size, out.plugin.data());
  if ((record.flags & kAuditRaw) == 0) {
    out.name_size = record.name_size;
    std::copy_n(record.name.data(), out.name_size, out.name.data());
  }
  return out;
}

DecisionJournal::Header& DecisionJournal::header() const noexcept { return *reinterpret_cast<Header*>(memory_.data()); }

DecisionJournal::Slot& DecisionJournal::slot(std::uint64_t sequence) const noexcept {
  return reinterpret_cast<Slot*>(memory_.data() + sizeof(Header))[sequence & (slots_ - 1)];
}

Result<DecisionJournal> DecisionJournal::create(std::uint32_t slots) {
  if (!std::has_single_bit(slots) || slots < 2 || slots > kMaxSlots) {
    return Error{ErrorCode::kUnsupported, "a decision journal has 2 to 1048576 slots, a power of two", 0};
  }
  Result<SharedMemory> memory = SharedMemory::create(
      "sallyport-journal", sizeof(Header) + std::size_t{slots} * sizeof(Slot), SharedWriters::kCreator);
  if (!memory.ok()) return memory.error();
  DecisionJournal journal;
  journal.memory_ = *std::move(memory);
  journal.slots_ = slots;
  journal.writable_ = true;
  Header& header = journal.header();
  header.slots = slots;
  header.record_size = sizeof(DecisionRecord);
  header.magic = kMagic;
  return journal;
}

Result<DecisionJournal> DecisionJournal::map(int fd) {
  struct {
    std::uint64_t magic;
    std::uint32_t slots, record_size;
  } seen;
  const Result<std::uint64_t> size =
      SharedMemory::look(fd, std::as_writable_bytes(std::span(&seen, 1)), SharedWriters::kCreator);
  if (!size.ok()) return size.error();
  if (seen.magic != kMagic) return Error{ErrorCode::kCorrupt, "not a decision journal", 0};
  if (seen.record_size != sizeof(DecisionRecord)) {
    return Error{ErrorCode::kUnsupported, "a decision journal of another version", 0};
  }
  if (!std::has_single_bit(seen.slots) || seen.slots < 2 || seen.slots > kMaxSlots ||
      *size != sizeof(Header) + std::size_t{seen.slots} * sizeof(Slot)) {
    return Error{ErrorCode::kCorrupt, "a decision journal with a damaged header", 0};
  }
  Result<SharedMemory> memory = SharedMemory::map(fd, *size, SharedWriters::kCreator);
  if (!memory.ok()) return memory.error();
  DecisionJournal journal;
  journal.memory_ = *std::move(memory);
  journal.slots_ = seen.slots;
  return journal;
}

void DecisionJournal::append(const DecisionRecord& record) noexcept {
  if (!writable_) return;
  // What of the slot's name lies behind this one's end is an older one's, and nobody's.
  const std::size_t used = (offsetof(DecisionRecord, name) + record.name_size + 7) / 8;
  std::array<std::uint64_t, kWords> words;
  words[kWords - 1] = 0;
  std::memcpy(words.data(), &record, sizeof record);
  const std::uint64_t sequence = ++last_;
  Slot& mine = slot(sequence);
  mine.stamp.store(2 * sequence - 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // nothing below is seen without the odd stamp
  for (std::size_t i = 0; i < used; ++i) mine.words[i].store(words[i], std::memory_order_relaxed);
  mine.stamp.store(2 * sequence, std::memory_order_release);
  header().last.store(sequence, std::memory_order_release);
}

Result<std::size_t> DecisionJournal::next(std::uint64_t& cursor, std::span<DecisionRecord> out) const noexcept {
  std::size_t count = 0;
  const std::uint64_t end = header().last.load(std::memory_order_acquire);
  const auto overrun = [&]() -> Result<std::size_t> {
    if (count > 0) return count;  // the next call says so
    const std::uint64_t last = header().last.load(std::memory_order_acquire);
    cursor = last > slots_ / 2 ? last - slots_ / 2 : 0;  // room, so that the writer does not overtake again at once
    return Error{ErrorCode::kExhausted, "decisions were overwritten before they were read", 0};
  };
  // From the beginning means from the oldest there is; that is no loss.
  if (cursor == 0 && end >= slots_) cursor = end - slots_ + 1;
  while (cursor < end && count < out.size()) {
    const std::uint64_t sequence = cursor + 1;
    const Slot& from = slot(sequence);
    if (from.stamp.load(std::memory_order_acquire) != 2 * sequence) return overrun();
    std::array<std::uint64_t, kWords> words;
    for (std::size_t i = 0; i < kWords; ++i) words[i] = from.words[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (from.stamp.load(std::memory_order_relaxed) != 2 * sequence) return overrun();
    std::memcpy(static_cast<void*>(&out[count]), words.data(), sizeof(DecisionRecord));
    ++count;
    cursor = sequence;
  }
  return count;
}

}  // namespace sallyport
