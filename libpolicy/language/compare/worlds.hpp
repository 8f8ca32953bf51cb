// What two policies can tell apart of who asks and of what for: one of each class, for compare() to combine.
//
// Names    A name is told apart by the entries that match it: at itself, and of its ancestors those that reach below.
//          So of each name that an entry has, the name and one below it stand for all; names with the same rules are
//          one class, and so are the names that no entry matches.
// Lifetime Borrow the models.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "engine/model.hpp"

namespace sallyport {

// A policy of the two: its rules are named by (side, index).
struct Side {
  const PolicyModel& model;
  const Snapshot& snapshot;
};

struct WhoAsks {
  std::string text;  // somebody
  std::uint64_t groups[2] = {0, 0};
  std::string at_gate;  // somebody of these groups who asks at a gate; empty: nobody does
};

// Everyone who is told apart, by the clients that he belongs to. Appends to `incomplete`.
std::vector<WhoAsks> askers_of(std::span<const Side> sides, std::vector<std::string>& incomplete);

struct NameClass {
  std::optional<DomainName> name;       // nothing: flows without a name
  std::vector<std::uint32_t> rules[2];  // that list it, ascending
  std::size_t names = 0;                // entries that are one of these
  std::vector<std::string> more;        // a few of these names beside it
  bool listed = false;                  // the name stands in a policy itself
};

// The last but one is of names that nothing lists, the last of flows without a name.
std::vector<NameClass> name_classes(std::span<const Side> sides);

// The rules that a flow of any name may meet: those that list no names, and those that list addresses too.
std::vector<std::uint32_t> general_rules(const PolicyModel& model);

}  // namespace sallyport
