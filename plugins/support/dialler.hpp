// dial(): one connected socket out of several addresses (Happy Eyeballs, RFC 8305).
//
// The caller has had every candidate allowed before: nothing here resolves, and the peer of the socket that comes back
// is compared with the candidate again (getpeername), so that what was decided is what is connected. Threads  The
// loop's.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "support/async.hpp"
#include "support/stream.hpp"

namespace sallyport::net {

inline constexpr std::chrono::milliseconds kAttemptDelay{250};  // RFC 8305 §5, recommended

struct Dialled {
  std::optional<Stream> socket;  // TCP_NODELAY
  tcp::endpoint peer;
  error_code error;  // of the last attempt; asio::error::timed_out after the deadline
};

// One address, and so no race.
awaitable<Dialled> dial_one(tcp::endpoint peer, Clock::time_point deadline);

// RFC 8305 §4: families in turn, IPv6 first.
std::vector<tcp::endpoint> interleave(std::vector<tcp::endpoint> v6, std::vector<tcp::endpoint> v4);

// Candidates that come while a dial is at work (RFC 8305 §3: the other family's answer is not waited for).
class LateCandidates {
 public:
  void add(std::vector<tcp::endpoint> candidates) {
    added_.insert(added_.end(), candidates.begin(), candidates.end());
    if (wake_) wake_();
  }
  // No more will come. Until then a dial whose candidates have all failed waits.
  void close() {
    closed_ = true;
    if (wake_) wake_();
  }

 private:
  friend awaitable<Dialled> dial(std::vector<tcp::endpoint>, Clock::time_point, std::shared_ptr<LateCandidates>);
  std::vector<tcp::endpoint> added_;
  bool closed_ = false;
  std::function<void()> wake_;
};

awaitable<Dialled> dial(std::vector<tcp::endpoint> candidates, Clock::time_point deadline,
                        std::shared_ptr<LateCandidates> late = nullptr);

}  // namespace sallyport::net
