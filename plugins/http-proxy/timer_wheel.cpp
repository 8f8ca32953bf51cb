#include "http-proxy/timer_wheel.hpp"

#include <algorithm>

namespace sallyport::http_proxy {

TimerWheel::Entry::~Entry() {
  if (wheel_) wheel_->cancel(*this);
}

TimerWheel::~TimerWheel() {
  for (Entry* entry : slots_) {
    for (; entry; entry = entry->after_) entry->wheel_ = nullptr;
  }
}

void TimerWheel::set(Entry& entry, net::Clock::time_point due) {
  entry.due_ = due;
  if (entry.wheel_ && entry.filed_ <= due) return;
  if (entry.wheel_) unlink(entry);
  const net::Clock::time_point now = net::Clock::now();
  if (entries_ == 0 && !running_) next_ = now + tick_;
  file(entry, now);
  if (!running_ && !stopped_) wait();
}

void TimerWheel::cancel(Entry& entry) {
  if (entry.wheel_) unlink(entry);
}

void TimerWheel::stop() {
  stopped_ = true;
  timer_.cancel();
}

void TimerWheel::file(Entry& entry, net::Clock::time_point now) {
  const auto ahead = std::max(entry.due_, now) - next_;
  const auto ticks = ahead <= net::Clock::duration::zero() ? 0 : (ahead + tick_ - net::Clock::duration(1)) / tick_;
  const auto steps = std::min<std::size_t>(static_cast<std::size_t>(ticks), kSlots - 1);
  entry.filed_ = next_ + steps * tick_;
  entry.slot_ = (at_ + steps) % kSlots;
  entry.wheel_ = this;
  entry.before_ = nullptr;
  entry.after_ = slots_[entry.slot_];
  if (entry.after_) entry.after_->before_ = &entry;
  slots_[entry.slot_] = &entry;
  ++entries_;
}

void TimerWheel::unlink(Entry& entry) {
  (entry.before_ ? entry.before_->after_ : slots_[entry.slot_]) = entry.after_;
  if (entry.after_) entry.after_->before_ = entry.before_;
  entry.wheel_ = nullptr;
  --entries_;
}

void TimerWheel::wait() {
  running_ = true;
  timer_.expires_at(next_);
  timer_.async_wait([this](net::error_code error) {
    if (error) return;  // the wheel may be gone
    running_ = false;
    turn();
    if (entries_ > 0 && !running_ && !stopped_) wait();
  });
}

void TimerWheel::turn() {
  const net::Clock::time_point now = net::Clock::now();
  // A loop that was held up takes each slot it missed once, and no slot twice.
  for (std::size_t turns = 0; next_ <= now && turns < kSlots; ++turns) {
    Entry* entry = slots_[at_];
    slots_[at_] = nullptr;
    at_ = (at_ + 1) % kSlots;
    next_ += tick_;
    // Taken out first: what expired() sets again is filed ahead, never back into this list.
    while (entry) {
      Entry* const current = entry;
      entry = entry->after_;
      if (entry) entry->before_ = nullptr;
      current->wheel_ = nullptr;
      --entries_;
      if (current->due_ <= now) {
        current->expired();
      } else {
        file(*current, now);
      }
    }
  }
  if (next_ <= now) next_ = now + tick_;
}

}  // namespace sallyport::http_proxy
