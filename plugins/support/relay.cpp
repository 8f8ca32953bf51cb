#include "support/relay.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cerrno>
#include <vector>

#include "support/sockets.hpp"

namespace sallyport::net {

using namespace boost::asio::experimental::awaitable_operators;

namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

void Relay::fail() {
  if (failed_) return;
  failed_ = true;
  error_code ignored;
  for (tcp::socket* socket : {&client_, &server_}) {
    if (!socket->is_open()) continue;
    reset_on_close(socket->native_handle());
    socket->close(ignored);
  }
}

bool Relay::revoked() {
  if (!ticket_ || ticket_->live()) return false;
  fail();
  return true;
}

bool Relay::end_of(tcp::socket& to) {
  error_code error;
  to.shutdown(tcp::socket::shutdown_send, error);
  return true;  // an error here means that the other side has gone already; its own direction notices
}

awaitable<bool> Relay::wait(tcp::socket& socket, tcp::socket::wait_type what) {
  if (!usable(socket)) co_return false;
  const auto [error] = co_await socket.async_wait(what, kAsResult);
  if (error && socket.is_open()) fail();  // closed: end_server() or fail() did it
  co_return !error && !failed_;
}

void Relay::close() {
  error_code ignored;
  client_.close(ignored);
  server_.close(ignored);
}

void Relay::end_server() {
  error_code ignored;
  server_.shutdown(tcp::socket::shutdown_both, ignored);  // a flow ticket may hold the socket beyond the close
  server_.close(ignored);
}

awaitable<std::size_t> Relay::read(tcp::socket& from, std::span<std::uint8_t> buffer) {
  for (;;) {
    if (!usable(from)) co_return 0;
    const ssize_t n = ::recv(from.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n >= 0) {
      progress();
      co_return static_cast<std::size_t>(n);
    }
    if (errno == EINTR) continue;
    if (!would_block(errno)) {
      fail();
      co_return 0;
    }
    const bool ready = co_await wait(from, tcp::socket::wait_read);
    if (!ready) co_return 0;
  }
}

awaitable<bool> Relay::write(tcp::socket& to, std::span<const std::uint8_t> octets, std::uint64_t& count) {
  while (!octets.empty()) {
    if (!usable(to)) co_return false;
    const ssize_t n = ::send(to.native_handle(), octets.data(), octets.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      count += static_cast<std::uint64_t>(n);
      octets = octets.subspan(static_cast<std::size_t>(n));
      progress();
      continue;
    }
    if (errno == EINTR) continue;
    if (!would_block(errno)) {
      fail();
      co_return false;
    }
    const bool ready = co_await wait(to, tcp::socket::wait_write);
    if (!ready) co_return false;
  }
  co_return !failed_;
}

awaitable<bool> Relay::pump(tcp::socket& from, tcp::socket& to, std::uint64_t& count) {
  std::vector<std::uint8_t> left;
  std::uint64_t turn = 0;
  const std::uint64_t before = count;
  while (usable(from) && usable(to) && !revoked()) {
    if (count - before >= kSpliceAfter) {
      PipePool::Lease pipe = resources_.pipes.lease();
      if (pipe.valid()) {
        const bool done = co_await splice(from, to, count, std::move(pipe));
        co_return done;
      }
    }
    std::span<std::uint8_t> scratch(*resources_.scratch);
    const ssize_t n = ::recv(from.native_handle(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (n == 0) co_return end_of(to);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (!would_block(errno)) {
        fail();
        break;
      }
      const bool ready = co_await wait(from, tcp::socket::wait_read);
      if (!ready) break;
      turn = 0;
      continue;
    }
    progress();
    const ssize_t sent =
        ::send(to.native_handle(), scratch.data(), static_cast<std::size_t>(n), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && !would_block(errno) && errno != EINTR) {
      fail();
      break;
    }
    const std::size_t taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
    count += taken;
    turn += static_cast<std::uint64_t>(n);
    if (taken < static_cast<std::size_t>(n)) {
      left.assign(scratch.begin() + static_cast<std::ptrdiff_t>(taken), scratch.begin() + n);
      const bool written = co_await write(to, left, count);
      if (!written) break;
      turn = 0;
    }
    if (turn >= kTurn) {
      turn = 0;
      co_await asio::post(from.get_executor(), asio::use_awaitable);
    }
  }
  co_return false;
}

awaitable<bool> Relay::splice(tcp::socket& from, tcp::socket& to, std::uint64_t& count, PipePool::Lease pipe) {
  std::uint64_t turn = 0;
  while (usable(from) && usable(to) && !revoked()) {
    if (pipe.pending() == 0) {
      const ssize_t n = ::splice(from.native_handle(), nullptr, pipe->write.get(), nullptr, pipe->capacity,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n == 0) co_return end_of(to);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (!would_block(errno)) {
          fail();
          break;
        }
        const bool ready = co_await wait(from, tcp::socket::wait_read);
        if (!ready) break;
        turn = 0;
        continue;
      }
      pipe.pending() = static_cast<std::size_t>(n);
      progress();
    }
    const ssize_t m = ::splice(pipe->read.get(), nullptr, to.native_handle(), nullptr, pipe.pending(),
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (m < 0) {
      if (errno == EINTR) continue;
      if (!would_block(errno)) {
        fail();
        break;
      }
      const bool ready = co_await wait(to, tcp::socket::wait_write);
      if (!ready) break;
      turn = 0;
      continue;
    }
    pipe.pending() -= static_cast<std::size_t>(m);
    count += static_cast<std::uint64_t>(m);
    turn += static_cast<std::uint64_t>(m);
    progress();
    if (turn >= kTurn) {
      turn = 0;
      co_await asio::post(from.get_executor(), asio::use_awaitable);
    }
  }
  co_return false;
}

awaitable<void> Relay::watch(std::chrono::milliseconds idle) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  while (!failed_) {
    timer.expires_at(last_ + idle);
    const auto [error] = co_await timer.async_wait(kAsResult);
    if (error || Clock::now() >= last_ + idle) co_return;
  }
}

awaitable<void> Relay::run(std::chrono::milliseconds idle) {
  const auto ended = co_await ((pump_up() && pump_down()) || watch(idle));
  if (ended.index() == 1) fail();
  if (!failed_) close();
}

}  // namespace sallyport::net
