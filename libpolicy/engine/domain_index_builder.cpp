// How wildcards reach the names below them. For the patterns
//
//     rule 0: *.example.org      rule 1: .api.example.org      rule 2: v1.api.example.org
//
//     name                  self        below        (what find() returns for it, and for names under it)
//     example.org           {}          {0}
//     api.example.org       {0,1}       {0,1}        from rule 1, and the `below` of example.org
//     v1.api.example.org    {0,1,2}     {0,1}        from rule 2, and the `below` of api.example.org
//
// A name gets what each indexed ancestor says of the names below it; the ancestors are looked for here, once, through a
// Bloom filter of those that say anything. The road not taken: probing every depth in decide() and merging there, which
// costs a miss per label.
//
// Ten million names are sorted once, by the key that also chooses the bucket. That order brings repetitions together,
// fills buckets and text one after the other, and lets verify() read both in the order of memory. Not a hash table of
// names: it would miss the cache for each of them, several times.
#include "engine/domain_index_builder.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "engine/domain_index.hpp"

namespace sallyport {
namespace {

constexpr double kLoad = 0.78;  // names per slot: fuller means more overflow, emptier more memory (PERF.md 4)
constexpr unsigned kFilterBitsPerName = 18;    // about 1 false positive in 500 with four bits in one word
constexpr unsigned kWildcardBitsPerName = 16;  // only while compiling
constexpr unsigned kMaxChain = 4;              // overflow buckets behind a primary one; reached by chance about never
constexpr unsigned kMaxDraws = 64;             // chance alone never needs more than a few
constexpr std::size_t kTextAhead = 16;         // names whose text is asked for before it is read
constexpr std::uint32_t kMaxBucket = (1u << 24) - 1;  // Bucket::next; 7.8e7 names
constexpr std::uint64_t kMaxOffset = std::numeric_limits<std::uint32_t>::max();

constexpr std::uint64_t pair_of(std::uint32_t a, std::uint32_t b) noexcept { return std::uint64_t{a} << 32 | b; }

std::uint64_t hash_of(std::string_view name) noexcept {
  std::array<std::uint64_t, DomainName::kMaxLabels> hashes;
  return hashes[DomainName::hash_suffixes(name, hashes) - 1];
}

}  // namespace

std::uint32_t ListPool::intern(const std::vector<std::uint32_t>& list) {
  if (list.empty()) return 0;
  const auto [found, added] = known_.try_emplace(list, static_cast<std::uint32_t>(ranges_.size()));
  if (added) {
    ranges_.push_back({static_cast<std::uint32_t>(lists_.size()), static_cast<std::uint32_t>(list.size())});
    lists_.insert(lists_.end(), list.begin(), list.end());
  }
  return found->second;
}

std::uint32_t ListPool::unite(std::uint32_t a, std::uint32_t b) {
  if (a == b || b == 0) return a;
  if (a == 0) return b;
  const auto [found, added] = unions_.try_emplace(pair_of(std::min(a, b), std::max(a, b)), 0);
  if (added) {
    std::vector<std::uint32_t> all;
    const auto begin_of = [this](std::uint32_t list) { return lists_.begin() + ranges_[list].first; };
    std::set_union(begin_of(a), begin_of(a) + ranges_[a].count, begin_of(b), begin_of(b) + ranges_[b].count,
                   std::back_inserter(all));
    found->second = intern(all);
  }
  return found->second;
}

void DomainIndexBuilder::collect(const std::vector<RuleModel>& rules, ListPool& pool) {
  // A list that several rules have is walked once.
  std::vector<std::pair<const PatternSet*, std::vector<std::uint32_t>>> lists;
  std::unordered_map<const PatternSet*, std::size_t> place;
  std::size_t patterns = 0;
  for (std::uint32_t rule = 0; rule < rules.size(); ++rule) {
    patterns += rules[rule].domains.size();
    for (const auto& list : rules[rule].lists) {
      const auto [found, added] = place.try_emplace(list.get(), lists.size());
      if (added) {
        lists.push_back({list.get(), {}});
        patterns += list->size();
      }
      std::vector<std::uint32_t>& of = lists[found->second].second;
      if (of.empty() || of.back() != rule) of.push_back(rule);
    }
  }
  entries_.reserve(patterns);
  wildcards_.assign(patterns * kWildcardBitsPerName / 64 + 1, 0);
  for (std::uint32_t rule = 0; rule < rules.size(); ++rule) {
    if (rules[rule].domains.empty()) continue;
    const std::uint32_t alone = pool.intern({rule});
    for (const Pattern& pattern : rules[rule].domains) add(pattern.name.text(), pattern.kind, alone);
  }
  for (const auto& [list, of] : lists) {
    const std::uint32_t together = pool.intern(of);
    for (std::size_t i = 0; i < list->size(); ++i) add((*list)[i].name, (*list)[i].kind, together);
  }
}

void DomainIndexBuilder::add(std::string_view name, PatternKind kind, std::uint32_t rules) {
  std::array<std::uint64_t, DomainName::kMaxLabels> hashes;
  const unsigned labels = DomainName::hash_suffixes(name, hashes);
  const std::uint64_t hash = hashes[labels - 1];
  digest_ = digest_ * 0x9e3779b97f4a7c15u + hash;
  if (kind != PatternKind::kExact) {
    const FilterPlace word(hash, 0, wildcards_.size());
    wildcards_[word.word] |= word.ends;
    any_wildcard_ = true;
  }
  entries_.push_back(
      {hash, name.data(), rules, static_cast<std::uint8_t>(name.size()), static_cast<std::uint8_t>(labels), kind});
}

Result<bool> DomainIndexBuilder::build(std::uint64_t first_seed, ListPool& pool) {
  names.assign(format::kNamesFront, 0);
  if (entries_.empty()) return true;
  if (entries_.size() > kMaxOffset) return Error{ErrorCode::kExhausted, "too many names in one policy", 0};

  // A seed that leaves a long chain is drawn again. Only names that share the whole unkeyed hash stay together under
  // every seed; a policy that holds that many of them was built to, and is refused rather than made slow.
  seed = first_seed;
  for (Entry& entry : entries_) entry.key = index_key(entry.key, seed);
  merge(pool);
  primary_buckets =
      static_cast<std::uint64_t>(static_cast<double>(entries_.size()) / (format::Bucket::kSlots * kLoad)) + 1;
  for (unsigned draw = 0; !spreads(); ++draw) {
    if (draw == kMaxDraws) return Error{ErrorCode::kExhausted, "too many names share one hash", 0};
    seed = index_key(seed, draw + 1);
    for (Entry& entry : entries_) entry.key = index_key(hash_of(entry.name()), seed);
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.key != b.key ? a.key < b.key : a.name() < b.name(); });
  }
  return fill(pool);
}

