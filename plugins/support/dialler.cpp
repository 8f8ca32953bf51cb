#include "support/dialler.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <memory>

#include "support/deadline.hpp"
#include "support/sockets.hpp"
#include "support/unique_fd.hpp"

namespace sallyport::net {
namespace {

// A connection that is under way, or has come about.
error_code begin(Stream& stream, const tcp::endpoint& peer) {
  const auto last = [] { return error_code(errno, asio::error::get_system_category()); };
  const int family = peer.address().is_v6() ? AF_INET6 : AF_INET;
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return last();
  set_no_delay(fd.get());
  const int connected = ::connect(fd.get(), peer.data(), static_cast<socklen_t>(peer.size()));
  if (connected != 0 && errno != EINPROGRESS) return last();
  if (!stream.assign(fd.get(), true)) return last();
  fd.release();
  return {};
}

// What became of it: it is to be connected to that very address.
error_code outcome(const Stream& stream, const tcp::endpoint& peer) {
  int status = 0;
  socklen_t length = sizeof status;
  if (::getsockopt(stream.native_handle(), SOL_SOCKET, SO_ERROR, &status, &length) != 0) status = errno;
  if (status != 0) return {status, asio::error::get_system_category()};
  const std::optional<tcp::endpoint> connected = peer_endpoint(stream.native_handle());
  if (!connected) return asio::error::not_connected;
  return *connected == peer ? error_code() : asio::error::address_in_use;
}

// The attempts of one dial. Completions may come after the dial has ended (a cancelled connect completes on a later
// turn), so they hold it; `ended` makes them do nothing then.
struct Race {
  explicit Race(const asio::any_io_executor& executor) : poller(Poller::of(executor)), changed(executor) {}

  Poller& poller;
  std::list<Stream> attempts;
  std::size_t running = 0;
  std::optional<Stream> winner;
  tcp::endpoint peer;  // the winner's
  error_code last_error = asio::error::host_unreachable;
  asio::steady_timer changed;
  bool ended = false;

  void end() {
    ended = true;
    for (Stream& stream : attempts) stream.close();
  }
};

// Ends the race however the dialling coroutine ends, by cancellation too.
struct RaceEnd {
  std::shared_ptr<Race> race;
  ~RaceEnd() { race->end(); }
};

void start_attempt(const std::shared_ptr<Race>& race, const tcp::endpoint& candidate) {
  Stream& stream = race->attempts.emplace_back(race->poller);
  if (const error_code error = begin(stream, candidate)) {
    race->last_error = error;
    return;
  }
  ++race->running;
  stream.async_wait(Stream::kWrite, [race, &stream, candidate](error_code error) {
    --race->running;
    if (race->ended) return;
    if (!error) error = outcome(stream, candidate);
    if (error) {
      stream.close();
      race->last_error = error;
    } else if (!race->winner) {
      race->winner = std::move(stream);
      race->peer = candidate;
    }
    race->changed.cancel();
  });
}

}  // namespace

std::vector<tcp::endpoint> interleave(std::vector<tcp::endpoint> v6, std::vector<tcp::endpoint> v4) {
  std::vector<tcp::endpoint> out;
  out.reserve(v6.size() + v4.size());
  for (std::size_t i = 0; i < std::max(v6.size(), v4.size()); ++i) {
    if (i < v6.size()) out.push_back(v6[i]);
    if (i < v4.size()) out.push_back(v4[i]);
  }
  return out;
}

awaitable<Dialled> dial_one(tcp::endpoint peer, Clock::time_point deadline) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  Dialled out;
  Stream stream(Poller::of(executor));
  out.error = begin(stream, peer);
  if (out.error) co_return out;
  bool late = false;
  Deadline limit(executor);
  limit.set(deadline - Clock::now(), [&stream, &late] {
    late = true;
    stream.cancel();
  });
  const auto [error] = co_await stream.async_wait(Stream::kWrite, kAsResult);
  limit.cancel();
  out.error = late ? error_code(asio::error::timed_out) : error ? error : outcome(stream, peer);
  if (out.error) co_return out;
  out.peer = peer;
  out.socket = std::move(stream);
  co_return out;
}

awaitable<Dialled> dial(std::vector<tcp::endpoint> candidates, Clock::time_point deadline,
                        std::shared_ptr<LateCandidates> late) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const RaceEnd guard{std::make_shared<Race>(executor)};
  Race& race = *guard.race;
  if (late) {
    late->wake_ = [weak = std::weak_ptr(guard.race)] {
      if (const auto woken = weak.lock()) woken->changed.cancel();
    };
  }
  std::size_t next = 0;
  Clock::time_point next_start = Clock::now();
  while (!race.winner) {
    if (late) candidates.insert(candidates.end(), late->added_.begin(), late->added_.end());
    if (late) late->added_.clear();
    const Clock::time_point now = Clock::now();
    if (now >= deadline) {
      race.last_error = asio::error::timed_out;
      break;
    }
    if (next < candidates.size() && (now >= next_start || race.running == 0)) {
      start_attempt(guard.race, candidates[next++]);
      next_start = now + kAttemptDelay;
      continue;
    }
    if (race.running == 0 && (!late || late->closed_)) break;  // all have failed
    race.changed.expires_at(next < candidates.size() ? std::min(next_start, deadline) : deadline);
    (void)co_await race.changed.async_wait(kAsResult);  // cancelled by an attempt that ended
  }
  Dialled out;
  out.error = race.last_error;
  if (race.winner) {
    out.error = {};
    out.peer = race.peer;
    out.socket = std::move(race.winner);
  }
  co_return out;
}

}  // namespace sallyport::net
