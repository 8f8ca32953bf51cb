// The readers' side: no lock. An entry is changed between two increments of its lock sequence (seqlock); only `expires`
// and `record` change in a binding that stays, each one word that only grows, until forget() ends it with a 0.
//
// Chains: a binding is linked once it is whole, and unlinked before its entry is written again. A reader that stands on
// an entry while that happens finds it odd, or of another bucket, and begins again; one that went back into its own
// chain at the head only makes the reader walk twice. So a walk misses nothing that was there all the time, and what it
// finds is proved by the entry alone. A hostile writer can make it miss, or loop until its bound: closed, both.
//
// The log holds slots, not bindings: a binding that was recorded again since, or is gone, no longer carries the number
// of the old log entry, and is passed over there.
//
// Road not taken: open addressing with windows and no pointers at all. One busy CDN address has hundreds of names for
// one client, which all hash alike.
#include "ledger/binding_table.hpp"

#include <atomic>
#include <cstring>
#include <utility>

#include "ledger/binding_layout.hpp"

namespace sallyport {
namespace {

using binding::kMaxSequence;
using binding::kScanFlag;
using binding::kSequenceBits;
using binding::kSlotBits;
using binding::kSlotMask;
using binding::kTextWords;

constexpr int kReadAttempts = 16;  // a writer is between the two increments for some 100 ns
constexpr int kWalkAttempts = 8;
constexpr std::uint64_t kSlackMs = 60'000;  // a reader whose clock was read before the writer's

Address address_of(std::uint64_t family, const std::array<std::uint64_t, 2>& words) {
  std::array<std::uint8_t, 16> octets;
  std::memcpy(octets.data(), words.data(), octets.size());
  if (family == 6) return Address::v6(octets);
  return Address::v4(std::uint32_t{octets[0]} << 24 | std::uint32_t{octets[1]} << 16 | std::uint32_t{octets[2]} << 8 |
                     octets[3]);
}

// A binding lives an hour at most: what says more is damage, and must not live for ever.
bool lives(std::uint64_t expires_ms, std::uint64_t now_ms) {
  return now_ms < expires_ms && expires_ms - now_ms <= BindingTable::kMaxTtlMs + kSlackMs;
}
bool is_pinned(std::uint64_t pinned_ms, std::uint64_t now_ms) {
  return now_ms < pinned_ms && pinned_ms - now_ms <= BindingTable::kMaxPinMs + kSlackMs;
}
bool is_there(const BindingTable::Found& found, std::uint64_t now_ms) {
  return lives(found.expires_ms, now_ms) || is_pinned(found.pinned_ms, now_ms);
}

}  // namespace

// False: free, damaged, or changing all the time.
bool BindingTable::read_entry(std::uint32_t slot, Found& out) const noexcept {
  const Entry& entry = Layout::entry(*this, slot);
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
    if (before == 0) return false;
    if (before % 2 != 0) continue;
    Key key;
    key.shape = entry.shape.load(std::memory_order_relaxed);
    key.client_id = entry.client_id.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < 2; ++i) {
      key.client[i] = entry.client[i].load(std::memory_order_relaxed);
      key.addr[i] = entry.addr[i].load(std::memory_order_relaxed);
    }
    const bool length_ok = key.length() > 0 && key.length() <= DomainName::kMaxOctets;
    for (std::size_t i = 0; length_ok && i < key.words(); ++i)
      key.text[i] = entry.text[i].load(std::memory_order_relaxed);
    const std::uint64_t check = entry.check.load(std::memory_order_relaxed);
    out.sequence = entry.record.load(std::memory_order_relaxed);
    out.expires_ms = Layout::expires(*this, slot).load(std::memory_order_relaxed);
    out.pinned_ms = Layout::pinned_until(Layout::pin(*this, slot).load(std::memory_order_relaxed), check);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (entry.sequence.load(std::memory_order_relaxed) != before) continue;

    const std::uint64_t client_family = key.shape >> 16 & 0xff, family = key.shape >> 24;
    if (!length_ok || (family != 4 && family != 6) ||
        (client_family != 0 && client_family != 4 && client_family != 6) || check != key.check(seed_, slot)) {
      return false;
    }
    const std::string_view text(reinterpret_cast<const char*>(key.text.data()), key.length());
    const Result<DomainName> name = DomainName::parse(text);
    if (!name.ok() || name->text() != text) return false;
    out.client_id = key.client_id;
    out.client = client_family == 0 ? std::nullopt : std::optional(address_of(client_family, key.client));
    out.addr = address_of(family, key.addr);
    out.name = *name;
    return true;
  }
  return false;
}

