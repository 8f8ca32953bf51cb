// The file of a SyntheticTable, for its own sources alone:
//
//   Header             magic, version, sizes, seed, prefix; then what changes: lock, slots in use, earliest reuse
//   expires[capacity]  when each entry's TTL ends; apart, so that looking for a free entry reads 1 MB at most
//   buckets[2^n]       (client, name) -> first slot + 1 of a chain
//   entries[capacity]  sequence, chain, client, check word, name
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ledger/mix.hpp"
#include "ledger/synthetic_table.hpp"

namespace sallyport {
namespace synthetic {

constexpr std::size_t kTextWords = 32;  // 253 octets and room to the next word

}  // namespace synthetic

struct SyntheticTable::Header {
  std::uint64_t magic;
  std::uint64_t seed;
  std::uint32_t version, header_size, entry_size;
  std::uint32_t capacity, buckets, grace_ms;
  std::array<std::uint8_t, 8> v6_prefix;
  std::uint64_t check;  // of the above, which has no padding

  pthread_mutex_t mutex;
  std::atomic<std::uint32_t> used;         // slots below it were assigned at least once
  std::atomic<std::uint64_t> earliest_ms;  // no entry can be reused before; a lower bound

  std::uint64_t checked() const {
    std::uint64_t prefix;
    std::memcpy(&prefix, v6_prefix.data(), sizeof prefix);
    using ledger::mix;
    return mix(mix(mix(magic, version), mix(header_size, entry_size)),
               mix(mix(capacity, buckets), mix(mix(prefix, seed), grace_ms)));
  }
};

struct SyntheticTable::Entry {
  std::atomic<std::uint32_t> sequence;  // odd while it is written; 0 never written
  std::atomic<std::uint32_t> next;      // slot + 1 of the chain, 0 at its end
  std::atomic<std::uint64_t> client;
  std::atomic<std::uint64_t> hash;
  std::atomic<std::uint64_t> check;
  std::atomic<std::uint64_t> length;  // of the name; 0 for an entry that is free
  std::array<std::atomic<std::uint64_t>, synthetic::kTextWords> text;
};

struct SyntheticTable::Layout {
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(std::atomic<std::uint64_t>) == 8);

  static std::size_t expires() { return 4096; }
  static std::size_t buckets(std::uint32_t capacity) { return expires() + std::size_t{capacity} * 8; }
  static std::size_t entries(std::uint32_t capacity) {
    return (buckets(capacity) + std::size_t{bucket_count(capacity)} * 4 + 63) / 64 * 64;
  }
  static std::size_t size(std::uint32_t capacity) { return entries(capacity) + std::size_t{capacity} * sizeof(Entry); }
  static std::uint32_t bucket_count(std::uint32_t capacity) { return std::bit_ceil(capacity + 1); }

  static std::atomic<std::uint64_t>& expires(const SyntheticTable& t, std::uint32_t slot) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(t.memory_.data() + expires())[slot];
  }
  static std::atomic<std::uint32_t>& bucket(const SyntheticTable& t, std::uint64_t hash) {
    return reinterpret_cast<std::atomic<std::uint32_t>*>(t.memory_.data() +
                                                         buckets(t.capacity_))[hash >> 32 & (t.buckets_ - 1)];
  }
  static Entry& entry(const SyntheticTable& t, std::uint32_t slot) {
    return reinterpret_cast<Entry*>(t.memory_.data() + entries(t.capacity_))[slot];
  }
};

inline SyntheticTable::Header& SyntheticTable::header() const noexcept {
  return *reinterpret_cast<Header*>(memory_.data());
}

}  // namespace sallyport
