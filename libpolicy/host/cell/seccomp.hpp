// The system call filter of everything that runs in a cell.
#pragma once

#include "host/cell/failure.hpp"

namespace sallyport::cell {

// For this process and all it starts; can't be undone. Needs no_new_privs. What it refuses:
//
//   socket       every family but UNIX, INET, INET6 and NETLINK_ROUTE: EAFNOSUPPORT
//   a foreign ABI (int 0x80, x32): the process is killed, since those have system calls of their own for all of this
//   io_uring     ENOSYS: its operations pass no filter
//   keyrings, TIOCSTI, TIOCLINUX, and what only an administrator needs: EPERM
//
// refuse_unix_sockets: AF_UNIX as well; a stream pair stays, it can't be connected anywhere.
Failure install_filter(bool refuse_unix_sockets);

}  // namespace sallyport::cell
