// UdpServer: a UDP listener that answers from the very address it was asked at, since a client drops an answer from
// another.
//
// In a cell every address is local, so one socket on the wildcard address is every server at once (IP_PKTINFO,
// IPV6_PKTINFO). Threads  The loop's.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "support/async.hpp"
#include "support/unique_fd.hpp"

namespace sallyport::net {

// Whom to answer, and from where.
struct UdpPeer {
  sockaddr_storage remote{};
  socklen_t remote_size = 0;
  in6_addr local{};        // the address asked; IPv4 in the first four octets
  unsigned interface = 0;  // only for link-local addresses
  bool has_local = false;
};

class UdpServer {
 public:
  // Takes the socket over; nullptr if it is none that can do this.
  static std::shared_ptr<UdpServer> adopt(asio::io_context& context, UniqueFd fd, bool is_v6);

  struct Datagram {
    std::span<const std::uint8_t> payload;  // valid until the next receive()
    UdpPeer peer;
  };
  // What has arrived, up to kBatch datagrams; empty: nothing now. Longer than kMaxDatagram: left out.
  std::span<const Datagram> receive();
  static constexpr std::size_t kBatch = 16;  // PERF: 16 to 32; more hurts the tail
  // The longest query there is: header, 255 octets of name, and an OPT record with options.
  static constexpr std::size_t kMaxDatagram = 4096;

  // Best effort, as UDP is: a full socket buffer loses the answer, and the client asks again.
  void send(std::span<const std::uint8_t> payload, const UdpPeer& peer);

  // false: the socket was closed.
  awaitable<bool> readable();
  void close();

 private:
  UdpServer(asio::io_context& context, bool is_v6) : socket_(context), is_v6_(is_v6) {}

  udp::socket socket_;
  bool is_v6_;
  std::vector<Datagram> datagrams_;
  std::unique_ptr<std::array<std::array<std::uint8_t, kMaxDatagram>, kBatch>> buffers_;
};

}  // namespace sallyport::net
