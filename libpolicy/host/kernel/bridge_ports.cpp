// Asked by netlink: /sys shows the network namespace that it was mounted in, which need not be ours.
// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "host/kernel/kernel_tables.hpp"

namespace sallyport::kernel {
namespace {

struct Search {
  std::set<std::uint32_t> bridges;
  BridgePorts ports;
};

int look_at(const nlmsghdr* message, void* user) {
  auto& search = *static_cast<Search*>(user);
  std::string name;
  std::uint32_t master = 0;
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(ifinfomsg)));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    if (mnl_attr_get_type(attribute) == IFLA_IFNAME) name = mnl_attr_get_str(attribute);
    if (mnl_attr_get_type(attribute) == IFLA_MASTER) master = mnl_attr_get_u32(attribute);
  }
  if (master == 0) return MNL_CB_OK;
  (search.bridges.contains(master) ? search.ports.held : search.ports.foreign).push_back(std::move(name));
  return MNL_CB_OK;
}

}  // namespace

BridgePorts bridge_ports(const Topology& topology) {
  Search search;
  for (const HeldNetwork& network : topology.networks) {
    for (const std::string& interface : network.interfaces) {
      if (const unsigned index = ::if_nametoindex(interface.c_str()); index != 0) search.bridges.insert(index);
    }
  }
  if (search.bridges.empty()) return {};
  const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC),
                                                                 &mnl_socket_close);
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return {};
  alignas(nlmsghdr) std::array<char, 32768> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request->nlmsg_seq = 1;
  static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)))->ifi_family = AF_UNSPEC;
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) < 0) return {};
  const unsigned own = mnl_socket_get_portid(socket.get());
  for (int state = MNL_CB_OK; state > MNL_CB_STOP;) {
    const ssize_t size = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
    if (size <= 0) break;
    state = mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), 1, own, &look_at, &search);
  }
  std::sort(search.ports.held.begin(), search.ports.held.end());
  std::sort(search.ports.foreign.begin(), search.ports.foreign.end());
  return search.ports;
}

}  // namespace sallyport::kernel
