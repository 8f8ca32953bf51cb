// The kernel under a gateway: closed before anything else happens, and left closed.
//
// Errors   In words a user can act on.
// Threads  [main].
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <nlohmann/json.hpp>

namespace sallyport {

// Installs the tables that drop what does not go through the gateway, or changes them to this topology in one
// transaction. Flows that were accepted at listeners which it has no longer, and `before` had, go on for so long.
absl::Status close_kernel(const nlohmann::json& topology, const nlohmann::json& before = {},
                          std::chrono::seconds drain = {});

// For tables that somebody else is about to replace: those flows go on, and what else keeps close_kernel() from working
// is the error.
absl::Status drain_kernel(const nlohmann::json& topology, const nlohmann::json& before, std::chrono::seconds drain);

// Whether the tables that are there are this topology's.
bool kernel_is_closed_for(const nlohmann::json& topology);

// Lifts the kernel's limit of ICMP errors to one address (net.ipv4.icmp_ratelimit, net.ipv6.icmp.ratelimit): one a
// second is silence for a client that tries ten flows at once. The tables limit each source instead. False: /proc/sys
// is read-only here, as in most containers; what is refused then stays refused, some of it without a word.
bool lift_icmp_limits();

// Takes them away: `sallyport release` alone does.
absl::Status open_kernel();

}  // namespace sallyport
