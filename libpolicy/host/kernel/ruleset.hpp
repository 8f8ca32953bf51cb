// The tables that hold networks behind a gateway, as text for one transaction each. docs/kernel.md shows them with
// comments.
//
//   table inet sallyport     forwarded and local traffic of held networks: nothing but the gateway's listeners, what is
//                            captured for them, and what the sets bound4, bound6, range4, range6 (by name) and
//                            literal4, literal6 (by address) admit
//   table bridge sallyport   traffic between the ports of a held bridge: nothing but internal pairs; addresses belong
//                            to the port that claimed them first
//
// The rules name protocols and types by number: the program that loads them may have no /etc to look words up in.
// Threads  Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/kernel/topology.hpp"

namespace sallyport::kernel {

inline constexpr const char* kTable = "sallyport";
// The bit of a conntrack entry that says: admitted by these rules. Not a packet mark: a workload can set those.
inline constexpr unsigned kAdmitted = 0x53000000;

// The counters of the tables, each the word of a reason (docs/reasons.md) or a kind of drop.
inline constexpr std::string_view kCounters[] = {"quic_denied",   "udp_denied",    "source_spoofed", "not_gateway",
                                                 "router_advert", "source_routed", "other_proto",    "dot_denied",
                                                 "udp_80",        "udp_123",       "udp_784",        "udp_853",
                                                 "udp_3478",      "udp_4433",      "udp_8853"};
// UDP ports that are counted by themselves: ways round a resolver or a proxy that programs try (QUI-02).
inline constexpr std::uint16_t kCountedPorts[] = {80, 123, 784, 853, 3478, 4433, 8853};

// How long a claim outlives the last packet: longer than any binding does, so that an address that is free again brings
// nothing along.
inline constexpr std::uint32_t kClaimMinutes = 65;

// What a port of a held bridge can claim: set claimNAME of pairs with a port, set claimedNAME of what anybody has. The
// raw type is for IPv6 addresses, the source of a packet and the target of an advertisement alike.
struct ClaimKind {
  std::string_view name, type, pair_type;
};
inline constexpr ClaimKind kClaimKinds[] = {
    {"_mac", "type ether_addr", "type ether_addr . iface_index"},
    {"4", "type ipv4_addr", "type ipv4_addr . iface_index"},
    {"6", "typeof @nh,64,128", "typeof @nh,64,128 . meta iif"},
};

// Listeners that have gone, whose accepted flows go on for a while: address . port, or port alone.
struct DrainedSet {
  std::string_view name, type;
};
inline constexpr DrainedSet kDrainedSets[] = {
    {"drained4", "ipv4_addr . inet_service"},
    {"drained6", "ipv6_addr . inet_service"},
    {"drained_any4", "inet_service"},
    {"drained_any6", "inet_service"},
};
std::string drained_elements(const std::vector<GateListener>& gone, std::chrono::seconds lasting);

// An empty chain of table inet whose name says which topology the tables were made for: a gateway that changes its
// topology replaces them while an older worker still keeps the old ones.
inline constexpr const char* kShape = "shape_";
std::string shape_of(const Topology& topology);

// `elements`: "add element ..." lines that come in the same transaction. Replaces what is there.
std::string inet_table(const Topology& topology, const std::string& elements = {});
// The ports of the bridges of this host, by name: of those that are held, and of the others. What has just come is in
// neither.
struct BridgePorts {
  std::vector<std::string> held, foreign;
  friend bool operator==(const BridgePorts&, const BridgePorts&) = default;
};

// ports: as they are now. elements: of the sets of claims.
std::string bridge_table(const Topology& topology, const BridgePorts& ports, const std::string& elements = {});
bool needs_bridge_table(const Topology& topology);

}  // namespace sallyport::kernel
