// The file of a BindingTable, for its own sources alone:
//
//   Header             magic, version, sizes, seed; then what changes: lock, entries in use, last record, applied
//   expires[capacity]  when each binding ends; apart, since heaps compare it
//   log[2^n]           of each record: sequence number << 18 | slot
//   buckets[2^n]       (client, addr) -> first slot + 1 of a chain
//   -- for writers alone, rebuilt after a death:
//   cells[2^n]         client -> how many bindings, and the root of their heap (linear probing)
//   heap nodes         [0] of all entries, [1] of each client's; skew heaps, earliest to expire on top
//   entries[capacity]  lock sequence, chain, record number, check word, binding
//   pins[capacity]     until when a flow holds the binding, with 20 bits of its check word: an entry that is written
//                      again loses what was said of the one before
#pragma once

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ledger/binding_table.hpp"
#include "ledger/mix.hpp"

namespace sallyport {
namespace binding {

constexpr std::size_t kTextWords = 32;  // 253 octets and room to the next word
constexpr unsigned kSlotBits = 18;
constexpr std::uint32_t kSlotMask = (1u << kSlotBits) - 1;
constexpr unsigned kSequenceBits = 45;  // 11 years of 100,000 records a second
constexpr std::uint64_t kMaxSequence = (std::uint64_t{1} << kSequenceBits) - 1;
constexpr std::uint64_t kScanFlag = std::uint64_t{1} << 63;  // of a cursor: sequence number and slot of a full reading
constexpr std::uint32_t kNoSlot = 0xffffffffu;
constexpr unsigned kPinBits = 44;  // of a pin's end: 557 years
constexpr std::uint64_t kPinMask = (std::uint64_t{1} << kPinBits) - 1;
constexpr std::size_t kForgetful = 256;  // clients that share one lose questions of the same instant, no bindings

}  // namespace binding

struct BindingTable::Header {
  std::uint64_t magic;
  std::uint64_t seed;
  std::uint32_t version, header_size, entry_size;
  std::uint32_t capacity, per_client;
  std::uint32_t pad;
  std::uint64_t check;  // of the above

  pthread_mutex_t mutex;
  std::atomic<std::uint32_t> used;      // slots below it were used at least once
  std::atomic<std::uint32_t> all_root;  // of the heap of all, slot + 1
  std::atomic<std::uint64_t> last;      // sequence number of the last record
  std::atomic<std::uint64_t> evictions, repairs;
  std::array<std::atomic<std::uint64_t>, kMaxEnforcers> applied;
  // By a hash of the client's address: what was asked up to then binds nothing any more.
  std::array<std::atomic<std::uint64_t>, binding::kForgetful> forgotten_ms;

  std::uint64_t checked() const {
    using ledger::mix;
    return mix(mix(mix(magic, version), mix(header_size, entry_size)), mix(mix(capacity, per_client), seed));
  }
};

struct BindingTable::Entry {
  std::atomic<std::uint32_t> sequence;  // odd while it is written; 0 never written
  std::atomic<std::uint32_t> next;      // slot + 1 of the chain, 0 at its end
  std::atomic<std::uint64_t> record;    // sequence number of the binding's last record
  std::atomic<std::uint64_t> hash;
  std::atomic<std::uint64_t> check;  // of what follows and the slot
  std::atomic<std::uint64_t> client_id;
  std::atomic<std::uint64_t> shape;  // length of the name (0: free) | client's family << 16 | address's << 24
  std::array<std::atomic<std::uint64_t>, 2> client, addr;
  std::array<std::atomic<std::uint64_t>, binding::kTextWords> text;
};

struct BindingTable::HeapNode {
  std::atomic<std::uint32_t> left, right, parent;  // slot + 1
};

struct BindingTable::ClientCell {
  std::atomic<std::uint64_t> client_id;
  std::atomic<std::uint32_t> count;  // 0: the cell is empty
  std::atomic<std::uint32_t> root;   // of the client's heap, slot + 1
};

// A binding as the words of an entry.
struct BindingTable::Key {
  std::uint64_t client_id = 0, shape = 0;
  std::array<std::uint64_t, 2> client{}, addr{};
  std::array<std::uint64_t, binding::kTextWords> text{};

  static constexpr std::uint64_t family(const Address& address) { return address.is_v4() ? 4 : 6; }
  std::size_t length() const { return shape & 0xffff; }
  std::size_t words() const { return (length() + 7) / 8; }

