// Coroutines on Boost.Asio as this tree writes them: errors are values, every task belongs to a scope.
//
// Cancellation  TaskScope::cancel() ends the operation that each task waits in; the task's next co_await throws
//               operation_aborted, which unwinds it and ends in the scope. Nothing else may throw out of a task.
// Threads       A scope and its tasks live on the one thread that runs the loop.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <list>

namespace sallyport::net {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;
using asio::ip::udp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

// auto [error, n] = co_await socket.async_receive(buffer, kAsResult);
inline constexpr auto kAsResult = asio::as_tuple(asio::use_awaitable);

// Invariant: tasks_ holds exactly the tasks that have not ended.
class TaskScope {
 public:
  explicit TaskScope(asio::io_context& context) noexcept : context_(context) {}
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // The task starts on the loop's next turn. After cancel() it is dropped unstarted, and false comes back.
  bool spawn(awaitable<void> task);

  // Ends every task, in the loop's next turn; they are gone once it has run out of work. Nothing starts afterwards.
  void cancel();

  std::size_t size() const noexcept { return tasks_.size(); }

 private:
  asio::io_context& context_;
  std::list<asio::cancellation_signal> tasks_;
  bool closed_ = false;
};

}  // namespace sallyport::net
