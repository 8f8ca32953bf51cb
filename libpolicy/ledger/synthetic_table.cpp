// Writers hold the lock. An entry is changed between two increments of its sequence, so a reader without the lock sees
// that it changed under it (odd or moved on), and a writer that dies half-way leaves an odd sequence: nobody reads that
// entry until the next writer, told by the robust lock, has freed it and rebuilt the chains. Readers never follow
// chains. The check word covers what an entry says and where it stands, against anything the sequence does not catch.
//
// Road not taken: compare-and-swap per entry without a lock. assign() is called once per DNS answer, and a death
// between taking a slot and linking it would leak the slot for good or need the same repair.
#include "ledger/synthetic_table.hpp"

#include <atomic>
#include <cstring>
#include <limits>

#include "ledger/robust_lock.hpp"
#include "ledger/synthetic_layout.hpp"

namespace sallyport {
namespace {

using ledger::mix;
using synthetic::kTextWords;

constexpr std::uint32_t kV4Base = 198u << 24 | 18u << 16;
constexpr std::uint32_t kV4Mask = 0xfffe0000;  // /15
constexpr std::uint32_t kNoSlot = std::numeric_limits<std::uint32_t>::max();
constexpr int kReadAttempts = 16;  // a writer is between the two increments for some 100 ns

// Slot k (0, 1, 2, ...) to the k-th index that is not .0, .1 of the first block, or .255.
std::uint32_t index_of_slot(std::uint32_t slot) { return (slot + 1) / 254 * 256 + (slot + 1) % 254 + 1; }
std::uint32_t slot_of_index(std::uint32_t index) {
  const std::uint32_t low = index & 0xff;
  if (low == 0 || low == 255 || index < 2 || index > ~kV4Mask) return kNoSlot;
  return index / 256 * 254 + low - 1 - 1;
}

using TextWords = std::array<std::uint64_t, kTextWords>;
std::size_t words_of(std::size_t length) { return (length + 7) / 8; }

std::uint64_t check_word(std::uint64_t seed, std::uint32_t slot, std::uint64_t client, std::uint64_t length,
                         const TextWords& text) {
  std::uint64_t check = mix(mix(seed, slot), mix(client, length));
  for (std::size_t i = 0; i < words_of(length); ++i) check = mix(check, text[i]);
  return check;
}

}  // namespace

std::uint64_t SyntheticTable::hash(std::uint64_t client_id, const DomainName& name) const noexcept {
  return mix(mix(seed_, name.hash()), client_id);
}

std::uint32_t SyntheticTable::find_slot(std::uint64_t wanted, std::uint64_t client_id,
                                        const DomainName& name) const noexcept {
  const std::string_view text = name.text();
  TextWords words{};
  std::memcpy(words.data(), text.data(), text.size());
  std::uint32_t next = Layout::bucket(*this, wanted).load(std::memory_order_relaxed);
  // The bound on steps and the checks of next hold even if another process wrote nonsense.
  for (std::uint32_t steps = 0; next != 0 && next <= capacity_ && steps < capacity_; ++steps) {
    const std::uint32_t slot = next - 1;
    const Entry& entry = Layout::entry(*this, slot);
    bool same = entry.hash.load(std::memory_order_relaxed) == wanted &&
                entry.client.load(std::memory_order_relaxed) == client_id &&
                entry.length.load(std::memory_order_relaxed) == text.size();
    for (std::size_t i = 0; same && i < words_of(text.size()); ++i) {
      same = entry.text[i].load(std::memory_order_relaxed) == words[i];
    }
    if (same) return slot;
    next = entry.next.load(std::memory_order_relaxed);
  }
  return kNoSlot;
}

// A slot that was never used, or whose TTL and grace have passed; the latter is out of its chain and unreadable on
// return.
std::uint32_t SyntheticTable::free_slot(std::uint64_t now_ms) noexcept {
  Header& head = header();
  const std::uint32_t used = head.used.load(std::memory_order_relaxed);
  if (used < capacity_) return used;
  if (now_ms < head.earliest_ms.load(std::memory_order_relaxed)) return kNoSlot;
  // The oldest goes first, so that an address rests as long as it can.
  std::uint32_t oldest = 0;
  std::uint64_t earliest = std::numeric_limits<std::uint64_t>::max();
  for (std::uint32_t slot = 0; slot < capacity_; ++slot) {
    const std::uint64_t expires = Layout::expires(*this, slot).load(std::memory_order_relaxed);
    if (expires < earliest) {
      earliest = expires;
      oldest = slot;
    }
  }
  // An entry that a dead writer left free has expires 0; adding the grace to it only delays its use after boot.
  if (earliest != 0 && now_ms < earliest + kGraceMs) {
    head.earliest_ms.store(earliest + kGraceMs,
                           std::memory_order_relaxed);  // TTLs only ever grow: the bound stays true
    return kNoSlot;
  }
  unlink(oldest);
  return oldest;
}

void SyntheticTable::link(std::uint32_t slot, std::uint64_t hash) noexcept {
  std::atomic<std::uint32_t>& bucket = Layout::bucket(*this, hash);
  Layout::entry(*this, slot).next.store(bucket.load(std::memory_order_relaxed), std::memory_order_relaxed);
  bucket.store(slot + 1, std::memory_order_relaxed);
}

void SyntheticTable::unlink(std::uint32_t slot) noexcept {
  Entry& entry = Layout::entry(*this, slot);
  std::atomic<std::uint32_t>* at = &Layout::bucket(*this, entry.hash.load(std::memory_order_relaxed));
  for (std::uint32_t steps = 0; steps <= capacity_; ++steps) {
    const std::uint32_t next = at->load(std::memory_order_relaxed);
    if (next == 0 || next > capacity_) return;
    if (next == slot + 1) {
      at->store(entry.next.load(std::memory_order_relaxed), std::memory_order_relaxed);
      return;
    }
    at = &Layout::entry(*this, next - 1).next;
  }
}

void SyntheticTable::write(std::uint32_t slot, std::uint64_t hash, std::uint64_t client_id, const DomainName& name,
                           std::uint64_t expires_ms) noexcept {
  Entry& entry = Layout::entry(*this, slot);
  const std::string_view text = name.text();
  TextWords words{};
  std::memcpy(words.data(), text.data(), text.size());
  const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed) | 1;
  entry.sequence.store(sequence, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // nothing below is seen without the odd sequence
  entry.client.store(client_id, std::memory_order_relaxed);
  entry.hash.store(hash, std::memory_order_relaxed);
  entry.length.store(text.size(), std::memory_order_relaxed);
  for (std::size_t i = 0; i < words_of(text.size()); ++i) entry.text[i].store(words[i], std::memory_order_relaxed);
  entry.check.store(check_word(seed_, slot, client_id, text.size(), words), std::memory_order_relaxed);
  Layout::expires(*this, slot).store(expires_ms, std::memory_order_relaxed);
  entry.sequence.store(sequence + 1, std::memory_order_release);  // published
}

// Called with the lock of a dead holder. Whatever it was doing, afterwards every entry is whole and in its chain, or
// free.
void SyntheticTable::repair() noexcept {
  for (std::uint32_t i = 0; i < buckets_; ++i)
    Layout::bucket(*this, std::uint64_t{i} << 32).store(0, std::memory_order_relaxed);
  Header& head = header();
  std::uint32_t used = head.used.load(std::memory_order_relaxed);
  // The dead may have written the first unused slot and not counted it; nobody was told its index.
  if (used > capacity_) used = capacity_;
  for (std::uint32_t slot = 0; slot < capacity_ && slot <= used; ++slot) {
    Entry& entry = Layout::entry(*this, slot);
    const std::uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
    if (slot == used && sequence == 0) break;
    if (sequence % 2 != 0 || slot == used) {
      entry.sequence.store(sequence | 1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_release);
      entry.length.store(0, std::memory_order_relaxed);
      entry.check.store(0, std::memory_order_relaxed);
      Layout::expires(*this, slot).store(0, std::memory_order_relaxed);
      entry.sequence.store((sequence | 1) + 1, std::memory_order_release);
    } else if (entry.length.load(std::memory_order_relaxed) != 0) {
      link(slot, entry.hash.load(std::memory_order_relaxed));
    }
  }
  head.used.store(used, std::memory_order_relaxed);
  head.earliest_ms.store(0, std::memory_order_relaxed);
}

Result<std::uint32_t> SyntheticTable::assign(std::uint64_t client_id, const DomainName& name, std::uint64_t now_ms,
                                             std::uint32_t ttl_ms) noexcept {
  const std::uint64_t wanted = hash(client_id, name);
  const std::uint64_t expires_ms = now_ms + ttl_ms;
  const RobustLock lock(header().mutex, [this]() noexcept { repair(); });
  if (!lock.held()) return Error{ErrorCode::kExhausted, "the synthetic table's lock is held by another process", 0};
  std::uint32_t slot = find_slot(wanted, client_id, name);
  if (slot != kNoSlot) {
    std::atomic<std::uint64_t>& expires = Layout::expires(*this, slot);
    if (expires.load(std::memory_order_relaxed) < expires_ms) expires.store(expires_ms, std::memory_order_relaxed);
    return index_of_slot(slot);
  }
  slot = free_slot(now_ms);
  if (slot == kNoSlot) return Error{ErrorCode::kExhausted, "every synthetic address is in use", 0};
  write(slot, wanted, client_id, name, expires_ms);
  link(slot, wanted);
  // Counted last: find() looks at nothing above, and a death before this leaves the slot unused.
  if (header().used.load(std::memory_order_relaxed) == slot) header().used.store(slot + 1, std::memory_order_release);
  return index_of_slot(slot);
}

SyntheticTable::Found SyntheticTable::find(std::uint64_t client_id, std::uint32_t index,
                                           std::uint64_t now_ms) const noexcept {
  const std::uint32_t slot = slot_of_index(index);
  // Slots never used are not touched: a client that connects everywhere would fill the sparse file with empty pages.
  if (slot >= capacity_ || slot >= header().used.load(std::memory_order_acquire)) return {};
  const Entry& entry = Layout::entry(*this, slot);
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if (before % 2 != 0) continue;
    const std::uint64_t client = entry.client.load(std::memory_order_relaxed);
    const std::uint64_t length = entry.length.load(std::memory_order_relaxed);
    const std::uint64_t check = entry.check.load(std::memory_order_relaxed);
    const std::uint64_t expires = Layout::expires(*this, slot).load(std::memory_order_relaxed);
    TextWords words{};
    const bool length_ok = length > 0 && length <= DomainName::kMaxOctets;
    for (std::size_t i = 0; length_ok && i < words_of(length); ++i)
      words[i] = entry.text[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) != before) continue;

