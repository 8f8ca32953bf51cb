// What a worker may do to its warden: nothing. Each program here misbehaves in one way.
#include "host/warden/supervisor.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace sallyport {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class OddWorker : public testing::Test {
 protected:
  // started: what start() said. One that ends at once may do so before or after it is told anything.
  Supervisor& supervise(const char* behaviour, absl::Status* started = nullptr) {
    program_ = Descriptor(::open((std::string(ODD_WORKERS) + behaviour).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_GE(program_.get(), 0);
    supervisor_.emplace(program_.get(), WorkerSetup{{{"type", "setup"}}, {}},
                        [this](std::string_view line) { log_.emplace_back(line); });
    const absl::Status status = supervisor_->start();
    if (started == nullptr) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      *started = status;
    }
    return *supervisor_;
  }

  static void await(int fd) {
    pollfd waiting{fd, POLLIN, 0};
    ASSERT_EQ(::poll(&waiting, 1, 5000), 1);
  }

  std::vector<std::string> log_;
  Descriptor program_;
  std::optional<Supervisor> supervisor_;
};

TEST_F(OddWorker, GarbageAtStartIsAnErrorAtOnce) {
  const absl::Status status = supervise("garbage").serve({});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(supervisor_->pid(), -1) << "it lives on";
}

TEST_F(OddWorker, ClosedChannelAtStartIsAnErrorAtOnce) {
  absl::Status started;
  Supervisor& supervisor = supervise("closes", &started);
  EXPECT_TRUE(absl::IsUnavailable(started.ok() ? supervisor.serve({}) : started)) << started;
}

TEST_F(OddWorker, DeathAtStartIsAnErrorAtOnce) {
  EXPECT_THAT(std::string(supervise("dies").serve({}).message()), HasSubstr("status 9"));
}

TEST_F(OddWorker, RefusalIsToldWithoutControlOctets) {
  const absl::Status status = supervise("refuses").serve({});
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("plugin x: no "));
  for (const char c : status.message()) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST_F(OddWorker, MuteOneIsEnded) {  // PLG-02: stopped or stuck
  Supervisor& supervisor = supervise("mute");
  ASSERT_TRUE(supervisor.serve({}).ok());
  Supervisor::Clock::time_point now = Supervisor::Clock::now();
  for (int i = 0; i < 6; ++i) supervisor.tick(now += Supervisor::kPingInterval);
  await(supervisor.exit_fd());
  const pid_t before = supervisor.pid();
  EXPECT_TRUE(supervisor.on_exit(now, [] {}));
  EXPECT_NE(supervisor.pid(), before);
  EXPECT_THAT(log_, testing::Contains(HasSubstr("did not answer")));
}

TEST_F(OddWorker, StopOfTheWardenIsNoSilenceOfTheWorker) {
  Supervisor& supervisor = supervise("mute");
  ASSERT_TRUE(supervisor.serve({}).ok());
  Supervisor::Clock::time_point now = Supervisor::Clock::now();
  supervisor.tick(now);
  supervisor.tick(now += 1h);
  pollfd waiting{supervisor.exit_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 50), 0) << "it was ended for the hour that the warden slept";
}

TEST_F(OddWorker, ThirdDeathInAMinuteClosesTheNetwork) {
  Supervisor& supervisor = supervise("mute");
  ASSERT_TRUE(supervisor.serve({}).ok());
  Supervisor::Clock::time_point now = Supervisor::Clock::now();
  for (const bool restarted : {true, true, false}) {
    ASSERT_EQ(::kill(supervisor.pid(), SIGKILL), 0);
    await(supervisor.exit_fd());
    int taken_over = 0;
    EXPECT_EQ(supervisor.on_exit(now += 1s, [&] { ++taken_over; }), restarted);
    EXPECT_EQ(taken_over, 1);
  }
  EXPECT_EQ(supervisor.pid(), -1);
  EXPECT_THAT(log_.back(), HasSubstr("the network stays closed"));
}

TEST_F(OddWorker, WordsAreBoundedAndPrintable) {
  Supervisor& supervisor = supervise("babbles");
  ASSERT_TRUE(supervisor.serve({}).ok());
  for (int i = 0; i < 200; ++i) {
    pollfd waiting{supervisor.channel_fd(), POLLIN, 0};
    if (::poll(&waiting, 1, 100) <= 0) break;
    supervisor.on_channel();
  }
  EXPECT_LE(log_.size(), 101u);
  for (const std::string& line : log_)
    for (const char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << line;
}

}  // namespace
}  // namespace sallyport
