#include "dns/server.hpp"

#include <boost/asio/write.hpp>
#include <cstring>
#include <deque>

namespace sallyport::dns {

namespace asio = boost::asio;
using net::awaitable;
using net::error_code;
using net::kAsResult;

// Queries have one question and an OPT record, padding included (RFC 8467 §4.1: 128 octets). All text reads as a longer
// one, so that other protocols at this port end at once and not at the silence limit.
constexpr std::size_t kLongestQuery = 4096;

// One TCP client. Held by its reader, its writer and every answer at work; gone with the last of them.
struct Server::Connection {
  Connection(Server& s, net::tcp::socket accepted, std::uint64_t client)
      : server(s),
        socket(std::move(accepted)),
        client_id(client),
        silence(socket.get_executor()),
        room(socket.get_executor()) {
    ++server.connections_;
  }
  ~Connection() { --server.connections_; }

  void close() {
    error_code ignored;
    socket.close(ignored);
    silence.cancel();
    room.cancel();
  }

  Server& server;
  net::tcp::socket socket;
  std::uint64_t client_id;
  net::Deadline silence;    // until the next message is complete
  asio::steady_timer room;  // never expires; cancelled when an answer has been written
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
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  ~Slot() {
    --server_.lookups_total_;
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

Server::Server(net::EventLoop& loop, Responder& responder, ServerLimits limits)
    : loop_(loop), responder_(responder), limits_(limits) {}

Server::~Server() { close(); }

void Server::Open::close() const {
  error_code ignored;
  if (udp) udp->close();
  if (tcp) tcp->close(ignored);
}

void Server::add(net::Listener listener) {
  Open open{listener.name, listener.client_id, nullptr, nullptr};
  if (listener.is_stream) {
    error_code error;
    auto acceptor = std::make_shared<net::tcp::acceptor>(loop_.context());
    if (acceptor->assign(listener.is_v6 ? net::tcp::v6() : net::tcp::v4(), listener.fd.get(), error)) return;
    listener.fd.release();
    open.tcp = acceptor;
    loop_.tasks().spawn(net::accept_loop(acceptor, [this, client = listener.client_id](net::tcp::socket socket) {
      if (connections_ >= limits_.connections) {
        net::reset_on_close(socket.native_handle());
        return;
      }
      loop_.tasks().spawn(serve_tcp(std::make_shared<Connection>(*this, std::move(socket), client)));
    }));
  } else {
    open.udp = net::UdpServer::adopt(loop_.context(), std::move(listener.fd), listener.is_v6);
    if (!open.udp) return;
    loop_.tasks().spawn(serve_udp(open.udp, listener.client_id));
  }
  open_.push_back(std::move(open));
}

void Server::remove(const std::string& name, std::uint64_t client_id) {
  std::erase_if(open_, [&](const Open& open) {
    if (open.name != name || open.client_id != client_id) return false;
    open.close();
    return true;
  });
}

void Server::close() {
  for (const Open& open : open_) open.close();
  open_.clear();
}

awaitable<void> Server::serve_udp(std::shared_ptr<net::UdpServer> socket, std::uint64_t client_id) {
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  auto pending = std::make_unique<Pending>();
  for (;;) {
    const bool readable = co_await socket->readable();
    if (!readable) co_return;
    for (const net::UdpServer::Datagram& datagram : socket->receive()) {
      Responder::Reply reply;
      switch (responder_.begin(datagram.payload, client_id, Transport::kUdp, buffer, reply, *pending)) {
        case Responder::Step::kSilence:
          break;
        case Responder::Step::kReply:
          socket->send(reply, datagram.peer);
          break;
        case Responder::Step::kResolve:
          if (Slot::free(*this, client_id)) {
            loop_.tasks().spawn(answer_udp(socket, datagram.peer, std::move(pending)));
            pending = std::make_unique<Pending>();
          } else {
            socket->send(responder_.overloaded(*pending, buffer), datagram.peer);
          }
          break;
      }
    }
  }
}

awaitable<void> Server::answer_udp(std::shared_ptr<net::UdpServer> socket, net::UdpPeer peer,
                                   std::unique_ptr<Pending> pending) {
  const Slot slot(*this, pending->client_id);
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  const Responder::Reply reply = co_await responder_.finish(pending.get(), buffer);
  socket->send(reply, peer);
}

awaitable<void> Server::serve_tcp(std::shared_ptr<Connection> connection) {
  std::vector<std::uint8_t> received(2048);
  std::size_t filled = 0;
  const auto expect_message = [&] {
    connection->silence.set(limits_.silence, [late = connection.get()] { late->close(); });
  };
  expect_message();
  while (connection->socket.is_open()) {
    std::size_t taken = 0;
    while (filled - taken >= 2 && connection->socket.is_open()) {
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
      handle_tcp(connection, std::span(received).subspan(taken + 2, length));
      taken += 2 + length;
      expect_message();
      while (connection->owed >= limits_.pipelined && connection->socket.is_open()) {
        connection->room.expires_at(net::Clock::time_point::max());
        (void)co_await connection->room.async_wait(kAsResult);
      }
    }
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
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  auto pending = std::make_unique<Pending>();
  Responder::Reply reply;
  switch (responder_.begin(message, connection->client_id, Transport::kTcp, buffer, reply, *pending)) {
    case Responder::Step::kSilence:
      connection->close();
      break;
    case Responder::Step::kReply:
      ++connection->owed;
      queue_reply(connection, reply);
      break;
    case Responder::Step::kResolve:
      ++connection->owed;
      if (Slot::free(*this, connection->client_id)) {
        loop_.tasks().spawn(answer_tcp(connection, std::move(pending)));
      } else {
        queue_reply(connection, responder_.overloaded(*pending, buffer));
      }
      break;
  }
}

awaitable<void> Server::answer_tcp(std::shared_ptr<Connection> connection, std::unique_ptr<Pending> pending) {
  const Slot slot(*this, pending->client_id);
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  const Responder::Reply reply = co_await responder_.finish(pending.get(), buffer);
  queue_reply(connection, reply);
}

void Server::queue_reply(const std::shared_ptr<Connection>& connection, Responder::Reply reply) {
  if (!connection->socket.is_open()) return;
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
}

}  // namespace sallyport::dns
