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

#include <array>
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
    return find(name.text(), name.labels(), name.stored_suffix_hashes());
  }

  // The same for a canonical text. hashes[n-1] is that of the last n labels; those past the end are made here if they
  // are needed.
  std::span<const std::uint32_t> find(std::string_view text, unsigned labels,
                                      std::span<const std::uint64_t> hashes) const noexcept {
    if (primary_ == 0) return {};
    std::uint64_t shallow = depths_[0] & lowest(labels);
    std::uint64_t deep = labels > 64 ? depths_[1] & lowest(labels - 64) : 0;

    // Every indexed name of three labels or more left its last three in the filter; one of two labels left itself.
    if (((shallow & ~std::uint64_t{3}) | deep) != 0 && !may_contain(index_key(hashes[2], seed_))) {
      shallow &= 3;
      deep = 0;
    }
    if ((shallow & 2) != 0 && !may_contain(index_key(hashes[1], seed_))) shallow &= ~std::uint64_t{2};
    if (shallow == 0 && deep == 0) return {};

    const unsigned deepest = deep != 0 ? 128 - static_cast<unsigned>(__builtin_clzll(deep))
                                       : 64 - static_cast<unsigned>(__builtin_clzll(shallow));
    if (deepest > hashes.size()) return find_deep(text, labels, deep, shallow);
    return search({text, labels, hashes.data()}, deep, shallow);
  }

 private:
  struct Name {
    std::string_view text;
    unsigned labels;
    const std::uint64_t* hashes;
  };

  static std::uint64_t lowest(unsigned bits) noexcept {
    return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  }

  bool may_contain(std::uint64_t key) const noexcept {
    const FilterPlace place(key, filter_.size());
    return (filter_[place.word] & place.bits) == place.bits;
  }

  // Some name of the policy is deeper than the hashes that come with a name. All at once: one by one, each would be
  // made again from where they end.
  [[gnu::noinline]] std::span<const std::uint32_t> find_deep(std::string_view text, unsigned labels, std::uint64_t deep,
                                                             std::uint64_t shallow) const noexcept {
    std::array<std::uint64_t, DomainName::kMaxLabels> hashes;
    DomainName::hash_suffixes(text, hashes);
    return search({text, labels, hashes.data()}, deep, shallow);
  }

  // Longest first. depths: bit d-1 for each number of labels to look at; deep ones count from 64.
  std::span<const std::uint32_t> search(const Name& name, std::uint64_t deep, std::uint64_t shallow) const noexcept {
    unsigned depth = 0;
    const format::NameSet* set = deep != 0 ? probe_all(name, 64, deep, depth) : nullptr;
    if (set == nullptr) set = probe_all(name, 0, shallow, depth);
    if (set == nullptr) return {};
    const format::Range range = depth == name.labels ? set->self : set->below;
    return {lists_ + range.first, range.count};
  }

  // All buckets are asked for before the first is read, so that their misses overlap.
  const format::NameSet* probe_all(const Name& name, unsigned base, std::uint64_t depths,
                                   unsigned& found) const noexcept {
    constexpr unsigned kAhead = 8;
    while (depths != 0) {
      unsigned depth[kAhead];
      std::uint64_t key[kAhead];
      unsigned count = 0;
      for (; depths != 0 && count < kAhead; ++count) {
        const unsigned bit = 63 - static_cast<unsigned>(__builtin_clzll(depths));
        depths &= ~(std::uint64_t{1} << bit);
        depth[count] = base + bit + 1;
        key[count] = index_key(name.hashes[base + bit], seed_);
        __builtin_prefetch(&buckets_[scale_to(key[count], primary_)]);
      }
      for (unsigned i = 0; i < count; ++i) {
        found = depth[i];
        if (const format::NameSet* set = probe(name.text, key[i])) return set;
      }
    }
    return nullptr;
  }

  const format::NameSet* probe(std::string_view name, std::uint64_t key) const noexcept {
    const auto tag = static_cast<std::uint16_t>(key);
    for (std::uint64_t index = scale_to(key, primary_);;) {
      const format::Bucket& bucket = buckets_[index];
      for (unsigned slot = 0; slot < format::Bucket::kSlots; ++slot) {
        if (bucket.tag[slot] != tag || bucket.name[slot] == 0) continue;
        if (ends_with(name, names_ + bucket.name[slot])) return &sets_[bucket.set[slot]];
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

  std::uint64_t seed_ = 0, primary_ = 0;
  std::uint64_t depths_[2] = {};
  std::span<const std::uint64_t> filter_;
  std::span<const format::Bucket> buckets_;
  std::span<const format::NameSet> sets_;
  const unsigned char* names_ = nullptr;
  const std::uint32_t* lists_ = nullptr;
};

}  // namespace sallyport
