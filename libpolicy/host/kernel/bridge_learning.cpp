#include <linux/if_bridge.h>
#include <linux/if_link.h>

#include "host/kernel/kernel_tables.hpp"
#include "host/kernel/route_socket.hpp"

namespace sallyport::kernel {

// A bridge hands frames to 01:80:c2:00:00:0X to the host before any hook of the bridge family, and learns their source:
// without this a port could still take another's MAC address.
KernelError stop_link_local_learning(const Topology& topology) {
  const Socket socket = open_route_socket();
  if (!socket) return words("no netlink socket for links", errno);
  alignas(nlmsghdr) Buffer buffer;
  for (const HeldNetwork& network : topology.networks) {
    for (const std::string& interface : network.interfaces) {
      const unsigned index = ::if_nametoindex(interface.c_str());
      if (index == 0 || !is_bridge(socket, interface)) continue;  // none yet: again when its ports come
      nlmsghdr* message = begin(buffer, RTM_NEWLINK, 0);
      auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
      header->ifi_family = AF_UNSPEC;
      header->ifi_index = static_cast<int>(index);
      nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
      mnl_attr_put_str(message, IFLA_INFO_KIND, "bridge");
      nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
      const br_boolopt_multi option{1u << BR_BOOLOPT_NO_LL_LEARN, 1u << BR_BOOLOPT_NO_LL_LEARN};
      mnl_attr_put(message, IFLA_BR_MULTI_BOOLOPT, sizeof option, &option);
      mnl_attr_nest_end(message, data);
      mnl_attr_nest_end(message, info);
      if (const int error = ask(socket.get(), message); error != 0)
        return words(("no_linklocal_learn of the bridge " + interface).c_str(), error);
    }
  }
  return std::nullopt;
}

}  // namespace sallyport::kernel
