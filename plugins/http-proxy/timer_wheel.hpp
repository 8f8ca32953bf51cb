// TimerWheel: the time limits of many connections on one timer. Setting one is a few stores; nothing is sorted.
//
//   A limit that is moved later, as progress does all the time, stays where it is filed and is filed anew when its slot
//   comes up. One that lies further ahead than the wheel has slots waits in the last.
//
// Precision  A tick: a limit is noticed up to one tick late, never early.
// Lifetime   An Entry leaves the wheel with its destructor; the wheel outlives its entries.
// Threads    The loop's.
#pragma once

#include <array>
#include <cstddef>

#include "support/async.hpp"

namespace sallyport::http_proxy {

class TimerWheel {
 public:
  class Entry {
   public:
    Entry() = default;
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   protected:
    virtual ~Entry();
    virtual void expired() = 0;  // may set the entry again, and destroy no entry but through the loop

   private:
    friend class TimerWheel;
    TimerWheel* wheel_ = nullptr;
    Entry *before_ = nullptr, *after_ = nullptr;
    std::size_t slot_ = 0;
    net::Clock::time_point due_{}, filed_{};
  };

  TimerWheel(net::asio::io_context& context, net::Clock::duration tick) : timer_(context), tick_(tick) {}
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  void set(Entry& entry, net::Clock::time_point due);
  void cancel(Entry& entry);
  void stop();  // nothing expires any more, and the loop has nothing to wait for

 private:
  static constexpr std::size_t kSlots = 512;

  void file(Entry& entry, net::Clock::time_point now);
  void unlink(Entry& entry);
  void turn();
  void wait();

  net::asio::steady_timer timer_;
  net::Clock::duration tick_;
  std::array<Entry*, kSlots> slots_{};
  std::size_t at_ = 0;             // the slot that comes up next
  net::Clock::time_point next_{};  // and when
  std::size_t entries_ = 0;
  bool running_ = false, stopped_ = false;
};

}  // namespace sallyport::http_proxy
