// Two ends of one TCP connection on loopback, both non-blocking.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "support/stream.hpp"
#include "support/unique_fd.hpp"

namespace sallyport::net {

struct TcpPair {
  UniqueFd ours, theirs;

  TcpPair() {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener.get(), raw, size), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), raw, &size), 0);
    theirs.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(theirs.get(), raw, size), 0);
    ours.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    EXPECT_TRUE(ours.valid());
    const int on = 1;
    ::setsockopt(theirs.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  void give_to(Stream& stream) {
    ASSERT_TRUE(stream.assign(ours.get()));
    ours.release();
  }
  void say(std::string_view octets, int flags = 0) const {
    EXPECT_EQ(::send(theirs.get(), octets.data(), octets.size(), MSG_NOSIGNAL | flags),
              static_cast<ssize_t>(octets.size()));
  }
  // All that has come, without waiting; a reset reads as "(reset)", the end as "(end)".
  std::string hear() const {
    std::string out;
    char buffer[65536];
    for (;;) {
      const ssize_t n = ::recv(theirs.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (n == 0) return out + "(end)";
      if (n < 0) return errno == ECONNRESET ? out + "(reset)" : out;
      out.append(buffer, static_cast<std::size_t>(n));
    }
  }
};

}  // namespace sallyport::net
