// examine(): what this machine can enforce, each line from a probe that was made now. The whole of `sallyport doctor`.
//
// Leaves   Nothing behind: what is entered, made or bound is a child's, and ends with it. No packet leaves.
// Threads  [main], with no other thread in the process: it forks.
#pragma once

#include <string>

namespace sallyport {

struct DoctorOptions {
  std::string file;             // -c; empty: what any gateway needs
  std::string state_directory;  // --state-dir
  bool json = false;
};

// 0: nothing fails; 1: something does.
int examine(const DoctorOptions& options);

}  // namespace sallyport
