#include "host/cell/stdio_copy.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace sallyport::cell {
namespace {

bool is_foreign_socket(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  int domain = AF_UNSPEC;
  socklen_t size = sizeof(domain);
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX;
}

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

[[noreturn]] void copy(int from, int to) {
  // Only the two descriptors: whoever waits for the end of another must not wait for this process.
  const int high = from > to ? from : to;
  const int low = from > to ? to : from;
  if (low > 0) ::close_range(0, static_cast<unsigned>(low) - 1, 0);
  if (high - low > 1) ::close_range(static_cast<unsigned>(low) + 1, static_cast<unsigned>(high) - 1, 0);
  ::close_range(static_cast<unsigned>(high) + 1, ~0u, 0);
  ::signal(SIGPIPE, SIG_IGN);
  for (int number : {SIGINT, SIGQUIT, SIGTSTP, SIGHUP}) ::signal(number, SIG_IGN);  // the terminal's are for the command
  std::array<char, 65536> block;
  for (;;) {
    const ssize_t size = ::read(from, block.data(), block.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0 || !write_all(to, block.data(), static_cast<std::size_t>(size))) ::_exit(0);
  }
}

}  // namespace

Failure replace_network_sockets(StdioCopies& copies) {
  for (int fd = 0; fd <= 2; ++fd) {
    if (!is_foreign_socket(fd)) continue;
    std::array<int, 2> pipe;
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return failed("pipe");
    const bool input = fd == 0;
    const int mine = input ? pipe[1] : pipe[0];
    const pid_t pid = ::fork();
    if (pid < 0) return failed("fork");
    if (pid == 0) {
      ::close(input ? pipe[0] : pipe[1]);
      if (input) ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
      input ? copy(fd, mine) : copy(mine, fd);
    }
    ::close(mine);
    copies.files[fd] = input ? pipe[0] : pipe[1];
    (input ? copies.input : copies.output).push_back(pid);
  }
  return {};
}

}  // namespace sallyport::cell
