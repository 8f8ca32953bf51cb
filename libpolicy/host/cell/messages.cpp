#include "host/cell/messages.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace sallyport::cell {
namespace {

constexpr std::array<int CellSockets::*, 6> kMembers = {&CellSockets::dns_udp4, &CellSockets::dns_udp6,
                                                        &CellSockets::dns_tcp4, &CellSockets::dns_tcp6,
                                                        &CellSockets::tcp4,     &CellSockets::tcp6};
constexpr std::size_t kLargest = 64 * 1024;  // notes; one a directory that could not be overlaid

}  // namespace

int CellMessage::number(std::size_t index) const {
  return index < fields.size() ? std::atoi(fields[index].c_str()) : 0;
}

bool send_message(int channel, MessageKind kind, const std::vector<std::string>& fields, const CellSockets* sockets) {
  std::string text(1, static_cast<char>(kind));
  std::array<int, kMembers.size()> fds;
  std::size_t count = 0;
  if (sockets != nullptr) {
    // The second octet says which of the six are there.
    unsigned present = 0;
    for (std::size_t i = 0; i < kMembers.size(); ++i) {
      if (sockets->*kMembers[i] < 0) continue;
      present |= 1u << i;
      fds[count++] = sockets->*kMembers[i];
    }
    text += static_cast<char>(present);
  }
  for (const std::string& field : fields) {
    if (text.size() + field.size() + 1 > kLargest) break;
    text.append(field).push_back('\0');
  }
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(fds))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), count * sizeof(int));
  }
  ssize_t sent = 0;
  while ((sent = ::sendmsg(channel, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  return sent == static_cast<ssize_t>(text.size());
}

std::optional<CellMessage> receive_message(int channel, bool wait, bool& closed) {
  closed = false;
  std::string text(kLargest, '\0');
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMembers.size() * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = 0;
  while ((size = ::recvmsg(channel, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT))) < 0 && errno == EINTR) {
  }
  if (size <= 0) {
    closed = size == 0 || errno != EAGAIN;
    return std::nullopt;
  }
  std::string_view rest(text.data(), static_cast<std::size_t>(size));
  CellMessage result;
  result.kind = static_cast<MessageKind>(rest.front());
  rest.remove_prefix(1);
  std::size_t count = 0;
  std::array<int, kMembers.size()> fds{};
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::memcpy(fds.data(), CMSG_DATA(header), count * sizeof(int));
  }
  if (result.kind == MessageKind::kReady && !rest.empty()) {
    const auto present = static_cast<unsigned char>(rest.front());
    rest.remove_prefix(1);
    std::size_t next = 0;
    for (std::size_t i = 0; i < kMembers.size(); ++i)
      if ((present >> i & 1) != 0 && next < count) result.sockets.*kMembers[i] = fds[next++];
  }
  while (!rest.empty()) {
    const std::size_t end = rest.find('\0');
    result.fields.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  }
  return result;
}

}  // namespace sallyport::cell
