#include "support/sockets.hpp"

#include <arpa/inet.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "support/unique_fd.hpp"

namespace sallyport::net {
namespace {

// From linux/netfilter_ipv6/ip6_tables.h, which does not compile next to netinet/in.h.
constexpr int kIp6tOriginalDst = 80;

}  // namespace

std::optional<policy_addr> canonical(const policy_edge_v1& edge, const asio::ip::address& address, std::uint16_t port) {
  const tcp::endpoint endpoint(address, port);
  policy_addr out{};
  policy_error error{};
  error.struct_size = sizeof error;
  if (edge.addr(endpoint.data(), static_cast<std::uint32_t>(endpoint.size()), &out, &error) != POLICY_OK)
    return std::nullopt;
  return out;
}

asio::ip::address to_asio(const policy_addr& address) {
  if (address.family == POLICY_IPV4) {
    asio::ip::address_v4::bytes_type bytes;
    std::memcpy(bytes.data(), address.ip, bytes.size());
    return asio::ip::address_v4(bytes);
  }
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), address.ip, bytes.size());
  return asio::ip::address_v6(bytes, address.scope);
}

asio::ip::address to_asio(const Address& address) {
  if (address.is_v4()) return asio::ip::address_v4(address.v4_host_order());
  return asio::ip::address_v6(address.octets());
}

asio::ip::address unmapped(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

std::optional<tcp::endpoint> original_destination(int fd) {
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) != 0) return std::nullopt;
  const auto* local6 = reinterpret_cast<const sockaddr_in6*>(&local);
  const bool is_v4 =
      local.ss_family == AF_INET || (local.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&local6->sin6_addr));
  if (is_v4) {
    sockaddr_in out{};
    length = sizeof out;
    if (::getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &out, &length) != 0 || out.sin_family != AF_INET) return std::nullopt;
    return tcp::endpoint(asio::ip::address_v4(ntohl(out.sin_addr.s_addr)), ntohs(out.sin_port));
  }
  sockaddr_in6 out{};
  length = sizeof out;
  if (::getsockopt(fd, SOL_IPV6, kIp6tOriginalDst, &out, &length) != 0 || out.sin6_family != AF_INET6)
    return std::nullopt;
  asio::ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), &out.sin6_addr, bytes.size());
  return tcp::endpoint(asio::ip::address_v6(bytes), ntohs(out.sin6_port));
}

namespace {

std::optional<tcp::endpoint> endpoint_by(int (*ask)(int, sockaddr*, socklen_t*), int fd) {
  tcp::endpoint out;
  auto length = static_cast<socklen_t>(out.capacity());
  if (ask(fd, out.data(), &length) != 0) return std::nullopt;
  out.resize(length);
  return out;
}

}  // namespace

std::optional<tcp::endpoint> local_endpoint(int fd) { return endpoint_by(&::getsockname, fd); }
std::optional<tcp::endpoint> peer_endpoint(int fd) { return endpoint_by(&::getpeername, fd); }

void reset_on_close(int fd) {
  const linger none{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void set_no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool RouteProbe::has_ipv6(Clock::time_point now) {
  if (known_ && now - asked_ < kRouteMemory) return has_;
  known_ = true;
  asked_ = now;
  const UniqueFd probe(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 global{};
  global.sin6_family = AF_INET6;
  global.sin6_port = htons(53);
  ::inet_pton(AF_INET6, "2001:4860:4860::8888", &global.sin6_addr);  // any address behind the default route
  has_ = probe.valid() && ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&global), sizeof global) == 0;
  return has_;
}

}  // namespace sallyport::net
