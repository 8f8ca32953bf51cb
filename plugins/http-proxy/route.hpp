// find_route(): a connected socket to where a request goes, or why there is none.
//
// One resolution, by our own resolver; every address of it is decided with name and port; only those that are allowed
// are dialled, and the socket's peer is one of them (getpeername). Addresses that the policy ties to a name ask nobody.
//
// Threads  The loop's.
// Errors   Route::socket is empty; the rest says what to answer. A refusal has the verdict and address it was made for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http-proxy/services.hpp"
#include "http-proxy/target.hpp"
#include "support/async.hpp"
#include "support/stream.hpp"

namespace sallyport::http_proxy {

struct Route {
  std::optional<net::Stream> socket;  // TCP_NODELAY
  policy_addr peer{};                 // of the socket; else the address that was refused, if has_peer
  bool has_peer = false;
  policy_verdict verdict{};  // of that address
  bool tunnel_any = false;   // what goes there is not looked into

  unsigned status = 0;       // 403, 502, 503, 504
  std::string_view error{};  // RFC 9209 §2.3
  std::string cause{};       // for the audit

  bool refused() const noexcept { return status == 403; }
};

// query: client, credential, method and path; name, port and destination come from the target. scope is the thread's.
net::awaitable<Route> find_route(const Services& services, const Config& config, net::TaskScope& scope,
                                 policy_query query, const Target& target);

// Weighs one address for it, at layer dial.
policy_verdict weigh(const Services& services, policy_query query, const policy_addr& address);

}  // namespace sallyport::http_proxy
