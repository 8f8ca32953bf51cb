// Target: the process whose network namespace is to become a cell, held so that its number cannot come to mean another.
//
// Lifetime The descriptors keep the namespace alive, also after the process has ended: what was changed in it can be
//          undone.
// Threads  A plain value.
#pragma once

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "host/warden/memory_file.hpp"

namespace sallyport {

struct Target {
  pid_t pid = -1;
  Descriptor process;  // pidfd: readable when it has ended
  Descriptor network;  // its network namespace, locked against another attachment

  // Refuses this program's own network namespace, and one that another attachment holds.
  static absl::StatusOr<Target> open(pid_t pid);
};

// What a cell of `sallyport run` holds and an attachment does not, as far as it can be seen from outside: lines for the
// person. Empty: nothing found.
std::vector<std::string> exposures(pid_t pid);

// "CapBnd" of a /proc/PID/status as words, of those that let a process out or let it touch its rules. Public for tests.
std::vector<std::string> telling_capabilities(std::string_view status);

// The mount points of a mountinfo whose file system is not the kernel's own. Public for tests.
std::vector<std::string> mount_points(std::string_view mountinfo);

}  // namespace sallyport