    if (!length_ok || client != client_id || check != check_word(seed_, slot, client, length, words)) return {};
    if (now_ms >= expires + kGraceMs) return {State::kStale, std::nullopt};
    std::array<char, kTextWords * 8> text;
    std::memcpy(text.data(), words.data(), text.size());
    const Result<DomainName> name = DomainName::parse({text.data(), length});
    if (!name.ok() || name->text() != std::string_view(text.data(), length)) return {};
    return {State::kFound, *name};
  }
  return {};
}

Address SyntheticTable::v4(std::uint32_t index) const noexcept { return Address::v4(kV4Base + index); }

Address SyntheticTable::v6(std::uint32_t index) const noexcept {
  std::array<std::uint8_t, 16> octets{};
  std::memcpy(octets.data(), v6_prefix_.data(), v6_prefix_.size());
  for (int i = 0; i < 4; ++i) octets[15 - static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(index >> (8 * i));
  return Address::v6(octets);
}

bool SyntheticTable::contains(const Address& address) const noexcept {
  if (address.is_v4()) return (address.v4_host_order() & kV4Mask) == kV4Base;
  return std::memcmp(address.octets().data(), v6_prefix_.data(), v6_prefix_.size()) == 0;
}

std::optional<std::uint32_t> SyntheticTable::index_of(const Address& address) const noexcept {
  if (!contains(address)) return std::nullopt;
  std::uint64_t host = 0;
  if (address.is_v4()) {
    host = address.v4_host_order() & ~kV4Mask;
  } else {
    for (std::size_t i = 8; i < 16; ++i) host = host << 8 | address.octets()[i];
  }
  if (host > ~kV4Mask) return std::nullopt;
  const auto index = static_cast<std::uint32_t>(host);
  if (slot_of_index(index) >= capacity_) return std::nullopt;
  return index;
}

std::uint32_t SyntheticTable::used() const noexcept { return header().used.load(std::memory_order_relaxed); }

}  // namespace sallyport
