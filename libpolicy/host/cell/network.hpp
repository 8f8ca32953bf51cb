// The cell's network: loopback alone, to which every address leads, and the sockets that listen there.
//
// Form     Runs inside the network namespace, with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE over it. That is a new one,
// or
//          one that somebody else made (`sallyport attach`): what is changed there is kept in mind, and undone.
// Errors   A step that fails; what was opened before is closed by the end of the process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

// Brings lo up with its addresses and routes, opens the listeners, then installs the rules that lead to them.
// IPv6 sockets stay -1 where the host has none; the rules refuse IPv6 all the same.
Failure build_network(const std::string& ula, CellSockets& sockets);

// What was not there before.
enum NetworkChange : std::uint32_t {
  kLinkUp = 1u << 0,
  kLoopback4 = 1u << 1,  // 127.0.0.1/8, which the kernel adds with the link's first rise
  kAddress4 = 1u << 2,
  kRoute4 = 1u << 3,
  kAddress6 = 1u << 4,
  kRoute6 = 1u << 5,
};
inline constexpr std::uint32_t kAllNetworkChanges = (1u << 6) - 1;

// The same in a namespace that is in use. To `changes`, which holds those of an earlier attachment that was killed,
// come the bits of what it added, also where it fails. The rules carry them; those that are there already are replaced
// in one step.
Failure take_network(const std::string& ula, CellSockets& sockets, std::uint32_t& changes);
// Takes away those and the rules. Every step is tried; the first failure is told. What is gone already is no failure.
Failure give_back_network(const std::string& ula, std::uint32_t changes);

// Interfaces by which a packet could leave the namespace: all but lo and the kernel's own tunnel devices at rest.
Failure find_ways_out(std::vector<std::string>& names);

// The rules alone, by one nf_tables transaction that replaces those that are there. Ports in host order; tcp6_port 0:
// no IPv6 listener. changes: see take_network().
Failure install_rules(unsigned tcp4_port, unsigned tcp6_port, std::optional<std::uint32_t> changes = std::nullopt);
Failure remove_rules();
// What the rules of an earlier attachment say of its changes; nothing: there are none. A table of that name that is not
// ours is a failure.
Failure earlier_changes(std::optional<std::uint32_t>& changes);

}  // namespace sallyport::cell
