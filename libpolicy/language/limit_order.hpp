// Limits that a connection would pass by: it is charged by the first rule that may allow it, and the requests on it are
// decided one by one. A rule that asks for requests and stands before one with limits would keep the meter of both.
//
// Sound: every such pair is found. Names of large lists count as shared, so one that is none may be found as well.
//
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model.hpp"

namespace sallyport {

struct BypassedLimits {
  std::uint32_t rule = 0;  // has limits
  std::uint32_t by = 0;    // the earlier rule, which asks for requests
};

// At most one a rule.
std::vector<BypassedLimits> find_bypassed_limits(const PolicyModel& model);

}  // namespace sallyport
