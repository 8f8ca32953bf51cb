// What plugins ask of sockets beyond Asio: canonical addresses, original destinations, resets.
//
// Threads  Functions without state; RouteProbe belongs to one thread.
#pragma once

#include <chrono>
#include <optional>
#include <policy/plugin.hpp>

#include "names/address.hpp"
#include "support/async.hpp"

namespace sallyport::net {

// The canonical form of an endpoint, made by the host's edge; nullopt if the edge refuses it (a zone, for instance).
std::optional<policy_addr> canonical(const policy_edge_v1& edge, const asio::ip::address& address, std::uint16_t port);
asio::ip::address to_asio(const policy_addr& address);
asio::ip::address to_asio(const Address& address);

// An IPv4-mapped IPv6 address as the IPv4 address it stands for; anything else unchanged.
asio::ip::address unmapped(const asio::ip::address& address);

// Where a redirected connection was going, from connection tracking (SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST). nullopt:
// there is no entry, so it was never redirected and came straight to the listener.
std::optional<tcp::endpoint> original_destination(int fd);

// The address that this side of a connection has; nullopt once it has gone.
std::optional<tcp::endpoint> local_endpoint(int fd);
std::optional<tcp::endpoint> peer_endpoint(int fd);

// Close sends RST and drops what is unsent: a refusal that a client sees at once.
void reset_on_close(int fd);
void set_no_delay(int fd);

// Has this host a route to the IPv6 internet? Asks the kernel's routing by connecting a UDP socket, which sends
// nothing; the answer is kept for kRouteMemory.
class RouteProbe {
 public:
  static constexpr std::chrono::seconds kRouteMemory{5};  // a laptop changes networks; nobody waits longer for that
  bool has_ipv6(Clock::time_point now);

 private:
  Clock::time_point asked_{};
  bool has_ = false;
  bool known_ = false;
};

}  // namespace sallyport::net
