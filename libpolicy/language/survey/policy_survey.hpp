// PolicySurvey: what a policy consists of, counted, and which parts of it do nothing.
//
// Lifetime Self-contained, but for the model's rules and clients, which it names by index.
// Threads  Pure function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/model.hpp"

namespace sallyport {

struct NameCount {
  std::size_t exact = 0, below = 0, both = 0;  // "a.b", "*.a.b", ".a.b"
  std::size_t all() const noexcept { return exact + below + both; }
};

struct RuleSurvey {
  std::uint32_t rule = 0;
  NameCount written, listed;  // in `domains`; by lists and presets
  std::size_t addresses = 0;
};

struct PortUse {
  PortRange ports;
  std::size_t allow = 0, deny = 0;  // rules that list it
};

struct PolicySurvey {
  std::size_t allow_rules = 0, deny_rules = 0, trial_rules = 0;
  NameCount written, listed;  // entries of all rules, repetitions included
  std::size_t distinct_names = 0;
  std::size_t address_blocks = 0;
  std::vector<RuleSurvey> rules;              // by the number of their names, most first
  std::vector<PortUse> ports;                 // by the rules that list them, most first
  std::vector<std::uint32_t> unused_clients;  // that no rule names, and no trial
  std::vector<std::uint32_t> dead_rules;      // that decide nothing; none in a policy that loads
  std::vector<std::uint32_t> shadowed_rules;  // deny rules of which an earlier allow rule takes some flows
};

PolicySurvey survey(const PolicyModel& model);

}  // namespace sallyport
