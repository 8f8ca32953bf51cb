#include "host/kernel/steering.hpp"

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "host/kernel/route_socket.hpp"

namespace sallyport::kernel {
namespace {

constexpr std::uint16_t kAdd = NLM_F_CREATE | NLM_F_EXCL;

bool listens(const Topology& topology, bool v4) {
  return std::any_of(topology.listeners.begin(), topology.listeners.end(), [&](const GateListener& listener) {
    return listener.transparent == GateListener::Transparent::kTproxy && listener.address.is_v4() == v4;
  });
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

}  // namespace

bool needs_steering(const Topology& topology) { return listens(topology, true) || listens(topology, false); }

KernelError put_steering(const Topology& topology, unsigned* missing) {
  const Socket socket = open_route_socket();
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
  const Socket socket = open_route_socket();
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
  const Socket socket = open_route_socket();
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