// Calls visit(slot, found, attempt) for every entry of (client, addr), whether it lives or not, until that says false.
// An attempt that was disturbed is followed by another, which begins anew.
template <typename Visit>
void BindingTable::walk(std::uint64_t client_id, const Address& addr, Visit visit) const noexcept {
  const std::uint64_t wanted = Layout::hash(*this, client_id, Key::family(addr), Layout::words(addr));
  const std::uint32_t bucket = Layout::bucket_index(*this, wanted);
  const std::uint32_t max_steps = per_client_ + 64;  // all of a client's, and who shares the bucket
  for (int attempt = 0; attempt < kWalkAttempts; ++attempt) {
    bool whole = true, more = true;
    std::uint32_t next = Layout::bucket(*this, bucket).load(std::memory_order_acquire);
    for (std::uint32_t steps = 0; next != 0 && more; ++steps) {
      if (next > capacity_ || steps == max_steps) break;
      const std::uint32_t slot = next - 1;
      const Entry& entry = Layout::entry(*this, slot);
      const std::uint32_t before = entry.sequence.load(std::memory_order_acquire);
      const std::uint64_t hash = entry.hash.load(std::memory_order_relaxed);
      next = entry.next.load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 != 0 || entry.sequence.load(std::memory_order_relaxed) != before ||
          Layout::bucket_index(*this, hash) != bucket) {
        whole = false;
        break;
      }
      Found found;
      if (hash == wanted && read_entry(slot, found) && found.client_id == client_id && found.addr == addr)
        more = visit(slot, found, attempt);
    }
    if (whole) return;
  }
}

std::size_t BindingTable::find(std::uint64_t client_id, const Address& addr, std::uint64_t now_ms,
                               std::span<Found> out) const noexcept {
  std::size_t count = 0;
  int current = 0;
  if (out.empty()) return 0;
  walk(client_id, addr, [&](std::uint32_t, const Found& found, int attempt) noexcept {
    if (std::exchange(current, attempt) != attempt) count = 0;
    if (!lives(found.expires_ms, now_ms)) return true;
    bool known = false;
    for (std::size_t i = 0; i < count; ++i) known |= *out[i].name == *found.name && out[i].client == found.client;
    if (!known) out[count++] = found;
    return count < out.size();
  });
  return count;
}

// Against forget(), which ends a binding first and its pin then: one of the two sees the other.
std::size_t BindingTable::pin(std::uint64_t client_id, const Address& client, const Address& addr, std::uint64_t now_ms,
                              std::uint32_t for_ms) noexcept {
  const std::uint64_t until = now_ms + std::min(for_ms, kMaxPinMs);
  std::size_t count = 0;
  int current = 0;
  walk(client_id, addr, [&](std::uint32_t slot, const Found& found, int attempt) noexcept {
    if (std::exchange(current, attempt) != attempt) count = 0;
    if (found.client != client) return true;
    std::atomic<std::uint64_t>& pin = Layout::pin(*this, slot);
    std::uint64_t word = pin.load(std::memory_order_seq_cst);
    const std::uint64_t check = Layout::entry(*this, slot).check.load(std::memory_order_relaxed);
    const std::uint64_t held = Layout::pinned_until(word, check);
    if (!lives(found.expires_ms, now_ms) && !is_pinned(held, now_ms)) return true;
    ++count;
    if (held >= until && is_pinned(held, now_ms)) return true;
    if (!pin.compare_exchange_strong(word, Layout::pin_word(check, until), std::memory_order_seq_cst)) return true;
    if (Layout::expires(*this, slot).load(std::memory_order_seq_cst) == 0) pin.store(0, std::memory_order_seq_cst);
    return true;
  });
  return count;
}

