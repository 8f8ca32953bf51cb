// Streams on an edge-triggered poller: no edge is missed, none is somebody else's.
#include "support/stream.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include "tcp_pair.hpp"

namespace sallyport::net {
namespace {

using namespace std::chrono_literals;

class StreamTest : public testing::Test {
 protected:
  std::string receive(std::size_t most = 100) {
    std::vector<std::uint8_t> room(most);
    const ssize_t n = stream_.receive(room);
    if (n < 0) return errno == EAGAIN ? "(nothing)" : std::strerror(errno);
    return n == 0 ? "(end)" : std::string(room.begin(), room.begin() + n);
  }
  // What becomes of a wait, within 2 s.
  std::string wait(Poller::Side side) {
    std::string out = "(still waits)";
    stream_.async_wait(side, [&](error_code error) { out = error ? error.message() : "ready"; });
    const auto end = Clock::now() + 2s;
    while (out == "(still waits)" && Clock::now() < end) turn(100ms);
    return out;
  }
  void turn(std::chrono::milliseconds most = 20ms) {
    context_.restart();
    context_.run_one_for(most);
  }
  void settle() {
    for (int i = 0; i < 5; ++i) turn(1ms);
  }

  asio::io_context context_{1};
  Poller& poller_ = Poller::of(context_);
  TcpPair pair_;
  Stream stream_{poller_};
};

TEST_F(StreamTest, SaysAgainWhatCameAfterAShortRead) {
  pair_.give_to(stream_);
  EXPECT_EQ(receive(), "(nothing)") << "no call before the first edge";
  pair_.say("one");
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(), "one");
  EXPECT_FALSE(stream_.was_last());
  EXPECT_EQ(receive(), "(nothing)");
  pair_.say("two");
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(), "two");
}

TEST_F(StreamTest, WhatIsLeftIsReadyWithoutAnEdge) {
  pair_.give_to(stream_);
  pair_.say("onetwo");
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(3), "one");
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(3), "two");
  EXPECT_EQ(receive(3), "(nothing)");
}

TEST_F(StreamTest, TheEndThatCameWithTheLastOctets) {
  pair_.give_to(stream_);
  pair_.say("last");
  ::shutdown(pair_.theirs.get(), SHUT_WR);
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(), "last");
  EXPECT_TRUE(stream_.was_last());
  EXPECT_EQ(wait(Stream::kRead), "ready") << "the end brings no edge of its own any more";
  EXPECT_EQ(receive(), "(end)");
}

TEST_F(StreamTest, TheEndThatCameAfterTheEdge) {
  pair_.give_to(stream_);
  pair_.say("last");
  EXPECT_EQ(wait(Stream::kRead), "ready");
  ::shutdown(pair_.theirs.get(), SHUT_WR);
  EXPECT_EQ(receive(), "last");
  EXPECT_FALSE(stream_.was_last()) << "nobody has said so yet";
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(), "(end)");
}

// A read stops at the mark with more behind it, and no edge will say so.
TEST_F(StreamTest, UrgentOctetsHoldNothingUp) {
  pair_.give_to(stream_);
  pair_.say("before");
  pair_.say("!", MSG_OOB);
  pair_.say("behind");
  std::string all;
  while (all.size() < 12) {
    ASSERT_EQ(wait(Stream::kRead), "ready") << all;
    for (std::string part = receive(); part != "(nothing)"; part = receive()) all += part;
  }
  EXPECT_EQ(all, "beforebehind");
}

