// From a decoded message to GatewayModel: what the schema cannot say, checked with the place of every value.
//
// Errors   P0nn as the policy has them, G001 to G011.
//
// Internal to language/gateway/: it names generated types.
#pragma once

#include "language/decode.hpp"
#include "language/gateway/gateway_model.hpp"
#include "sallyport/gateway/v1/gateway.pb.h"

namespace sallyport {

// tree: the user's own, before lower(). The model is complete only if the reporter has no error afterwards.
GatewayModel convert_gateway(const gateway::v1::Gateway& gateway, const Place& place, const YamlTree& tree,
                             const std::string& file, Reporter& reporter);

}  // namespace sallyport
