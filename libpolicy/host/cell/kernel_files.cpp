#include "host/cell/kernel_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace sallyport::cell {

std::optional<std::string> read_kernel_file(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text;
  std::array<char, 16384> block;
  ssize_t size = 0;
  while ((size = ::read(fd, block.data(), block.size())) > 0) text.append(block.data(), static_cast<std::size_t>(size));
  const int error = errno;
  ::close(fd);
  errno = error;
  if (size < 0) return std::nullopt;
  return text;
}

std::optional<std::string> read_start(const std::string& path, std::size_t most) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return std::nullopt;
  struct stat status;
  std::optional<std::string> text;
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    text.emplace(most, '\0');
    const ssize_t size = ::read(fd, text->data(), most);
    text->resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  }
  ::close(fd);
  return text;
}

bool write_kernel_file(const char* path, std::string_view text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

bool replace_file(const std::string& path, std::string_view text, unsigned mode) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return false;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  const bool written =
      ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fchmod(fd, mode) == 0;
  const int error = errno;
  ::close(fd);
  errno = error;
  return written;
}

}  // namespace sallyport::cell
