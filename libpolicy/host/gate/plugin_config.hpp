// A plugin's config as the user wrote it in YAML, to the JSON that its manifest's schema wants, with the place of every
// fault.
//
// Form     A plain scalar is what the schema says it is where that is possible (`upstreams: [1.1]` is text); without a
//          schema's word YAML 1.2's core schema: null, true, false, whole numbers, decimals, else text.
// Threads  Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "host/plugin/plugin_image.hpp"
#include "language/gateway/gateway_model.hpp"
#include "language/source.hpp"

namespace sallyport {

// With defaults filled in; nothing after an error was reported.
std::optional<nlohmann::json> read_plugin_config(const GatewayModel& gateway, const PluginModel& plugin,
                                                 const PluginImage& image, Reporter& reporter);

}  // namespace sallyport
