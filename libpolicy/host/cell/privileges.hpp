// Namespaces, id maps and capabilities.
//
// Source   user_namespaces(7), capabilities(7)
#pragma once

#include <string>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

// True if this process may make namespaces and mounts without a user namespace of its own: it has CAP_SYS_ADMIN and uid
// 0.
bool is_privileged();

bool is_initial_user_namespace();

// The lines for uid_map (or gid_map) of a child that sees every id this process's user namespace has, as itself.
std::string identity_map(const char* own_map_path);

// In a process just cloned into a user namespace of its own: the one id maps to itself, supplementary groups stay.
Failure map_caller(unsigned uid, unsigned gid);
// For a child in a user namespace below this process's: the maps, from outside.
Failure map_child(int child, bool full_map, unsigned uid, unsigned gid);

// No capability in any set, now or after an exec.
Failure drop_all_capabilities();
// Docker's defaults less NET_RAW; survive the exec of uid 0.
Failure keep_container_capabilities();
// For the cell's first process, when everything is made: only what it takes to signal the command.
Failure keep_signal_capability(bool other_users);

}  // namespace sallyport::cell
