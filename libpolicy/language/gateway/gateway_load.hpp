// Loading gateway.yaml: text to GatewayModel, or every error at once (codes P0nn of the policy, G0nn of gateways).
//
// Errors   As language/load.hpp: a model is there exactly if no diagnostic is an error.
// Threads  Any; reads the user database for `user`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "language/diagnostic.hpp"
#include "language/gateway/gateway_model.hpp"

namespace sallyport {

struct GatewayOutcome {
  std::optional<GatewayModel> model;
  Diagnostics diagnostics;
  std::string name;  // what the gateway is called, as far as that is known: its status socket has that name
};

inline constexpr std::size_t kMaxGatewayOctets = 1u << 20;  // a file of 16 plugins has 4 kB

// Opens the file only if nobody but root and the caller could have written it.
GatewayOutcome load_gateway_file(const std::string& path);
// file_name is used in messages, and relative paths start beside it. options: as Source has them.
GatewayOutcome load_gateway(std::string text, const std::string& file_name, std::vector<std::string> options = {});

// What `sallyport help G003` prints; empty for an unknown code.
std::string_view explain_gateway_code(std::string_view code) noexcept;
std::span<const CodeText> gateway_codes() noexcept;

}  // namespace sallyport
