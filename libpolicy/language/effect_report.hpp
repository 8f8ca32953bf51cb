// What find_dead_rules() and find_shadowed_rules() found, said with both places: the rule that has no effect, or less
// than it says, and the one that stands before it.
//
// Internal to language/: Place belongs to the schema.
#pragma once

#include "engine/model.hpp"
#include "language/decode.hpp"

namespace sallyport {

// P021 for whole rules, P042 for single entries and for what is denied in part. rules: where the list of rules was
// written, an element a rule of the model, as it is when the reporter has no error yet; nullptr if there was no list.
void report_rules_without_effect(const PolicyModel& model, const Place* rules, Reporter& reporter);

}  // namespace sallyport
