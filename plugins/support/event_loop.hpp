// EventLoop: the one thread of a plugin instance, with its io_context, its policy::Reader and its tasks.
//
// Lifetime  start() makes the thread, stop() cancels every task and joins it; both on [main]. stop() may be called
// twice. Threads   post() from any thread; everything else of a plugin runs on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <policy/plugin.hpp>
#include <thread>

#include "support/async.hpp"

namespace sallyport::net {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // on_start runs first on the new thread; on_stop runs on it last before the tasks are cancelled. Both may be empty.
  policy::Status start(const policy::Host& host, std::function<void(policy::Reader&)> on_start,
                       std::function<void()> on_stop);
  void stop();

  asio::io_context& context() noexcept { return context_; }
  TaskScope& tasks() noexcept { return tasks_; }

  // Runs on the loop's thread; dropped, and destroyed, once the loop has stopped.
  template <typename Work>
  void post(Work work) {
    asio::post(context_, std::move(work));
  }

 private:
  asio::io_context context_;
  TaskScope tasks_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  std::function<void()> on_stop_;
  std::thread thread_;
};

}  // namespace sallyport::net
