// DomainIndex: from a name to the rules whose domains match it, in about one cache miss.
//
//   name ── suffix hashes ── filter ── bucket ── text ── NameSet ── ascending rule indices
//   (DomainName has them)    (drops    (64 octets,  (compared,     (self, or below)
//                             misses)   6 slots)     always)
//
// An indexed name owns one slot. Its NameSet already holds what wildcards of its ancestors add, so the longest indexed
// suffix of a name answers for all shorter ones: at most one text is compared per colliding 16-bit tag, and one set is
// read. The text is compared always, and costs little: what is read next comes from the bucket, how far to compare from
// the query, and that both are equal is what a processor expects by then. Not a trie: a trie pays a dependent
// cache miss per label (PERF.md 3.1 has the figures for the shapes that were tried).
//
// Lifetime A view over a verified snapshot's sections.
// Threads  Immutable; find() is noexcept, allocates nothing, takes no lock.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cstddef>
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

// Which bit of Bucket::spilled says that names of this tag went on to the next bucket.
inline unsigned spill_bit(std::uint16_t tag) noexcept { return tag >> 13; }

// One word of the filter per suffix, from other bits than bucket and tag: four bits say that a name ends there, four
// others that one goes on. Mixed less than a key: it is what every miss waits for, and a name that gets past costs a
// look at its bucket, no wrong answer.
struct FilterPlace {
  std::uint64_t word, ends, goes_on;
  FilterPlace(std::uint64_t suffix_hash, std::uint64_t seed, std::uint64_t words) noexcept {
    const std::uint64_t key = (suffix_hash ^ seed) * 0xc2b2ae3d27d4eb4fu;
    word = scale_to(key, words);
    ends = std::uint64_t{1} << (key & 63) | std::uint64_t{1} << (key >> 6 & 63) | std::uint64_t{1} << (key >> 12 & 63) |
           std::uint64_t{1} << (key >> 18 & 63);
    goes_on = std::rotl(ends, 23);
  }
};

// A name with what its parser found out about it.
struct IndexedName {
  std::string_view text;  // the 32 octets in front of its end may be read, whatever its length
  unsigned labels = 0;
  std::span<const std::uint64_t> hashes;     // of the last 1, 2, ... labels; at least 16, any value behind the labels
  const DomainName::SuffixLengths& lengths;  // likewise

  static IndexedName of(const DomainName& name) noexcept {
    return {name.text(), name.labels(), name.stored_suffix_hashes(), name.suffix_lengths()};
  }
};

class DomainIndex {
 public:
  DomainIndex() = default;
  DomainIndex(const format::Header& header, std::span<const std::uint64_t> filter,
              std::span<const format::Bucket> buckets, std::span<const format::NameSet> sets,
              std::span<const unsigned char> names, const std::uint32_t* lists) noexcept
      : seed_(header.index_seed),
        primary_(header.primary_buckets),
        depths_{header.depths[0], header.depths[1]},
        filter_(filter),
        buckets_(buckets),
        sets_(sets),
        names_(names),
        lists_(lists) {}

  // Indices of the rules whose domains match the name, ascending.
  std::span<const std::uint32_t> find(const DomainName& name) const noexcept { return find(IndexedName::of(name)); }

  // The filter knows of each indexed name: of three labels or more its last three, and whether that is all of it; of
  // two labels itself. So a lookup reads the one bucket that has the answer, if there is one, and it is rare that a
  // branch waits for memory and goes the other way.
  std::span<const std::uint32_t> find(const IndexedName& name) const noexcept {
    if (primary_ == 0) return {};
    if (name.labels > 2) {
      const Filtered three = filtered(name.hashes[2]);
      if (three.goes_on && name.labels > 3) return search(name, (depths_[0] & 3) | (three.ends ? 4u : 0u));
      if (three.ends) {
        if (const Found set = probe(name, 3)) return list(*set, name.labels == 3);
      }
    }
    if (name.labels > 1 && filtered(name.hashes[1]).ends) {
      if (const Found set = probe(name, 2)) return list(*set, name.labels == 2);
    }
    if ((depths_[0] & 1) != 0) {
      if (const Found set = probe(name, 1)) return list(*set, name.labels == 1);
    }
    return {};
  }

  // What is indexed for exactly the last `labels` labels of the name, 1 to all of them; nullptr: nothing.
  const format::NameSet* at(const DomainName& name, unsigned labels) const noexcept {
    const unsigned bit = labels - 1;
    if (primary_ == 0 || (depths_[bit / 64] >> bit % 64 & 1) == 0) return nullptr;
    const IndexedName indexed = IndexedName::of(name);
    return probe(indexed.text, index_key(name.suffix_hash(labels), seed_), length_of(indexed, labels));
  }

 private:
  using Found = const format::NameSet*;
  struct Filtered {
    bool ends, goes_on;
  };

  static std::uint64_t lowest(unsigned bits) noexcept {
    return bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
  }

  Filtered filtered(std::uint64_t suffix_hash) const noexcept {
    const FilterPlace place(suffix_hash, seed_, filter_.size());
    const std::uint64_t word = filter_[place.word];
    return {(word & place.ends) == place.ends, (word & place.goes_on) == place.goes_on};
  }

  std::span<const std::uint32_t> list(const format::NameSet& set, bool whole) const noexcept {
    const format::Range range = whole ? set.self : set.below;
    return {lists_ + range.first, range.count};
  }

  // The last few labels, 1 to 3.
  Found probe(const IndexedName& name, unsigned labels) const noexcept {
    return probe(name.text, index_key(name.hashes[labels - 1], seed_), name.lengths[labels - 1]);
  }

