// Stream: a connected TCP socket on a Poller, or one that connects. Reads and writes never block.
//
//   const ssize_t n = stream.receive(buffer);          // -1 and EAGAIN: wait; no call is made for what is known
//   if (n < 0 && errno == EAGAIN) {
//     const auto [error] = co_await stream.async_wait(Stream::kRead, kAsResult);
//
// Lent      To a flow ticket: it is taken back before the descriptor is closed, whoever closes it.
// Lifetime  Closed with the object. A move takes what waits along; nothing waits while it moves in this tree.
// Threads   The loop's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "support/handler_waiter.hpp"
#include "support/poller.hpp"

namespace sallyport::net {

class Stream {
 public:
  static constexpr Poller::Side kRead = Poller::kRead, kWrite = Poller::kWrite;

  // Who knows the descriptor's number.
  class Borrower {
   public:
    virtual void take_back(int fd) noexcept = 0;

   protected:
    ~Borrower() = default;
  };

  explicit Stream(Poller& poller) noexcept : poller_(&poller) {}
  Stream(Stream&& other) noexcept
      : poller_(other.poller_),
        entry_(std::exchange(other.entry_, nullptr)),
        borrower_(std::move(other.borrower_)),
        copied_(other.copied_) {}
  Stream& operator=(Stream&& other) noexcept;
  ~Stream() { close(); }

  // Takes fd, which is non-blocking: a connection, or one that is under way. False: fd stays the caller's.
  bool assign(int fd, bool connecting = false);
  bool is_open() const noexcept { return entry_ != nullptr; }
  int native_handle() const noexcept { return entry_ ? entry_->fd : -1; }
  Poller& poller() const noexcept { return *poller_; }
  asio::io_context::executor_type get_executor() const noexcept { return poller_->context().get_executor(); }

  void close() noexcept;
  // What waits ends with operation_aborted.
  void cancel() {
    if (entry_) poller_->cancel(*entry_);
  }
  void shutdown_send() noexcept;
  void shutdown_both() noexcept;

  // As recv(2), send(2).
  ssize_t receive(std::span<std::uint8_t> room) noexcept;
  ssize_t send(std::span<const std::uint8_t> octets, int flags = 0) noexcept;
  // What was received last is the last that comes.
  bool was_last() const noexcept { return entry_ && was_last_; }

  // For calls that are made on native_handle(): may it have something to say, and it said EAGAIN.
  bool may(Poller::Side side) const noexcept { return entry_ && (side == kRead ? entry_->readable : entry_->writable); }
  void exhausted(Poller::Side side) noexcept;

  // Ends in a later turn, when it may be read or written.
  template <typename Token>
  auto async_wait(Poller::Side side, Token&& token) {
    return asio::async_initiate<Token, void(error_code)>(
        [this, side](auto handler) { this->start_wait(side, std::move(handler)); }, token);
  }
  void wait(Poller::Side side, Poller::Waiter& waiter) { poller_->wait(*entry_, side, waiter); }
  // A Waiter that is not to be called any more.
  void forget(Poller::Side side, const Poller::Waiter& waiter) noexcept;

  // borrower: told before the close. copied: not the number was taken but a copy of the descriptor.
  void lent_to(std::shared_ptr<Borrower> borrower) noexcept { borrower_ = std::move(borrower); }
  void was_copied() noexcept { copied_ = true; }

 private:
  template <typename Handler>
  void start_wait(Poller::Side side, Handler handler);

  Poller* poller_;
  Poller::Entry* entry_ = nullptr;
  std::shared_ptr<Borrower> borrower_;
  bool copied_ = false, was_last_ = false;
};

template <typename Handler>
void Stream::start_wait(Poller::Side side, Handler handler) {
  if (!entry_) {
    asio::post(poller_->context(),
               [moved = std::move(handler)]() mutable { std::move(moved)(error_code(asio::error::bad_descriptor)); });
    return;
  }
  auto* const waiter = HandlerWaiter<Handler>::make(poller_->context(), std::move(handler));
  const std::uint64_t serial = poller_->wait(*entry_, side, *waiter);
  waiter->on_cancel([poller = poller_, index = entry_->index, side, serial] { poller->cancel(index, side, serial); });
}

}  // namespace sallyport::net
