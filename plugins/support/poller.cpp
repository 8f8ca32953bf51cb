#include "support/poller.hpp"

#include <sys/epoll.h>

#include <boost/asio/post.hpp>
#include <utility>

namespace sallyport::net {
namespace {

constexpr int kBatch = 128;  // events a turn: who else the loop serves gets a turn in between

constexpr std::uint32_t kReads = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
constexpr std::uint32_t kWrites = EPOLLOUT | EPOLLHUP | EPOLLERR;

// A number that was given to another descriptor since is told apart by its generation.
std::uint64_t key_of(const Poller::Entry& entry) {
  return static_cast<std::uint64_t>(entry.generation) << 32 | entry.index;
}

}  // namespace

asio::execution_context::id Poller::id;

Poller::Poller(asio::execution_context& context)
    : asio::execution_context::service(context),
      context_(static_cast<asio::io_context&>(context)),
      epoll_(context_.get_executor()) {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  error_code error;
  if (fd >= 0) epoll_.assign(fd, error);
}

Poller::~Poller() = default;

// Waiters hold coroutines, whose frames hold streams: destroying one may abort others.
void Poller::shutdown() {
  stopped_ = true;
  for (Entry& entry : entries_) {
    for (const Side side : {kRead, kWrite}) {
      abort(entry, side);
    }
  }
  error_code ignored;
  epoll_.close(ignored);
}

Poller::Entry* Poller::add(int fd, bool with_writes) {
  if (!epoll_.is_open()) return nullptr;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_.push_back({.index = free_.back()});
  }
  Entry& entry = entries_[free_.back()];
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET | (with_writes ? EPOLLOUT : 0u);
  event.data.u64 = key_of(entry);
  if (::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, fd, &event) != 0) return nullptr;
  free_.pop_back();
  entry.fd = fd;
  entry.watched = event.events;
  entry.readable = entry.writable = entry.ended = entry.urgent = false;
  return &entry;
}

void Poller::remove(Entry& entry, bool copied) {
  epoll_event event{};
  if (copied && epoll_.is_open()) ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_DEL, entry.fd, &event);
  ++entry.generation;  // first: whatever an aborted one does, it does not find this one again
  entry.fd = -1;
  abort(entry, kRead);
  abort(entry, kWrite);
  free_.push_back(entry.index);
  settle();
}

// The first.
Poller::Waiter* Poller::take(Entry& entry, Side side) noexcept {
  Waiter* const waiter = entry.waiting[side];
  if (!waiter) return nullptr;
  entry.waiting[side] = std::exchange(waiter->next_, nullptr);
  --waiting_;
  return waiter;
}

Poller::Waiter* Poller::take(Entry& entry, Side side, std::uint64_t serial) noexcept {
  for (Waiter** place = &entry.waiting[side]; *place; place = &(*place)->next_) {
    if ((*place)->serial_ != serial) continue;
    Waiter* const waiter = *place;
    *place = std::exchange(waiter->next_, nullptr);
    --waiting_;
    return waiter;
  }
  return nullptr;
}

void Poller::abort(Entry& entry, Side side) {
  while (Waiter* const waiter = take(entry, side)) abort(*waiter);
}

void Poller::abort(Waiter& waiter) {
  if (stopped_) {
    waiter.destroy();
  } else {
    waiter.aborted();
  }
}

std::uint64_t Poller::wait(Entry& entry, Side side, Waiter& waiter) {
  Waiter** place = &entry.waiting[side];
  while (*place) place = &(*place)->next_;
  *place = &waiter;
  waiter.serial_ = ++serial_;
  ++waiting_;
  if (side == kWrite && (entry.watched & EPOLLOUT) == 0) {
    entry.watched |= EPOLLOUT;
    epoll_event event{};
    event.events = entry.watched;
    event.data.u64 = key_of(entry);
    ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_MOD, entry.fd, &event);  // says at once what it is ready for
  }
  if (side == kRead ? entry.readable : entry.writable) {
    due_.push_back({entry.index, entry.generation, side});
    if (!std::exchange(posted_, true)) asio::post(context_, [this] { turn(); });
  }
  arm();
  return waiter.serial_;
}

void Poller::cancel(Entry& entry) {
  abort(entry, kRead);
  abort(entry, kWrite);
  settle();
}

void Poller::cancel(std::uint32_t index, Side side, std::uint64_t serial) {
  if (Waiter* const waiter = take(entries_[index], side, serial)) abort(*waiter);
  settle();
}

void Poller::forget(Entry& entry, Side side, const Waiter& waiter) {
  (void)take(entry, side, waiter.serial_);
  settle();
}

void Poller::arm() {
  if (armed_ || waiting_ == 0 || stopped_) return;
  armed_ = true;
  epoll_.async_wait(asio::posix::stream_descriptor::wait_read, [this](error_code error) {
    armed_ = false;
    if (stopped_) return;
    if (!error) collect();
    arm();
  });
}

// Events stay with the kernel until somebody waits again.
void Poller::settle() {
  if (!armed_ || waiting_ > 0 || stopped_) return;
  error_code ignored;
  epoll_.cancel(ignored);
}

void Poller::run(std::uint32_t index, std::uint32_t generation, Side side) {
  Entry& entry = entries_[index];
  const std::uint64_t last = serial_;  // who waits anew waits for news
  while (entry.generation == generation && entry.waiting[side] && entry.waiting[side]->serial_ <= last) {
    take(entry, side)->ready();
  }
}

void Poller::collect() {
  epoll_event events[kBatch];
  const int count = ::epoll_wait(epoll_.native_handle(), events, kBatch, 0);
  for (int i = 0; i < count; ++i) {
    const std::uint32_t what = events[i].events;
    const auto index = static_cast<std::uint32_t>(events[i].data.u64);
    const auto generation = static_cast<std::uint32_t>(events[i].data.u64 >> 32);
    Entry& entry = entries_[index];
    if (entry.generation != generation) continue;
    if (what & kReads) entry.readable = true;
    if (what & kWrites) entry.writable = true;
    if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) entry.ended = true;
    if (what & EPOLLPRI) entry.urgent = true;
    if (what & kWrites) run(index, generation, kWrite);
    if (what & kReads) run(index, generation, kRead);
  }
}

void Poller::turn() {
  posted_ = false;
  running_.swap(due_);
  for (const Due& due : running_) run(due.index, due.generation, due.side);
  running_.clear();
  settle();
}

}  // namespace sallyport::net
