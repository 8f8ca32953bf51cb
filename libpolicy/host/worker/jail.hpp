// The worker's own confinement: it parses what the workload sends, with the user's uid, on the host's network.
//
// Order    enter_namespaces() is done by the warden's clone(); then build_root(), drop_privileges(),
// restrict_loading(), and
//          after the plugins are loaded restrict_running(). Each step only takes away.
// Leaves   An empty, read-only root; no capability; undumpable; no execve, ptrace, listen, AF_UNIX, AF_NETLINK, open
// for writing. Errors   A text for the log; the worker ends, and the layer stays closed. Threads  Before any thread is
// started.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace sallyport {

using JailError = std::optional<std::string>;  // nothing: success

// A private root with nothing but the given sealed plugin copies as /0.so, /1.so, ... (dlopen needs a path, and /proc
// may be masked where Sallyport runs). Read-only afterwards; the old root is gone.
JailError build_root(const std::vector<int>& plugin_fds);

// Every capability, the bounding set too; no_new_privs; undumpable. uid is entered when the worker was started by root.
JailError drop_privileges(std::optional<unsigned> uid);

// seccomp while plugins are loaded: reading files of the empty root is all they may do beyond running.
JailError restrict_loading();

// On top: no open at all.
JailError restrict_running();

}  // namespace sallyport
