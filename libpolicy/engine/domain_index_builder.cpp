// How wildcards reach the names below them. For the patterns
//
//     rule 0: *.example.org      rule 1: .api.example.org      rule 2: v1.api.example.org
//
//     name                  self        below        (what find() returns for it, and for names under it)
//     example.org           {}          {0}
//     api.example.org       {0,1}       {0,1}        from rule 1, and the `below` of example.org
//     v1.api.example.org    {0,1,2}     {0,1}        from rule 2, and the `below` of api.example.org
//
// Names are visited by rising depth, so the nearest indexed ancestor is complete when it is asked, and asking it alone
// is enough. The road not taken: probing every depth in decide() and merging there, which costs a miss per label.
#include "engine/domain_index_builder.hpp"

#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "engine/domain_index.hpp"

namespace sallyport {
namespace {

constexpr double kLoad = 0.78;  // names per slot: fuller means more overflow, emptier more memory (PERF.md 4)
constexpr unsigned kFilterBitsPerName = 18;  // about 1 false positive in 500 with four bits in one word
constexpr unsigned kMaxChain = 4;            // overflow buckets behind a primary one; reached by chance about never
constexpr unsigned kMaxDraws = 64;           // chance alone never needs more than a few
constexpr std::uint64_t kMaxOffset = std::numeric_limits<std::uint32_t>::max();

struct SuffixKey {
  std::string_view text;
  std::uint64_t hash;
  bool operator==(const SuffixKey& other) const noexcept { return hash == other.hash && text == other.text; }
};
struct SuffixHash {
  std::size_t operator()(const SuffixKey& key) const noexcept { return key.hash; }
};

std::vector<std::uint32_t> united(std::vector<std::uint32_t> own, const std::vector<std::uint32_t>& pool,
                                  format::Range inherited) {
  own.insert(own.end(), pool.begin() + inherited.first, pool.begin() + inherited.first + inherited.count);
  std::sort(own.begin(), own.end());
  own.erase(std::unique(own.begin(), own.end()), own.end());
  return own;
}

}  // namespace

format::Range ListPool::intern(const std::vector<std::uint32_t>& list) {
  if (list.empty()) return {};
  const auto [found, added] = known_.try_emplace(list);
  if (added) {
    found->second = {static_cast<std::uint32_t>(lists_.size()), static_cast<std::uint32_t>(list.size())};
    lists_.insert(lists_.end(), list.begin(), list.end());
  }
  return found->second;
}

std::uint32_t DomainIndexBuilder::intern(const format::NameSet& set) {
  const std::vector<std::uint32_t> key = {set.self.first, set.self.count, set.below.first, set.below.count};
  const auto [found, added] = known_sets_.try_emplace(key, static_cast<std::uint32_t>(sets.size()));
  if (added) sets.push_back(set);
  return found->second;
}

Result<bool> DomainIndexBuilder::build(const std::vector<RuleModel>& rules, std::uint64_t first_seed, ListPool& pool) {
  std::vector<Use> uses;
  for (std::size_t rule = 0; rule < rules.size(); ++rule) {
    for (const Pattern& pattern : rules[rule].domains) {
      uses.push_back({pattern.name.hash(), &pattern.name, static_cast<std::uint32_t>(rule),
                      static_cast<std::uint8_t>(pattern.name.labels()), pattern.kind});
    }
  }
  names.assign(1, 0);
  if (uses.empty()) return true;
  if (Result<bool> merged = merge(uses, pool); !merged.ok()) return merged.error();

  // A seed that leaves a long chain is drawn again. Only names that share the whole unkeyed hash stay together under
  // every seed; a policy that holds that many of them was built to, and is refused rather than made slow.
  seed = first_seed;
  for (unsigned draw = 0; draw < kMaxDraws; ++draw) {
    if (place(seed)) return true;
    seed = index_key(seed, draw + 1);
  }
  return Error{ErrorCode::kExhausted, "too many names share one hash", 0};
}

Result<bool> DomainIndexBuilder::merge(std::vector<Use>& uses, ListPool& pool) {
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
    if (a.labels != b.labels) return a.labels < b.labels;
    if (a.hash != b.hash) return a.hash < b.hash;
    const int order = a.name->text().compare(b.name->text());
    return order != 0 ? order < 0 : a.rule < b.rule;
  });

  std::unordered_map<SuffixKey, std::uint32_t, SuffixHash> by_name;
  by_name.reserve(uses.size());
  std::vector<std::uint32_t> self, below;
  for (std::size_t i = 0; i < uses.size();) {
    const std::uint64_t hash = uses[i].hash;
    const DomainName& name = *uses[i].name;
    self.clear();
    below.clear();
    for (; i < uses.size() && uses[i].hash == hash && *uses[i].name == name; ++i) {
      if (uses[i].kind != PatternKind::kBelow) self.push_back(uses[i].rule);
      if (uses[i].kind != PatternKind::kExact) below.push_back(uses[i].rule);
    }
    format::Range inherited;
    for (unsigned labels = name.labels() - 1; labels != 0; --labels) {
      const auto ancestor = by_name.find({name.suffix(labels), name.suffix_hash(labels)});
      if (ancestor == by_name.end()) continue;
      inherited = entries_[ancestor->second].below;
      break;
    }
    const format::Range self_range = pool.intern(united(self, pool.lists(), inherited));
    const format::Range below_range = pool.intern(united(below, pool.lists(), inherited));
    if (pool.lists().size() > kMaxOffset || names.size() + 1 + DomainName::kMaxOctets > kMaxOffset) {
      return Error{ErrorCode::kExhausted, "too many names in one policy", uses[i - 1].rule};
    }
    by_name.emplace(SuffixKey{name.text(), name.hash()}, static_cast<std::uint32_t>(entries_.size()));
    entries_.push_back(
        {&name, below_range, static_cast<std::uint32_t>(names.size()), intern({self_range, below_range})});
    names.push_back(static_cast<unsigned char>(name.text().size()));
    names.insert(names.end(), name.text().begin(), name.text().end());
    depths[(name.labels() - 1) / 64] |= std::uint64_t{1} << (name.labels() - 1) % 64;
  }
  return true;
}

