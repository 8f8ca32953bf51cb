// A network namespace of the test program's own, in which every address is local: origins can listen on public-looking
// addresses and on ports below 1024, without privilege and without touching the host.
//
// Call enter_private_network() first in main(), before any thread. Returns "", or what failed.
#pragma once

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace sallyport::testing_kit {

inline bool write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return written;
}

// `ip route add local default dev lo` for one family.
inline bool add_local_default_route(unsigned char family) {
  struct {
    nlmsghdr header;
    rtmsg route;
    char attributes[16];
  } request{};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(rtmsg));
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
  request.route.rtm_family = family;
  request.route.rtm_table = RT_TABLE_LOCAL;
  request.route.rtm_protocol = RTPROT_BOOT;
  request.route.rtm_scope = RT_SCOPE_HOST;
  request.route.rtm_type = RTN_LOCAL;
  auto* interface =
      reinterpret_cast<rtattr*>(reinterpret_cast<char*>(&request) + NLMSG_ALIGN(request.header.nlmsg_len));
  interface->rta_type = RTA_OIF;
  interface->rta_len = RTA_LENGTH(sizeof(unsigned));
  const unsigned index = ::if_nametoindex("lo");
  std::memcpy(RTA_DATA(interface), &index, sizeof index);
  request.header.nlmsg_len = NLMSG_ALIGN(request.header.nlmsg_len) + RTA_ALIGN(interface->rta_len);
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return false;
  char reply[4096];
  const bool sent = ::send(fd, &request, request.header.nlmsg_len, 0) > 0;
  const ssize_t n = sent ? ::recv(fd, reply, sizeof reply, 0) : -1;
  ::close(fd);
  const auto* header = reinterpret_cast<const nlmsghdr*>(reply);
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))) || header->nlmsg_type != NLMSG_ERROR) return false;
  errno = -static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error;
  return errno == 0;
}

inline std::string enter_private_network() {
  const auto failed = [](const char* what) { return std::string(what) + ": " + std::strerror(errno); };
  const std::string uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return failed("unshare");
  if (!write_file("/proc/self/setgroups", "deny")) return failed("setgroups");
  if (!write_file("/proc/self/uid_map", "0 " + uid + " 1")) return failed("uid_map");
  if (!write_file("/proc/self/gid_map", "0 " + gid + " 1")) return failed("gid_map");
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq up{};
  std::strncpy(up.ifr_name, "lo", sizeof up.ifr_name - 1);
  up.ifr_flags = IFF_UP;
  const bool raised = fd >= 0 && ::ioctl(fd, SIOCSIFFLAGS, &up) == 0;
  if (fd >= 0) ::close(fd);
  if (!raised) return failed("lo up");
  if (!add_local_default_route(AF_INET)) return failed("local default route");
  if (!add_local_default_route(AF_INET6)) return failed("local default route, IPv6");
  return "";
}

}  // namespace sallyport::testing_kit
