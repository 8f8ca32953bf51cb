// Standard files that would lead out of the cell: for a socket the command gets a pipe, and a process outside copies.
//
// A socket carries its network namespace along: sendto(2) on an inherited UDP socket, connect(2) after a disconnect, or
// the host's abstract Unix names by way of an unconnected Unix socket. A connected Unix stream can't be led elsewhere,
// and stays. A directory would lead to the host's whole tree (openat(2), fchdir(2)): it is refused.
#pragma once

#include <sys/types.h>

#include <array>
#include <vector>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

struct StdioCopies {
  std::array<int, 3> files = {0, 1,
                              2};  // what the command gets as 0, 1, 2; those that differ are the caller's to close
  std::vector<pid_t> input;        // ends with the socket, or is killed at the end
  std::vector<pid_t> output;       // ends when the command's side is closed and everything is written
};

Failure replace_sockets(StdioCopies& copies);

}  // namespace sallyport::cell
