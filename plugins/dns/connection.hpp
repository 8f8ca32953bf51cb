// What server.cpp and tcp.cpp share of a Server: its TCP connections and its places for lookups.
#pragma once

#include <deque>

#include "dns/server.hpp"

namespace sallyport::dns {

// One TCP client. Held by its reader, its writer and every answer at work; gone with the last of them.
struct Server::Connection {
  Connection(Server& s, net::tcp::socket accepted, std::uint64_t listener_id, std::uint64_t client_id);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();
  void close();
  Origin origin() const { return {listener, reinterpret_cast<const sockaddr*>(peer.data()), peer_size}; }

  Server& server;
  net::tcp::socket socket;
  net::tcp::endpoint peer;
  socklen_t peer_size = 0;
  std::uint64_t listener, client;
  net::Deadline silence;         // until the next message is complete
  net::asio::steady_timer room;  // never expires; cancelled when an answer has been written
  std::deque<std::vector<std::uint8_t>> replies;
  std::size_t owed = 0;  // answers not yet written
  std::size_t queries = 0;
  bool writing = false;
};

class Server::Slot {
 public:
  Slot(Server& server, std::uint64_t client) : server_(server), client_(client) {
    ++server_.lookups_total_;
    ++server_.lookups_[client_];
    server_.flows_.fetch_add(1, std::memory_order_relaxed);
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() {
    --server_.lookups_total_;
    server_.flows_.fetch_sub(1, std::memory_order_relaxed);
    const auto entry = server_.lookups_.find(client_);
    if (--entry->second == 0) server_.lookups_.erase(entry);
  }
  static bool free(const Server& server, std::uint64_t client) {
    const auto entry = server.lookups_.find(client);
    return server.lookups_total_ < server.limits_.lookups &&
           (entry == server.lookups_.end() || entry->second < server.limits_.lookups_per_client);
  }

 private:
  Server& server_;
  std::uint64_t client_;
};

}  // namespace sallyport::dns
