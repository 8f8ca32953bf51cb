#include "support/event_loop.hpp"

#include <pthread.h>
#include <signal.h>

#include <future>
#include <utility>

namespace sallyport::net {

bool TaskScope::spawn(awaitable<void> task) {
  if (closed_) return false;
  const auto entry = tasks_.emplace(tasks_.end());
  asio::co_spawn(context_, std::move(task),
                 asio::bind_cancellation_slot(entry->slot(), [this, entry](std::exception_ptr) {
                   tasks_.erase(entry);  // the exception, if any, is the cancellation
                 }));
  return true;
}

void TaskScope::cancel() {
  if (std::exchange(closed_, true)) return;
  // In a later turn: a task that was spawned from outside the loop has started by then. Asio 1.24 lets the exception of
  // a task that is cancelled before its first step out of run().
  asio::post(context_, [this] {
    for (auto task = tasks_.begin(); task != tasks_.end();) {
      const auto current = task++;  // an emit may end the task, and with it the entry
      current->emit(asio::cancellation_type::terminal);
    }
  });
}

EventLoop::EventLoop() : context_(1), tasks_(context_) {}

EventLoop::~EventLoop() { stop(); }

policy::Status EventLoop::start(const policy::Host& host, std::function<void(policy::Reader&)> on_start,
                                std::function<void()> on_stop) {
  if (thread_.joinable()) return {POLICY_WRONG_STATE, "the event loop runs already"};
  work_.emplace(context_.get_executor());
  on_stop_ = std::move(on_stop);
  // Signals are the host's: the new thread inherits a full mask.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::promise<bool> opened;
  std::future<bool> has_reader = opened.get_future();
  thread_ = std::thread([this, host, start = std::move(on_start), opened = std::move(opened)]() mutable {
    policy::Reader reader(host);
    const bool usable = reader.raw() != nullptr;
    if (usable && start) start(reader);
    opened.set_value(usable);
    if (!usable) return;
    context_.run();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (has_reader.get()) return {};
  thread_.join();
  work_.reset();
  return {POLICY_UNAVAILABLE, "the host gave no policy reader to this thread"};
}

void EventLoop::stop() {
  if (!thread_.joinable()) return;
  post([this] {
    if (on_stop_) on_stop_();
    tasks_.cancel();
    work_.reset();
  });
  thread_.join();
}

}  // namespace sallyport::net
