// The dns plugin's config (README.md lists every key).
#pragma once

#include <chrono>
#include <cstdint>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "names/address.hpp"
#include "support/resolver.hpp"
#include "support/tunnel_budgets.hpp"

namespace sallyport::dns {

enum class Answers : std::uint8_t { kSynthetic = 0, kGateway, kReal };
enum class Blocked : std::uint8_t { kNxDomain = 0, kZero, kRefused };
enum class Svcb : std::uint8_t { kNoData = 0, kStrip };
enum class Ipv6 : std::uint8_t { kAuto = 0, kOn, kOff };

struct Config {
  std::vector<std::string> listen{"dns"};
  std::vector<net::Upstream> upstreams;
  Answers answers = Answers::kSynthetic;
  std::vector<Address> gateway_addresses;  // only with kGateway, and then at least one
  Blocked blocked = Blocked::kNxDomain;
  Svcb svcb = Svcb::kNoData;
  Ipv6 ipv6 = Ipv6::kAuto;
  std::chrono::milliseconds apply_timeout{500};  // that an answer waits for enforcers (kReal)
  unsigned workers = 0;                          // threads; 0: as many as there are sockets for one address
  std::size_t cache_entries = 65536;             // answers kept by each thread
  net::TunnelLimits budgets;                     // of names below a wildcard, for each client
};

// Every error at once, in words.
policy::Status parse_config(std::string_view json, Config& out);

}  // namespace sallyport::dns
