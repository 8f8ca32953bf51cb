#include "policyctl/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace sallyport::policyctl {
namespace {

std::string failure(const std::string& path) { return path + ": " + std::strerror(errno); }

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t done = ::write(fd, content.data(), content.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    content.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

}  // namespace

std::string write_file(const std::string& path, std::string_view content) {
  std::optional<struct stat> old;
  struct stat found{};
  if (::lstat(path.c_str(), &found) == 0) {
    if (S_ISLNK(found.st_mode)) return path + ": is a symbolic link; name the file itself";
    if (!S_ISREG(found.st_mode)) return path + ": is no regular file";
    old = found;
  } else if (errno != ENOENT) {
    return failure(path);
  }
  const std::string directory = path.find('/') == std::string::npos ? "." : path.substr(0, path.rfind('/') + 1);
  std::string fresh = path + ".XXXXXX";
  const int fd = ::mkostemp(fresh.data(), O_CLOEXEC);
  if (fd < 0) return failure(directory);
  mode_t mode = 0644;
  if (!old) {
    const mode_t mask = ::umask(0);
    ::umask(mask);
    mode &= ~mask;
  }
  bool done = write_all(fd, content);
  if (done && old) {
    const bool same_owner = old->st_uid == ::geteuid() && old->st_gid == ::getegid();
    done = same_owner || ::fchown(fd, old->st_uid, old->st_gid) == 0;
    mode = old->st_mode & 07777;
  }
  // The mode comes last: a change of owner takes bits away.
  done = done && ::fchmod(fd, mode) == 0 && ::fsync(fd) == 0 && ::rename(fresh.c_str(), path.c_str()) == 0;
  std::string fault;
  if (!done) {
    fault = failure(path);
    ::unlink(fresh.c_str());
  }
  ::close(fd);
  if (!done) return fault;
  // The name is on the disk once its directory is; a file system that cannot say so has the content all the same.
  if (const int parent = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); parent >= 0) {
    ::fsync(parent);
    ::close(parent);
  }
  return fault;
}

}  // namespace sallyport::policyctl
