// The network of a namespace that somebody else made, as a cell's: host/cell/network, done by a child process that
// enters it. This process stays in the host's, since the worker dials from there.
//
// Threads  [main], with no other thread in the process: it forks.
// Errors   As of the cell; what was begun is undone.
#pragma once

#include <cstdint>
#include <string>

#include "host/cell/cell.hpp"

namespace sallyport {

struct AttachedNetwork {
  CellSockets sockets;
  std::uint32_t changes = 0;  // cell::NetworkChange
};

// network: a descriptor of the namespace. Refuses one by which packets could leave.
CellResult<AttachedNetwork> attach_network(int network, const std::string& ula);

// Empty text: all is as it was.
CellError detach_network(int network, const std::string& ula, std::uint32_t changes);

}  // namespace sallyport