// A writer looks at `forgotten` after it has written, forget() at the entries after it has stored there: one of the two
// sees the other. An entry that is odd is being written, so its writer has still to look.
std::size_t BindingTable::forget(const Address& client, std::uint64_t now_ms) noexcept {
  const std::uint64_t family = Key::family(client);
  const std::array<std::uint64_t, 2> words = Layout::words(client);
  std::atomic<std::uint64_t>& forgotten = Layout::forgotten(*this, family, words);
  std::uint64_t before = forgotten.load(std::memory_order_relaxed);
  for (int attempt = 0; attempt < kReadAttempts && before < now_ms; ++attempt) {
    if (forgotten.compare_exchange_weak(before, now_ms, std::memory_order_seq_cst)) break;
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::size_t count = 0;
  for (std::uint32_t slot = 0, end = used(); slot < std::min(end + 1, capacity_);
       ++slot) {  // one may not be counted yet
    const Entry& entry = Layout::entry(*this, slot);
    std::atomic<std::uint64_t>& expires = Layout::expires(*this, slot);
    for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
      const std::uint32_t sequence = entry.sequence.load(std::memory_order_acquire);
      if (sequence == 0 || sequence % 2 != 0) break;
      std::uint64_t until = expires.load(std::memory_order_relaxed);
      const bool is_theirs = (entry.shape.load(std::memory_order_relaxed) >> 16 & 0xff) == family &&
                             entry.client[0].load(std::memory_order_relaxed) == words[0] &&
                             entry.client[1].load(std::memory_order_relaxed) == words[1];
      std::atomic_thread_fence(std::memory_order_acquire);
      if (entry.sequence.load(std::memory_order_relaxed) != sequence) continue;
      if (!is_theirs) break;
      // Extended meanwhile, or another's entry by now: looked at again.
      if (until != 0 && !expires.compare_exchange_strong(until, 0, std::memory_order_seq_cst)) continue;
      Layout::pin(*this, slot).store(0, std::memory_order_seq_cst);
      count += lives(until, now_ms) ? 1 : 0;
      break;
    }
  }
  return count;
}

Result<std::size_t> BindingTable::next(std::uint64_t& cursor, std::uint64_t now_ms,
                                       std::span<Found> out) const noexcept {
  std::size_t count = 0;
  if (cursor == 0) cursor = kScanFlag | last() << kSlotBits;
  if ((cursor & kScanFlag) != 0) {
    const std::uint32_t end = used();
    auto slot = static_cast<std::uint32_t>(cursor & kSlotMask);
    for (; slot < end && count < out.size(); ++slot) {
      if (read_entry(slot, out[count]) && is_there(out[count], now_ms)) ++count;
    }
    if (slot < end) {
      cursor = (cursor & ~std::uint64_t{kSlotMask}) | slot;
      return count;
    }
    cursor = cursor >> kSlotBits & kMaxSequence;
  }
  const std::uint64_t end = last();
  while (cursor < end && count < out.size()) {
    const std::uint64_t sequence = cursor + 1;
    const std::uint64_t word = Layout::log(*this, sequence).load(std::memory_order_acquire);
    if (word >> kSlotBits != sequence) {
      if (count > 0) return count;  // the next call says so
      cursor = 0;
      return Error{ErrorCode::kExhausted, "the ledger's log has overrun its reader", 0};
    }
    cursor = sequence;
    const auto slot = static_cast<std::uint32_t>(word & kSlotMask);
    if (slot < capacity_ && read_entry(slot, out[count]) && out[count].sequence == sequence &&
        is_there(out[count], now_ms)) {
      ++count;
    }
  }
  return count;
}

std::uint64_t BindingTable::last() const noexcept {
  return header().last.load(std::memory_order_acquire) & kMaxSequence;
}

void BindingTable::applied(unsigned enforcer, std::uint64_t seq) noexcept {
  if (enforcer >= kMaxEnforcers || seq > last()) return;
  std::atomic<std::uint64_t>& mine = header().applied[enforcer];
  std::uint64_t before = mine.load(std::memory_order_relaxed);
  for (int attempt = 0; attempt < kReadAttempts && before < seq; ++attempt) {
    if (mine.compare_exchange_weak(before, seq, std::memory_order_release, std::memory_order_relaxed)) return;
  }
}

void BindingTable::forget_applied(unsigned enforcer) noexcept {
  if (enforcer < kMaxEnforcers) header().applied[enforcer].store(0, std::memory_order_release);
}

std::uint64_t BindingTable::applied_by_all(unsigned n) const noexcept {
  std::uint64_t least = last();
  for (unsigned i = 0; i < std::min(n, kMaxEnforcers); ++i) {
    least = std::min(least, header().applied[i].load(std::memory_order_acquire));
  }
  return least;
}

std::uint32_t BindingTable::used() const noexcept {
  return std::min(header().used.load(std::memory_order_acquire), capacity_);
}
std::uint64_t BindingTable::evictions() const noexcept { return header().evictions.load(std::memory_order_relaxed); }
std::uint64_t BindingTable::repairs() const noexcept { return header().repairs.load(std::memory_order_relaxed); }

}  // namespace sallyport
