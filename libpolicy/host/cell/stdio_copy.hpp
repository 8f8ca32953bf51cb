// Standard files that are network sockets: the command gets a pipe, and a process outside of the cell copies.
//
// A socket carries its own network namespace along: sendto(2) on an inherited UDP socket, or connect(2) after a disconnect,
// would be a way out. Unix sockets stay as they are: names they could send to are looked up in the cell's view.
#pragma once

#include <sys/types.h>

#include <vector>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

struct StdioCopies {
  int files[3] = {0, 1, 2};    // what the command gets as 0, 1, 2; those that differ are the caller's to close
  std::vector<pid_t> input;    // ends with the socket, or is killed at the end
  std::vector<pid_t> output;   // ends when the command's side is closed and everything is written
};

Failure replace_network_sockets(StdioCopies& copies);

}  // namespace sallyport::cell
