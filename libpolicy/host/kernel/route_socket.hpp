// Questions to the kernel's routing and link tables, one at a time. Of this folder alone.
//
// Threads  Plain functions; a socket is one thread's.
#pragma once

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace sallyport::kernel {

using Socket = std::unique_ptr<mnl_socket, int (*)(mnl_socket*)>;
using Buffer = std::array<char, 1024>;

inline nlmsghdr* begin(Buffer& buffer, int type, std::uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = static_cast<std::uint16_t>(type);
  message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  message->nlmsg_seq = 1;
  return message;
}

inline Socket open_route_socket() {
  Socket socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), &mnl_socket_close);
  if (socket && mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) socket.reset();
  return socket;
}

// The kernel's errno; 0: done.
inline int ask(mnl_socket* socket, const nlmsghdr* message) {
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return errno;
  std::array<char, 4096> answer;
  const ssize_t size = mnl_socket_recvfrom(socket, answer.data(), answer.size());
  if (size < 0) return errno;
  const int state = mnl_cb_run(answer.data(), static_cast<std::size_t>(size), message->nlmsg_seq,
                               mnl_socket_get_portid(socket), nullptr, nullptr);
  return state < 0 ? errno : 0;
}

inline std::string words(const char* what, int error) { return std::string(what) + ": " + std::strerror(error); }

inline bool is_bridge(const Socket& socket, const std::string& interface) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&driver);
  return socket && ::ioctl(mnl_socket_get_fd(socket.get()), SIOCETHTOOL, &request) == 0 &&
         std::string_view(driver.driver) == "bridge";
}

}  // namespace sallyport::kernel
