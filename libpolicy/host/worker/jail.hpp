// The worker's own confinement: it parses what the workload sends, with the user's uid, on the host's network.
//
// Order    enter_namespaces() is done by the warden's clone(); then build_root(), drop_privileges(),
// restrict_loading(), and
//          after the plugins are loaded restrict_running(). Each step only takes away. A container that lets nobody
//          make namespaces has the same steps but the first two; Landlock stands in for the empty root.
// Leaves   An empty, read-only root; no capability; undumpable; no execve, ptrace, listen, AF_UNIX, AF_NETLINK, open
// for writing. Errors   A text for the log; the worker ends, and the layer stays closed. Threads  Before any thread is
// started.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

using JailError = std::optional<std::string>;  // nothing: success

// A private root with nothing but the given sealed plugin copies as /0.so, /1.so, ... (dlopen needs a path, and /proc
// may be masked where Sallyport runs). Read-only afterwards; the old root is gone.
JailError build_root(const std::vector<int>& plugin_fds);

// What a group of plugins keeps, out of their manifests. Nothing is in it unless somebody asked by name.
struct KeptPrivileges {
  std::vector<int> capabilities;   // CAP_NET_ADMIN, CAP_NET_RAW
  bool netlink_netfilter = false;  // sockets of NETLINK_NETFILTER: nftables, conntrack
  bool netlink_route = false;      // of NETLINK_ROUTE
  bool packet = false;             // AF_PACKET

  bool any_socket() const noexcept { return netlink_netfilter || netlink_route || packet; }
  // By the words of a manifest. False: there is no such privilege.
  bool add_capability(std::string_view word);
  bool add_socket(std::string_view word);
};

// Every capability but the kept ones, of the bounding set too; no_new_privs; undumpable. uid is entered when the worker
// was started by root; what is kept survives it.
JailError drop_privileges(std::optional<unsigned> uid, const KeptPrivileges& kept = {});
// Whether this process could enter another uid at all: a container's root often cannot.
bool can_change_uid();

// Landlock, where the kernel has it: files below the root can be read if it is an empty root of our own, else none at
// all; no abstract socket and no signal leaves. Needs no_new_privs. kernel: set to its version of Landlock, 0: none.
JailError restrict_files(bool own_root, int* kernel = nullptr);

// seccomp while plugins are loaded: reading files of the empty root is all they may do beyond running.
JailError restrict_loading(const KeptPrivileges& kept = {});

// On top: no open at all.
JailError restrict_running(const KeptPrivileges& kept = {});

}  // namespace sallyport
