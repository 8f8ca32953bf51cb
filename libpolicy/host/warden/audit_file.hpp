// The file that an audit is appended to.
//
// Errors   In words: a symbolic link, anything but a regular file, pipe or terminal, a named pipe that nobody reads.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "host/warden/memory_file.hpp"

namespace sallyport {

struct AuditFile {
  Descriptor fd;                    // to append to; made with mode 0600
  bool ends_within_a_line = false;  // cut off: ours start on a line of their own
};

// An empty path: no file, and no descriptor. "-": standard output.
absl::StatusOr<AuditFile> open_audit_file(const std::string& path);

}  // namespace sallyport
