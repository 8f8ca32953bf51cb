// Mailbox: where coroutines of one loop wait for what another thread will send them.
//
//   std::optional<T> value = co_await mailbox.ask([](std::uint64_t ticket) { …somebody will deliver(ticket, …)… },
//   when);
//
// Form     A ticket is all that leaves the loop: whoever answers late, or after the asker has ended, finds nobody.
// Threads  The loop's; who answers from elsewhere posts deliver() to the loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "support/async.hpp"

namespace sallyport::net {

template <typename T>
class Mailbox {
 public:
  explicit Mailbox(asio::io_context& context) : context_(context) {}
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // nullopt: the deadline passed, or the task was cancelled. The mailbox outlives the call.
  awaitable<std::optional<T>> ask(std::function<void(std::uint64_t)> start, Clock::time_point deadline) {
    Waiter waiter(*this, deadline);
    start(waiter.ticket);
    if (!waiter.value) co_await waiter.timer.async_wait(kAsResult);
    co_return std::move(waiter.value);
  }

  void deliver(std::uint64_t ticket, T value) {
    const auto found = waiters_.find(ticket);
    if (found == waiters_.end()) return;
    found->second->value.emplace(std::move(value));
    found->second->timer.cancel();
  }

 private:
  // In the map for as long as its coroutine waits, which may be ended from outside.
  struct Waiter {
    Waiter(Mailbox& of, Clock::time_point deadline) : mailbox(of), ticket(++of.last_), timer(of.context_, deadline) {
      mailbox.waiters_.emplace(ticket, this);
    }
    Waiter(const Waiter&) = delete;
    ~Waiter() { mailbox.waiters_.erase(ticket); }

    Mailbox& mailbox;
    std::uint64_t ticket;
    asio::steady_timer timer;
    std::optional<T> value;
  };

  asio::io_context& context_;
  std::map<std::uint64_t, Waiter*> waiters_;
  std::uint64_t last_ = 0;
};

}  // namespace sallyport::net
