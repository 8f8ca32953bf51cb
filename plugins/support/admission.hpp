// What a client's first octets must say, given the name that its destination stands for. Pure but for the host's edge.
//
// Threads  The loop's.
// Errors   A POLICY_REASON_*; POLICY_REASON_OK is the only pass.
#pragma once

#include <cstdint>
#include <policy/plugin.hpp>
#include <string_view>

#include "wire/client_hello.hpp"
#include "wire/http_head.hpp"

namespace sallyport::net {

// The SNI is that name, and nothing is hidden beside it. A different one: POLICY_REASON_SNI_MISMATCH, with *claimed
// set.
std::uint16_t check_hello(const policy_edge_v1& edge, const wire::ClientHello& hello, const policy_name& name,
                          bool allow_grease_ech, policy_name* claimed);

// Why a stream has no ClientHello.
std::uint16_t reason_of(wire::ClientHelloReader::Failure failure) noexcept;

// Host, and the target where it has an authority, are that name and this port; no tunnel, no clear HTTP/2.
std::uint16_t check_request(const policy_edge_v1& edge, const wire::HttpRequestHead& head, const policy_name& name,
                            std::uint16_t port);
std::uint16_t reason_of(wire::HttpFault fault) noexcept;

// What decide() may know of a request in clear HTTP; `query` borrows from the head. Of one whose fields would have the
// origin take another method or path (X-HTTP-Method-Override, X-Original-URL and their like) it knows neither.
inline constexpr std::uint32_t kKnowRequest = POLICY_KNOW_METHOD | POLICY_KNOW_PATH;
void describe_request(const wire::HttpRequestHead& head, policy_query& query);

// The host that a refused request asked for, as sent: its Host, or its target's authority if the Host is right. A head
// that could not be read to its end gives what there is of it; "" if there is nothing.
std::string_view claimed_host(const policy_edge_v1& edge, const wire::HttpRequestHead& head, const policy_name& name,
                              std::uint16_t port);

// The status that answers a request refused for that; 403 for the policy's own reasons.
unsigned status_of(wire::HttpFault fault) noexcept;
unsigned status_of(std::uint16_t reason) noexcept;

// A whole response: problem+json (RFC 9457) with Proxy-Status (RFC 9209), closing the connection. How to allow it is
// told to the operator alone.
// retry_after: seconds, unless 0.
std::string refusal_response(unsigned status, std::string_view reason, std::string_view ref, bool head_request,
                             std::uint64_t retry_after = 0);

// Seconds of Retry-After, rounded up, for nanoseconds; at least 1.
std::uint64_t retry_after(std::uint64_t wait_ns) noexcept;
// "limit: upload", for the record of a refusal by POLICY_LIMIT_...
std::string_view limit_cause(std::uint32_t limit) noexcept;

// A fatal alert record (RFC 8446 §6) that fits the reason.
std::string tls_alert(std::uint16_t reason);

}  // namespace sallyport::net
