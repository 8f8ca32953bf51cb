// What server.cpp and tcp.cpp share of a Server: its TCP connections and its lookups.
#pragma once

#include <deque>

#include "dns/server.hpp"

namespace sallyport::dns {

// One TCP client. Held by its reader, its writer and every answer at work; gone with the last of them.
struct Server::Connection {
  Connection(Server& s, net::tcp::socket accepted, std::uint64_t listener_id, Place its_place);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();
  void close();
  void expect_message();  // in time, or it ends
  void end();             // reads no further query; its stream ends once nothing is owed
  Origin origin() const { return {listener, reinterpret_cast<const sockaddr*>(peer.data()), peer_size}; }

  Server& server;
  net::tcp::socket socket;
  net::tcp::endpoint peer;
  socklen_t peer_size = 0;
  std::uint64_t listener;
  Place place;
  net::Deadline silence;         // until the next message is complete
  net::asio::steady_timer room;  // never expires; cancelled when an answer has been written
  std::deque<std::vector<std::uint8_t>> replies;
  std::size_t owed = 0;  // answers not yet written
  std::size_t queries = 0;
  bool writing = false;
  bool had_last = false;  // a query since the drain began: the client gets an answer and the end with it
  bool ending = false;
};

}  // namespace sallyport::dns
