// Deadline: an action that happens unless it is cancelled before, even in the turn in which the timer has already
// fired.
//
// Asio queues the handler of an expired timer at once; cancelling then comes too late for the handler, and it would run
// after its owner has gone. Here the action itself is owned, and the handler only looks whether it is still there.
// Threads  The loop's.
#pragma once

#include <functional>
#include <memory>

#include "support/async.hpp"

namespace sallyport::net {

class Deadline {
 public:
  explicit Deadline(const asio::any_io_executor& executor) : timer_(executor) {}

  // Replaces what was set before.
  void set(Clock::duration after, std::function<void()> action) {
    action_ = std::make_shared<std::function<void()>>(std::move(action));
    timer_.expires_after(after);
    timer_.async_wait([weak = std::weak_ptr(action_)](error_code error) {
      const auto live = weak.lock();
      if (!error && live) (*live)();
    });
  }
  void cancel() {
    action_.reset();
    timer_.cancel();
  }

 private:
  asio::steady_timer timer_;
  std::shared_ptr<std::function<void()>> action_;
};

}  // namespace sallyport::net
