// HandlerWaiter: a completion handler that waits on a Poller, or for a Signal. Its memory is Asio's recycled.
//
// Threads  The loop's.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <memory>
#include <new>
#include <utility>

#include "support/poller.hpp"

namespace sallyport::net {

// Handler: void(error_code). Deletes itself with the one call that it gets.
template <typename Handler>
class HandlerWaiter final : public Poller::Waiter {
 public:
  static HandlerWaiter* make(asio::io_context& context, Handler handler) {
    Allocator allocator = allocator_of(handler);
    HandlerWaiter* const memory = std::allocator_traits<Allocator>::allocate(allocator, 1);
    return ::new (static_cast<void*>(memory)) HandlerWaiter(context, std::move(handler));
  }
  // cancel() ends this wait, and does nothing once it has ended.
  template <typename Cancel>
  void on_cancel(Cancel cancel) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (!slot.is_connected()) return;
    slot.assign([cancel](asio::cancellation_type type) {
      if (type != asio::cancellation_type::none) cancel();
    });
  }

  void ready() override {
    Handler handler = release();
    complete(std::move(handler), {});
  }
  void aborted() override {
    asio::io_context& context = context_;
    asio::post(context,
               [handler = release()]() mutable { complete(std::move(handler), asio::error::operation_aborted); });
  }
  void destroy() override { (void)release(); }

 private:
  using Allocator = typename std::allocator_traits<
      asio::associated_allocator_t<Handler, asio::recycling_allocator<void>>>::template rebind_alloc<HandlerWaiter>;

  HandlerWaiter(asio::io_context& context, Handler handler) : context_(context), handler_(std::move(handler)) {}
  ~HandlerWaiter() = default;

  // What on_cancel() left in the slot may name what the handler is about to destroy.
  static void complete(Handler handler, error_code error) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.clear();
    std::move(handler)(error);
  }
  static Allocator allocator_of(const Handler& handler) {
    return Allocator(asio::get_associated_allocator(handler, asio::recycling_allocator<void>()));
  }
  Handler release() {
    Allocator allocator = allocator_of(handler_);
    Handler handler = std::move(handler_);
    this->~HandlerWaiter();
    std::allocator_traits<Allocator>::deallocate(allocator, this, 1);
    return handler;
  }

  asio::io_context& context_;
  Handler handler_;
};

// One coroutine waits until somebody says so.
class Signal {
 public:
  explicit Signal(Poller& poller) noexcept : poller_(poller) {}
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  template <typename Token>
  auto async_wait(Token&& token) {
    return asio::async_initiate<Token, void(error_code)>([this](auto handler) { this->start(std::move(handler)); },
                                                         token);
  }
  bool is_awaited() const noexcept { return waiter_ != nullptr; }
  // It goes on here and now, and may be the end of whoever calls.
  void set() {
    if (waiter_) std::exchange(waiter_, nullptr)->ready();
  }
  // It goes on in a later turn, with operation_aborted.
  void abort() {
    if (waiter_) std::exchange(waiter_, nullptr)->aborted();
  }
  void destroy() {
    if (waiter_) std::exchange(waiter_, nullptr)->destroy();
  }

 private:
  template <typename Handler>
  void start(Handler handler) {
    auto* const waiter = HandlerWaiter<Handler>::make(poller_.context(), std::move(handler));
    waiter_ = waiter;
    waiter->on_cancel([this, serial = ++serial_] {
      if (serial == serial_) abort();
    });
  }

  Poller& poller_;
  Poller::Waiter* waiter_ = nullptr;
  std::uint64_t serial_ = 0;
};

}  // namespace sallyport::net
