// Listeners: the sockets that the host gives for the listener names of a config, delivered on the plugin's loop.
//
// Lifetime  open() on [main] in start(); the object lives until the plugin is destroyed, since the host may call at any
// time. Threads   The callbacks run on the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <policy/plugin.hpp>
#include <string>
#include <vector>

#include "support/event_loop.hpp"
#include "support/unique_fd.hpp"

namespace sallyport::net {

struct Listener {
  std::string name;
  std::uint64_t client_id = 0;
  UniqueFd fd;
  bool is_stream = false;
  bool is_v6 = false;
  bool is_transparent = false;  // IP_TRANSPARENT: what arrives is addressed to its own destination (TPROXY)
};

// Fills in what the socket says of itself. False: it is none.
bool describe(Listener& listener);

class Listeners {
 public:
  using Added = std::function<void(Listener)>;
  using Removed = std::function<void(const std::string& name, std::uint64_t client_id)>;

  explicit Listeners(EventLoop& loop) noexcept : loop_(loop) {}
  policy::Status open(const policy::Host& host, const std::vector<std::string>& names, Added added, Removed removed);

 private:
  static void on_listener(void* self, std::uint32_t added, policy_str name, int fd, std::uint64_t client_id) noexcept;

  EventLoop& loop_;
  Added added_;
  Removed removed_;
};

// Accepts until the acceptor is closed; each connection is non-blocking. Out of descriptors: waits kAcceptPause, so
// that the queue, not this loop, holds the clients.
inline constexpr std::chrono::milliseconds kAcceptPause{50};
inline constexpr unsigned kAcceptBurst = 64;
awaitable<void> accept_loop(std::shared_ptr<tcp::acceptor> acceptor, std::function<void(tcp::socket)> on_connection);
awaitable<void> accept_descriptors(std::shared_ptr<tcp::acceptor> acceptor,
                                   std::function<void(UniqueFd)> on_connection);

// Takes what waits at the acceptor, then closes it: if no other process has the listener, the close resets whoever is
// left in its queue, connected and unaware.
void close_empty(tcp::acceptor& acceptor, const std::function<void(tcp::socket)>& on_connection);
void close_empty_descriptors(tcp::acceptor& acceptor, const std::function<void(UniqueFd)>& on_connection);

// Does errno after accept(2) speak of one connection, and not of the listener?
bool is_of_one_connection(int error) noexcept;

// As much as a queue holds (the host's listen backlog): more have come since, and would go on coming.
inline constexpr unsigned kMostQueued = 4096;

}  // namespace sallyport::net
