#include "support/relay.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>

#include "support/deadline.hpp"
#include "support/sockets.hpp"

namespace sallyport::net {

namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

}  // namespace

Relay::Relay(Stream& client, Stream& server, RelayResources& resources) noexcept
    : client_(client),
      server_(server),
      resources_(resources),
      last_(Clock::now()),
      up_(*this, client, server, counts_.up),
      down_(*this, server, client, counts_.down) {}

void Relay::fail() {
  if (failed_) return;
  failed_ = true;
  for (Stream* stream : {&client_, &server_}) {
    if (!stream->is_open()) continue;
    reset_on_close(stream->native_handle());
    stream->close();
  }
}

bool Relay::revoked() {
  if (!ticket_ || ticket_->live()) return false;
  fail();
  return true;
}

awaitable<bool> Relay::wait(Stream& stream, Poller::Side side) {
  if (!usable(stream)) co_return false;
  const auto [error] = co_await stream.async_wait(side, kAsResult);
  if (error && stream.is_open()) fail();  // closed: end_server() or fail() did it
  co_return !error && !failed_;
}

void Relay::close() {
  client_.close();
  server_.close();
}

void Relay::end_server() {
  server_.shutdown_both();  // a host's copy may hold the socket beyond the close
  server_.close();
}

awaitable<std::size_t> Relay::read(Stream& from, std::span<std::uint8_t> buffer) {
  for (;;) {
    if (!usable(from)) co_return 0;
    const ssize_t n = from.receive(buffer);
    if (n >= 0) {
      progress();
      co_return static_cast<std::size_t>(n);
    }
    if (!would_block(errno)) {
      fail();
      co_return 0;
    }
    const bool ready = co_await wait(from, Stream::kRead);
    if (!ready) co_return 0;
  }
}

awaitable<bool> Relay::write(Stream& to, std::span<const std::uint8_t> octets, std::uint64_t& count) {
  while (!octets.empty()) {
    if (!usable(to)) co_return false;
    const ssize_t n = to.send(octets);
    if (n >= 0) {
      count += static_cast<std::uint64_t>(n);
      octets = octets.subspan(static_cast<std::size_t>(n));
      progress();
      continue;
    }
    if (!would_block(errno)) {
      fail();
      co_return false;
    }
    const bool ready = co_await wait(to, Stream::kWrite);
    if (!ready) co_return false;
  }
  co_return !failed_;
}

// ---- one direction

void Relay::Direction::start() {
  running_ = true;
  well_ = read_all_ = false;
  began_ = count_;
  step();
}

void Relay::Direction::stop() {
  if (waits_on_) std::exchange(waits_on_, nullptr)->forget(waits_for_, *this);
  running_ = false;
}

void Relay::Direction::wait(Stream& stream, Poller::Side side) {
  waits_on_ = &stream;
  waits_for_ = side;
  stream.wait(side, *this);
}

void Relay::Direction::ready() {
  waits_on_ = nullptr;
  step();
  if (!running_) ended.set();  // last: who awaits this may destroy it
}

// The socket was closed, or what waits on it was told to look again.
void Relay::Direction::aborted() {
  waits_on_ = nullptr;
  running_ = false;
  ended.abort();
}

// The loop goes: whoever awaits this owns it.
void Relay::Direction::destroy() {
  waits_on_ = nullptr;
  running_ = false;
  ended.destroy();
}

void Relay::Direction::step() {
  turn_ = 0;
  for (;;) {
    Step next = Step::kFailed;
    if (relay_.usable(from_) && relay_.usable(to_) && !relay_.revoked()) {
      next = !left_.empty() ? flush() : read_all_ ? Step::kEnd : pipe_ ? splice() : copy();
    } else {
      break;
    }
    switch (next) {
      case Step::kMore:
        if (turn_ < kTurn) continue;
        return wait(from_, Stream::kRead);  // which it still may: in the loop's next turn
      case Step::kWaitToRead:
        return wait(from_, Stream::kRead);
      case Step::kWaitToWrite:
        return wait(to_, Stream::kWrite);
      case Step::kEnd:
        end();
        return;
      case Step::kFailed:
        relay_.fail();
        break;
    }
    break;
  }
  running_ = false;
}

// An error of shutdown() means that the other side has gone already; its own direction notices.
void Relay::Direction::end() {
  running_ = false;
  well_ = true;
  if (!other_ || !other_->has_ended_well()) to_.shutdown_send();
}

