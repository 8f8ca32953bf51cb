#include <algorithm>
#include <boost/asio/write.hpp>
#include <cstring>

#include "dns/connection.hpp"

namespace sallyport::dns {

namespace asio = boost::asio;
using net::awaitable;
using net::Clock;
using net::error_code;
using net::kAsResult;

// Queries have one question and an OPT record, padding included (RFC 8467 §4.1: 128 octets). All text reads as a longer
// one, so that other protocols at this port end at once and not at the silence limit.
constexpr std::size_t kLongestQuery = 4096;

// While the server drains: for a query that was under way, its retransmission included; and for the client to see the
// stream's end and close its own side.
constexpr std::chrono::milliseconds kLastQuery{1'000};
constexpr std::chrono::milliseconds kLinger{1'000};

Server::Connection::Connection(Server& s, net::tcp::socket accepted, std::uint64_t listener_id, Place its_place)
    : server(s),
      socket(std::move(accepted)),
      listener(listener_id),
      place(std::move(its_place)),
      silence(socket.get_executor()),
      room(socket.get_executor()) {
  error_code gone;
  peer = socket.remote_endpoint(gone);
  peer_size = static_cast<socklen_t>(peer.size());
  server.live_.insert(this);
  server.flows_.fetch_add(1, std::memory_order_relaxed);
}

Server::Connection::~Connection() {
  server.live_.erase(this);
  server.flows_.fetch_sub(1, std::memory_order_relaxed);
}

void Server::Connection::close() {
  error_code ignored;
  socket.close(ignored);
  silence.cancel();
  room.cancel();
}

void Server::Connection::expect_message() {
  if (ending) return;
  if (server.draining_) {
    silence.set(std::min(server.limits_.silence, kLastQuery), [this] { end(); });
  } else {
    silence.set(server.limits_.silence, [this] { close(); });
  }
}

// What is read from now on is dropped: a close with octets unread would be a reset, and could take answers with it.
void Server::Connection::end() {
  ending = true;
  silence.set(owed == 0 ? kLinger : server.limits_.silence, [this] { close(); });
  if (owed > 0) return;
  error_code ignored;
  socket.shutdown(net::tcp::socket::shutdown_send, ignored);
}

void Server::start_tcp(net::tcp::socket socket, std::uint64_t listener) {
  error_code gone;
  const net::tcp::endpoint peer = socket.remote_endpoint(gone);
  if (gone) return;
  const Origin origin{listener, reinterpret_cast<const sockaddr*>(peer.data()), static_cast<socklen_t>(peer.size())};
  std::optional<Place> place = bounds_.connections.enter(responder_.client_of(origin));
  if (!place) {
    net::reset_on_close(socket.native_handle());
    return;
  }
  net::set_no_delay(socket.native_handle());
  loop_.tasks().spawn(serve_tcp(std::make_shared<Connection>(*this, std::move(socket), listener, *std::move(place))));
}

awaitable<void> Server::serve_tcp(std::shared_ptr<Connection> connection) {
  std::vector<std::uint8_t> received(2048);
  std::size_t filled = 0;
  connection->expect_message();
  while (connection->socket.is_open()) {
    std::size_t taken = 0;
    while (filled - taken >= 2 && connection->socket.is_open() && !connection->ending) {
      const std::size_t length = std::size_t{received[taken]} << 8 | received[taken + 1];
      if (length < wire::kDnsHeaderOctets || length > kLongestQuery) {
        connection->close();  // nothing that could be answered; HTTP, TLS and SSH start so
        co_return;
      }
      if (filled - taken < 2 + length) break;
      if (++connection->queries > limits_.queries_per_connection) {
        connection->close();
        co_return;
      }
      connection->had_last |= draining_;
      handle_tcp(connection, std::span(received).subspan(taken + 2, length));
      taken += 2 + length;
      connection->expect_message();
      while (connection->owed >= limits_.pipelined && connection->socket.is_open()) {
        connection->room.expires_at(Clock::time_point::max());
        (void)co_await connection->room.async_wait(kAsResult);
      }
    }
    if (connection->ending) taken = filled;
    std::memmove(received.data(), received.data() + taken, filled - taken);
    filled -= taken;
    if (received.size() - filled < 512)
      received.resize(filled + 2048);  // grows with what came, not with what is promised
    const auto [error, n] = co_await connection->socket.async_read_some(
        asio::buffer(received.data() + filled, received.size() - filled), kAsResult);
    if (error) break;
    filled += n;
  }
  // The end of the client's queries; answers at work are still written, until the silence limit.
}

void Server::handle_tcp(const std::shared_ptr<Connection>& connection, std::span<const std::uint8_t> message) {
  std::array<std::uint8_t, Responder::kTcpOctets> buffer;
  Responder::Reply reply;
  switch (responder_.begin(message, connection->origin(), Transport::kTcp, Clock::now(), buffer, reply, *pending_)) {
    case Responder::Step::kSilence:
      connection->close();
      break;
    case Responder::Step::kReply:
      ++connection->owed;
      queue_reply(connection, reply);
      break;
    case Responder::Step::kResolve:
      ++connection->owed;
      if (std::optional<Place> place = bounds_.lookups.enter(pending_->client_id)) {
        loop_.tasks().spawn(answer_tcp(connection, std::move(pending_), *std::move(place)));
        pending_ = std::make_unique<Pending>();
      } else {
        queue_reply(connection, responder_.overloaded(*pending_, buffer));
      }
      break;
  }
}

awaitable<void> Server::answer_tcp(std::shared_ptr<Connection> connection, std::unique_ptr<Pending> pending, Place) {
  const Flow flow(flows_);
  std::vector<std::uint8_t> buffer(Responder::kTcpOctets);
  const Responder::Reply reply = co_await responder_.finish(pending.get(), buffer);
  queue_reply(connection, reply);
  misses_.add(Clock::now() - pending->began);
}

void Server::queue_reply(const std::shared_ptr<Connection>& connection, Responder::Reply reply) {
  if (!connection->socket.is_open()) return;
  // Length and message in one write, so in one segment (RFC 7766 §8).
  std::vector<std::uint8_t> framed;
  framed.reserve(2 + reply.size());
  framed.push_back(static_cast<std::uint8_t>(reply.size() >> 8));
  framed.push_back(static_cast<std::uint8_t>(reply.size() & 0xff));
  framed.insert(framed.end(), reply.begin(), reply.end());
  connection->replies.push_back(std::move(framed));
  if (!connection->writing) loop_.tasks().spawn(write_replies(connection));
  connection->writing = true;
}

awaitable<void> Server::write_replies(std::shared_ptr<Connection> connection) {
  while (!connection->replies.empty() && connection->socket.is_open()) {
    const auto [error, n] =
        co_await asio::async_write(connection->socket, asio::buffer(connection->replies.front()), kAsResult);
    if (error) {
      connection->close();
      break;
    }
    connection->replies.pop_front();
    --connection->owed;
    connection->room.cancel();
  }
  connection->writing = false;
  // Not so after an answer to a query from before the drain: the client may have read it and sent the next one.
  if ((connection->had_last || connection->ending) && connection->owed == 0) connection->end();
}

}  // namespace sallyport::dns
