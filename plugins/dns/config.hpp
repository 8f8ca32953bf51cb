// The dns plugin's config (README.md lists every key).
#pragma once

#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/resolver.hpp"

namespace sallyport::dns {

enum class Ipv6 : std::uint8_t { kAuto = 0, kOn, kOff };

struct Config {
  std::vector<std::string> listen{"dns"};
  std::vector<net::Upstream> upstreams;
  Ipv6 ipv6 = Ipv6::kAuto;
};

// Every error at once, in words.
policy::Status parse_config(std::string_view json, Config& out);

}  // namespace sallyport::dns
