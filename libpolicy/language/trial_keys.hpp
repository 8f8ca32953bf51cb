// `mode` and `until` as they were written.
//
// Internal to language/: it names generated types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/model.hpp"
#include "language/decode.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {

// The keys of one message, a policy or a client. P045: one without the other, or no time; P046, a warning: it has ended
// (now: seconds, 0 is not known). what: "client `build`", for messages.
std::optional<ObserveModel> read_trial(policy::v1::Mode mode, const std::string& until, const Place* mode_place,
                                       const Place* until_place, const std::string& path, const std::string& what,
                                       std::int64_t now, Reporter& reporter);

}  // namespace sallyport
