// Upstream: a resolver that ours forwards to, and where the host's own are written down.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "names/address.hpp"

namespace sallyport::net {

struct Upstream {
  Address address;
  std::uint16_t port = 53;

  friend bool operator==(const Upstream&, const Upstream&) = default;
};

// "9.9.9.9:53, [2620:fe::fe]:53", for messages.
std::string text_of(const std::vector<Upstream>& upstreams);

// The nameserver lines of a resolv.conf(5), in order, each once; an address that is not canonical or has a zone is left
// out.
std::vector<Upstream> upstreams_from_resolv_conf(std::string_view text);

}  // namespace sallyport::net
