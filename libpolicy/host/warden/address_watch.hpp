// AddressWatch: says when the host may have other addresses than before: they are guarded, so a policy goes with them.
//
// Form     rtnetlink's notices of IPv4 and IPv6 addresses. An interface comes up in several steps: a change counts once
//          nothing has happened for kDebounce.
// Errors   Notices that were lost count as a change. No netlink to be had: fd() is -1, nothing is ever said.
// Threads  [main].
#pragma once

#include <chrono>
#include <optional>

#include "host/warden/memory_file.hpp"

namespace sallyport {

class AddressWatch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kDebounce{50};
  static constexpr std::chrono::milliseconds kLongest{250};  // addresses that never rest are asked for all the same

  AddressWatch();

  int fd() const noexcept { return notices_.get(); }
  void on_readable(Clock::time_point now);
  // True once after a change has come to rest.
  bool changed(Clock::time_point now);
  int next_ms(Clock::time_point now) const;  // until changed() is worth asking; -1: not until something happens

 private:
  Descriptor notices_;
  std::optional<Clock::time_point> first_, last_;
};

}  // namespace sallyport
