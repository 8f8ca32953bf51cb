// What this proxy itself answers: a refusal or a failure, as problem+json (RFC 9457) with Proxy-Status (RFC 9209). It
// always closes the connection. What it takes to allow the request is told to the operator alone.
//
// Threads  Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sallyport::http_proxy {

struct Answer {
  unsigned status = 0;
  std::uint16_t reason = 0;       // POLICY_REASON_*
  std::string_view ref{};         // of the audit record, or empty
  std::string_view error{};       // RFC 9209 §2.3; empty: by status
  bool head_request = false;      // no body then
  std::uint64_t retry_after = 0;  // seconds, unless 0
};

std::string answer_text(const Answer& answer);

}  // namespace sallyport::http_proxy
