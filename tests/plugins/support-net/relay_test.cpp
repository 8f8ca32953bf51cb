// The relay: what one side says reaches the other, its end and its failure too.
#include "support/relay.hpp"

#include <netinet/tcp.h>

#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

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

// ---- limits

// policy.limits/1 as a test says: every charge asks `answer`, and is noted.
struct Script {
  std::uint64_t room = 16 * 1024;
  std::function<policy_code(std::uint32_t kind, std::uint64_t amount, policy_charge& out)> answer;
  std::vector<std::uint64_t> charged;

  static policy_code open(policy_thread* self, const policy_query*, const policy_verdict*, policy_meter** out,
                          policy_charge*) {
    *out = reinterpret_cast<policy_meter*>(self);
    return POLICY_OK;
  }
  static policy_code draw(policy_meter* self, std::uint32_t kind, std::uint64_t amount, policy_charge* out) {
    Script& script = *reinterpret_cast<Script*>(self);
    script.charged.push_back(amount);
    return script.answer ? script.answer(kind, amount, *out) : policy_code{POLICY_OK};
  }
  static std::uint64_t most(policy_meter* self, std::uint32_t) { return reinterpret_cast<Script*>(self)->room; }
  static void close(policy_meter*) {}
  static constexpr policy_limits_v1 kApi = {sizeof(policy_limits_v1), nullptr, &open, &draw, &most, &close};

  std::uint64_t sum() const {
    std::uint64_t all = 0;
    for (const std::uint64_t one : charged) all += one;
    return all;
  }
};

class LimitedRelay : public RelayTest {
 protected:
  LimitedRelay() {
    EXPECT_TRUE(meter_.open(&Script::kApi, reinterpret_cast<policy_thread*>(&script_), {}, {}));
    relay_.watch_meter(&meter_);
  }
  Script script_;
  policy::Meter meter_;
};

TEST_F(LimitedRelay, WhatHasToWaitIsHeldAndNoMoreIsRead) {
  script_.answer = [](std::uint32_t, std::uint64_t, policy_charge& out) {
    out.wait_ns = 60'000'000;
    return policy_code{POLICY_OK};
  };
  const auto began = Clock::now();
  start();
  client_.say(std::string(40'000, 'x'));
  turns();
  EXPECT_EQ(server_.hear(), "");
  EXPECT_EQ(script_.charged.size(), 1u);
  std::string heard;
  EXPECT_TRUE(until([&] { return (heard += server_.hear()).size() == 40'000; }));
  EXPECT_GE(Clock::now() - began, 3 * 60ms) << "three times 16 kB, each with its rest";
  EXPECT_EQ(script_.sum(), 40'000u);
  client_.theirs.reset();
  server_.theirs.reset();
  EXPECT_TRUE(until([&] { return ended_; }));
}

// Both as copies and as splices: never more than there is room for, and each octet charged once, before it is there.
TEST_F(LimitedRelay, EachOctetIsChargedBeforeItGoesOn) {
  constexpr std::size_t kAll = 1'000'000;
  std::string heard;
  script_.answer = [&](std::uint32_t kind, std::uint64_t amount, policy_charge&) {
    EXPECT_EQ(kind, std::uint32_t{POLICY_CHARGE_DOWN});
    EXPECT_LE(amount, script_.room);
    heard += client_.hear();
    EXPECT_LE(heard.size(), script_.sum() - amount);
    return policy_code{POLICY_OK};
  };
  start();
  std::thread sender([&] { server_.say(std::string(kAll, 'y')); });
  EXPECT_TRUE(until([&] { return (heard += client_.hear()).size() == kAll; }));
  sender.join();
  EXPECT_EQ(script_.sum(), kAll);
  client_.theirs.reset();
  server_.theirs.reset();
  EXPECT_TRUE(until([&] { return ended_; }));
}

TEST_F(LimitedRelay, OverAQuotaIsAFailure) {
  script_.answer = [&](std::uint32_t, std::uint64_t amount, policy_charge& out) {
    if (script_.sum() <= 20'000) return policy_code{POLICY_OK};
    out.exceeded = POLICY_LIMIT_UPLOAD;
    (void)amount;
    return policy_code{POLICY_EXHAUSTED};
  };
  start();
  client_.say(std::string(16'000, 'x'));
  turns();
  EXPECT_EQ(server_.hear().size(), 16'000u);
  client_.say(std::string(16'000, 'x'));
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_TRUE(relay_.failed());
  EXPECT_EQ(relay_.exceeded(), std::uint32_t{POLICY_LIMIT_UPLOAD});
  EXPECT_EQ(relay_.counts().up, 16'000u);
  EXPECT_EQ(server_.hear(), "(reset)");
  EXPECT_EQ(client_.hear(), "(reset)");
}

TEST_F(LimitedRelay, AnEndReachesWhatRests) {
  script_.answer = [](std::uint32_t, std::uint64_t, policy_charge& out) {
    out.wait_ns = 3'600'000'000'000;
    return policy_code{POLICY_OK};
  };
  start();
  client_.say("question");
  server_.say("answer");
  turns();
  EXPECT_FALSE(ended_);
  relay_.fail();
  EXPECT_TRUE(until([&] { return ended_; }));
  EXPECT_EQ(server_.hear(), "(reset)");
}

TEST_F(LimitedRelay, ARestIsNoIdleness) {
  script_.answer = [](std::uint32_t, std::uint64_t, policy_charge& out) {
    out.wait_ns = 200'000'000;
    return policy_code{POLICY_OK};
  };
  start(50ms);
  client_.say("question");
  std::string heard;
  EXPECT_TRUE(until([&] { return !(heard += server_.hear()).empty() || ended_; }));
  EXPECT_EQ(heard, "question");
  EXPECT_FALSE(relay_.failed());
  EXPECT_TRUE(until([&] { return ended_; })) << "and then it is";
}

// The pieces, as a caller that reads one direction itself uses them.
TEST_F(LimitedRelay, WriteIsChargedAndSayIsNot) {
  script_.answer = [&](std::uint32_t, std::uint64_t, policy_charge& out) {
    if (script_.charged.size() < 3) return policy_code{POLICY_OK};
    out.exceeded = POLICY_LIMIT_DOWNLOAD;
    return policy_code{POLICY_EXHAUSTED};
  };
  ended_ = true;
  const std::string text(40'000, 'z');
  const std::span octets(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  bool said = false, written = true;
  asio::co_spawn(
      context_,
      [](Relay& relay, std::span<const std::uint8_t> all, bool& first, bool& second) -> awaitable<void> {
        first = co_await relay.say_down(all.first(100));
        second = co_await relay.write_down(all);
      }(relay_, octets, said, written),
      [](std::exception_ptr) {});
  turns();
  EXPECT_TRUE(said);
  EXPECT_FALSE(written);
  EXPECT_EQ(script_.charged, (std::vector<std::uint64_t>{16'384, 16'384, 7'232}));
  EXPECT_EQ(relay_.counts().down, 100u + 2 * 16'384);
}

}  // namespace
}  // namespace sallyport::net
