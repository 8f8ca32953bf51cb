// Server: DNS over UDP and TCP on the host's listeners, in front of one Responder.
//
// Bounds   Lookups at once, in all and per client; TCP connections in all, queries and answers at work per connection,
// and
//          kSilence for a message to be complete. Over a bound: SERVFAIL, a pause in reading, or the connection ends.
// Threads  The loop's.
// Source   RFC 1035 §4.2, RFC 7766.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dns/responder.hpp"
#include "support/deadline.hpp"
#include "support/listeners.hpp"
#include "support/udp.hpp"

namespace sallyport::dns {

struct ServerLimits {
  std::size_t lookups = 1024;            // at once; each is one resolver task
  std::size_t lookups_per_client = 256;  // a browser opening 50 tabs asks fewer
  std::size_t connections = 256;
  std::size_t pipelined = 32;  // answers owed on one connection before it is read again
  std::size_t queries_per_connection = 10'000;
  std::chrono::milliseconds silence{10'000};  // DNS-24
};

class Server {
 public:
  Server(net::EventLoop& loop, Responder& responder, ServerLimits limits = {});
  ~Server();

  void add(net::Listener listener);
  void remove(const std::string& name, std::uint64_t client_id);
  void close();  // every listener and connection

  std::size_t connections() const noexcept { return connections_; }

 private:
  struct Connection;
  struct Open {
    std::string name;
    std::uint64_t client_id;
    std::shared_ptr<net::UdpServer> udp;
    std::shared_ptr<net::tcp::acceptor> tcp;
    void close() const;
  };

  net::awaitable<void> serve_udp(std::shared_ptr<net::UdpServer> socket, std::uint64_t client_id);
  net::awaitable<void> answer_udp(std::shared_ptr<net::UdpServer> socket, net::UdpPeer peer,
                                  std::unique_ptr<Pending> pending);
  net::awaitable<void> serve_tcp(std::shared_ptr<Connection> connection);
  net::awaitable<void> answer_tcp(std::shared_ptr<Connection> connection, std::unique_ptr<Pending> pending);
  void handle_tcp(const std::shared_ptr<Connection>& connection, std::span<const std::uint8_t> message);
  void queue_reply(const std::shared_ptr<Connection>& connection, Responder::Reply reply);
  static net::awaitable<void> write_replies(std::shared_ptr<Connection> connection);

  // A place among the lookups at work, given back by the destructor.
  class Slot;

  net::EventLoop& loop_;
  Responder& responder_;
  ServerLimits limits_;
  std::vector<Open> open_;
  std::map<std::uint64_t, std::size_t> lookups_;  // by client; entries of 0 are erased
  std::size_t lookups_total_ = 0;
  std::size_t connections_ = 0;
};

}  // namespace sallyport::dns
