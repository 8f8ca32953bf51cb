// overlay_files(): a gateway for a network of somebody's compose file, as a second file beside it.
//
// Form     compose.sallyport.yaml, sallyport/gateway.yaml, sallyport/policy.yaml: those that deploy/ ships for the
// shape, with the
//          network's own addresses, and for each service its name server, its proxy, and to wait for the gateway.
// Threads  Pure.
#pragma once

#include <string_view>
#include <vector>

#include "host/init/compose_file.hpp"
#include "host/init/generate.hpp"

namespace sallyport {

inline constexpr const char* kOverlay = "compose.sallyport.yaml";

std::vector<GeneratedFile> overlay_files(std::string_view shape, const ComposeNetwork& network);

}  // namespace sallyport
