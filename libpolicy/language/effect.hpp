// Rules that can never take effect, because earlier ones decide every flow they could.
//
// A rule is cut into atoms (client, domain pattern or address block, port range); it is dead if an earlier rule covers
// each. Sound, not complete: what is called dead is (tests/language compares with decide() on whole small worlds); a
// rule covered only by several earlier ones together, half an atom each, is not found.
//
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model.hpp"
#include "names/pattern_index.hpp"

namespace sallyport {

struct DeadEntry {
  bool is_domain = false;   // else an address
  std::uint32_t index = 0;  // into the rule's domains or addresses
  std::uint32_t by = 0;     // the earlier rule
};

struct DeadRule {
  std::uint32_t rule = 0;
  bool whole = false;             // every atom is covered; else only the entries below, by rules of the other action
  std::vector<std::uint32_t> by;  // the earlier rules, ascending
  bool by_deny_of_names = false;  // an allow rule of addresses behind a deny rule of names: an address has no name
  std::vector<DeadEntry> entries;
};

// Of `lists`, which may hold millions, no single entry is told of: they make a rule whole and keep it alive.
std::vector<DeadRule> find_dead_rules(const PolicyModel& model);
std::vector<DeadRule> find_dead_rules(const PolicyModel& model, PatternIndexes& indexes);

// Whether every one of the prefix's addresses is public; false too if there are too many to look at.
bool is_surely_public(const Prefix& prefix);
// Whether one of them is a metadata service; true too if there are too many to look at.
bool may_hold_metadata(const Prefix& prefix);

}  // namespace sallyport
