// Poller: edge-triggered readiness of the sockets of one loop, each registered once.
//
// Asio's async_wait() arms its descriptor by epoll_ctl at every wait. Here a descriptor is added once, for as long as
// it is open; the kernel reports each change, and what is known of it is kept until a read or a write has used it up.
// An epoll instance of its own stands in Asio's: a turn of the loop that has news costs two calls more, a wait none.
//
// Rule      A reader reads until the kernel has nothing (or less than asked for) before it waits: no edge comes for
// what
//           was there already. Stream does so by itself.
// Lifetime  A service of its io_context: Poller::of(). Descriptors are closed after remove(), never before.
// Threads   The loop's.
#pragma once

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <deque>
#include <vector>

#include "support/async.hpp"

namespace sallyport::net {

class Poller final : public asio::execution_context::service {
 public:
  using key_type = Poller;
  static asio::execution_context::id id;

  enum Side : std::uint8_t { kRead = 0, kWrite = 1 };

  // Who waits for one side of a descriptor. One of these is called, once.
  class Waiter {
   public:
    virtual void ready() = 0;    // in a turn of its own: may do anything, to any descriptor
    virtual void aborted() = 0;  // inside close() or cancel(): may note it or post it, no more
    virtual void destroy() {}    // the io_context goes
   protected:
    ~Waiter() = default;

   private:
    friend class Poller;
    Waiter* next_ = nullptr;
    std::uint64_t serial_ = 0;
  };

  // One descriptor.
  struct Entry {
    int fd = -1;
    std::uint32_t index = 0, generation = 0;
    std::uint32_t watched = 0;  // EPOLL...
    bool readable = false, writable = false;
    bool ended = false;                // the peer sends no more, or the connection is broken: every read says something
    bool urgent = false;               // a read may stop at a mark, with more behind it (TCP's urgent pointer)
    std::array<Waiter*, 2> waiting{};  // the first to come in front
  };

  explicit Poller(asio::execution_context& context);
  ~Poller();
  static Poller& of(asio::io_context& context) {
    return asio::use_service<Poller>(static_cast<asio::execution_context&>(context));
  }
  static Poller& of(const asio::any_io_executor& executor) {
    return asio::use_service<Poller>(asio::query(executor, asio::execution::context));
  }
  asio::io_context& context() noexcept { return context_; }

  // nullptr: the kernel refuses. with_writes: news of them too, from the start; else from the first that has to wait.
  Entry* add(int fd, bool with_writes);
  // What waits is aborted. copied: the socket is open elsewhere too, and a close alone would leave it in the set.
  void remove(Entry& entry, bool copied);

  // Where something is known already, ready() comes in the loop's next turn. Of several that wait for one side each is
  // called. Returns a number that no other wait has.
  std::uint64_t wait(Entry& entry, Side side, Waiter& waiter);
  void cancel(Entry& entry);
  // That one, if it is still at it.
  void cancel(std::uint32_t index, Side side, std::uint64_t serial);
  // Calls nothing.
  void forget(Entry& entry, Side side, const Waiter& waiter);

 private:
  struct Due {
    std::uint32_t index, generation;
    Side side;
  };

  void shutdown() override;
  void arm();
  void settle();   // nobody waits: the loop may end
  void collect();  // what the kernel has to say
  void turn();     // what was known before
  Waiter* take(Entry& entry, Side side) noexcept;
  Waiter* take(Entry& entry, Side side, std::uint64_t serial) noexcept;
  void abort(Entry& entry, Side side);
  void abort(Waiter& waiter);
  void run(std::uint32_t index, std::uint32_t generation, Side side);

  asio::io_context& context_;
  asio::posix::stream_descriptor epoll_;
  std::deque<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::vector<Due> due_, running_;
  std::size_t waiting_ = 0;
  std::uint64_t serial_ = 0;
  bool armed_ = false, posted_ = false, stopped_ = false;
};

}  // namespace sallyport::net