Relay::Direction::Step Relay::Direction::copy() {
  if (count_ - began_ >= kSpliceAfter) {
    PipePool::Lease pipe = relay_.resources_.pipes.lease();
    if (pipe.valid()) {
      pipe_.emplace(std::move(pipe));
      return Step::kMore;
    }
  }
  std::span<std::uint8_t> scratch(*relay_.resources_.scratch);
  const ssize_t n = from_.receive(scratch);
  if (n == 0) return Step::kEnd;
  if (n < 0) return would_block(errno) ? Step::kWaitToRead : Step::kFailed;
  relay_.progress();
  read_all_ = from_.was_last();
  const auto octets = scratch.first(static_cast<std::size_t>(n));
  // With more to come, which is the end: both go in one segment, and wake the receiver once.
  const ssize_t sent = to_.send(octets, read_all_ ? MSG_MORE : 0);
  if (sent < 0 && !would_block(errno)) return Step::kFailed;
  const std::size_t taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  count_ += taken;
  turn_ += static_cast<std::uint64_t>(n);
  if (taken == octets.size()) return Step::kMore;
  left_.assign(octets.begin() + static_cast<std::ptrdiff_t>(taken), octets.end());
  left_sent_ = 0;
  return Step::kWaitToWrite;
}

Relay::Direction::Step Relay::Direction::flush() {
  const ssize_t n = to_.send(std::span(left_).subspan(left_sent_));
  if (n < 0) return would_block(errno) ? Step::kWaitToWrite : Step::kFailed;
  relay_.progress();
  count_ += static_cast<std::uint64_t>(n);
  left_sent_ += static_cast<std::size_t>(n);
  if (left_sent_ < left_.size()) return Step::kWaitToWrite;
  left_ = {};
  return Step::kMore;
}

Relay::Direction::Step Relay::Direction::splice() {
  PipePool::Lease& pipe = *pipe_;
  if (pipe.pending() == 0) {
    if (!from_.may(Stream::kRead)) return Step::kWaitToRead;
    const ssize_t n = ::splice(from_.native_handle(), nullptr, pipe->write.get(), nullptr, pipe->capacity,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n == 0) return Step::kEnd;
    if (n < 0) {
      if (errno == EINTR) return Step::kMore;
      if (!would_block(errno)) return Step::kFailed;
      from_.exhausted(Stream::kRead);
      return Step::kWaitToRead;
    }
    pipe.pending() = static_cast<std::size_t>(n);
    relay_.progress();
  }
  if (!to_.may(Stream::kWrite)) return Step::kWaitToWrite;
  const ssize_t m = ::splice(pipe->read.get(), nullptr, to_.native_handle(), nullptr, pipe.pending(),
                             SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (m < 0) {
    if (errno == EINTR) return Step::kMore;
    if (!would_block(errno)) return Step::kFailed;
    to_.exhausted(Stream::kWrite);
    return Step::kWaitToWrite;
  }
  pipe.pending() -= static_cast<std::size_t>(m);
  count_ += static_cast<std::uint64_t>(m);
  turn_ += static_cast<std::uint64_t>(m);
  relay_.progress();
  return Step::kMore;
}

// ---- both

awaitable<bool> Relay::pump(Direction& direction) {
  direction.start();
  if (direction.is_running()) (void)co_await direction.ended.async_wait(kAsResult);
  direction.stop();
  co_return direction.has_ended_well() && !failed_;
}

awaitable<void> Relay::run() {
  up_.end_with(&down_);
  down_.end_with(&up_);
  up_.start();
  down_.start();
  while (up_.is_running() || down_.is_running()) {
    Direction& one = up_.is_running() ? up_ : down_;
    const auto [error] = co_await one.ended.async_wait(kAsResult);
    if (error) break;
  }
  if (!up_.has_ended_well() || !down_.has_ended_well()) fail();
  up_.stop();
  down_.stop();
  if (!failed_) close();
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
  Deadline limit(client_.get_executor());
  const std::function<void()> look = [&] {
    const Clock::duration left = last_ + idle - Clock::now();
    if (left > Clock::duration::zero()) return limit.set(left, look);
    fail();
  };
  limit.set(idle, look);
  co_await run();
  limit.cancel();
}

}  // namespace sallyport::net
