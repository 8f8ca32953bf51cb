// The three ways to count, each in one 64-bit word of shared memory.
//
// rate     GCRA (ITU-T I.371): the word is the time at which the next octet is due if all that was charged goes on at
//          the rate. A bucket of `burst` that refills at the rate, without a thread that refills it.
// queue    The same, but what does not fit is given a later time instead of being refused.
// quota    What was used in a window of wall-clock time: [period 2][window 20][used 42] bits.
//
// Exact    A division rounds to the strict side, so over any time t never more than burst + rate * t.
// Threads  Any, of any process. Wait-free: a bounded number of tries, and then the strict answer.
// Time     Passed in: nanoseconds of one steady clock for all, seconds of wall-clock time.
#pragma once

#include <atomic>
#include <cstdint>

namespace sallyport::limits {

using Word = std::atomic<std::uint64_t>;

struct Rate {
  std::uint64_t amount = 1;   // in each period
  std::uint32_t seconds = 1;  // the period
  std::uint64_t burst = 1;    // at once, after a rest

  // Nanoseconds that n take; rounded up, and bounded so that sums of two do not overflow.
  std::uint64_t cost(std::uint64_t n) const noexcept;
};

// 0: charged. Else nothing was, and this many nanoseconds later it may fit.
std::uint64_t take(Word& word, const Rate& rate, std::uint64_t n, std::uint64_t now_ns) noexcept;

// Always charged; nanoseconds until it may go on. At most kMostQueued ahead: a bucket that was never so full.
inline constexpr std::uint64_t kMostQueued = std::uint64_t{86'400} * 1'000'000'000;
std::uint64_t queue(Word& word, const Rate& rate, std::uint64_t n, std::uint64_t now_ns) noexcept;

struct Quota {
  std::uint64_t amount = 1;
  std::uint32_t seconds = 86'400;  // 60, 3600 or 86400
  // Unless 0, the window of this time counts as used up for whoever has no record in it: what was used is not known.
  std::int64_t lost_at = 0;
};

inline constexpr unsigned kUsedBits = 42, kWindowBits = 20;
inline constexpr std::uint64_t kUsedMask = (std::uint64_t{1} << kUsedBits) - 1;

// What is left in the window at hand. Charges nothing.
std::uint64_t left(const Word& word, const Quota& quota, std::int64_t wall_s) noexcept;
// False: not charged, since it is more than what is left.
bool use(Word& word, const Quota& quota, std::uint64_t n, std::int64_t wall_s) noexcept;
// Until the window at hand ends.
std::uint64_t seconds_to_next(const Word& word, const Quota& quota, std::int64_t wall_s) noexcept;
// Nothing of it matters any more: another window has begun.
bool is_over(std::uint64_t word, std::int64_t wall_s) noexcept;

}  // namespace sallyport::limits
