// What find_dead_rules() and find_shadowed_rules() found, said with both places: the rule that has no effect, or less
// than it says, and the one that stands before it.
//
// Internal to language/: Place belongs to the schema.
#pragma once

#include <span>

#include "engine/model.hpp"
#include "language/decode.hpp"

namespace sallyport {

// Where a rule of the model was written.
struct RulePlace {
  const Place* place;
  Reporter* reporter;  // of its file
};

// P021 for whole rules, P042 for single entries and for what is denied in part. rules: one a rule of the model.
void report_rules_without_effect(const PolicyModel& model, std::span<const RulePlace> rules);

}  // namespace sallyport
