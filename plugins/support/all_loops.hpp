// AllLoops: work that each loop of a plugin is to do once, and how many have not come to it yet. A drain is over only
// when every thread has closed its listeners: until then one of them may still accept.
//
// Threads  [main]; the work runs on its loop.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "support/event_loop.hpp"

namespace sallyport::net {

class AllLoops {
 public:
  template <typename Work>
  void post(EventLoop& loop, Work work) {
    {
      const std::lock_guard lock(state_->mutex);
      ++state_->waiting;
    }
    loop.post([state = state_, moved = std::move(work)]() mutable {
      moved();
      const std::lock_guard lock(state->mutex);
      --state->waiting;
      state->changed.notify_all();
    });
  }

  // How many have not done it; waits for them no longer than that.
  std::size_t wait(Clock::duration most) {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, most, [this] { return state_->waiting == 0; });
    return state_->waiting;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t waiting = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();  // a loop may come to it after this has gone
};

}  // namespace sallyport::net
