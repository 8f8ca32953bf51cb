// Proxy: one thread's share of the plugin: it accepts, admits or sheds, and owns the connections it has accepted.
//
// At the door  Who sends from outside the networks that the gateway holds is told so (403); beyond the bounds on
//              connections, or out of descriptors, clients get 503 at once and nothing of theirs is read.
// Threads      The loop's, but for connections() and turning_away().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "http-proxy/connection.hpp"
#include "support/event_loop.hpp"
#include "support/listeners.hpp"

namespace sallyport::http_proxy {

class Proxy {
 public:
  Proxy(net::EventLoop& loop, const Config& config, Services services);
  ~Proxy();

  void add(net::Listener listener);
  void remove(const std::string& name, std::uint64_t client_id);
  void close_listeners();
  void stop();          // before the loop does
  void drain();         // takes what waits at the listeners and nothing more; see Connection::drain()
  void decide_again();  // a new policy

  const Counters& counters() const noexcept { return counters_; }
  std::size_t tunnels() const noexcept { return tunnels_; }
  std::size_t idle_upstreams() const noexcept { return pool_.size(); }
  std::size_t connections() const noexcept { return live_.load(std::memory_order_relaxed); }           // any thread
  std::size_t turning_away() const noexcept { return turning_away_.load(std::memory_order_relaxed); }  // any thread

 private:
  struct Open {
    std::string name;
    std::uint64_t client_id;
    bool is_v6;
    std::shared_ptr<net::tcp::acceptor> acceptor;
  };

  bool accept_one(net::tcp::acceptor& acceptor, std::uint64_t client_id);  // false, and errno
  void close_empty(const Open& open);
  net::awaitable<void> accept(std::shared_ptr<net::tcp::acceptor> acceptor, std::uint64_t client_id);
  net::awaitable<void> serve(net::Stream socket, Client client, net::ClientCounts::Place place);
  net::awaitable<void> turn_away(net::Stream socket, unsigned status, std::uint16_t reason, std::string ref);
  net::awaitable<void> sweep();
  void admit(int fd, const net::tcp::endpoint& from, std::uint64_t listener);
  void shed_without_descriptors(net::tcp::acceptor& acceptor);

  net::EventLoop& loop_;
  const Config& config_;
  net::Poller& poller_;
  net::RelayResources relay_;
  TimerWheel wheel_;
  UpstreamPool pool_;
  Counters counters_;
  Services services_;
  Shared shared_;
  std::vector<Open> open_;
  std::unordered_set<Connection*> connections_;
  std::size_t tunnels_ = 0;
  std::atomic<std::size_t> live_{0}, turning_away_{0};
  net::UniqueFd reserve_;  // given up for a moment to tell a client that there are no more
};

// How many connections the descriptor limit carries, at most `wanted`.
std::size_t affordable_connections(std::size_t wanted);

}  // namespace sallyport::http_proxy
