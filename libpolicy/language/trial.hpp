// `mode` and `until`: a trial, and when it ends.
//
// Form     A date is its first instant in UTC; a time is RFC 3339 with Z or an offset.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"

namespace sallyport {

// Seconds since 1970-01-01 UTC; nothing for what is no date and no time, or lies outside 1970 to 9999.
std::optional<std::int64_t> read_time(std::string_view text);

// "2027-01-01T00:00:00Z".
std::string time_text(std::int64_t seconds);

// The trials of a policy that are on at `now` (seconds), for people: "client `build` until 2027-01-01T00:00:00Z".
std::vector<std::string> trials_on(const PolicyModel& model, std::int64_t now);
// What that means, for a banner.
inline constexpr const char* kTrialMeans =
    "what rules deny is audited and passes, and denied names are asked outside; guarded addresses stay denied";

}  // namespace sallyport
