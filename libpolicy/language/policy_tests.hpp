// `tests` of a policy: flows and what must become of them, asked of the one decision function as explain asks.
//
// Form     As if no trial (mode: observe) were on: a test says what the rules mean, today and after.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/model.hpp"
#include "language/explain_flow.hpp"

namespace sallyport {

// Clients of a policy that somebody is, and where he asks.
struct Asker {
  std::uint64_t groups = 0;
  bool at_gate = false;  // a client of a gate, whose kernel forwards UDP
};
// client: a client of the policy; cell: the name of a cell; both empty: someone whom no client names.
Asker asker_of(const PolicyModel& model, const Snapshot& snapshot, std::string_view client, std::string_view cell);

struct TestResult {
  bool passed = false;
  std::string got;        // "denied by `site` (policy.yaml:9), name_not_allowed"
  std::string malformed;  // why the target is no destination; such a test fails
  FlowExplanation explanation;
};

// reader: of the compiled model. The results of its tests, in their order.
std::vector<TestResult> run_tests(const PolicyModel& model, Reader& reader);

}  // namespace sallyport
