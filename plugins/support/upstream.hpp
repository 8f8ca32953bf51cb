// Upstream: a resolver that ours forwards to, and where the host's own are written down.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "names/address.hpp"

namespace sallyport::net {

struct Upstream {
  Address address;
  std::uint16_t port = 53;

  friend bool operator==(const Upstream&, const Upstream&) = default;
};

// The nameserver lines of a resolv.conf(5), in order, each once; an address that is not canonical or has a zone is left
// out.
std::vector<Upstream> upstreams_from_resolv_conf(std::string_view text);

}  // namespace sallyport::net