TEST_F(StreamTest, WritesGoOnOnceThereIsRoom) {
  pair_.give_to(stream_);
  const std::vector<std::uint8_t> much(1 << 20);
  while (stream_.send(much) > 0) {
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_FALSE(stream_.may(Stream::kWrite));
  for (int i = 0; i < 3; ++i) {
    std::string out = "(still waits)";
    stream_.async_wait(Stream::kWrite, [&](error_code error) { out = error ? error.message() : "ready"; });
    settle();
    EXPECT_EQ(out, "(still waits)");
    const auto end = Clock::now() + 2s;
    while (out == "(still waits)" && Clock::now() < end) {
      (void)pair_.hear();
      turn();
    }
    EXPECT_EQ(out, "ready");
    while (stream_.send(much) > 0) {
    }
  }
}

TEST_F(StreamTest, AResetIsReadAndWritten) {
  pair_.give_to(stream_);
  const linger none{1, 0};
  ::setsockopt(pair_.theirs.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
  pair_.theirs.reset();
  EXPECT_EQ(wait(Stream::kRead), "ready");
  EXPECT_EQ(receive(), std::strerror(ECONNRESET));
}

TEST_F(StreamTest, CloseAndCancelAbortWhatWaits) {
  pair_.give_to(stream_);
  std::vector<std::string> said;
  const auto note = [&](const char* what) {
    return [&said, what](error_code error) { said.push_back(what + error.message()); };
  };
  stream_.async_wait(Stream::kRead, note("read: "));
  stream_.cancel();
  EXPECT_TRUE(said.empty()) << "inside the call";
  settle();
  stream_.async_wait(Stream::kRead, note("again: "));
  settle();
  stream_.close();
  EXPECT_TRUE(said.empty() || said.size() == 1);
  settle();
  stream_.async_wait(Stream::kRead, note("closed: "));
  settle();
  EXPECT_THAT(said, testing::ElementsAre("read: Operation canceled", "again: Operation canceled",
                                         "closed: Bad file descriptor"));
}

// A refusal is written to a client that is slow to take what its server has said.
TEST_F(StreamTest, WhoWaitsForTheSameIsCalledInTurn) {
  pair_.give_to(stream_);
  std::string said;
  stream_.async_wait(Stream::kRead, [&](error_code) {
    said += "first ";
    (void)receive();
    stream_.async_wait(Stream::kRead, [&](error_code error) { said += error ? "aborted " : "again "; });
  });
  stream_.async_wait(Stream::kRead, [&](error_code) { said += "second "; });
  pair_.say("one");
  settle();
  EXPECT_EQ(said, "first second ");
  pair_.say("two");
  settle();
  EXPECT_EQ(said, "first second again ");
  said.clear();
  stream_.async_wait(Stream::kRead, [&](error_code) {
    said += "closes ";
    stream_.close();
  });
  stream_.async_wait(Stream::kRead, [&](error_code error) { said += error ? "aborted" : "ready"; });
  settle();
  EXPECT_EQ(said, "closes aborted");
}

TEST_F(StreamTest, ACancelledTaskLeavesNothingBehind) {
  pair_.give_to(stream_);
  TaskScope scope(context_);
  bool aborted = false;
  const auto reader = [](Stream& stream, bool& out) -> awaitable<void> {
    const auto [error] = co_await stream.async_wait(Stream::kRead, kAsResult);
    out = error == asio::error::operation_aborted;
  };
  scope.spawn(reader(stream_, aborted));
  settle();
  scope.cancel();
  settle();
  EXPECT_EQ(scope.size(), 0u);
  EXPECT_TRUE(aborted);
  pair_.say("late");
  EXPECT_EQ(wait(Stream::kRead), "ready") << "its place is free";
}

TEST_F(StreamTest, TheLoopEndsWhenNobodyWaits) {
  pair_.give_to(stream_);
  bool said = false;
  stream_.async_wait(Stream::kRead, [&](error_code) { said = true; });
  pair_.say("one");
  context_.restart();
  context_.run_for(2s);
  EXPECT_TRUE(said);
  EXPECT_TRUE(context_.stopped()) << "with an open stream";
  stream_.async_wait(Stream::kWrite, [&](error_code) {});
  stream_.async_wait(Stream::kRead, [&](error_code) {});
  stream_.cancel();
  context_.restart();
  context_.run_for(2s);
  EXPECT_TRUE(context_.stopped());
}

// An edge of a descriptor that has been closed is not taken for one of whoever has its number now.
TEST_F(StreamTest, ANumberThatIsGivenOutAgainStartsAnew) {
  TcpPair other;
  pair_.give_to(stream_);
  TcpPair third;
  Stream second(poller_);
  third.give_to(second);
  bool quiet = true;
  const int number = stream_.native_handle();
  // Both edges are in one batch: the first that is served closes the other stream, and its number is used at once.
  stream_.async_wait(Stream::kRead, [&](error_code error) {
    if (!error) second.close();
  });
  second.async_wait(Stream::kRead, [&](error_code error) {
    if (error) return;
    stream_.close();
    EXPECT_EQ(::dup2(other.ours.get(), number), number);
    other.ours.reset(number);
    other.give_to(stream_);
    stream_.async_wait(Stream::kRead, [&](error_code) { quiet = false; });
  });
  third.say("first");
  pair_.say("stale");
  settle();
  EXPECT_TRUE(quiet);
}

TEST_F(StreamTest, ACopyElsewhereBringsNoEdges) {
  pair_.give_to(stream_);
  const UniqueFd copy(::fcntl(stream_.native_handle(), F_DUPFD_CLOEXEC, 3));
  stream_.was_copied();
  stream_.close();
  TcpPair other;
  other.give_to(stream_);
  bool said = false;
  stream_.async_wait(Stream::kRead, [&](error_code error) { said = !error; });
  pair_.say("to the copy");
  settle();
  EXPECT_FALSE(said);
}

class Borrower final : public Stream::Borrower {
 public:
  void take_back(int fd) noexcept override {
    EXPECT_GE(::fcntl(fd, F_GETFD), 0) << "closed already";
    taken.push_back(fd);
  }
  std::vector<int> taken;
};

TEST_F(StreamTest, IsTakenBackBeforeItIsClosedWhoeverClosesIt) {
  const auto borrower = std::make_shared<Borrower>();
  std::vector<int> lent;
  const auto lend = [&](Stream& stream) {
    TcpPair pair;
    pair.give_to(stream);
    lent.push_back(stream.native_handle());
    stream.lent_to(borrower);
  };
  lend(stream_);
  stream_.close();
  stream_.close();
  lend(stream_);
  stream_ = Stream(poller_);  // by assignment
  {
    Stream first(poller_);
    lend(first);
    const Stream moved(std::move(first));  // by the destructor of whom it was moved to
    EXPECT_EQ(borrower->taken.size(), 2u);
  }
  EXPECT_EQ(borrower->taken, lent);
}

TEST(Stream, WaitsEndWithTheirLoop) {
  TcpPair pair;
  auto context = std::make_unique<asio::io_context>(1);
  auto alive = std::make_shared<int>();
  const auto hold = [](Stream stream, std::shared_ptr<int>) -> awaitable<void> {
    (void)co_await stream.async_wait(Stream::kRead, kAsResult);
  };
  Stream stream(Poller::of(*context));
  pair.give_to(stream);
  asio::co_spawn(*context, hold(std::move(stream), alive), [](std::exception_ptr) {});
  context->poll();
  EXPECT_EQ(alive.use_count(), 2);
  context.reset();
  EXPECT_EQ(alive.use_count(), 1) << "the coroutine leaked";
  EXPECT_EQ(pair.hear(), "(end)");
}

}  // namespace
}  // namespace sallyport::net