  Found probe(std::string_view text, std::uint64_t key, std::size_t length) const noexcept {
    const auto tag = static_cast<std::uint16_t>(key);
    for (std::uint64_t index = scale_to(key, primary_);;) {
      const format::Bucket& bucket = buckets_[index];
      for (unsigned slots = matching(bucket, tag); slots != 0; slots &= slots - 1) {
        const auto slot = static_cast<unsigned>(__builtin_ctz(slots));
        if (is_stored(bucket.name[slot], length, text)) return &sets_[bucket.set[slot]];
      }
      if ((bucket.spilled >> spill_bit(tag) & 1) == 0) return nullptr;
      index = bucket.next;  // later than this one (verified), so this ends
    }
  }

  // Names of more than three labels may be meant, longest first. shallow: bit d-1 for each number of labels up to three
  // that is to be looked at as well.
  [[gnu::noinline]] std::span<const std::uint32_t> search(const IndexedName& name,
                                                          std::uint64_t shallow) const noexcept {
    const std::uint64_t low = depths_[0] & lowest(name.labels) & ~std::uint64_t{7};
    const std::uint64_t high = name.labels > 64 ? depths_[1] & lowest(name.labels - 64) : 0;
    const unsigned deepest = high != 0  ? 128 - static_cast<unsigned>(__builtin_clzll(high))
                             : low != 0 ? 64 - static_cast<unsigned>(__builtin_clzll(low))
                                        : 0;
    std::array<std::uint64_t, DomainName::kMaxLabels> all;
    const std::uint64_t* hashes = name.hashes.data();
    if (deepest > name.hashes.size()) {  // all at once: one by one, each would be made again from where those end
      DomainName::hash_suffixes(name.text, all);
      hashes = all.data();
    }
    unsigned labels = 0;
    Found set = high != 0 ? probe_all(name, hashes, 64, high, labels) : nullptr;
    if (set == nullptr) set = probe_all(name, hashes, 0, low | shallow, labels);
    return set == nullptr ? std::span<const std::uint32_t>{} : list(*set, labels == name.labels);
  }

  // All buckets are asked for before the first is read, so that their misses overlap.
  Found probe_all(const IndexedName& name, const std::uint64_t* hashes, unsigned base, std::uint64_t depths,
                  unsigned& labels) const noexcept {
    constexpr unsigned kAhead = 8;
    while (depths != 0) {
      unsigned depth[kAhead];
      std::uint64_t key[kAhead];
      unsigned count = 0;
      for (; depths != 0 && count < kAhead; ++count) {
        const unsigned bit = 63 - static_cast<unsigned>(__builtin_clzll(depths));
        depths &= ~(std::uint64_t{1} << bit);
        depth[count] = base + bit + 1;
        key[count] = index_key(hashes[base + bit], seed_);
        __builtin_prefetch(&buckets_[scale_to(key[count], primary_)]);
      }
      for (unsigned i = 0; i < count; ++i) {
        labels = depth[i];
        if (const Found set = probe(name.text, key[i], length_of(name, labels))) return set;
      }
    }
    return nullptr;
  }

  static std::size_t length_of(const IndexedName& name, unsigned labels) noexcept {
    if (labels <= name.lengths.size()) return name.lengths[labels - 1];
    std::size_t start = name.text.size() - name.lengths.back();
    for (auto n = static_cast<unsigned>(name.lengths.size()); n < labels; ++n) {
      --start;
      while (start > 0 && name.text[start - 1] != '.') --start;
    }
    return name.text.size() - start;
  }

  // A bit a slot.
  static unsigned matching(const format::Bucket& bucket, std::uint16_t tag) noexcept {
    static_assert(format::Bucket::kSlots == 6 && offsetof(format::Bucket, tag) == 0);
#if defined(__SSE2__)
    const __m128i tags = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&bucket));
    const __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(static_cast<short>(tag)));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()))) & 0x3f;
#else
    unsigned slots = 0;
    for (unsigned slot = 0; slot < format::Bucket::kSlots; ++slot) slots |= unsigned{bucket.tag[slot] == tag} << slot;
    return slots;
#endif
  }

  // Whether the last octets of text stand at offset. How far to compare is asked of the query, which is at hand, and
  // never of what is stored: a branch on that would wait for it.
  bool is_stored(std::uint32_t offset, std::size_t length, std::string_view text) const noexcept {
    if (offset == 0 || length >= names_.size() - offset) return false;
    const unsigned char* stored = names_.data() + offset + 1 + length;
    const char* end = text.data() + text.size();
    std::uint64_t differs = names_[offset] ^ length;
    if (length > kCompared) [[unlikely]]
      return differs == 0 && std::memcmp(stored - length, end - length, length) == 0;
    const unsigned char* mask = kLast.data() + length;
    for (std::size_t i = 0; i < kCompared; i += 8) {
      differs |= (word8(stored - kCompared + i) ^ word8(end - kCompared + i)) & word8(mask + i);
    }
    return differs == 0;
  }

  static constexpr std::size_t kCompared = format::kNamesFront;
  // From octet n on: 0xff for the last n of kCompared octets.
  static constexpr std::array<unsigned char, 2 * kCompared> kLast = [] {
    std::array<unsigned char, 2 * kCompared> mask{};
    for (std::size_t i = kCompared; i < mask.size(); ++i) mask[i] = 0xff;
    return mask;
  }();

  static std::uint64_t word8(const void* octets) noexcept {
    std::uint64_t word;
    std::memcpy(&word, octets, sizeof(word));
    return word;
  }

  std::uint64_t seed_ = 0, primary_ = 0;
  std::uint64_t depths_[2] = {};
  std::span<const std::uint64_t> filter_;
  std::span<const format::Bucket> buckets_;
  std::span<const format::NameSet> sets_;
  std::span<const unsigned char> names_;
  const std::uint32_t* lists_ = nullptr;
};

}  // namespace sallyport
