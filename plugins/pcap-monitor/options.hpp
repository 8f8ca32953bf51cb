// What the monitor is told about the network, and its bounds.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "names/address.hpp"

namespace sallyport::monitor {

struct Options {
  std::vector<Prefix> clients;     // workloads; whatever others begin is not judged. Empty: everyone is one
  std::vector<Address> own;        // the gateway's addresses: never a workload, and the answers from there bind
  std::vector<Address> resolvers;  // others whose answers bind. Both empty: any server that was asked
  std::vector<std::pair<Prefix, Prefix>> internal;  // pairs that may reach each other, both ways
  bool live = false;                                // decisions of the enforcers are there to hold against
  // What the kernel lets through by a rule of addresses, without an enforcer that tells of each flow.
  bool udp_by_address = false, tcp_by_address = false;
  bool bindings = true;                    // an address must have been given out to its client
  std::uint64_t grace_ns = 2'000'000'000;  // records may lag, and a hello takes its time
  std::uint64_t upload_octets = 100'000'000, upload_window_ns = 3'600'000'000'000;  // 0 octets: no alarm
  std::uint64_t idle_ns = 120'000'000'000;  // a flow without a packet for so long has ended
  std::size_t max_flows = 65536, max_bindings = 65536, max_decisions = 65536;
  std::size_t stream_octets = 64u << 20;  // of streams that wait for their first message, in all
  std::uint64_t seed = 0;                 // of the tables
};

}  // namespace sallyport::monitor
