// The cell's first process: builds the cell from inside, holds the command back, then reaps and forwards.
#pragma once

#include "host/cell/files.hpp"
#include "host/cell/stdio_copy.hpp"
#include "host/cell/workload.hpp"

namespace sallyport::cell {

struct InitPlan {
  FilePlan files;
  Workload workload;
  std::vector<ReadOnlyFile> read_only;  // standard files
  std::string ula;
  bool own_user_namespace = false;  // made by the clone: its maps are still to be written
  bool mounts_are_locked = false;   // the host's mounts belong to a user namespace above ours
  unsigned uid = 0;
  unsigned gid = 0;
};

// Runs as process 1 of the new namespaces. Ends with the command, with the warden (parent death, end of the channel),
// or after a kFailed message; the kernel then kills the rest of the cell.
[[noreturn]] void run_init(InitPlan plan, int channel);

}  // namespace sallyport::cell
