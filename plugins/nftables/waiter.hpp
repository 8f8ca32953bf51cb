// Waiter: a netlink socket that the loop waits on and that stays whose it is; and the clock that bindings are kept by.
//
// Threads  The loop's.
#pragma once

#include <time.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>

#include "support/async.hpp"

namespace sallyport::nft {

struct Waiter {
  Waiter(boost::asio::io_context& context, int fd) : descriptor(context, fd) {}
  ~Waiter() { descriptor.release(); }
  boost::asio::posix::stream_descriptor descriptor;
};

inline std::uint64_t boot_ms() {
  timespec now;
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

}  // namespace sallyport::nft
