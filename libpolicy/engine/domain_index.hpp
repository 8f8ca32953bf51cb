// DomainIndex: from a name to the rules whose domains match it, in about one cache miss.
//
//   name ── suffix hashes ── filter ── bucket ── text ── NameSet ── ascending rule indices
//   (DomainName has them)    (drops    (64 octets,  (compared,     (self, or below)
//                             misses)   6 slots)     always)
//
// An indexed name owns one slot. Its NameSet already holds what wildcards of its ancestors add, so the longest indexed
// suffix of a name answers for all shorter ones: at most one text is compared per colliding 16-bit tag, and one set is
// read. Not a trie: a trie pays a dependent cache miss per label (PERF.md 3.1 has the figures for the shapes that were
// tried).
//
// Lifetime A view over a verified snapshot's sections.
// Threads  Immutable; find() is noexcept, allocates nothing, takes no lock.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "engine/format.hpp"
#include "names/domain_name.hpp"

namespace sallyport {

// The hashes of names are unkeyed; each snapshot mixes in its own seed. High bits choose the bucket, low bits are the
// tag.
inline std::uint64_t index_key(std::uint64_t suffix_hash, std::uint64_t seed) noexcept {
  std::uint64_t key = (suffix_hash ^ seed) * 0x9fb21c651e98df25u;
  key ^= key >> 32;
  key *= 0xd6e8feb86659fd93u;
  return key ^ (key >> 32);
}

inline std::uint64_t scale_to(std::uint64_t key, std::uint64_t count) noexcept {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(key) * count) >> 64);
}

// One word of the filter per suffix, four bits in it, from other bits than bucket and tag.
struct FilterPlace {
  std::uint64_t word, bits;
  FilterPlace(std::uint64_t key, std::uint64_t words) noexcept {
    key *= 0xc2b2ae3d27d4eb4fu;
    word = scale_to(key, words);
    bits = std::uint64_t{1} << (key & 63) | std::uint64_t{1} << (key >> 6 & 63) | std::uint64_t{1} << (key >> 12 & 63) |
           std::uint64_t{1} << (key >> 18 & 63);
  }
};

class DomainIndex {
 public:
  DomainIndex() = default;
  DomainIndex(const format::Header& header, std::span<const std::uint64_t> filter,
              std::span<const format::Bucket> buckets, std::span<const format::NameSet> sets,
              const unsigned char* names, const std::uint32_t* lists) noexcept
      : seed_(header.index_seed),
        primary_(header.primary_buckets),
        depths_{header.depths[0], header.depths[1]},
        filter_(filter),
        buckets_(buckets),
        sets_(sets),
        names_(names),
        lists_(lists) {}

  // Indices of the rules whose domains match the name, ascending.
  std::span<const std::uint32_t> find(const DomainName& name) const noexcept {
    if (primary_ == 0) return {};
    const unsigned labels = name.labels();
    std::uint64_t shallow = depths_[0] & lowest(labels);
    std::uint64_t deep = labels > 64 ? depths_[1] & lowest(labels - 64) : 0;

    // Every indexed name of three labels or more left its last three in the filter; one of two labels left itself.
    if (((shallow & ~std::uint64_t{3}) | deep) != 0 && !may_contain(key_of(name, 3))) {
      shallow &= 3;
      deep = 0;
    }
    if ((shallow & 2) != 0 && !may_contain(key_of(name, 2))) shallow &= ~std::uint64_t{2};

    for (; deep != 0;) {
      const unsigned bit = 63 - static_cast<unsigned>(__builtin_clzll(deep));
      deep &= ~(std::uint64_t{1} << bit);
      if (const format::NameSet* set = probe(name, key_of(name, bit + 65))) return list(*set, bit + 65 == labels);
    }
    return find_shallow(name, shallow);
  }

  // What is indexed for exactly the last `labels` labels of the name, 1 to all of them; nullptr: nothing.
  const format::NameSet* at(const DomainName& name, unsigned labels) const noexcept {
    const unsigned bit = labels - 1;
    if (primary_ == 0 || (depths_[bit / 64] >> bit % 64 & 1) == 0) return nullptr;
    return probe(name, key_of(name, labels));
  }

 private:
  static std::uint64_t lowest(unsigned bits) noexcept {
    return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  }

  std::uint64_t key_of(const DomainName& name, unsigned labels) const noexcept {
    return index_key(name.suffix_hash(labels), seed_);
  }

  bool may_contain(std::uint64_t key) const noexcept {
    const FilterPlace place(key, filter_.size());
    return !filter_.empty() && (filter_[place.word] & place.bits) == place.bits;
  }

  // Longest first. All buckets are asked for before the first is read, so that their misses overlap.
  std::span<const std::uint32_t> find_shallow(const DomainName& name, std::uint64_t depths) const noexcept {
    constexpr unsigned kAhead = 8;
    while (depths != 0) {
      unsigned depth[kAhead];
      std::uint64_t key[kAhead];
      unsigned count = 0;
      for (; depths != 0 && count < kAhead; ++count) {
        const unsigned bit = 63 - static_cast<unsigned>(__builtin_clzll(depths));
        depths &= ~(std::uint64_t{1} << bit);
        depth[count] = bit + 1;
        key[count] = key_of(name, bit + 1);
        __builtin_prefetch(&buckets_[scale_to(key[count], primary_)]);
      }
      for (unsigned i = 0; i < count; ++i) {
        if (const format::NameSet* set = probe(name, key[i])) return list(*set, depth[i] == name.labels());
      }
    }
    return {};
  }

  const format::NameSet* probe(const DomainName& name, std::uint64_t key) const noexcept {
    const auto tag = static_cast<std::uint16_t>(key);
    for (std::uint64_t index = scale_to(key, primary_);;) {
      const format::Bucket& bucket = buckets_[index];
      for (unsigned slot = 0; slot < format::Bucket::kSlots; ++slot) {
        if (bucket.tag[slot] != tag || bucket.name[slot] == 0) continue;
        if (ends_with(name.text(), names_ + bucket.name[slot])) return &sets_[bucket.set[slot]];
      }
      if (bucket.next == 0) return nullptr;
      index = bucket.next;  // later than this one (verified), so this ends
    }
  }

  // By whole labels. stored: [length][text].
  static bool ends_with(std::string_view name, const unsigned char* stored) noexcept {
    const std::size_t length = *stored;
    if (length > name.size()) return false;
    const std::size_t start = name.size() - length;
    return (start == 0 || name[start - 1] == '.') && std::memcmp(name.data() + start, stored + 1, length) == 0;
  }

  std::span<const std::uint32_t> list(const format::NameSet& set, bool whole) const noexcept {
    const format::Range range = whole ? set.self : set.below;
    return {lists_ + range.first, range.count};
  }

  std::uint64_t seed_ = 0, primary_ = 0;
  std::uint64_t depths_[2] = {};
  std::span<const std::uint64_t> filter_;
  std::span<const format::Bucket> buckets_;
  std::span<const format::NameSet> sets_;
  const unsigned char* names_ = nullptr;
  const std::uint32_t* lists_ = nullptr;
};

}  // namespace sallyport
