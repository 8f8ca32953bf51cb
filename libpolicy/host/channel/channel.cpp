#include "host/channel/channel.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace sallyport {

void Message::close_fds() {
  for (int fd : fds) ::close(fd);
  fds.clear();
}

Channel& Channel::operator=(Channel&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Channel::~Channel() {
  if (fd_ >= 0) ::close(fd_);
}

std::optional<std::pair<Channel, Channel>> Channel::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return std::nullopt;
  return std::pair(Channel(ends[0]), Channel(ends[1]));
}

bool Channel::send(const nlohmann::json& body, const std::vector<int>& fds) const {
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxMessage || fds.size() > kMaxFds) return false;

  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do sent = ::sendmsg(fd_, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(text.size());
}

Channel::Outcome Channel::receive(Message& message, int timeout_ms) const {
  message.body = nullptr;
  message.close_fds();
  pollfd waiting{fd_, POLLIN, 0};
  int ready;
  do ready = ::poll(&waiting, 1, timeout_ms);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0) return Outcome::kNothing;

  const auto text = std::make_unique<char[]>(kMaxMessage);
  iovec part{text.get(), kMaxMessage};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(fd_, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? Outcome::kNothing : Outcome::kClosed;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const std::size_t before = message.fds.size();
    message.fds.resize(before + count);
    std::memcpy(message.fds.data() + before, CMSG_DATA(c), count * sizeof(int));
  }
  if (size == 0) return Outcome::kClosed;
  message.body = nlohmann::json::parse(text.get(), text.get() + size, nullptr, /*allow_exceptions=*/false);
  const bool whole = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  if (!whole || !message.body.is_object() || !message.body.value("type", nlohmann::json()).is_string()) {
    message.close_fds();
    return Outcome::kBroken;
  }
  return Outcome::kMessage;
}

}  // namespace sallyport
