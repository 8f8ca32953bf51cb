#include "host/cell/stdio_copy.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

namespace sallyport::cell {
namespace {

bool is_connected_unix_stream(int fd) {
  int domain = AF_UNSPEC;
  int type = 0;
  socklen_t size = sizeof(int);
  sockaddr_storage peer;
  socklen_t peer_size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
         ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && (type == SOCK_STREAM || type == SOCK_SEQPACKET) &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
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
  for (int number : {SIGINT, SIGQUIT, SIGTSTP, SIGHUP})
    ::signal(number, SIG_IGN);  // the terminal's are for the command
  std::array<char, 65536> block;
  for (;;) {
    const ssize_t size = ::read(from, block.data(), block.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0 || !write_all(to, block.data(), static_cast<std::size_t>(size))) ::_exit(0);
  }
}

}  // namespace

Failure replace_sockets(StdioCopies& copies) {
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0) return failed("look at descriptor " + std::to_string(fd));
    if (S_ISDIR(status.st_mode) || (::fcntl(fd, F_GETFL) & O_PATH) != 0)
      return CellError{"descriptor " + std::to_string(fd) + " is a directory, which leads out of the cell",
                       "redirect it from a file, a pipe or /dev/null"};
    if (!S_ISSOCK(status.st_mode) || is_connected_unix_stream(fd)) continue;
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
