// UpstreamPool: connections to origins that wait for their client's next request.
//
// Invariant  A connection is only ever given to the client it was made for: an origin that mixes up responses, or a
//            smuggled rest of a request, stays with whoever caused it.
// Bounds     most_per_client kept for a client, kMost in all; the oldest goes first. kept_for each.
// Threads    The loop's.
#pragma once

#include <policy/abi.h>

#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "support/async.hpp"
#include "support/stream.hpp"

namespace sallyport::http_proxy {

struct Upstream {
  net::Stream socket;
  policy_addr peer{};
};

class UpstreamPool {
 public:
  static constexpr std::size_t kMost = 512;

  UpstreamPool(std::size_t most_per_client, net::Clock::duration kept_for) noexcept
      : most_per_client_(most_per_client), kept_for_(kept_for) {}

  // client: who (id, address, credential); origin: name and port. One on which nothing has come since it was kept.
  std::optional<Upstream> take(const std::string& client, std::string_view origin, net::Clock::time_point now);
  void keep(const std::string& client, std::string origin, Upstream upstream, net::Clock::time_point now);
  // Closes what is over its time, or has been closed by its origin.
  void sweep(net::Clock::time_point now);
  void clear();
  std::size_t size() const noexcept { return idle_.size(); }

 private:
  struct Idle {
    std::string client, origin;
    Upstream upstream;
    net::Clock::time_point since;
  };
  using Order = std::list<Idle>;  // the oldest in front

  void drop(Order::iterator entry);

  const std::size_t most_per_client_;
  const net::Clock::duration kept_for_;
  Order idle_;
  std::map<std::string, std::list<Order::iterator>, std::less<>> by_client_;
};

}  // namespace sallyport::http_proxy
