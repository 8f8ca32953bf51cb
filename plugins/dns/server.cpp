#include "dns/server.hpp"

#include <algorithm>

#include "dns/connection.hpp"

namespace sallyport::dns {

using net::awaitable;
using net::Clock;
using net::error_code;

// Turns of a socket that is never empty, before others' tasks get theirs.
constexpr unsigned kBurst = 8;

// Of what waits in a socket that is about to go: some 2,000 queries, more than come in the time that this takes.
constexpr unsigned kMostQueuedBatches = 64;

void RequestDurations::add(Clock::duration took, std::uint64_t queries) {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::chrono::nanoseconds(took).count()));
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), ns);
  counts[static_cast<std::size_t>(bound - kBounds.begin())] += queries;
  total_ns += ns * queries;
}

Server::Server(net::EventLoop& loop, Responder& responder, Bounds& bounds, ServerLimits limits, HandOver hand_over)
    : loop_(loop),
      responder_(responder),
      bounds_(bounds),
      limits_(limits),
      hand_over_(std::move(hand_over)),
      pending_(std::make_unique<Pending>()) {}

Server::~Server() { close(); }

void Server::Open::close() const {
  error_code ignored;
  if (udp) udp->stop_reading();
  if (tcp) tcp->close(ignored);
}

void Server::add(net::Listener listener) {
  if (draining_) return;
  Open open{listener.name, listener.client_id, nullptr, nullptr, listener.is_v6};
  if (listener.is_stream) {
    error_code error;
    auto acceptor = std::make_shared<net::tcp::acceptor>(loop_.context());
    if (acceptor->assign(listener.is_v6 ? net::tcp::v6() : net::tcp::v4(), listener.fd.get(), error)) return;
    listener.fd.release();
    open.tcp = acceptor;
    loop_.tasks().spawn(
        net::accept_loop(acceptor, [this, is_v6 = listener.is_v6, id = listener.client_id](net::tcp::socket socket) {
          accepted(std::move(socket), is_v6, id);
        }));
  } else {
    open.udp = net::UdpServer::adopt(loop_.context(), std::move(listener.fd), listener.is_v6);
    if (!open.udp) return;
    loop_.tasks().spawn(serve_udp(open.udp, listener.client_id));
  }
  open_.push_back(std::move(open));
}

void Server::accepted(net::tcp::socket socket, bool is_v6, std::uint64_t listener) {
  error_code failed;
  if (!hand_over_) return start_tcp(std::move(socket), listener);
  net::UniqueFd fd(socket.release(failed));
  if (!failed) hand_over_(std::move(fd), is_v6, listener);
}

void Server::adopt(net::UniqueFd connection, bool is_v6, std::uint64_t listener) {
  error_code error;
  net::tcp::socket socket(loop_.context());
  if (socket.assign(is_v6 ? net::tcp::v6() : net::tcp::v4(), connection.get(), error)) return;
  connection.release();
  socket.native_non_blocking(true, error);
  start_tcp(std::move(socket), listener);
}

void Server::remove(const std::string& name, std::uint64_t client_id) {
  std::erase_if(open_, [&](const Open& open) {
    if (open.name != name || open.client_id != client_id) return false;
    empty(open);
    open.close();
    return true;
  });
}

// Takes what waits: it would be lost with the socket, if that is the last of its kind.
void Server::empty(const Open& open) {
  if (open.tcp) {
    net::close_empty(*open.tcp,
                     [&](net::tcp::socket socket) { accepted(std::move(socket), open.is_v6, open.client_id); });
  }
  bool full = open.udp != nullptr;
  for (unsigned turn = 0; turn < kMostQueuedBatches && full; ++turn) {
    const std::size_t count = open.udp->receive(&full);
    serve_batch(open.udp, open.client_id, count);
  }
}

void Server::drain() {
  if (std::exchange(draining_, true)) return;
  for (const Open& open : open_) {
    empty(open);
    open.close();
  }
  open_.clear();
  for (Connection* connection : live_) connection->expect_message();
}

void Server::close() {
  draining_ = true;
  for (const Open& open : open_) open.close();
  open_.clear();
  for (Connection* connection : live_) connection->close();
}

awaitable<void> Server::serve_udp(std::shared_ptr<net::UdpServer> socket, std::uint64_t listener) {
  for (;;) {
    const bool readable = co_await socket->readable();
    if (!readable) co_return;
    bool full = true;
    for (unsigned turn = 0; turn < kBurst && full; ++turn) {
      const std::size_t count = socket->receive(&full);
      serve_batch(socket, listener, count);
    }
  }
}

void Server::serve_batch(const std::shared_ptr<net::UdpServer>& socket, std::uint64_t listener, std::size_t count) {
  if (count == 0) return;
  const Clock::time_point began = Clock::now();
  const std::uint64_t hits_before = responder_.counters().cache_hits;
  for (std::size_t i = 0; i < count; ++i) {
    const Origin origin{listener, reinterpret_cast<const sockaddr*>(&socket->remote(i)), socket->remote_size(i)};
    Responder::Reply reply;
    switch (responder_.begin(socket->payload(i), origin, Transport::kUdp, began, socket->room(i), reply, *pending_)) {
      case Responder::Step::kSilence:
        break;
      case Responder::Step::kReply:
        socket->reply(i, reply.size());
        break;
      case Responder::Step::kResolve:
        if (std::optional<Place> place = bounds_.lookups.enter(pending_->client_id)) {
          loop_.tasks().spawn(
              answer_udp(socket, socket->peer(i), std::move(pending_), *std::move(place), Flow(flows_)));
          pending_ = std::make_unique<Pending>();
        } else {
          socket->reply(i, responder_.overloaded(*pending_, socket->room(i)).size());
        }
        break;
    }
  }
  socket->flush();
  const std::uint64_t hits = responder_.counters().cache_hits - hits_before;
  if (hits > 0) hits_.add(Clock::now() - began, hits);
}

awaitable<void> Server::answer_udp(std::shared_ptr<net::UdpServer> socket, net::UdpPeer peer,
                                   std::unique_ptr<Pending> pending, Place, Flow) {
  std::array<std::uint8_t, Responder::kReplyOctets> buffer;
  const Responder::Reply reply = co_await responder_.finish(pending.get(), buffer);
  socket->send(reply, peer);
  misses_.add(Clock::now() - pending->began);
}

}  // namespace sallyport::dns
