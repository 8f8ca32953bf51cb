// Deny rules that stop less than they name: an earlier allow rule takes some of their ports first. `allow .e.test` on
// 80 and 443 above `deny www.e.test` lets www.e.test pass on 80 and 443, and the deny rule still does something, so it
// is not dead (effect.hpp).
//
// Found    An entry of a deny rule, all of which an earlier allow rule lists, for all the deny rule's clients. An allow
//          rule of a part (one name below a denied wildcard, one client of several, one address by resolves_to) is how
//          exceptions are written, and not found.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/model.hpp"
#include "names/pattern_index.hpp"

namespace sallyport {

struct Opening {
  std::uint32_t by = 0;          // the earlier allow rule
  std::vector<PortRange> ports;  // what it lets pass of the deny rule's; ascending, apart from each other
};

struct OpenEntry {
  bool is_domain = false;   // else an address
  std::uint32_t index = 0;  // into the rule's domains or addresses, or into the list
  std::vector<Opening> openings;
  std::optional<std::uint32_t> list = {};  // into the rule's lists
  std::uint64_t stands_for = 1;            // of a list: how many of its names are let pass alike; this is the first
};

struct ShadowedRule {
  std::uint32_t rule = 0;
  std::vector<OpenEntry> entries;
};

// Also finds entries that are dead as a whole, which find_dead_rules() says better.
std::vector<ShadowedRule> find_shadowed_rules(const PolicyModel& model);
std::vector<ShadowedRule> find_shadowed_rules(const PolicyModel& model, PatternIndexes& indexes);

}  // namespace sallyport
