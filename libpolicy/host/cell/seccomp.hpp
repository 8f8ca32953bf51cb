// The system call filter of everything that runs in a cell.
#pragma once

#include "host/cell/failure.hpp"

namespace sallyport::cell {

struct FilterOptions {
  bool refuse_unix_sockets = false;   // AF_UNIX as well; a stream pair stays, it can't be connected anywhere
  bool refuse_group_signals = false;  // kill(0, ...): the process group is shared with processes outside
};

// For this process and all it starts; can't be undone. Needs no_new_privs. What it refuses:
//
//   socket       every family but UNIX, INET, INET6 and NETLINK_ROUTE: EAFNOSUPPORT
//   a foreign ABI (int 0x80, x32): the process is killed, since those have system calls of their own for all of this
//   io_uring     ENOSYS: its operations pass no filter
//   mount namespaces, cgroup namespaces, mounting: EPERM, also in user namespaces of its own. In a namespace without
//   our mounts the
//                names they protect could be unlinked and renamed
//   keyrings, TIOCSTI, TIOCLINUX, and what only an administrator needs: EPERM
Failure install_filter(const FilterOptions& options);

}  // namespace sallyport::cell
