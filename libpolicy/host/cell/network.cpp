// One rtnetlink conversation, then the listeners, then the rules. Every message asks for an acknowledgement and all go
// out in one send: the kernel handles them in order.
//
//   lo up · 198.18.0.1/32 · ULA::1/128 · local default dev lo (IPv4, IPv6)
//
// `local default` makes every address of the world one of ours, so what the workload sends arrives here or nowhere.
//
// In a namespace that is in use the same messages are sent, and those that the kernel answers by EEXIST were there.
#include "host/cell/network.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

namespace sallyport::cell {
namespace {

constexpr unsigned kLoopbackIndex = 1;  // the first device of every network namespace
constexpr std::uint16_t kDnsPort = 53;
constexpr int kBacklog = 4096;  // a full queue would be a hang; the kernel caps it at net.core.somaxconn

// A user namespace without its capabilities (AppArmor) shows here first.
std::string network_remedy(int error) {
  if (error == EPERM || error == EACCES) return user_namespace_remedy();
  return "the kernel refuses to set up loopback in a new network namespace";
}
CellError network_failure(std::string_view what, int error) { return failed(what, error, network_remedy(error)); }

// Messages of one rtnetlink send, each with a sequence number that says which step failed.
class RouteBatch {
 public:
  nlmsghdr* begin(std::uint16_t type, std::uint16_t flags) {
    nlmsghdr* header = mnl_nlmsg_put_header(buffer_.data() + used_);
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    header->nlmsg_seq = count_++;
    return header;
  }
  void end(const nlmsghdr* header) { used_ += MNL_ALIGN(header->nlmsg_len); }

  std::span<const char> bytes() const { return {buffer_.data(), used_}; }
  std::uint32_t count() const { return count_; }

 private:
  alignas(nlmsghdr) std::array<char, 2048> buffer_{};  // six messages of under 64 octets each
  std::size_t used_ = 0;
  std::uint32_t count_ = 0;
};

void put_link(RouteBatch& batch, bool up) {
  nlmsghdr* header = batch.begin(RTM_NEWLINK, 0);
  auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  link->ifi_family = AF_UNSPEC;
  link->ifi_index = kLoopbackIndex;
  link->ifi_flags = up ? IFF_UP : 0;
  link->ifi_change = IFF_UP;
  batch.end(header);
}

// type: RTM_NEWADDR or RTM_DELADDR
void put_address(RouteBatch& batch, std::uint16_t type, std::uint8_t family, std::span<const std::uint8_t> address,
                 std::uint8_t prefix) {
  nlmsghdr* header = batch.begin(type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0);
  auto* message = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  message->ifa_family = family;
  message->ifa_prefixlen = prefix;
  message->ifa_flags = IFA_F_NODAD | IFA_F_PERMANENT;
  message->ifa_scope = RT_SCOPE_UNIVERSE;  // AI_ADDRCONFIG looks for an address that is not of host scope
  message->ifa_index = kLoopbackIndex;
  mnl_attr_put(header, IFA_LOCAL, address.size(), address.data());
  mnl_attr_put(header, IFA_ADDRESS, address.size(), address.data());
  batch.end(header);
}

// type: RTM_NEWROUTE or RTM_DELROUTE
void put_local_default(RouteBatch& batch, std::uint16_t type, std::uint8_t family) {
  nlmsghdr* header = batch.begin(type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_EXCL : 0);
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  route->rtm_family = family;
  route->rtm_table = RT_TABLE_LOCAL;
  route->rtm_protocol = RTPROT_BOOT;
  route->rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  route->rtm_type = RTN_LOCAL;
  mnl_attr_put_u32(header, RTA_OIF, kLoopbackIndex);
  batch.end(header);
}

// Sends the batch; errors[i] is the errno of message i, 0 for success.
bool converse(int netlink, const RouteBatch& batch, std::vector<int>& errors) {
  errors.assign(batch.count(), 0);
  if (::send(netlink, batch.bytes().data(), batch.bytes().size(), 0) < 0) return false;
  alignas(nlmsghdr) std::array<char, 8192> reply;
  for (std::uint32_t answered = 0; answered < batch.count();) {
    const ssize_t size = ::recv(netlink, reply.data(), reply.size(), 0);
    if (size < 0) return false;
    int left = static_cast<int>(size);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(reply.data()); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type != NLMSG_ERROR || header->nlmsg_seq >= batch.count()) continue;
      errors[header->nlmsg_seq] = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
      ++answered;
    }
  }
  return true;
}

struct Socket {
  int fd = -1;
  int error = 0;
  std::uint16_t port = 0;
};

