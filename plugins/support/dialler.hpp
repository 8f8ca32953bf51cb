// dial(): one connected socket out of several addresses (Happy Eyeballs, RFC 8305).
//
// The caller has had every candidate allowed before: nothing here resolves, and the peer of the socket that comes back
// is compared with the candidate again (getpeername), so that what was decided is what is connected. Threads  The
// loop's.
#pragma once

#include <optional>
#include <vector>

#include "support/async.hpp"

namespace sallyport::net {

inline constexpr std::chrono::milliseconds kAttemptDelay{250};  // RFC 8305 §5, recommended

struct Dialled {
  std::optional<tcp::socket> socket;  // non-blocking, TCP_NODELAY
  tcp::endpoint peer;
  error_code error;  // of the last attempt; asio::error::timed_out after the deadline
};

// RFC 8305 §4: families in turn, IPv6 first.
std::vector<tcp::endpoint> interleave(std::vector<tcp::endpoint> v6, std::vector<tcp::endpoint> v4);

awaitable<Dialled> dial(std::vector<tcp::endpoint> candidates, Clock::time_point deadline);

}  // namespace sallyport::net
