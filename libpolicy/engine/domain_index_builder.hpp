// DomainIndexBuilder: the sections of a DomainIndex from the patterns of a policy.
//
// Threads  One. Not part of decide(): allocates freely.
// Errors   kExhausted when an offset does not fit in 32 bits, or when no seed spreads the names (some hundreds of them
// would
//          have to share all 64 bits of an unkeyed hash; see build()).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/format.hpp"
#include "engine/model.hpp"
#include "result/result.hpp"

namespace sallyport {

// Lists of rule indices, each stored once.
class ListPool {
 public:
  format::Range intern(const std::vector<std::uint32_t>& list);
  const std::vector<std::uint32_t>& lists() const noexcept { return lists_; }

 private:
  std::vector<std::uint32_t> lists_;
  std::map<std::vector<std::uint32_t>, format::Range> known_;
};

class DomainIndexBuilder {
 public:
  // rules outlives the builder. Lists go to pool.
  Result<bool> build(const std::vector<RuleModel>& rules, std::uint64_t seed, ListPool& pool);

  std::uint64_t seed = 0;
  std::uint64_t primary_buckets = 0;
  std::uint64_t depths[2] = {};
  std::vector<std::uint64_t> filter;
  std::vector<format::Bucket> buckets;
  std::vector<format::NameSet> sets;
  std::vector<unsigned char> names;

 private:
  struct Use {  // one pattern of one rule; what orders it is held here, so that a sort touches no name
    std::uint64_t hash;
    const DomainName* name;
    std::uint32_t rule;
    std::uint8_t labels;
    PatternKind kind;
  };
  struct Entry {  // one distinct name
    const DomainName* name;
    format::Range below;
    std::uint32_t offset, set;
  };

  Result<bool> merge(std::vector<Use>& uses, ListPool& pool);
  bool place(std::uint64_t with_seed);
  std::uint32_t intern(const format::NameSet& set);

  std::vector<Entry> entries_;
  std::map<std::vector<std::uint32_t>, std::uint32_t> known_sets_;
};

}  // namespace sallyport
