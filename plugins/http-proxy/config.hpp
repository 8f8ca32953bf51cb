// The http-proxy plugin's config (README.md lists every key).
#pragma once

#include <chrono>
#include <cstdint>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/resolver.hpp"
#include "support/tunnel_budgets.hpp"
#include "wire/http_head.hpp"

namespace sallyport::http_proxy {

using std::chrono::milliseconds;

enum class Auth : std::uint8_t { kRequired = 0, kOptional, kNone };  // unset reads as the strictest
enum class HostMismatch : std::uint8_t { kReject = 0, kRewrite };

struct Config {
  std::vector<std::string> listen{"proxy"};
  std::vector<net::Upstream> upstreams;
  unsigned workers = 0;  // threads; 0: one per CPU
  Auth auth = Auth::kNone;
  HostMismatch host_mismatch = HostMismatch::kReject;
  bool allow_grease_ech = false;
  bool audit_paths = false;

  milliseconds header_timeout{10'000};     // for a whole head; a browser sends it at once
  milliseconds body_timeout{30'000};       // without an octet of a body, either way
  milliseconds response_timeout{300'000};  // for a response to begin; slow answers of models take minutes
  milliseconds connect_timeout{10'000};    // for the resolution, and again for all connection attempts
  milliseconds hello_timeout{5'000};       // for a tunnel's first octets to be complete (browsers need well under 1 s)
  milliseconds idle_timeout{3'600'000};    // of a tunnel, without an octet either way
  milliseconds keepalive_timeout{60'000};  // of a client's connection between requests
  milliseconds upstream_idle{15'000};      // of a kept connection to an origin; servers close theirs after 5 to 75 s
  std::uint64_t body_rate = 32;            // octets a second that a body must reach once body_timeout is over; 0: any

  std::size_t max_header = wire::kMaxHttpHead;
  std::size_t max_fields = wire::kMaxHttpFields;
  std::size_t max_target = wire::kMaxRequestTarget;
  std::size_t max_connections = 4096;
  std::size_t max_connections_per_client = 512;
  net::TunnelLimits budgets;            // of names below a wildcard, for each client
  std::uint64_t max_requests = 10'000;  // on one connection of a client
  std::size_t max_idle_upstreams = 8;   // kept for one client, in one thread

  wire::HttpLimits head_limits() const noexcept { return {max_header, max_fields, max_target, true}; }
};

policy::Status parse_config(std::string_view json, Config& out);

}  // namespace sallyport::http_proxy
