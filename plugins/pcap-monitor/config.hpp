// The plugin's config and what it takes from the topology.
#pragma once

#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "pcap-monitor/options.hpp"

namespace sallyport::monitor {

struct Config {
  std::vector<std::string> interfaces;  // empty: those of the topology's networks
  std::size_t snaplen = 65535, ring_octets = 8u << 20;
  bool decisions = true;  // enforcers of the same gateway decide what is seen here
  Options options;
};

policy::Status parse_config(std::string_view json, Config& out);
// docs/gateway.md, Topology: networks are the workloads, own the gateway, internal what may talk.
policy::Status apply_topology(std::string_view json, Config& config);

}  // namespace sallyport::monitor