// A bound (and for TCP, listening) socket of one family. No SO_REUSEADDR and no SO_REUSEPORT: nobody in the cell can
// bind beside it.
Socket listener(int family, int type, bool any_address, std::uint16_t port) {
  Socket result;
  result.fd = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (result.fd < 0) return {-1, errno, 0};
  sockaddr_storage storage{};
  socklen_t size = 0;
  const int on = 1;
  if (family == AF_INET) {
    auto* address = reinterpret_cast<sockaddr_in*>(&storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    address->sin_addr.s_addr = htonl(any_address ? INADDR_ANY : INADDR_LOOPBACK);
    size = sizeof(*address);
    if (type == SOCK_DGRAM) ::setsockopt(result.fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
  } else {
    auto* address = reinterpret_cast<sockaddr_in6*>(&storage);
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(port);
    address->sin6_addr = any_address ? in6addr_any : in6addr_loopback;
    size = sizeof(*address);
    ::setsockopt(result.fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (type == SOCK_DGRAM) {
      ::setsockopt(result.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
      ::setsockopt(result.fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));  // answers come from captured addresses
    }
  }
  if (::bind(result.fd, reinterpret_cast<sockaddr*>(&storage), size) != 0 ||
      (type == SOCK_STREAM && ::listen(result.fd, kBacklog) != 0) ||
      ::getsockname(result.fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    const int error = errno;
    ::close(result.fd);
    return {-1, error, 0};
  }
  result.port = ntohs(family == AF_INET ? reinterpret_cast<sockaddr_in*>(&storage)->sin_port
                                        : reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port);
  return result;
}

constexpr std::array<std::uint8_t, 4> kAddress4Octets = {198, 18, 0, 1};
constexpr std::array<std::uint8_t, 4> kLoopback4Octets = {127, 0, 0, 1};

// The cell's own address of the /64.
std::optional<std::array<std::uint8_t, 16>> own_address6(const std::string& ula) {
  std::array<std::uint8_t, 16> address{};
  if (::inet_pton(AF_INET6, ula.c_str(), address.data()) != 1) return std::nullopt;
  address[15] = 1;
  return address;
}

// What lo has now, of the bits kLinkUp and kLoopback4.
std::uint32_t link_state() {
  std::uint32_t state = 0;
  const int probe = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return 0;
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
  if (::ioctl(probe, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0) state |= kLinkUp;
  if (::ioctl(probe, SIOCGIFADDR, &request) == 0) state |= kLoopback4;
  ::close(probe);
  return state;
}

// The kernel makes one of each in every new namespace when the module is loaded. They carry packets to addresses of the
// same namespace alone.
bool is_tunnel_at_rest(const std::string& name, unsigned flags) {
  constexpr std::array<std::string_view, 9> kFallback = {"tunl0",    "gre0", "gretap0", "erspan0", "ip_vti0",
                                                         "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"};
  return (flags & IFF_UP) == 0 && std::find(kFallback.begin(), kFallback.end(), name) != kFallback.end();
}

// For mnl_attr_parse(): the attribute with the interface's name.
int take_name(const nlattr* attribute, void* name) {
  if (mnl_attr_get_type(attribute) == IFLA_IFNAME) *static_cast<std::string*>(name) = mnl_attr_get_str(attribute);
  return MNL_CB_OK;
}

// Adds the addresses and routes. added: what was not there. ipv6: whether the host has it.
Failure add_addresses(const std::string& ula, std::uint32_t& added, bool& ipv6) {
  const auto address6 = own_address6(ula);
  if (!address6) return CellError{"not an IPv6 prefix: " + ula, ""};
  const std::uint32_t before = link_state();
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) return network_failure("rtnetlink socket", errno);
  RouteBatch batch;
  put_link(batch, true);
  put_address(batch, RTM_NEWADDR, AF_INET, kAddress4Octets, 32);
  put_local_default(batch, RTM_NEWROUTE, AF_INET);
  const std::uint32_t first_of_ipv6 = batch.count();
  put_address(batch, RTM_NEWADDR, AF_INET6, *address6, 128);
  put_local_default(batch, RTM_NEWROUTE, AF_INET6);
  constexpr std::array<std::uint32_t, 5> kChanges = {0, kAddress4, kRoute4, kAddress6, kRoute6};
  std::vector<int> errors;
  const bool answered = converse(netlink, batch, errors);
  const int error = errno;
  ::close(netlink);
  if (!answered) return network_failure("rtnetlink", error);
  added |= (kLinkUp | kLoopback4) & ~before;
  ipv6 = true;
  Failure failure;
  for (std::uint32_t i = 0; i < errors.size(); ++i) {
    if (errors[i] == 0) added |= kChanges[i];
    if (errors[i] == 0 || errors[i] == EEXIST) continue;
    if (i < first_of_ipv6 && !failure) failure = network_failure("set up lo", errors[i]);
    ipv6 = false;  // switched off on this host (module absent, ipv6.disable=1, disable_ipv6)
  }
  return failure;
}

Failure open_listeners(bool ipv6, CellSockets& sockets, unsigned& tcp4_port, unsigned& tcp6_port) {
  struct Wanted {
    int CellSockets::* member;
    int family;
    int type;
    bool any_address;
    std::uint16_t port;
    const char* what;
  };
  constexpr std::array<Wanted, 6> kWanted = {{
      {&CellSockets::dns_udp4, AF_INET, SOCK_DGRAM, true, kDnsPort, "listen on UDP 53"},
      {&CellSockets::dns_tcp4, AF_INET, SOCK_STREAM, true, kDnsPort, "listen on TCP 53"},
      {&CellSockets::tcp4, AF_INET, SOCK_STREAM, false, 0, "listen on 127.0.0.1"},
      {&CellSockets::dns_udp6, AF_INET6, SOCK_DGRAM, true, kDnsPort, "listen on UDP 53 over IPv6"},
      {&CellSockets::dns_tcp6, AF_INET6, SOCK_STREAM, true, kDnsPort, "listen on TCP 53 over IPv6"},
      {&CellSockets::tcp6, AF_INET6, SOCK_STREAM, false, 0, "listen on ::1"},
  }};
  for (const Wanted& wanted : kWanted) {
    if (wanted.family == AF_INET6 && !ipv6) continue;
    const Socket socket = listener(wanted.family, wanted.type, wanted.any_address, wanted.port);
    if (wanted.family == AF_INET6 && socket.error == EAFNOSUPPORT) {  // the kernel has none at all
      ipv6 = false;
      continue;
    }
    if (socket.fd < 0) return network_failure(wanted.what, socket.error);
    sockets.*wanted.member = socket.fd;
    if (wanted.member == &CellSockets::tcp4) tcp4_port = socket.port;
    if (wanted.member == &CellSockets::tcp6) tcp6_port = socket.port;
  }
  return {};
}

}  // namespace

Failure build_network(const std::string& ula, CellSockets& sockets) {
  std::uint32_t added = 0;
  bool ipv6 = false;
  unsigned tcp4_port = 0;
  unsigned tcp6_port = 0;
  if (Failure failure = add_addresses(ula, added, ipv6)) return failure;
  if (Failure failure = open_listeners(ipv6, sockets, tcp4_port, tcp6_port)) return failure;
  return install_rules(tcp4_port, tcp6_port);
}

Failure take_network(const std::string& ula, CellSockets& sockets, std::uint32_t& changes) {
  bool ipv6 = false;
  unsigned tcp4_port = 0;
  unsigned tcp6_port = 0;
  if (Failure failure = add_addresses(ula, changes, ipv6)) return failure;
  if (Failure failure = open_listeners(ipv6, sockets, tcp4_port, tcp6_port)) return failure;
  return install_rules(tcp4_port, tcp6_port, changes);
}

Failure give_back_network(const std::string& ula, std::uint32_t changes) {
  const auto address6 = own_address6(ula);
  if (!address6) return CellError{"not an IPv6 prefix: " + ula, ""};
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) return network_failure("rtnetlink socket", errno);
  RouteBatch batch;
  // Routes first: from then on nothing is captured, and a connection fails at once.
  if ((changes & kRoute4) != 0) put_local_default(batch, RTM_DELROUTE, AF_INET);
  if ((changes & kRoute6) != 0) put_local_default(batch, RTM_DELROUTE, AF_INET6);
  if ((changes & kAddress4) != 0) put_address(batch, RTM_DELADDR, AF_INET, kAddress4Octets, 32);
  if ((changes & kAddress6) != 0) put_address(batch, RTM_DELADDR, AF_INET6, *address6, 128);
  if ((changes & kLoopback4) != 0) put_address(batch, RTM_DELADDR, AF_INET, kLoopback4Octets, 8);
  if ((changes & kLinkUp) != 0) put_link(batch, false);
  std::vector<int> errors;
  const bool answered = converse(netlink, batch, errors);
  Failure failure;
  if (!answered) failure = network_failure("rtnetlink", errno);
  ::close(netlink);
  for (const int error : errors) {
    // Its own administrator may have taken it away.
    if (error == 0 || error == ESRCH || error == EADDRNOTAVAIL || error == ENOENT || failure) continue;
    failure = network_failure("give lo back", error);
  }
  Failure rules = remove_rules();
  return failure ? failure : rules;
}

Failure find_ways_out(std::vector<std::string>& names) {
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) return network_failure("rtnetlink socket", errno);
  alignas(nlmsghdr) std::array<char, 32768> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
  bool more = ::send(netlink, request, request->nlmsg_len, 0) >= 0;
  int error = more ? 0 : errno;
  while (more) {
    const ssize_t size = ::recv(netlink, buffer.data(), buffer.size(), 0);
    if (size < 0) {
      error = errno;
      break;
    }
    int left = static_cast<int>(size);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type == NLMSG_DONE) more = false;
      if (header->nlmsg_type == NLMSG_ERROR) {
        error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
        more = false;
      }
      if (header->nlmsg_type != RTM_NEWLINK) continue;
      const auto* link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(header));
      std::string name = "interface " + std::to_string(link->ifi_index);
      mnl_attr_parse(header, sizeof(ifinfomsg), &take_name, &name);
      const bool loopback = (link->ifi_flags & IFF_LOOPBACK) != 0 && link->ifi_index == kLoopbackIndex;
      if (!loopback && !is_tunnel_at_rest(name, link->ifi_flags)) names.push_back(name);
    }
  }
  ::close(netlink);
  if (error != 0) return network_failure("list the interfaces", error);
  return {};
}

}  // namespace sallyport::cell
