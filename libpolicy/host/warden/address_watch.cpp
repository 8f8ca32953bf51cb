#include "host/warden/address_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sallyport {

AddressWatch::AddressWatch() : notices_(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)) {
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (::bind(notices_.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof groups) != 0) notices_ = Descriptor();
}

void AddressWatch::on_readable(Clock::time_point now) {
  char buffer[8192];  // what a notice says is not read: the addresses are asked for
  bool any = false;
  for (;;) {
    const ssize_t size = ::recv(notices_.get(), buffer, sizeof buffer, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0 && errno != ENOBUFS) break;
    any = true;
  }
  if (!any) return;
  if (!first_) first_ = now;
  last_ = now;
}

bool AddressWatch::changed(Clock::time_point now) {
  if (!last_ || (now - *last_ < kDebounce && now - *first_ < kLongest)) return false;
  first_.reset();
  last_.reset();
  return true;
}

int AddressWatch::next_ms(Clock::time_point now) const {
  if (!last_) return -1;
  const auto rest = std::min(*last_ + kDebounce, *first_ + kLongest) - now;
  return std::max(0, static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(rest).count()));
}

}  // namespace sallyport
