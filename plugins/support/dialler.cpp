#include "support/dialler.hpp"

#include <algorithm>
#include <list>
#include <memory>

#include "support/sockets.hpp"

namespace sallyport::net {
namespace {

// The attempts of one dial. Completions may come after the dial has ended (a cancelled connect completes on a later
// turn), so they hold it; `ended` makes them do nothing then.
struct Race {
  explicit Race(const asio::any_io_executor& executor) : changed(executor) {}

  std::list<tcp::socket> attempts;
  std::size_t running = 0;
  std::optional<tcp::socket> winner;
  error_code last_error = asio::error::host_unreachable;
  asio::steady_timer changed;
  bool ended = false;

  void end() {
    ended = true;
    error_code ignored;
    for (tcp::socket& socket : attempts) socket.close(ignored);
  }
};

// Ends the race however the dialling coroutine ends, by cancellation too.
struct RaceEnd {
  std::shared_ptr<Race> race;
  ~RaceEnd() { race->end(); }
};

void start_attempt(const std::shared_ptr<Race>& race, const asio::any_io_executor& executor,
                   const tcp::endpoint& candidate) {
  tcp::socket& socket = race->attempts.emplace_back(executor);
  ++race->running;
  socket.async_connect(candidate, [race, &socket, candidate](error_code error) {
    --race->running;
    if (race->ended) return;
    if (!error && socket.remote_endpoint(error) != candidate && !error) error = asio::error::address_in_use;
    if (error) {
      race->last_error = error;
    } else if (!race->winner) {
      race->winner = std::move(socket);
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
      start_attempt(guard.race, executor, candidates[next++]);
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
    error_code error;
    out.peer = race.winner->remote_endpoint(error);
    race.winner->native_non_blocking(true, error);
    set_no_delay(race.winner->native_handle());
    out.socket = std::move(race.winner);
  }
  co_return out;
}

}  // namespace sallyport::net
