#include "host/warden/audit_file.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sallyport {
namespace {

absl::StatusOr<Descriptor> open_file(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  struct stat info;
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0) {
    const int error = errno;
    const char* why = std::strerror(error);
    if (error == ELOOP) why = "it is a symbolic link";
    if (error == ENXIO && ::lstat(path.c_str(), &info) == 0 && S_ISFIFO(info.st_mode))
      why = "nobody reads the pipe; start its reader first";
    return absl::FailedPreconditionError(absl::StrFormat("the audit file %s cannot be opened: %s", path, why));
  }
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode) && !S_ISCHR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrFormat("the audit file %s is not a file, pipe or terminal", path));
  }
  return file;
}

// A run that was killed, or whose disk was full, leaves half a line at the end.
bool ends_within_a_line(const std::string& path, const Descriptor& file) {
  struct stat info, same;
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) return false;
  // O_APPEND and O_WRONLY stay as they are; the same file once more, to read.
  const Descriptor reading(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (reading.get() < 0 || ::fstat(reading.get(), &same) != 0 || same.st_dev != info.st_dev ||
      same.st_ino != info.st_ino) {
    return true;  // unknown: an empty line does less harm than two records in one
  }
  char last = 0;
  return ::pread(reading.get(), &last, 1, info.st_size - 1) != 1 || last != '\n';
}

}  // namespace

absl::StatusOr<AuditFile> open_audit_file(const std::string& path) {
  if (path.empty()) return AuditFile{};
  if (path == "-") {
    Descriptor out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (out.get() < 0) return absl::FailedPreconditionError("the audit cannot be written: standard output is closed");
    return AuditFile{std::move(out)};
  }
  absl::StatusOr<Descriptor> fd = open_file(path);
  if (!fd.ok()) return fd.status();
  const bool half = ends_within_a_line(path, *fd);
  return AuditFile{*std::move(fd), half};
}

}  // namespace sallyport
