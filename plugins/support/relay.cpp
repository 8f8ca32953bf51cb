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
      up_(*this, client, server, counts_.up, POLICY_CHARGE_UP),
      down_(*this, server, client, counts_.down, POLICY_CHARGE_DOWN) {}

void Relay::fail() {
  if (failed_) return;
  failed_ = true;
  for (Stream* stream : {&client_, &server_}) {
    if (!stream->is_open()) continue;
    reset_on_close(stream->native_handle());
    stream->close();
  }
  interrupt();
}

void Relay::interrupt() {
  up_.interrupt();
  down_.interrupt();
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
  interrupt();
}

void Relay::end_server() {
  server_.shutdown_both();  // a host's copy may hold the socket beyond the close
  server_.close();
  interrupt();
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

awaitable<bool> Relay::write(Direction& direction, std::span<const std::uint8_t> octets) {
  while (!octets.empty()) {
    if (!usable(direction.to_)) co_return false;
    const auto part = octets.first(direction.room(octets.size()));
    if (!direction.charge(part.size())) {
      fail();
      co_return false;
    }
    if (direction.rest_.count() > 0) {
      asio::steady_timer timer(direction.to_.get_executor());
      timer.expires_after(direction.rest_);
      last_ = std::max(last_, timer.expiry());
      struct Rest {  // also where this coroutine is ended at its wait
        Direction& direction;
        ~Rest() { direction.rests_until_ = nullptr; }
      } const resting{direction};
      direction.rests_until_ = &timer;
      (void)co_await timer.async_wait(kAsResult);
    }
    const bool sent = co_await send(direction.to_, part, direction.count_);
    if (!sent) co_return false;
    octets = octets.subspan(part.size());
  }
  co_return !failed_;
}

awaitable<bool> Relay::send(Stream& to, std::span<const std::uint8_t> octets, std::uint64_t& count) {
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
  if (std::exchange(resting_, false)) rest_timer_->cancel();
  running_ = false;
}

std::size_t Relay::Direction::room(std::size_t most) const {
  if (!relay_.meter_ || most == 0) return most;
  return static_cast<std::size_t>(std::min<std::uint64_t>(most, relay_.meter_->room(charge_)));
}

bool Relay::Direction::charge(std::uint64_t octets) {
  rest_ = {};
  if (!relay_.meter_) return true;
  const policy::Charged charged = relay_.meter_->charge(charge_, octets);
  if (charged) {
    rest_ = std::chrono::nanoseconds(charged.wait_ns);
  } else {
    relay_.exceeded_ = charged.exceeded != POLICY_LIMIT_NONE ? charged.exceeded : std::uint32_t{POLICY_LIMIT_BANDWIDTH};
  }
  return charged.ok;
}

// Neither side is waited for: whoever sends more meets a full window, and sees nothing else of it.
void Relay::Direction::rest() {
  if (!rest_timer_) rest_timer_ = std::make_unique<Deadline>(from_.get_executor());
  resting_ = true;
  relay_.last_ = std::max(relay_.last_, Clock::now() + rest_);
  rest_timer_->set(rest_, [this] {
    resting_ = false;
    ready();
  });
}

void Relay::Direction::interrupt() {
  if (rests_until_) rests_until_->cancel();
  if (!std::exchange(resting_, false)) return;
  rest_timer_->cancel();
  aborted();
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
      case Step::kRest:
        return rest();
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
  const auto scratch = std::span<std::uint8_t>(*relay_.resources_.scratch).first(room(RelayResources::kScratchOctets));
  const ssize_t n = from_.receive(scratch);
  if (n == 0) return Step::kEnd;
  if (n < 0) return would_block(errno) ? Step::kWaitToRead : Step::kFailed;
  relay_.progress();
  read_all_ = from_.was_last();
  const auto octets = scratch.first(static_cast<std::size_t>(n));
  if (!charge(octets.size())) return Step::kFailed;
  if (rest_.count() > 0) {
    left_.assign(octets.begin(), octets.end());
    left_sent_ = 0;
    return Step::kRest;
  }
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
    const ssize_t n = ::splice(from_.native_handle(), nullptr, pipe->write.get(), nullptr, room(pipe->capacity),
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
    if (!charge(pipe.pending())) return Step::kFailed;
    if (rest_.count() > 0) return Step::kRest;
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