// Sorts, and makes one entry of all patterns of a name.
void DomainIndexBuilder::merge(ListPool& pool) {
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    if (a.key != b.key) return a.key < b.key;
    if (a.name() != b.name()) return a.name() < b.name();
    return a.rules != b.rules ? a.rules < b.rules : a.kind < b.kind;
  });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < entries_.size();) {
    Entry entry = entries_[i];
    Own said;
    for (; i < entries_.size() && entries_[i].key == entry.key && entries_[i].name() == entry.name(); ++i) {
      if (entries_[i].kind != PatternKind::kBelow) said.self = pool.unite(said.self, entries_[i].rules);
      if (entries_[i].kind != PatternKind::kExact) said.below = pool.unite(said.below, entries_[i].rules);
    }
    entry.rules = own(said);
    entries_[kept++] = entry;
  }
  entries_.resize(kept);
}

std::uint32_t DomainIndexBuilder::own(Own said) {
  const auto [found, added] =
      known_own_.try_emplace(pair_of(said.self, said.below), static_cast<std::uint32_t>(own_.size()));
  if (added) own_.push_back(said);
  return found->second;
}

bool DomainIndexBuilder::spreads() const {
  std::uint64_t bucket = primary_buckets;  // none
  std::size_t inside = 0;
  for (const Entry& entry : entries_) {
    const std::uint64_t of = scale_to(entry.key, primary_buckets);
    inside = of == bucket ? inside + 1 : 1;
    bucket = of;
    if (inside > format::Bucket::kSlots * (1 + kMaxChain)) return false;
  }
  return true;
}

