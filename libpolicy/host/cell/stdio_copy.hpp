// Standard files that would lead out of the cell, or give more than the caller opened them for.
//
// A descriptor is more than what read(2) and write(2) make of it: /proc/self/fd/N opens its file anew, in any mode that
// the user has the right to, and fchmod(2) takes every descriptor. A socket carries its network namespace along:
// sendto(2) on an inherited UDP socket, connect(2) after a disconnect, or the host's abstract Unix names by way of an
// unconnected Unix socket. So, by what a standard file is:
//
//   directory                        refused: it leads to the host's whole tree (openat(2), fchdir(2))
//   terminal, pipe, Unix stream      stays; a connected stream can't be led elsewhere
//   file the command may write       stays: what it could do by name it may do by descriptor
//   file opened for reading,         opened again from inside, on a mount of its own that is then made read-only (and
//     block device, /dev/null etc.   nodev, unless the cell's /dev has it): nothing of the inode can be changed
//   file opened for appending        a pipe, and a process outside appends: nothing can be truncated or read
//   other file opened for writing    stays, so that output can be sought in, mapped and measured, and a full disk is
//                                    seen; mode and owner are put back at the end, and until then the caller's open
//                                    descriptor keeps the file from being executed (ETXTBSY)
//   anything else                    a pipe, and a process outside copies
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "host/cell/failure.hpp"
#include "host/cell/files.hpp"

namespace sallyport::cell {

// To be opened again from inside.
struct ReadOnlyFile {
  int fd = -1;
  std::string path;        // led to the same file when it was looked at
  bool has_offset = true;  // what is read moves the caller's descriptor in the end
  bool no_devices = true;
};

struct KeptMode {
  int fd = -1;
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct StdioCopies {
  std::array<int, 3> files = {0, 1,
                              2};  // what the command gets as 0, 1, 2; those that differ are the caller's to close
  std::vector<pid_t> input;        // ends with the file, or is killed at the end
  std::vector<pid_t> output;  // ends when the command's side is closed and everything is written; status: 0 or an errno
  std::vector<ReadOnlyFile> read_only;  // for reopen_read_only()
  std::vector<KeptMode> modes;          // for restore_modes()
};

// In the caller's namespaces, before the cell is made.
Failure contain_standard_files(const FilePlan& plan, StdioCopies& copies);

// A descriptor of the caller's and the one the command has instead.
struct SharedOffset {
  int callers = -1;
  int commands = -1;
  off_t start = 0;
};

// In the cell's mount namespace, while the host's files are in view.
Failure reopen_read_only(const std::vector<ReadOnlyFile>& files, std::vector<SharedOffset>& offsets);

// After the end: the caller goes on where the command stopped, as with a descriptor that both have.
void advance_callers_offsets(const std::vector<SharedOffset>& offsets);

// After the end, by the caller.
void restore_modes(const std::vector<KeptMode>& modes);

}  // namespace sallyport::cell
