#include "support/stream.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace sallyport::net {

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this == &other) return *this;
  close();
  poller_ = other.poller_;
  entry_ = std::exchange(other.entry_, nullptr);
  borrower_ = std::move(other.borrower_);
  copied_ = other.copied_;
  was_last_ = other.was_last_;
  return *this;
}

bool Stream::assign(int fd, bool connecting) {
  Poller::Entry* const entry = poller_->add(fd, connecting);
  if (!entry) return false;
  close();
  entry_ = entry;
  entry_->writable = !connecting;
  copied_ = was_last_ = false;
  return true;
}

void Stream::close() noexcept {
  if (!entry_) return;
  const int fd = entry_->fd;
  if (borrower_) std::exchange(borrower_, nullptr)->take_back(fd);
  poller_->remove(*std::exchange(entry_, nullptr), copied_);
  ::close(fd);
}

void Stream::shutdown_send() noexcept {
  if (entry_) ::shutdown(entry_->fd, SHUT_WR);
}

void Stream::shutdown_both() noexcept {
  if (entry_) ::shutdown(entry_->fd, SHUT_RDWR);
}

ssize_t Stream::receive(std::span<std::uint8_t> room) noexcept {
  if (!may(kRead)) {
    errno = entry_ ? EAGAIN : EBADF;
    return -1;
  }
  ssize_t n;
  do {
    n = ::recv(entry_->fd, room.data(), room.size(), MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  const bool is_short = n > 0 && static_cast<std::size_t>(n) < room.size() && !entry_->urgent;
  // Whatever comes from here on is an edge. The end has been one already: the read that says so needs none.
  was_last_ = is_short && entry_->ended;
  if ((is_short && !entry_->ended) || (n < 0 && errno == EAGAIN)) entry_->readable = false;
  return n;
}

ssize_t Stream::send(std::span<const std::uint8_t> octets, int flags) noexcept {
  if (!may(kWrite)) {
    errno = entry_ ? EAGAIN : EBADF;
    return -1;
  }
  ssize_t n;
  do {
    n = ::send(entry_->fd, octets.data(), octets.size(), MSG_DONTWAIT | MSG_NOSIGNAL | flags);
  } while (n < 0 && errno == EINTR);
  if (n < 0 ? errno == EAGAIN : static_cast<std::size_t>(n) < octets.size()) entry_->writable = false;
  return n;
}

void Stream::forget(Poller::Side side, const Poller::Waiter& waiter) noexcept {
  if (entry_) poller_->forget(*entry_, side, waiter);
}

void Stream::exhausted(Poller::Side side) noexcept {
  if (entry_) (side == kRead ? entry_->readable : entry_->writable) = false;
}

}  // namespace sallyport::net
