#include "host/kernel/steering.hpp"

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

namespace sallyport::kernel {
namespace {

using Socket = std::unique_ptr<mnl_socket, int (*)(mnl_socket*)>;
using Buffer = std::array<char, 1024>;

constexpr std::uint16_t kAdd = NLM_F_CREATE | NLM_F_EXCL;

bool listens(const Topology& topology, bool v4) {
  return std::any_of(topology.listeners.begin(), topology.listeners.end(), [&](const GateListener& listener) {
    return listener.transparent == GateListener::Transparent::kTproxy && listener.address.is_v4() == v4;
  });
}

nlmsghdr* begin(Buffer& buffer, int type, std::uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = static_cast<std::uint16_t>(type);
  message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  message->nlmsg_seq = 1;
  return message;
}

nlmsghdr* rule_message(Buffer& buffer, bool add, int family) {
  nlmsghdr* message = begin(buffer, add ? RTM_NEWRULE : RTM_DELRULE, add ? kAdd : 0);
  auto* header = static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(message, sizeof(fib_rule_hdr)));
  header->family = static_cast<std::uint8_t>(family);
  header->action = FR_ACT_TO_TBL;
  mnl_attr_put_u32(message, FRA_PRIORITY, kSteeringTable);
  mnl_attr_put_u32(message, FRA_FWMARK, kSteered);
  mnl_attr_put_u32(message, FRA_FWMASK, kSteeredMask);
  mnl_attr_put_u32(message, FRA_TABLE, kSteeringTable);
  return message;
}

nlmsghdr* route_message(Buffer& buffer, bool add, int family) {
  nlmsghdr* message = begin(buffer, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? kAdd : 0);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = static_cast<std::uint8_t>(family);
  header->rtm_type = RTN_LOCAL;
  header->rtm_scope = RT_SCOPE_HOST;
  header->rtm_protocol = RTPROT_STATIC;
  mnl_attr_put_u32(message, RTA_TABLE, kSteeringTable);
  mnl_attr_put_u32(message, RTA_OIF, ::if_nametoindex("lo"));
  return message;
}

Socket open() {
  Socket socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), &mnl_socket_close);
  if (socket && mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) socket.reset();
  return socket;
}

// The kernel's errno; 0: done.
int ask(mnl_socket* socket, const nlmsghdr* message) {
  if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) return errno;
  std::array<char, 4096> answer;
  const ssize_t size = mnl_socket_recvfrom(socket, answer.data(), answer.size());
  if (size < 0) return errno;
  const int state = mnl_cb_run(answer.data(), static_cast<std::size_t>(size), message->nlmsg_seq,
                               mnl_socket_get_portid(socket), nullptr, nullptr);
  return state < 0 ? errno : 0;
}

std::string words(const char* what, int error) { return std::string(what) + ": " + std::strerror(error); }

bool is_bridge(const Socket& socket, const std::string& interface) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  interface.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&driver);
  return socket && ::ioctl(mnl_socket_get_fd(socket.get()), SIOCETHTOOL, &request) == 0 &&
         std::string_view(driver.driver) == "bridge";
}

}  // namespace

bool needs_steering(const Topology& topology) { return listens(topology, true) || listens(topology, false); }

KernelError put_steering(const Topology& topology, unsigned* missing) {
  const Socket socket = open();
  if (!socket) return words("no netlink socket for routes", errno);
  alignas(nlmsghdr) Buffer buffer;
  for (const bool v4 : {true, false}) {
    if (!listens(topology, v4)) continue;
    const int family = v4 ? AF_INET : AF_INET6;
    // The route first: a rule that leads to an empty table leads on to the next.
    const int route = ask(socket.get(), route_message(buffer, true, family));
    if (route != 0 && route != EEXIST) return words("the local route of `transparent: tproxy`", route);
    const int rule = ask(socket.get(), rule_message(buffer, true, family));
    if (rule != 0 && rule != EEXIST) return words("the routing rule of `transparent: tproxy`", rule);
    if (missing != nullptr) *missing += (route == 0) + (rule == 0);
  }
  return std::nullopt;
}

KernelError remove_steering() {
  const Socket socket = open();
  if (!socket) return words("no netlink socket for routes", errno);
  alignas(nlmsghdr) Buffer buffer;
  const auto gone = [](int error) {
    return error == 0 || error == ENOENT || error == ESRCH || error == EAFNOSUPPORT || error == EOPNOTSUPP;
  };
  for (const int family : {AF_INET, AF_INET6}) {
    if (const int rule = ask(socket.get(), rule_message(buffer, false, family)); !gone(rule))
      return words("the routing rule of `transparent: tproxy`", rule);
    if (const int route = ask(socket.get(), route_message(buffer, false, family)); !gone(route))
      return words("the local route of `transparent: tproxy`", route);
  }
  return std::nullopt;
}

KernelError steering_obstacle(const Topology& topology) {
  const Socket socket = open();
  for (const bool v4 : {true, false}) {
    if (!listens(topology, v4)) continue;
    const std::string name = std::string("bridge-nf-call-ip") + (v4 ? "" : "6") + "tables";
    std::ifstream file("/proc/sys/net/bridge/" + name);  // not there: no br_netfilter
    if (file.get() != '1') continue;
    for (const HeldNetwork& network : topology.networks) {
      for (const std::string& interface : network.interfaces) {
        if (!is_bridge(socket, interface)) continue;
        return "`transparent: tproxy` reaches nothing from the bridge " + interface + " while net.bridge." + name +
               " is 1; set it to 0 if no other firewall of this host needs it, or use `transparent: redirect`";
      }
    }
  }
  return std::nullopt;
}

}  // namespace sallyport::kernel
