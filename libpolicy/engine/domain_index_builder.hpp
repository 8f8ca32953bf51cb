// DomainIndexBuilder: the sections of a DomainIndex from the patterns of a policy.
//
// Memory   24 octets a pattern while it works, beside its output; the texts stay where the model has them.
// Threads  One. Not part of decide(): allocates freely.
// Errors   kExhausted when an offset does not fit in 32 bits, or when no seed spreads the names (some dozens of them
//          would have to share all 64 bits of an unkeyed hash; see build()).
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/format.hpp"
#include "engine/model.hpp"
#include "result/result.hpp"

namespace sallyport {

// Ascending lists of rule indices, each stored once and known by a number. 0 is the empty one.
class ListPool {
 public:
  std::uint32_t intern(const std::vector<std::uint32_t>& list);
  std::uint32_t unite(std::uint32_t a,
                      std::uint32_t b);  // remembered, so that a million unions cost a million look-ups
  format::Range range(std::uint32_t list) const noexcept { return ranges_[list]; }
  const std::vector<std::uint32_t>& lists() const noexcept { return lists_; }

 private:
  std::vector<std::uint32_t> lists_;
  std::vector<format::Range> ranges_ = {{}};
  std::map<std::vector<std::uint32_t>, std::uint32_t> known_;
  std::unordered_map<std::uint64_t, std::uint32_t> unions_;
};

class DomainIndexBuilder {
 public:
  // Takes in the domains and lists of every rule; once, before build(). rules outlives the builder.
  void collect(const std::vector<RuleModel>& rules, ListPool& pool);
  // Of every pattern that was collected, in order.
  std::uint64_t digest() const noexcept { return digest_; }

  Result<bool> build(std::uint64_t first_seed, ListPool& pool);

  std::uint64_t seed = 0;
  std::uint64_t primary_buckets = 0;
  std::uint64_t depths[2] = {};
  std::vector<std::uint64_t> filter;
  std::vector<format::Bucket> buckets;
  std::vector<format::NameSet> sets;
  std::vector<unsigned char> names;

 private:
  // First a pattern of some rules, then, merged, a distinct name. What orders it is held here, so that a sort touches
  // no text.
  struct Entry {
    std::uint64_t key;  // index_key() of the name's hash; the hash itself until a seed is drawn
    const char* text;
    std::uint32_t rules;  // a list of the pool; then an index into own_
    std::uint8_t length, labels;
    PatternKind kind;

    std::string_view name() const noexcept { return {text, length}; }
  };
  struct Own {  // what the patterns of a name say of it, ancestors aside: lists of the pool
    std::uint32_t self = 0, below = 0;
  };

  void add(std::string_view name, PatternKind kind, std::uint32_t rules);
  void merge(ListPool& pool);
  std::uint32_t own(Own said);
  bool spreads() const;
  Result<bool> fill(ListPool& pool);
  std::uint32_t inherited(const Entry& entry, const std::uint64_t* hashes, ListPool& pool) const;
  const Entry* find(std::string_view name, std::uint64_t hash) const noexcept;
  std::uint32_t set_of(std::uint32_t own, std::uint32_t inherited, ListPool& pool);

  std::vector<Entry> entries_;
  std::uint64_t digest_ = 0;
  std::vector<std::uint64_t> wildcards_;  // a Bloom filter of the names that have names below them, by unkeyed hash
  bool any_wildcard_ = false;
  std::vector<std::uint32_t> first_;  // entry that begins each primary bucket, and the end
  std::vector<Own> own_;
  std::unordered_map<std::uint64_t, std::uint32_t> known_own_, known_sets_;
};

}  // namespace sallyport
