// The relay: what one side says reaches the other, its end and its failure too.
#include "support/relay.hpp"

#include <netinet/tcp.h>

#include <array>
#include <cstring>
#include <thread>

#include "tcp_pair.hpp"

namespace sallyport::net {
namespace {

using namespace std::chrono_literals;

// tcpi_segs_in of struct tcp_info, which <linux/tcp.h> has; that does not compile beside <netinet/tcp.h>.
std::uint32_t segments_received(int fd) {
  constexpr std::size_t kSegmentsIn = 140;
  std::array<char, kSegmentsIn + sizeof(std::uint32_t)> info{};
  socklen_t size = info.size();
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.data(), &size), 0);
  std::uint32_t count = 0;
  std::memcpy(&count, info.data() + kSegmentsIn, sizeof count);
  return count;
}

class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    client_.give_to(client_stream_);
    server_.give_to(server_stream_);
  }
  ~RelayTest() override {  // whoever awaits a relay ends before it
    relay_.fail();
    turns();
    EXPECT_TRUE(ended_);
  }
  void start(std::chrono::milliseconds idle = 60s) {
    asio::co_spawn(context_, relay_.run(idle), [this](std::exception_ptr) { ended_ = true; });
    turns();
  }
  void turns(int count = 8) {
    context_.restart();
    for (int i = 0; i < count; ++i) context_.run_one_for(2ms);
  }
  template <typename Done>
  bool until(Done done) {
    const auto end = Clock::now() + 5s;
    while (!done() && Clock::now() < end) turns(1);
    return done();
  }

  asio::io_context context_{1};
  RelayResources resources_;
  TcpPair client_, server_;
  Stream client_stream_{Poller::of(context_)}, server_stream_{Poller::of(context_)};
  Relay relay_{client_stream_, server_stream_, resources_};
  bool ended_ = false;
};

TEST_F(RelayTest, BothWaysAndBothEnds) {
  start();
  client_.say("question");
  turns();
  EXPECT_EQ(server_.hear(), "question");
  ::shutdown(client_.theirs.get(), SHUT_WR);
  turns();
  EXPECT_EQ(server_.hear(), "(end)");
  server_.say("answer");
  turns();
  EXPECT_EQ(client_.hear(), "answer") << "half-closed, and the other half goes on";
  EXPECT_FALSE(ended_);
  server_.theirs.reset();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(client_.hear(), "(end)");
  EXPECT_FALSE(relay_.failed());
  EXPECT_EQ(relay_.counts().up, 8u);
  EXPECT_EQ(relay_.counts().down, 6u);
  EXPECT_FALSE(client_stream_.is_open());
}

TEST_F(RelayTest, TheServerEndsFirst) {
  start();
  server_.say("greeting");
  ::shutdown(server_.theirs.get(), SHUT_WR);
  turns();
  EXPECT_EQ(client_.hear(), "greeting(end)");
  client_.say("thanks");
  client_.theirs.reset();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(server_.hear(), "thanks(end)");
  EXPECT_FALSE(relay_.failed());
}

TEST_F(RelayTest, LastOctetsAndEndAreOneSegment) {
  server_.say("answer");
  ::shutdown(server_.theirs.get(), SHUT_WR);
  const std::uint32_t before = segments_received(client_.theirs.get());
  start();
  EXPECT_EQ(client_.hear(), "answer(end)");
  EXPECT_EQ(segments_received(client_.theirs.get()) - before, 1u);
}

TEST_F(RelayTest, BothEndAtOnce) {
  server_.say("answer");
  client_.say("question");
  ::shutdown(server_.theirs.get(), SHUT_WR);
  ::shutdown(client_.theirs.get(), SHUT_WR);
  start();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(client_.hear(), "answer(end)");
  EXPECT_EQ(server_.hear(), "question(end)");
  EXPECT_FALSE(relay_.failed());
}

