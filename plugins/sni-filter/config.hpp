// The sni-filter plugin's config (README.md lists every key).
#pragma once

#include <chrono>
#include <map>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/resolver.hpp"
#include "support/tunnel_budgets.hpp"

namespace sallyport::sni {

using std::chrono::milliseconds;

// What the address says that a connection was made for.
enum class Destination : std::uint8_t {
  kAuto = 0,   // by the listener: a cell's is synthetic, a transparent one original, any other name
  kSynthetic,  // it stands for one name (policy.synthetic)
  kOriginal,   // a real address, that the client took from dns or from elsewhere
  kName,       // the gateway's own: what the client says names the destination, alone
};

struct Config {
  std::vector<std::string> listen{"tcp"};
  Destination destination = Destination::kAuto;
  std::map<std::string, Destination> listeners;  // those that differ, by name
  bool strict = false;                           // binding: strict
  std::vector<net::Upstream> upstreams;
  milliseconds hello_timeout{5'000};     // browsers need well under 1 s; more only feeds slow clients (TLS-12)
  milliseconds connect_timeout{10'000};  // resolution and every address together
  milliseconds idle_timeout{3'600'000};  // an ssh session without keep-alive lives an hour
  bool allow_grease_ech = false;
  unsigned workers = 0;  // 0: one a CPU at a gate, one in a cell
  std::size_t max_flows = 4096;
  std::size_t max_flows_per_client = 1024;  // at a gate
  net::TunnelLimits budgets;                // of names below a wildcard, for each client
};

// Every error at once, in words.
policy::Status parse_config(std::string_view json, Config& out);

}  // namespace sallyport::sni
