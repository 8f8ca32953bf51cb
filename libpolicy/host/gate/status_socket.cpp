#include "host/gate/status_socket.hpp"

#include <absl/strings/str_format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace sallyport {
namespace {

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

absl::StatusOr<Descriptor> connect_to(const std::string& path) {
  const std::optional<sockaddr_un> address = unix_address(path);
  if (!address) return absl::InvalidArgumentError("the path of the status socket is too long; use --state-dir");
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0 || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return absl::UnavailableError(std::strerror(errno));
  return fd;
}

}  // namespace

std::string status_path(const std::string& directory, const std::string& name) {
  std::string base = directory;
  if (base.empty()) {
    const char* runtime = ::getenv("RUNTIME_DIRECTORY");
    const char* user = ::getenv("XDG_RUNTIME_DIR");
    if (runtime != nullptr && runtime[0] == '/') {
      base = runtime;
      base = base.substr(0, base.find(':'));  // systemd lists several
    } else if (::geteuid() == 0) {
      base = "/run/sallyport";
    } else if (user != nullptr && user[0] == '/') {
      base = std::string(user) + "/sallyport";
    }
  }
  return base.empty() ? "" : base + "/" + name + ".sock";
}

std::string quota_path(const std::string& directory, const std::string& name) {
  const char* state = ::getenv("STATE_DIRECTORY");
  if (directory.empty() && state != nullptr && state[0] == '/') {
    const std::string first = state;
    return first.substr(0, first.find(':')) + "/" + name + ".quotas";
  }
  const std::string socket = status_path(directory, name);
  return socket.empty() ? "" : socket.substr(0, socket.rfind('.')) + ".quotas";
}

absl::StatusOr<StatusSocket> StatusSocket::open(const std::string& path) {
  const auto refused = [&](std::string_view why) {
    return absl::FailedPreconditionError(absl::StrFormat("the status socket %s cannot be made: %s", path, why));
  };
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return refused(std::strerror(errno));
  const std::optional<sockaddr_un> address = unix_address(path);
  if (!address) return refused("the path is too long; use --state-dir");
  if (connect_to(path).ok())
    return refused("another gateway of this name runs; stop it, or give this one a name of its own (`name`, --name)");
  struct stat info;
  if (::lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) ::unlink(path.c_str());
  Descriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const mode_t before = ::umask(0177);
  const bool bound = fd.get() >= 0 &&
                     ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0 &&
                     ::listen(fd.get(), kMostClients) == 0;
  const int why = errno;
  ::umask(before);
  if (!bound) return refused(std::strerror(why));
  return StatusSocket(path, std::move(fd));
}

void StatusSocket::remove() { ::unlink(path_.c_str()); }

void StatusSocket::add_to(std::vector<pollfd>& out) const {
  if (clients_.size() < kMostClients) out.push_back({fd_.get(), POLLIN, 0});
  for (const Client& client : clients_)
    out.push_back({client.fd.get(), static_cast<short>(client.answered ? POLLOUT : POLLIN), 0});
}

void StatusSocket::serve(Clock::time_point now, const std::function<std::string(const std::string&)>& answer) {
  while (clients_.size() < kMostClients) {
    Descriptor fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.get() < 0) break;
    clients_.push_back({std::move(fd), {}, {}, false, now});
  }
  for (auto client = clients_.begin(); client != clients_.end();) {
    bool over = now - client->since > kAskDeadline;
    if (!client->answered) {
      char buffer[256];
      const ssize_t size = ::recv(client->fd.get(), buffer, sizeof buffer, 0);
      if (size > 0) client->request.append(buffer, static_cast<std::size_t>(size));
      const std::size_t end = client->request.find('\n');
      if (size == 0 || end != std::string::npos || client->request.size() > 256) {
        client->reply = answer(client->request.substr(0, end));
        client->answered = true;
      } else if (size < 0 && errno != EAGAIN && errno != EINTR) {
        over = true;
      }
    }
    if (client->answered) {
      const ssize_t sent = ::send(client->fd.get(), client->reply.data(), client->reply.size(), MSG_NOSIGNAL);
      if (sent > 0) client->reply.erase(0, static_cast<std::size_t>(sent));
      over = over || client->reply.empty() || (sent < 0 && errno != EAGAIN && errno != EINTR);
    }
    client = over ? clients_.erase(client) : std::next(client);
  }
}

absl::StatusOr<std::string> ask_gateway(const std::string& path, const std::string& request) {
  absl::StatusOr<Descriptor> fd = connect_to(path);
  if (!fd.ok()) return fd.status();
  const timeval patience{5, 0};
  ::setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const std::string line = request + "\n";
  if (::send(fd->get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return absl::UnavailableError(std::strerror(errno));
  std::string answer;
  char buffer[16384];
  for (;;) {
    const ssize_t size = ::recv(fd->get(), buffer, sizeof buffer, 0);
    if (size == 0) return answer;
    if (size < 0) return absl::UnavailableError(errno == EAGAIN ? "it does not answer" : std::strerror(errno));
    answer.append(buffer, static_cast<std::size_t>(size));
    if (answer.size() > (16u << 20)) return absl::UnavailableError("it does not stop answering");
  }
}

}  // namespace sallyport
