// From a decoded message to the engine's model: what the schema cannot say, checked with the place of every value.
//
// Errors   P006 missing key, P007 to P011 values, P012 said twice, P013 a name used twice, P014 and P015 breadth, P016
// unknown
//          client, P018 single labels, P019 nothing to match, P020 keys that contradict, P021 no effect, P022 UDP in
//          cells, P023 version, P024 limits, P025 names.
//
// Internal to language/: it names generated types.
#pragma once

#include <span>

#include "engine/model.hpp"
#include "language/decode.hpp"
#include "language/load.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {

// One file of a policy. All of it outlives the call.
struct PolicyPart {
  const policy::v1::Policy* policy;
  const Place* place;
  Reporter* reporter;
};

// parts: in the order of their rules; the last is the policy that includes the others. The model is complete only if no
// reporter has an error afterwards.
// files: every further file that was opened, or should have been, is added.
PolicyModel convert(std::span<const PolicyPart> parts, const LoadOptions& options, std::vector<std::string>& files);

// Ports a rule of names means when it says none.
std::vector<PortRange> default_ports();

}  // namespace sallyport
