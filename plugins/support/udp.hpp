// UdpServer: a UDP listener that takes and answers datagrams in batches, each answer from the very address that was
// asked, since a client drops an answer from another.
//
//   co_await server->readable();
//   for (std::size_t i = 0, n = server->receive(); i < n; ++i) server->reply(i, write_into(server->room(i)));
//   server->flush();
//
// Form     Fixed slabs, made once: kBatch datagrams in and as many answers out; two system calls a batch. A socket on a
//          wildcard address is every server at once (in a cell all addresses are local): there the kernel says which
//          was asked (IP_PKTINFO, IPV6_PKTINFO). One on a single address needs no such thing.
// Lifetime stop_reading() ends readable() for good and leaves the socket able to answer: what is at work is still
//          answered after the listener has gone.
// Threads  The loop's.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>

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
  static constexpr std::size_t kBatch = 32;  // PERF: 16 to 32; more hurts the tail
  // The longest query there is: header, 255 octets of name, and an OPT record with options.
  static constexpr std::size_t kMaxDatagram = 4096;
  static constexpr std::size_t kMaxReply = 1232;  // wire::kDnsMaxUdp

  // Takes the socket over; nullptr if it is none that can do this.
  static std::shared_ptr<UdpServer> adopt(asio::io_context& context, UniqueFd fd, bool is_v6);
  ~UdpServer();

  // How many datagrams have arrived, up to kBatch; 0: none now. Answers that were not flushed are forgotten. `full`:
  // the batch was, so that more may wait; a datagram longer than kMaxDatagram is left out of the count.
  std::size_t receive(bool* full = nullptr);
  std::span<const std::uint8_t> payload(std::size_t index) const;  // valid until the next receive()
  const sockaddr_storage& remote(std::size_t index) const;
  socklen_t remote_size(std::size_t index) const;
  UdpPeer peer(std::size_t index) const;  // for an answer that comes later, by send()

  std::span<std::uint8_t, kMaxReply> room(std::size_t index);
  void reply(std::size_t index, std::size_t octets);  // what stands in room(index)
  void flush();                                       // sends what was replied since receive()

  // Best effort, as UDP is: a full socket buffer loses the answer, and the client asks again.
  void send(std::span<const std::uint8_t> payload, const UdpPeer& peer);

  // false: nothing more will be read.
  awaitable<bool> readable();
  void stop_reading();

 private:
  struct Slabs;
  UdpServer(asio::io_context& context, bool is_v6);

  udp::socket socket_;
  bool is_v6_;
  bool asks_local_ = false;  // a wildcard address: the kernel tells which one was asked
  bool reading_ = true;
  std::unique_ptr<Slabs> slabs_;
};

}  // namespace sallyport::net
