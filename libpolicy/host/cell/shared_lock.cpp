#include "host/cell/shared_lock.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace sallyport::cell {
namespace {

constexpr int kPatienceMs = 1000;  // tidying up takes less than one

}  // namespace

std::optional<SharedLock> SharedLock::take(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  SharedLock lock(fd);
  for (int waited = 0; ::flock(fd, LOCK_SH | LOCK_NB) != 0; ++waited) {
    if (errno != EWOULDBLOCK || waited >= kPatienceMs) return std::nullopt;
    ::poll(nullptr, 0, 1);
  }
  return lock;
}

SharedLock::SharedLock(SharedLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

SharedLock& SharedLock::operator=(SharedLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

SharedLock::~SharedLock() {
  const int error = errno;
  if (fd_ >= 0) ::close(fd_);
  errno = error;
}

bool SharedLock::leave_last() { return fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) == 0; }

bool SharedLock::is_at(const std::string& directory) const {
  struct stat own;
  struct stat there;
  return ::fstat(fd_, &own) == 0 && ::lstat(directory.c_str(), &there) == 0 && own.st_dev == there.st_dev &&
         own.st_ino == there.st_ino;
}

}  // namespace sallyport::cell