  std::uint64_t check(std::uint64_t seed, std::uint32_t slot) const {
    using ledger::mix;
    std::uint64_t out = mix(mix(mix(seed, slot), mix(client_id, shape)), mix(client[0], client[1]));
    out = mix(out, mix(addr[0], addr[1]));
    for (std::size_t i = 0; i < words(); ++i) out = mix(out, text[i]);
    return out;
  }
};

inline BindingTable::Header& BindingTable::header() const noexcept {
  return *reinterpret_cast<Header*>(memory_.data());
}

struct BindingTable::Layout {
  static_assert(sizeof(Entry) % 8 == 0);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(std::atomic<std::uint64_t>) == 8);

  static std::uint32_t bucket_count(std::uint32_t capacity) { return std::bit_ceil(capacity + 1); }
  static std::uint32_t log_count(std::uint32_t capacity) { return std::bit_ceil(2 * std::max(capacity, 32u)); }
  static std::uint32_t cell_count(std::uint32_t capacity) { return std::bit_ceil(2 * capacity); }

  static std::size_t expires() { return 4096; }
  static std::size_t log(std::uint32_t capacity) { return expires() + std::size_t{capacity} * 8; }
  static std::size_t buckets(std::uint32_t capacity) { return log(capacity) + std::size_t{log_count(capacity)} * 8; }
  static std::size_t cells(std::uint32_t capacity) {
    return (buckets(capacity) + std::size_t{bucket_count(capacity)} * 4 + 63) / 64 * 64;
  }
  static std::size_t heaps(std::uint32_t capacity) {
    return cells(capacity) + std::size_t{cell_count(capacity)} * sizeof(ClientCell);
  }
  static std::size_t entries(std::uint32_t capacity) {
    return (heaps(capacity) + std::size_t{capacity} * 2 * sizeof(HeapNode) + 63) / 64 * 64;
  }
  static std::size_t pins(std::uint32_t capacity) { return entries(capacity) + std::size_t{capacity} * sizeof(Entry); }
  static std::size_t size(std::uint32_t capacity) { return pins(capacity) + std::size_t{capacity} * 8; }

  static std::atomic<std::uint64_t>& expires(const BindingTable& t, std::uint32_t slot) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(t.memory_.data() + expires())[slot];
  }
  static std::atomic<std::uint64_t>& log(const BindingTable& t, std::uint64_t sequence) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(t.memory_.data() +
                                                         log(t.capacity_))[sequence & (log_count(t.capacity_) - 1)];
  }
  static std::uint32_t bucket_index(const BindingTable& t, std::uint64_t hash) {
    return static_cast<std::uint32_t>(hash >> 32) & (bucket_count(t.capacity_) - 1);
  }
  static std::atomic<std::uint32_t>& bucket(const BindingTable& t, std::uint32_t index) {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(t.memory_.data() + buckets(t.capacity_))[index];
  }
  static ClientCell& cell(const BindingTable& t, std::uint32_t index) {
    return reinterpret_cast<ClientCell*>(t.memory_.data() + cells(t.capacity_))[index];
  }
  static HeapNode& node(const BindingTable& t, unsigned heap, std::uint32_t slot) {
    return reinterpret_cast<HeapNode*>(t.memory_.data() + heaps(t.capacity_))[heap * t.capacity_ + slot];
  }
  static std::atomic<std::uint64_t>& pin(const BindingTable& t, std::uint32_t slot) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(t.memory_.data() + pins(t.capacity_))[slot];
  }
  static std::uint64_t pin_word(std::uint64_t check, std::uint64_t until_ms) {
    return check << binding::kPinBits | std::min(until_ms, binding::kPinMask);
  }
  // Until when a binding with this check word is held; 0: not, or another one was.
  static std::uint64_t pinned_until(std::uint64_t word, std::uint64_t check) {
    return word >> binding::kPinBits == check << binding::kPinBits >> binding::kPinBits ? word & binding::kPinMask : 0;
  }
  static Entry& entry(const BindingTable& t, std::uint32_t slot) {
    return reinterpret_cast<Entry*>(t.memory_.data() + entries(t.capacity_))[slot];
  }

  static std::uint64_t hash(const BindingTable& t, std::uint64_t client_id, std::uint64_t family,
                            const std::array<std::uint64_t, 2>& addr) {
    using ledger::mix;
    return mix(mix(t.seed_, client_id), mix(mix(addr[0], family), addr[1]));
  }
  static std::atomic<std::uint64_t>& forgotten(const BindingTable& t, std::uint64_t family,
                                               const std::array<std::uint64_t, 2>& client) {
    using ledger::mix;
    return t.header().forgotten_ms[mix(mix(t.seed_ ^ 0xf026, family), mix(client[0], client[1])) % binding::kForgetful];
  }
  static std::array<std::uint64_t, 2> words(const Address& address) {
    std::array<std::uint64_t, 2> out;
    std::memcpy(out.data(), address.octets().data(), 16);
    return out;
  }
};

}  // namespace sallyport
