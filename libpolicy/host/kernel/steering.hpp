// Steering: the policy routes of `transparent: tproxy`. What the rules have marked is delivered to this host, whatever
// its address; without them it is forwarded, and refused there.
//
//   ip rule  priority 1398: fwmark 0x54000000/0xff000000 lookup 1398
//   ip route local default dev lo table 1398
//
// Errors   In words; what is missing only closes.
// Threads  Any; each call has a socket of its own.
#pragma once

#include "host/kernel/nft_context.hpp"
#include "host/kernel/topology.hpp"

namespace sallyport::kernel {

// The packet mark that says: a transparent socket was found for it. Not kAdmitted: some firewalls copy marks of
// connections to packets.
inline constexpr unsigned kSteered = 0x54000000, kSteeredMask = 0xff000000;
// Rule priority and table: before the main table, in nobody's usual range.
inline constexpr unsigned kSteeringTable = 1398;

bool needs_steering(const Topology& topology);

// For the families that have a tproxy listener; what is there already stays. *missing: how many had to be put in.
KernelError put_steering(const Topology& topology, unsigned* missing = nullptr);
// Of both families; none there is no error.
KernelError remove_steering();

// Why packets would find no socket here. With bridge-nf-call-iptables a bridge's packets pass prerouting inside the
// bridge, and what `tproxy` found for them there is forgotten before TCP looks: connections would hang. It is the
// host's switch, on which Docker's own isolation may rest, so it is told, not turned.
KernelError steering_obstacle(const Topology& topology);

}  // namespace sallyport::kernel
