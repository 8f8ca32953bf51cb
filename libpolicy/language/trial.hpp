// `mode` and `until`: a trial, and when it ends.
//
// Form     A date is its first instant in UTC; a time is RFC 3339 with Z or an offset.
// Threads  Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/model.hpp"
#include "language/decode.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {

// Seconds since 1970-01-01 UTC; nothing for what is no date and no time, or lies outside 1970 to 9999.
std::optional<std::int64_t> read_time(std::string_view text);

// "2027-01-01T00:00:00Z".
std::string time_text(std::int64_t seconds);

// The keys of one message, a policy or a client. P045: one without the other, or no time; P046, a warning: it has ended
// (now: seconds, 0 is not known). what: "client `build`", for messages.
std::optional<ObserveModel> read_trial(policy::v1::Mode mode, const std::string& until, const Place* mode_place,
                                       const Place* until_place, const std::string& path, const std::string& what,
                                       std::int64_t now, Reporter& reporter);

}  // namespace sallyport
