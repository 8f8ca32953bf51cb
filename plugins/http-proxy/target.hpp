// Target: where a request asks to go. The one reader of it; policy, resolver, dialler and the rebuilt head take what it
// made.
//
// Form     CONNECT host:port, or an http:// URI in absolute form; Host must say the same. A name is canonical, an
//          address literal is one that the edge made.
// Lifetime path points into the head.
// Threads  Pure but for the host's edge.
// Errors   A Refusal; its status is 0 if there is none.
#pragma once

#include <cstdint>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>

#include "http-proxy/config.hpp"
#include "wire/http_head.hpp"

namespace sallyport::http_proxy {

struct Target {
  bool is_name = false;  // else literal
  policy_name name{};
  policy_addr literal{};  // with the port
  std::uint16_t port = 0;
  std::string_view path;  // of an absolute URI: what follows its authority

  // For a Host field: the port only if it is not 80.
  std::string authority() const;
};

struct Refusal {
  unsigned status = 0;
  std::uint16_t reason = POLICY_REASON_OK;
  std::string_view cause{};       // for the audit; a literal
  std::uint64_t retry_after = 0;  // seconds to tell the client, unless 0
  bool refused() const noexcept { return status != 0; }
};

Refusal read_target(const policy_edge_v1& edge, const wire::HttpRequestHead& head, HostMismatch mismatch, Target& out);

// What the client asked for and this proxy does not do, wherever it leads.
Refusal check_method(const wire::HttpRequestHead& head);

// Why a head that could not be read is refused. Never without a status.
Refusal refusal_of(wire::HttpFault fault, const wire::HttpRequestHead& head);

}  // namespace sallyport::http_proxy