TEST_F(RelayTest, AResetIsPassedOn) {
  start();
  client_.say("question");
  turns();
  const linger none{1, 0};
  ::setsockopt(client_.theirs.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
  client_.theirs.reset();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(server_.hear(), "question(reset)");
  EXPECT_TRUE(relay_.failed());
}

// More than kSpliceAfter, both ways at once, to receivers that are slow to take it.
TEST_F(RelayTest, MuchBothWays) {
  constexpr std::size_t kMuch = 4 * 1024 * 1024;
  const auto pattern = [](std::size_t at, unsigned seed) {
    return static_cast<char>((at * 31 + at / 4093 + seed) & 0xff);
  };
  start();
  struct Side {
    TcpPair& own;
    unsigned seed, other_seed;
    std::size_t said = 0, heard = 0;
    bool right = true;
  };
  Side sides[] = {{client_, 1, 2}, {server_, 2, 1}};
  const auto whole = [&] { return sides[0].heard == kMuch && sides[1].heard == kMuch; };
  const auto end = Clock::now() + 20s;
  while (!whole() && Clock::now() < end) {
    for (Side& side : sides) {
      std::string next;
      for (std::size_t i = side.said; i < std::min(kMuch, side.said + 40'000); ++i) next += pattern(i, side.seed);
      const ssize_t n = ::send(side.own.theirs.get(), next.data(), next.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) side.said += static_cast<std::size_t>(n);
      char buffer[20'000];
      const ssize_t got = ::recv(side.own.theirs.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      for (ssize_t i = 0; i < got; ++i) side.right &= buffer[i] == pattern(side.heard++, side.other_seed);
    }
    context_.restart();
    context_.poll();
  }
  EXPECT_TRUE(whole()) << sides[0].heard << " and " << sides[1].heard;
  EXPECT_TRUE(sides[0].right && sides[1].right);
  ::shutdown(client_.theirs.get(), SHUT_WR);
  ::shutdown(server_.theirs.get(), SHUT_WR);
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_FALSE(relay_.failed());
  EXPECT_EQ(relay_.counts().up, kMuch);
  EXPECT_EQ(relay_.counts().down, kMuch);
}

TEST_F(RelayTest, IdleItIsResetAndNotBefore) {
  const auto began = Clock::now();
  start(200ms);
  std::this_thread::sleep_for(100ms);
  client_.say("still here");
  turns();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_GE(Clock::now() - began, 295ms);
  EXPECT_EQ(client_.hear(), "(reset)");
  EXPECT_EQ(server_.hear(), "still here(reset)");
}

TEST_F(RelayTest, FailedFromOutsideItEnds) {
  start();
  relay_.fail();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(server_.hear(), "(reset)");
}

awaitable<void> whole_relay(TcpPair* client, TcpPair* server, asio::io_context* context, RelayResources* resources,
                            std::shared_ptr<int>) {
  Stream to_client(Poller::of(*context)), to_server(Poller::of(*context));
  client->give_to(to_client);
  server->give_to(to_server);
  Relay relay(to_client, to_server, *resources);
  co_await relay.run(60s);
}

TEST(RelayTask, CancelledItResetsBothSides) {
  asio::io_context context(1);
  RelayResources resources;
  TcpPair client, server;
  TaskScope scope(context);
  scope.spawn(whole_relay(&client, &server, &context, &resources, nullptr));
  context.run_for(20ms);
  scope.cancel();
  context.restart();
  context.run_for(2s);
  EXPECT_EQ(scope.size(), 0u);
  EXPECT_TRUE(context.stopped());
  EXPECT_EQ(client.hear(), "(reset)");
  EXPECT_EQ(server.hear(), "(reset)");
}

TEST(RelayTask, EndsWithItsLoop) {
  RelayResources resources;
  TcpPair client, server;
  const auto alive = std::make_shared<int>();
  {
    asio::io_context context(1);
    asio::co_spawn(context, whole_relay(&client, &server, &context, &resources, alive), [](std::exception_ptr) {});
    context.run_for(20ms);
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1) << "the coroutine leaked";
}

}  // namespace
}  // namespace sallyport::net
