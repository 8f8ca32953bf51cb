// The cell's network: loopback alone, to which every address leads, and the sockets that listen there.
//
// Form     Runs inside the new network namespace, with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE over it.
// Errors   A step that fails; what was opened before is closed by the end of the process.
#pragma once

#include <string>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

// Brings lo up with its addresses and routes, opens the listeners, then installs the rules that lead to them.
// IPv6 sockets stay -1 where the host has none; the rules refuse IPv6 all the same.
Failure build_network(const std::string& ula, CellSockets& sockets);

// The rules alone, by one nf_tables transaction. Ports in host order; tcp6_port 0: no IPv6 listener.
Failure install_rules(unsigned tcp4_port, unsigned tcp6_port);

}  // namespace sallyport::cell
