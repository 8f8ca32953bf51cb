// Server: DNS over UDP and TCP on one thread's share of the host's listeners, in front of one Responder.
//
// Bounds   Lookups at once and TCP connections, in all and per client, over all threads (Bounds); queries and answers
// at
//          work per connection, and `silence` for a message to be complete. Over a bound: SERVFAIL, a pause in reading,
//          or the connection ends.
// Draining What waits at the listeners is taken, and nothing after it. A connection ends once a query that was on its
//          way is answered: with its stream's end, so that one which comes too late is not reset, but asked again.
// Threads  The loop's; flows() from any.
// Source   RFC 1035 §4.2, RFC 7766.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dns/responder.hpp"
#include "support/client_counts.hpp"
#include "support/deadline.hpp"
#include "support/listeners.hpp"
#include "support/udp.hpp"

namespace sallyport::dns {

// What the servers of all threads share: the kernel deals a client's queries out to several of them.
struct Bounds {
  net::ClientCounts lookups{1024, 256};  // at once, each is one resolver task; a browser opening 50 tabs asks fewer
  net::ClientCounts connections{512, 128};
};

struct ServerLimits {
  std::size_t pipelined = 32;  // answers owed on one connection before it is read again
  std::size_t queries_per_connection = 10'000;
  std::chrono::milliseconds silence{10'000};  // DNS-24
};

// How long queries took, by where their answers came from. Upper bounds in nanoseconds; the last count is the rest.
struct RequestDurations {
  static constexpr std::array<std::uint64_t, 6> kBounds{100'000,     1'000'000,     10'000'000,
                                                        100'000'000, 1'000'000'000, 5'000'000'000};
  std::array<std::uint64_t, kBounds.size() + 1> counts{};
  std::uint64_t total_ns = 0;
  void add(net::Clock::duration took, std::uint64_t queries = 1);
};

// A lookup at work, from the moment that it is one: a drain asks how many there are.
struct Flow {
  explicit Flow(std::atomic<std::uint64_t>& all) : flows(&all) { flows->fetch_add(1, std::memory_order_relaxed); }
  Flow(Flow&& other) noexcept : flows(std::exchange(other.flows, nullptr)) {}
  ~Flow() {
    if (flows) flows->fetch_sub(1, std::memory_order_relaxed);
  }
  std::atomic<std::uint64_t>* flows;
};

class Server {
 public:
  // Takes a connection that this thread accepted to the thread that will serve it.
  using HandOver = std::function<void(net::UniqueFd, bool is_v6, std::uint64_t listener)>;

  // bounds outlives the server.
  Server(net::EventLoop& loop, Responder& responder, Bounds& bounds, ServerLimits limits = {}, HandOver hand_over = {});
  ~Server();

  void add(net::Listener listener);
  void adopt(net::UniqueFd connection, bool is_v6, std::uint64_t listener);  // an accepted one
  void remove(const std::string& name, std::uint64_t client_id);
  void drain();
  void close();  // every listener and connection, at once

  // Lookups at work and connections.
  std::uint64_t flows() const noexcept { return flows_.load(std::memory_order_relaxed); }
  std::size_t connections() const noexcept { return live_.size(); }
  const RequestDurations& hits() const noexcept { return hits_; }
  const RequestDurations& misses() const noexcept { return misses_; }

 private:
  struct Connection;
  struct Open {
    std::string name;
    std::uint64_t client_id;
    std::shared_ptr<net::UdpServer> udp;
    std::shared_ptr<net::tcp::acceptor> tcp;
    bool is_v6;
    void close() const;
  };
  using Place = net::ClientCounts::Place;

  net::awaitable<void> serve_udp(std::shared_ptr<net::UdpServer> socket, std::uint64_t listener);
  net::awaitable<void> answer_udp(std::shared_ptr<net::UdpServer> socket, net::UdpPeer peer,
                                  std::unique_ptr<Pending> pending, Place place, Flow flow);
  void accepted(net::tcp::socket socket, bool is_v6, std::uint64_t listener);
  void empty(const Open& open);
  void serve_batch(const std::shared_ptr<net::UdpServer>& socket, std::uint64_t listener, std::size_t count);

  void start_tcp(net::tcp::socket socket, std::uint64_t listener);
  net::awaitable<void> serve_tcp(std::shared_ptr<Connection> connection);
  net::awaitable<void> answer_tcp(std::shared_ptr<Connection> connection, std::unique_ptr<Pending> pending,
                                  Place place);
  void handle_tcp(const std::shared_ptr<Connection>& connection, std::span<const std::uint8_t> message);
  void queue_reply(const std::shared_ptr<Connection>& connection, Responder::Reply reply);
  net::awaitable<void> write_replies(std::shared_ptr<Connection> connection);

  net::EventLoop& loop_;
  Responder& responder_;
  Bounds& bounds_;
  ServerLimits limits_;
  HandOver hand_over_;
  std::vector<Open> open_;
  std::set<Connection*> live_;
  std::atomic<std::uint64_t> flows_{0};
  std::unique_ptr<Pending> pending_;  // of the query at hand
  RequestDurations hits_, misses_;
  bool draining_ = false;
};

}  // namespace sallyport::dns