// Names go in by rising key, so that those of one primary bucket come together. What does not fit goes to the overflow
// bucket that is being filled, if it holds all of it, else to new ones: a bucket is shared by several primary ones only
// as the last of their chains, so sharing makes no chain longer. (One of their own each would cost 2 octets a name
// more.)
bool DomainIndexBuilder::place(std::uint64_t with_seed) {
  constexpr unsigned kSlots = format::Bucket::kSlots;
  primary_buckets = static_cast<std::uint64_t>(static_cast<double>(entries_.size()) / (kSlots * kLoad)) + 1;
  buckets.assign(primary_buckets, {});
  filter.assign(entries_.size() * kFilterBitsPerName / 64 + 1, 0);

  std::vector<std::pair<std::uint64_t, std::uint32_t>> order;  // key, entry
  order.reserve(entries_.size());
  for (std::uint32_t i = 0; i < entries_.size(); ++i) {
    const DomainName& name = *entries_[i].name;
    order.emplace_back(index_key(name.hash(), with_seed), i);
    if (name.labels() == 1) continue;  // always probed
    const FilterPlace word(index_key(name.suffix_hash(std::min(name.labels(), 3u)), with_seed), filter.size());
    filter[word.word] |= word.bits;
  }
  std::sort(order.begin(), order.end());

  std::size_t shared = 0;         // the overflow bucket that is being filled; 0: none
  unsigned shared_used = kSlots;  // slots of it
  for (std::size_t i = 0; i < order.size();) {
    std::size_t bucket = scale_to(order[i].first, primary_buckets);
    std::size_t end = i;
    while (end < order.size() && scale_to(order[end].first, primary_buckets) == bucket) ++end;
    if (end - i > kSlots * (1 + kMaxChain)) return false;
    while (true) {
      const bool is_shared = bucket == shared && shared != 0;
      for (unsigned slot = is_shared ? shared_used : 0; slot < kSlots && i < end; ++slot, ++i) {
        buckets[bucket].tag[slot] = static_cast<std::uint16_t>(order[i].first);
        buckets[bucket].name[slot] = entries_[order[i].second].offset;
        buckets[bucket].set[slot] = entries_[order[i].second].set;
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
      buckets[bucket].next = static_cast<std::uint32_t>(next);
      bucket = next;
    }
  }
  return true;
}

}  // namespace sallyport
