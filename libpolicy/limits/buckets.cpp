// Road not taken: buckets that a thread refills, as Envoy's local_ratelimit has. They need a timer for every bucket, or
// a sweep of all; and what was saved up between two refills comes at once.
#include "limits/buckets.hpp"

#include <algorithm>

namespace sallyport::limits {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr unsigned kTries = 64;  // each failure is another thread's success; so many in a row are no accident
constexpr std::uint64_t kBusyWait = 1'000'000;
constexpr std::uint64_t kFar = std::uint64_t{1} << 61;

constexpr std::uint64_t kWindowMask = (std::uint64_t{1} << kWindowBits) - 1;

std::uint64_t code_of(std::uint32_t seconds) noexcept { return seconds >= 86'400 ? 3 : seconds >= 3'600 ? 2 : 1; }
std::int64_t seconds_of(std::uint64_t code) noexcept { return code == 3 ? 86'400 : code == 2 ? 3'600 : 60; }
std::uint64_t window_of(std::int64_t wall_s, std::int64_t seconds) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(wall_s, 0) / seconds) & kWindowMask;
}

// A quota's word as of now: which window a charge goes to, and what was used of it.
struct State {
  std::uint64_t window = 0, used = 0;
};

// A clock that goes back gives nothing back. One window back: the later one stays, as where the clock wavers around its
// start. More: what was used stays used in the window at hand, until the next.
State state_of(std::uint64_t word, const Quota& quota, std::int64_t wall_s) noexcept {
  const std::uint64_t window = window_of(wall_s, quota.seconds);
  const std::uint64_t stored = word >> kUsedBits & kWindowMask;
  const std::uint64_t ahead = (stored - window) & kWindowMask;
  if (word != 0 && word >> 62 == code_of(quota.seconds) && ahead <= kWindowMask / 2)
    return {ahead <= 1 ? stored : window, word & kUsedMask};
  const bool lost = quota.lost_at != 0 && window_of(quota.lost_at, quota.seconds) == window;
  return {window, lost ? quota.amount : 0};
}

std::uint64_t word_of(const Quota& quota, const State& state) noexcept {
  return code_of(quota.seconds) << 62 | state.window << kUsedBits | state.used;
}

}  // namespace

std::uint64_t Rate::cost(std::uint64_t n) const noexcept {
  const auto whole = static_cast<unsigned __int128>(n) * seconds * kSecond;
  const unsigned __int128 each = (whole + amount - 1) / amount;
  return each > kFar ? kFar : static_cast<std::uint64_t>(each);
}

std::uint64_t take(Word& word, const Rate& rate, std::uint64_t n, std::uint64_t now_ns) noexcept {
  // By the one, so that as many as the burst always fit: 7 a minute are rounded up seven times.
  const std::uint64_t one = rate.cost(1);
  const auto of = [one](std::uint64_t many) { return many > kFar / one ? kFar : many * one; };
  const std::uint64_t cost = of(n), room = of(rate.burst);
  std::uint64_t due = word.load(std::memory_order_relaxed);
  for (unsigned i = 0; i < kTries; ++i) {
    const std::uint64_t next = std::max(due, now_ns) + cost;
    if (next > now_ns + room) return next - now_ns - room;
    if (word.compare_exchange_weak(due, next, std::memory_order_relaxed)) return 0;
  }
  return kBusyWait;
}

std::uint64_t queue(Word& word, const Rate& rate, std::uint64_t n, std::uint64_t now_ns) noexcept {
  const std::uint64_t cost = rate.cost(n), room = rate.cost(rate.burst);
  std::uint64_t due = word.load(std::memory_order_relaxed), next = 0;
  bool charged = false;
  for (unsigned i = 0; i < kTries && !charged; ++i) {
    // What is further ahead than anything could be was put there by somebody who may write here and should not.
    next = std::clamp(due, now_ns, now_ns + kMostQueued) + cost;
    charged = word.compare_exchange_weak(due, next, std::memory_order_relaxed);
  }
  // Too much rather than too little: the time at rest is added again by each who comes here.
  if (!charged) {
    const std::uint64_t rest = due < now_ns ? now_ns - due : 0;
    next = std::min(word.fetch_add(rest + cost, std::memory_order_relaxed), kFar) + rest + cost;
  }
  return next > now_ns + room ? next - now_ns - room : 0;
}

std::uint64_t left(const Word& word, const Quota& quota, std::int64_t wall_s) noexcept {
  const State state = state_of(word.load(std::memory_order_relaxed), quota, wall_s);
  return state.used < quota.amount ? quota.amount - state.used : 0;
}

bool use(Word& word, const Quota& quota, std::uint64_t n, std::int64_t wall_s) noexcept {
  std::uint64_t seen = word.load(std::memory_order_relaxed);
  for (unsigned i = 0; i < kTries; ++i) {
    State state = state_of(seen, quota, wall_s);
    if (state.used > quota.amount || n > quota.amount - state.used) return false;
    state.used += n;
    if (word.compare_exchange_weak(seen, word_of(quota, state), std::memory_order_relaxed)) return true;
  }
  return false;
}

std::uint64_t seconds_to_next(const Word& word, const Quota& quota, std::int64_t wall_s) noexcept {
  const State state = state_of(word.load(std::memory_order_relaxed), quota, wall_s);
  const std::int64_t into = std::max<std::int64_t>(wall_s, 0) % quota.seconds;
  const bool later = state.window != window_of(wall_s, quota.seconds);
  return static_cast<std::uint64_t>(quota.seconds - into) + (later ? quota.seconds : 0);
}

bool is_over(std::uint64_t word, std::int64_t wall_s) noexcept {
  if ((word & kUsedMask) == 0) return true;
  const std::int64_t seconds = seconds_of(word >> 62);
  const std::uint64_t ahead = ((word >> kUsedBits & kWindowMask) - window_of(wall_s, seconds)) & kWindowMask;
  return ahead > kWindowMask / 2;
}

}  // namespace sallyport::limits
