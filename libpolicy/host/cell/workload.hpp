// The command's own process: from the fork to the exec.
#pragma once

#include <string>
#include <vector>

#include "host/cell/failure.hpp"

namespace sallyport::cell {

struct Workload {
  std::vector<std::string> command;
  std::vector<std::string> environment;
  std::string working_directory;
  std::vector<int> ignored_signals;
  bool full_map = false;  // every uid of the caller's user namespace, Docker's capabilities; else one uid and none
  bool refuse_unix_sockets = false;
  bool own_session = false;  // without a terminal: kill(0, ...) reaches the cell alone
};

// The directories of PATH; the system's usual ones if the environment has none.
std::vector<std::string> search_path(const std::vector<std::string>& environment);

// The files that execvp would try for a command, in order. A name with a slash is itself alone.
std::vector<std::string> command_candidates(const std::string& command, const std::vector<std::string>& environment);

// Runs in the new child, in its user namespace with all capabilities over it. Drops them, installs the filter, answers
// on `report_fd` (empty line: ready), waits for an octet on `go_fd`, and executes. An exec that fails writes its errno
// to report_fd and exits with 126 or 127. Both descriptors are close-on-exec.
[[noreturn]] void run_workload(const Workload& workload, int go_fd, int report_fd);

}  // namespace sallyport::cell