// Names go in by rising key, so that those of one primary bucket come together. What does not fit goes to the overflow
// bucket that is being filled, if it holds all of it, else to new ones: a bucket is shared by several primary ones only
// as the last of their chains, so sharing makes no chain longer. (One of their own each would cost 2 octets a name
// more.)
Result<bool> DomainIndexBuilder::fill(ListPool& pool) {
  constexpr unsigned kSlots = format::Bucket::kSlots;
  std::uint64_t octets = names.size();
  for (const Entry& entry : entries_) octets += 1u + entry.length;
  if (octets > kMaxOffset) return Error{ErrorCode::kExhausted, "more than 4 GiB of names in one policy", 0};
  names.reserve(octets);
  filter.assign(entries_.size() * kFilterBitsPerName / 64 + 1, 0);
  buckets.reserve(primary_buckets + primary_buckets / 16);  // about 1 in 20 spills
  buckets.assign(primary_buckets, {});
  first_.assign(primary_buckets + 1, 0);
  for (const Entry& entry : entries_) ++first_[scale_to(entry.key, primary_buckets) + 1];
  for (std::size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];

  const auto put = [&](std::size_t i, format::Bucket& bucket, unsigned slot) {
    const Entry& entry = entries_[i];
    if (i + kTextAhead < entries_.size()) __builtin_prefetch(entries_[i + kTextAhead].text);
    std::array<std::uint64_t, DomainName::kMaxLabels> hashes;
    DomainName::hash_suffixes(entry.name(), hashes);
    if (entry.labels > 1) {  // those of one label are always probed
      const FilterPlace word(hashes[std::min<unsigned>(entry.labels, 3) - 1], seed, filter.size());
      filter[word.word] |= entry.labels > 3 ? word.goes_on : word.ends;
    }
    depths[(entry.labels - 1) / 64] |= std::uint64_t{1} << (entry.labels - 1) % 64;
    bucket.tag[slot] = static_cast<std::uint16_t>(entry.key);
    bucket.name[slot] = static_cast<std::uint32_t>(names.size());
    bucket.set[slot] = set_of(entry.rules, inherited(entry, hashes.data(), pool), pool);
    names.push_back(entry.length);
    names.insert(names.end(), entry.text, entry.text + entry.length);
  };

  std::size_t shared = 0;         // the overflow bucket that is being filled; 0: none
  unsigned shared_used = kSlots;  // slots of it
  for (std::size_t primary = 0; primary < primary_buckets; ++primary) {
    std::size_t bucket = primary;
    std::size_t i = first_[primary];
    const std::size_t end = first_[primary + 1];
    while (true) {
      const bool is_shared = bucket == shared && shared != 0;
      for (unsigned slot = is_shared ? shared_used : 0; slot < kSlots && i < end; ++slot, ++i) {
        put(i, buckets[bucket], slot);
        if (is_shared) shared_used = slot + 1;
      }
      if (i == end) break;
      const std::size_t left = end - i;
      std::size_t next = shared;
      if (shared <= bucket || left > kSlots - shared_used) {  // chains only lead forward
        next = buckets.size();
        buckets.emplace_back();
        if (left < kSlots) {
          shared = next;
          shared_used = 0;
        }
      }
      if (next > kMaxBucket) return Error{ErrorCode::kExhausted, "too many names in one policy", 0};
      buckets[bucket].next = static_cast<std::uint32_t>(next) & kMaxBucket;
      for (std::size_t behind = i; behind < end; ++behind) {
        const unsigned bit = spill_bit(static_cast<std::uint16_t>(entries_[behind].key));
        buckets[bucket].spilled = static_cast<std::uint8_t>(buckets[bucket].spilled | 1u << bit);
      }
      bucket = next;
    }
    if (pool.lists().size() > kMaxOffset) return Error{ErrorCode::kExhausted, "too many names in one policy", 0};
  }
  entries_ = {};
  first_ = {};
  return true;
}

// What the ancestors of a name say of it.
std::uint32_t DomainIndexBuilder::inherited(const Entry& entry, const std::uint64_t* hashes, ListPool& pool) const {
  std::uint32_t from_above = 0;
  if (!any_wildcard_) return from_above;
  std::string_view suffix = entry.name();
  for (unsigned labels = entry.labels - 1u; labels > 0; --labels) {
    suffix.remove_prefix(suffix.find('.') + 1);
    const std::uint64_t hash = hashes[labels - 1];
    const FilterPlace word(hash, 0, wildcards_.size());
    if ((wildcards_[word.word] & word.ends) != word.ends) continue;
    if (const Entry* ancestor = find(suffix, hash)) from_above = pool.unite(from_above, own_[ancestor->rules].below);
  }
  return from_above;
}

const DomainIndexBuilder::Entry* DomainIndexBuilder::find(std::string_view name, std::uint64_t hash) const noexcept {
  const std::uint64_t key = index_key(hash, seed);
  const std::uint64_t bucket = scale_to(key, primary_buckets);
  for (std::size_t i = first_[bucket]; i < first_[bucket + 1]; ++i) {
    if (entries_[i].key == key && entries_[i].name() == name) return &entries_[i];
  }
  return nullptr;
}

std::uint32_t DomainIndexBuilder::set_of(std::uint32_t own, std::uint32_t inherited, ListPool& pool) {
  const auto [found, added] = known_sets_.try_emplace(pair_of(own, inherited), static_cast<std::uint32_t>(sets.size()));
  if (added) {
    sets.push_back(
        {pool.range(pool.unite(own_[own].self, inherited)), pool.range(pool.unite(own_[own].below, inherited))});
  }
  return found->second;
}

}  // namespace sallyport
