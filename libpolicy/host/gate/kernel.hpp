// The kernel under a gateway: closed before anything else happens, and left closed.
//
// Errors   In words a user can act on.
// Threads  [main].
#pragma once

#include <absl/status/status.h>

#include <nlohmann/json.hpp>

namespace sallyport {

// Installs the tables that drop what does not go through the gateway, or changes them to this topology in one
// transaction.
absl::Status close_kernel(const nlohmann::json& topology);

// Takes them away: `sallyport release` alone does.
absl::Status open_kernel();

}  // namespace sallyport
