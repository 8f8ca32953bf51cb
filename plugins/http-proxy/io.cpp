// Connection's octets: reading, writing, and bodies by their framing. Nothing here ends the connection.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "http-proxy/connection.hpp"

namespace sallyport::http_proxy {

using net::awaitable;
using wire::BodyKind;
using wire::HttpState;

namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

std::string_view text_of(std::span<const std::uint8_t> octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

std::span<const std::uint8_t> octets_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Octets a second, once there has been time enough to tell.
bool is_slower(std::uint64_t octets, net::Clock::duration took, std::chrono::milliseconds grace, std::uint64_t rate) {
  if (rate == 0 || took <= grace) return false;
  const auto seconds = std::chrono::duration_cast<std::chrono::milliseconds>(took).count() / 1000.0;
  return static_cast<double>(octets) < static_cast<double>(rate) * seconds;
}

}  // namespace

awaitable<Connection::Io> Connection::readable(net::Stream& from) {
  if (!from.is_open()) co_return Io::kError;
  const auto [error] = co_await from.async_wait(net::Stream::kRead, net::kAsResult);
  if (timed_out_) co_return Io::kTimeout;
  co_return error ? Io::kError : Io::kOk;
}

// octets stay where they are until this has ended.
awaitable<Connection::Io> Connection::send(net::Stream& to, std::string_view octets) {
  while (!octets.empty()) {
    if (!to.is_open()) co_return Io::kSinkError;
    const ssize_t n = to.send(octets_of(octets));
    if (n >= 0) {
      octets.remove_prefix(static_cast<std::size_t>(n));
      if (blocked_.count() > 0 && &to == &client_) blocked_octets_ += static_cast<std::uint64_t>(n);
      continue;
    }
    if (!would_block(errno)) co_return Io::kSinkError;
    rearm();
    const net::Clock::time_point since = net::Clock::now();
    const auto [error] = co_await to.async_wait(net::Stream::kWrite, net::kAsResult);
    if (timed_out_) co_return Io::kSinkTimeout;
    if (error) co_return Io::kSinkError;
    if (&to != &client_) continue;
    blocked_ += net::Clock::now() - since;
    if (is_slower(blocked_octets_, blocked_, config_.body_timeout, config_.body_rate)) co_return Io::kSinkTimeout;
  }
  co_return Io::kOk;
}

// data may lie in the thread's scratch: what is not taken at once is copied.
awaitable<Connection::Io> Connection::send_parts(net::Stream& to, std::string_view head,
                                                 std::span<const std::uint8_t> data, std::string_view tail) {
  if (!to.is_open()) co_return Io::kSinkError;
  iovec parts[3] = {{const_cast<char*>(head.data()), head.size()},
                    {const_cast<std::uint8_t*>(data.data()), data.size()},
                    {const_cast<char*>(tail.data()), tail.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 3;
  const ssize_t n = ::sendmsg(to.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n < 0 && !would_block(errno) && errno != EINTR) co_return Io::kSinkError;
  std::size_t sent = n > 0 ? static_cast<std::size_t>(n) : 0;
  if (blocked_.count() > 0 && &to == &client_) blocked_octets_ += sent;
  if (sent == head.size() + data.size() + tail.size()) co_return Io::kOk;
  std::string left;
  for (const std::string_view part : {head, text_of(data), tail}) {
    const std::size_t gone = std::min(sent, part.size());
    left.append(part.substr(gone));
    sent -= gone;
  }
  co_return co_await send(to, left);
}

awaitable<Connection::Io> Connection::charge(bool up, std::uint64_t octets) {
  const policy::Charged charged = meter_.charge(up ? POLICY_CHARGE_UP : POLICY_CHARGE_DOWN, octets);
  if (!charged) {
    met_ = charged;
    co_return Io::kLimit;
  }
  if (charged.wait_ns == 0) co_return Io::kOk;
  co_return co_await rest(std::chrono::nanoseconds(charged.wait_ns), up);
}

// What was read is held until the limits let it go on; no time limit ends meanwhile.
awaitable<Connection::Io> Connection::rest(std::chrono::nanoseconds wait, bool up) {
  net::asio::steady_timer timer(client_.get_executor());
  timer.expires_after(wait);
  struct Rest {  // also where this coroutine is ended at its wait
    net::asio::steady_timer*& place;
    ~Rest() { place = nullptr; }
  } const resting{rests_[up ? 1 : 0] = &timer};
  rests_until_ = std::max(rests_until_, timer.expiry());
  (void)co_await timer.async_wait(net::kAsResult);
  if (up) rested_ += wait;
  if (timed_out_) co_return Io::kTimeout;
  co_return abort_ || relay_.failed() ? Io::kError : Io::kOk;
}

// From one side's framing to the other's. *passed counts data octets. A response's pending_ head goes with the first.
awaitable<Connection::Io> Connection::pass_body(Body body, std::uint64_t* passed) {
  net::Stream& from = body.up ? client_ : server_;
  net::Stream& to = body.up ? server_ : client_;
  Input& input = body.up ? from_client_ : from_server_;
  wire::ChunkedReader chunks;
  const net::Clock::time_point began = net::Clock::now();
  const std::uint32_t charged_as = body.up ? POLICY_CHARGE_UP : POLICY_CHARGE_DOWN;
  std::uint64_t left = body.length;
  bool done = body.kind == BodyKind::kNone || (body.kind == BodyKind::kLength && left == 0);
  while (!done) {
    if (abort_) co_return Io::kError;
    std::span<std::uint8_t> part;
    const bool held = !input.empty();
    if (held) {
      part = std::span(input.octets).subspan(input.used);
      part = part.first(std::min<std::uint64_t>(part.size(), meter_.room(charged_as)));
      if (body.kind == BodyKind::kLength) part = part.first(std::min<std::uint64_t>(part.size(), left));
    } else {
      std::span<std::uint8_t> room(*shared_.relay->scratch);
      room = room.first(std::min<std::uint64_t>(room.size(), meter_.room(charged_as)));
      if (body.kind == BodyKind::kLength) room = room.first(std::min<std::uint64_t>(room.size(), left));
      if (!from.is_open()) co_return Io::kError;
      const ssize_t n = from.receive(room);
      if (n < 0 && !would_block(errno)) co_return Io::kError;
      if (n == 0 && body.kind != BodyKind::kUntilClose) co_return Io::kEnd;
      if (n < 0) {
        if (!body.up && !pending_.empty()) {
          const std::string first = std::exchange(pending_, {});
          const Io sent = co_await send(to, first);
          if (sent != Io::kOk) co_return sent;
        }
        rearm();
        const Io waited = co_await readable(from);
        if (waited != Io::kOk) co_return waited;
        if (body.up &&
            is_slower(*passed, net::Clock::now() - began - rested_, config_.body_timeout, config_.body_rate)) {
          co_return Io::kTimeout;
        }
        continue;
      }
      part = room.first(static_cast<std::size_t>(n));
      done = n == 0;
    }

    std::span<std::uint8_t> data = part;
    std::size_t consumed = part.size();
    if (body.kind == BodyKind::kChunked) {
      // The runs of data, moved together: one chunk goes on for all that came at once.
      std::size_t size = 0;
      consumed = 0;
      while (consumed < part.size() && chunks.state() == HttpState::kNeedMore) {
        std::string_view run;
        chunks.next(text_of(part).substr(consumed), run);
        consumed += chunks.consumed();
        if (!run.empty()) std::memmove(part.data() + size, run.data(), run.size());
        size += run.size();
      }
      if (chunks.state() == HttpState::kFailed) {
        broken_ = wire::to_string(chunks.fault());
        co_return Io::kError;
      }
      done = chunks.state() == HttpState::kDone;
      data = part.first(size);
      if (!held) input.keep(part.subspan(consumed));  // before a suspension takes the scratch away
    }
    if (body.kind == BodyKind::kLength) {
      left -= data.size();
      done = left == 0;
    }

    std::string head = body.up ? std::string() : std::exchange(pending_, {});
    std::string_view tail;
    if (body.framing == Framing::kChunked) {
      char size[20];
      const auto end = std::to_chars(size, size + sizeof size, data.size(), 16).ptr;
      if (!data.empty()) head.append(size, end).append("\r\n");
      tail = data.empty() ? (done ? "0\r\n\r\n" : "") : done ? "\r\n0\r\n\r\n" : "\r\n";
    }
    const std::size_t size = data.size();
    std::vector<std::uint8_t> waiting;
    if (size > 0) {
      const policy::Charged charged = meter_.charge(charged_as, size);
      if (!charged) {
        met_ = charged;
        co_return Io::kLimit;
      }
      if (charged.wait_ns > 0) {
        waiting.assign(data.begin(), data.end());  // the scratch is others' meanwhile
        data = waiting;
        const Io rested = co_await rest(std::chrono::nanoseconds(charged.wait_ns), body.up);
        if (rested != Io::kOk) co_return rested;
      }
    }
    if (!head.empty() || size > 0 || !tail.empty()) {
      const Io sent = co_await send_parts(to, head, data, tail);
      if (sent != Io::kOk) co_return sent;
    }
    *passed += size;
    if (held) input.take(consumed);
  }
  if (!body.up && !pending_.empty()) {
    const std::string first = std::exchange(pending_, {});
    const Io sent = co_await send(to, first);
    if (sent != Io::kOk) co_return sent;
  }
  co_return Io::kOk;
}

}  // namespace sallyport::http_proxy
