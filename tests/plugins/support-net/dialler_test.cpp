// Happy Eyeballs (RFC 8305), in a namespace where every address is local.
#include "support/dialler.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace sallyport::net {
namespace {

using namespace std::chrono_literals;

tcp::endpoint at(const char* address, std::uint16_t port) { return {asio::ip::make_address(address), port}; }

// A listener; with a full queue it answers no SYN, as a black hole.
class Listening {
 public:
  Listening(const tcp::endpoint& endpoint, bool deaf)
      : fd_(::socket(endpoint.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (endpoint.address().is_v6()) ::setsockopt(fd_, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    EXPECT_EQ(::bind(fd_, endpoint.data(), static_cast<socklen_t>(endpoint.size())), 0) << std::strerror(errno);
    EXPECT_EQ(::listen(fd_, deaf ? 0 : 16), 0);
    for (int i = 0; deaf && i < 4; ++i) {
      const int filler = ::socket(endpoint.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      ::connect(filler, endpoint.data(), static_cast<socklen_t>(endpoint.size()));
      fillers_.push_back(filler);
    }
  }
  ~Listening() {
    for (const int filler : fillers_) ::close(filler);
    ::close(fd_);
  }

 private:
  int fd_;
  std::vector<int> fillers_;
};

struct Outcome {
  std::optional<tcp::endpoint> peer;
  error_code error;
  Clock::duration took{};
};

Outcome run(std::vector<tcp::endpoint> candidates, Clock::duration patience = 5s) {
  asio::io_context context;
  Outcome out;
  const auto began = Clock::now();
  asio::co_spawn(context, dial(std::move(candidates), began + patience), [&](std::exception_ptr, Dialled dialled) {
    out.took = Clock::now() - began;
    out.error = dialled.error;
    if (dialled.socket) out.peer = dialled.peer;
  });
  context.run();
  return out;
}

TEST(Dial, FirstThatWorks) {
  const Listening good(at("93.184.216.34", 443), false);
  const Outcome out = run({at("93.184.216.34", 443)});
  EXPECT_EQ(out.peer, at("93.184.216.34", 443));
}

TEST(Dial, RefusedGoesOnAtOnce) {
  const Listening good(at("93.184.216.34", 443), false);
  const Outcome out = run({at("93.184.216.35", 443), at("93.184.216.36", 443), at("93.184.216.34", 443)});
  EXPECT_EQ(out.peer, at("93.184.216.34", 443));
  EXPECT_LT(out.took, 200ms);
}

TEST(Dial, SilentOneIsOvertakenAfterTheDelay) {
  const Listening deaf(at("93.184.216.35", 443), true), good(at("93.184.216.34", 443), false);
  const Outcome out = run({at("93.184.216.35", 443), at("93.184.216.34", 443)});
  EXPECT_EQ(out.peer, at("93.184.216.34", 443));
  EXPECT_GE(out.took, 240ms);
  EXPECT_LT(out.took, 900ms);
}

TEST(Dial, NobodyAnswersUntilTheDeadline) {
  const Listening deaf(at("93.184.216.35", 443), true);
  const Outcome out = run({at("93.184.216.35", 443)}, 300ms);
  EXPECT_FALSE(out.peer);
  EXPECT_EQ(out.error, asio::error::timed_out);
}

TEST(Dial, AllRefusedSaysSo) {
  const Outcome out = run({at("93.184.216.35", 443), at("93.184.216.36", 443)});
  EXPECT_FALSE(out.peer);
  EXPECT_EQ(out.error, asio::error::connection_refused);
}

TEST(Dial, NoCandidates) {
  const Outcome out = run({});
  EXPECT_FALSE(out.peer);
  EXPECT_TRUE(out.error);
}

TEST(Dial, CancelledInTheMiddle) {
  const Listening deaf(at("93.184.216.35", 443), true);
  asio::io_context context;
  asio::cancellation_signal signal;
  bool ended = false;
  asio::co_spawn(context, dial({at("93.184.216.35", 443), at("93.184.216.35", 443)}, Clock::now() + 60s),
                 asio::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr, Dialled dialled) {
                   ended = true;
                   EXPECT_FALSE(dialled.socket);
                 }));
  context.run_for(20ms);
  signal.emit(asio::cancellation_type::terminal);
  context.run_for(2s);
  EXPECT_TRUE(ended);
  EXPECT_TRUE(context.stopped()) << "an attempt still holds the loop";
}

TEST(Interleave, FamiliesInTurnIpv6First) {
  const auto out = interleave({at("2001:db8::1", 1), at("2001:db8::2", 1)}, {at("192.0.2.1", 1)});
  EXPECT_EQ(out, (std::vector{at("2001:db8::1", 1), at("192.0.2.1", 1), at("2001:db8::2", 1)}));
}

}  // namespace
}  // namespace sallyport::net
