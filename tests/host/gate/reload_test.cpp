// Changes of a running gate are all or nothing, whatever its workers do.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gate_lab.hpp"
#include "host/gate/group_worker.hpp"

namespace sallyport {
namespace {

using testing::HasSubstr;

class Reload : public GateLab {
 protected:
  void serve(const std::string& word = "well") {
    write("gateway.yaml", odd_gateway(word));
    start(ODD_GATE_WORKER);
    ASSERT_TRUE(await([&] { return generation() == 1 && status()["state"] == "serving"; })) << log();
  }
};

TEST_F(Reload, PolicyIsPublishedIntoTheRunningWorker) {
  serve();
  const pid_t before = worker();
  write("policy.yaml", std::string(kPolicy) + "  - { name: b, action: allow, domains: [b.test] }\n");
  ASSERT_TRUE(await([&] { return said("generation 2 live in"); }, 1s)) << log();
  EXPECT_EQ(worker(), before);
  EXPECT_EQ(generation(), 2u);
}

TEST_F(Reload, BadPolicyChangesNothingAndIsSaidOnce) {
  serve();
  write("policy.yaml", "version: 1\nrulez: []\n");
  ASSERT_TRUE(await([&] { return said("generation 1 stays live; nothing was changed"); }, 2s)) << log();
  EXPECT_TRUE(said("error[P003]: unknown key `rulez`")) << log();
  EXPECT_TRUE(said("did you mean `rules`?")) << log();
  EXPECT_EQ(generation(), 1u);
  EXPECT_EQ(status()["healthy"], true);
  write("policy.yaml", kPolicy);
  EXPECT_TRUE(await([&] { return generation() > 1; }, 2s)) << log();
}

TEST_F(Reload, MissingPolicyChangesNothing) {
  serve();
  std::filesystem::remove(path("policy.yaml"));
  signal(SIGHUP);
  ASSERT_TRUE(await([&] { return said("generation 1 stays live"); }, 2s)) << log();
  EXPECT_TRUE(listens(5300));
}

TEST_F(Reload, ChangedConfigReplacesTheWorkerAndDrainsTheOld) {
  serve();
  const pid_t before = worker();
  write("gateway.yaml", odd_gateway("other"));
  ASSERT_TRUE(await([&] { return generation() == 2; }, 3s)) << log();
  EXPECT_NE(worker(), before);
  EXPECT_TRUE(await([&] { return is_gone(before); }, 2s)) << "the old worker stays";
}

TEST_F(Reload, OneThatDoesNotDrainIsEndedAfterTheDeadline) {
  serve("never-drains");
  const pid_t before = worker();
  write("gateway.yaml", odd_gateway("other"));
  ASSERT_TRUE(await([&] { return generation() == 2; }, 3s)) << log();
  EXPECT_EQ(status()["draining"][0]["pid"], before);
  EXPECT_TRUE(await([&] { return status()["draining"].empty(); }, 5s)) << log();  // 1 s, and the grace
  EXPECT_TRUE(said("did not end in time")) << log();
}

struct Refusal {
  const char* why;
  const char* word;
  const char* said;
};
class NewWorker : public Reload, public testing::WithParamInterface<Refusal> {};

TEST_P(NewWorker, ThatCannotServeChangesNothing) {
  serve();
  const pid_t before = worker();
  write("gateway.yaml", odd_gateway(GetParam().word));
  ASSERT_TRUE(await([&] { return said("generation 1 stays live; nothing was changed"); })) << log();
  EXPECT_TRUE(said(GetParam().said)) << log();
  EXPECT_EQ(log().find('\x1b'), std::string::npos) << "a worker's words reach the terminal";
  EXPECT_EQ(worker(), before);
  EXPECT_EQ(generation(), 1u);
  EXPECT_TRUE(listens(5300));
  // And the next good one goes through, with a generation of its own.
  write("gateway.yaml", odd_gateway("well"));
  write("policy.yaml", std::string(kPolicy) + "  - { name: b, action: allow, domains: [b.test] }\n");
  EXPECT_TRUE(await([&] { return generation() >= 3; }, 3s)) << log();
  EXPECT_EQ(worker(), before);
}
INSTANTIATE_TEST_SUITE_P(Reload, NewWorker,
                         testing::Values(Refusal{"Refuses", "refuse-start", "plugin x: no"},
                                         Refusal{"Dies", "dies-at-start", "exited with status 9"},
                                         Refusal{"IsMute", "mute-at-start", "did not start in time"}),
                         [](const auto& row) { return row.param.why; });

// status says what is live, not what was offered: a policy that its worker has not taken decides nothing yet.
TEST_F(Reload, GenerationIsNotLiveBeforeItsWorkersHaveIt) {
  serve("mute-at-publish");
  write("policy.yaml", std::string(kPolicy) + "  - { name: b, action: allow, domains: [b.test] }\n");
  ASSERT_TRUE(await([&] { return status()["state"] == "reloading"; }, 2s)) << log();
  EXPECT_EQ(generation(), 1u);
  ASSERT_TRUE(await([&] { return said("generation 2 live in"); }, 10s)) << log();
  EXPECT_EQ(generation(), 2u);
}

class Publish : public Reload, public testing::WithParamInterface<Refusal> {};

TEST_P(Publish, ThatIsNotTakenEndsTheWorkerAndTheNextHasIt) {
  serve(GetParam().word);
  const pid_t before = worker();
  write("policy.yaml", std::string(kPolicy) + "  - { name: b, action: allow, domains: [b.test] }\n");
  ASSERT_TRUE(await([&] { return said("generation 2 live in"); }, 10s)) << log();
  EXPECT_TRUE(said(GetParam().said)) << log();
  EXPECT_NE(worker(), before);
}
INSTANTIATE_TEST_SUITE_P(Reload, Publish,
                         testing::Values(Refusal{"Refused", "refuse-publish", "could not take generation 2"},
                                         Refusal{"Dies", "dies-at-publish", "exited with status 9"},
                                         Refusal{"Mute", "mute-at-publish", "did not take generation 2 in time"}),
                         [](const auto& row) { return row.param.why; });

TEST_F(Reload, StormOfHangUpsIsOneAfterAnother) {
  serve();
  for (int i = 0; i < 200; ++i) {
    signal(SIGHUP);
    if (i % 20 == 0) std::this_thread::sleep_for(5ms);
  }
  ASSERT_TRUE(await([&] { return generation() > 1 && status()["state"] == "serving"; }, 5s)) << log();
  write("policy.yaml", std::string(kPolicy) + "  - { name: z, action: allow, domains: [z.test] }\n");
  const std::uint64_t before = generation();
  EXPECT_TRUE(await([&] { return generation() > before; }, 2s)) << log();
  EXPECT_EQ(status()["healthy"], true);
}

// A worker without flows is gone before it can be told what comes after the drain: that is its end, and no fault.
TEST(DrainingWorker, ThatHasEndedWellIsNoFault) {
  const int program = ::open(ODD_GATE_WORKER, O_RDONLY | O_CLOEXEC), snapshot = ::memfd_create("snapshot", MFD_CLOEXEC);
  const auto start = [&](const char* word) {
    return GroupWorker::start(program, WorkerProcess::Jail::kPlain, {{"type", "setup"}, {"word", word}}, {}, 1,
                              [](std::string_view) {});
  };
  auto well = start("well"), stubborn = start("never-drains");
  ASSERT_TRUE(well.ok() && stubborn.ok()) << well.status() << stubborn.status();
  for (GroupWorker* worker : {well->get(), stubborn->get()}) {
    worker->drain(1s);
    if (worker == well->get()) {
      for (int i = 0; i < 500 && !worker->has_ended(); ++i) std::this_thread::sleep_for(10ms);
      ASSERT_TRUE(worker->has_ended());
    }
    worker->publish(2, snapshot, nlohmann::json::array(), nlohmann::json::array());
  }
  EXPECT_EQ((*well)->end(), "exited with status 0");
  (*stubborn)->kill("did not end in time");
  EXPECT_EQ((*stubborn)->end(), "killed by signal 9 (did not end in time)");
  ::close(program);
  ::close(snapshot);
}

TEST_F(Reload, DuringADrainIsServedToo) {
  serve("never-drains");
  write("gateway.yaml", odd_gateway("never-drains, 2"));
  ASSERT_TRUE(await([&] { return generation() == 2; }, 3s)) << log();
  write("gateway.yaml", odd_gateway("never-drains, 3"));
  ASSERT_TRUE(await([&] { return generation() == 3; }, 3s)) << log();
  EXPECT_TRUE(await([&] { return status()["draining"].empty(); }, 8s)) << log();
}

TEST_F(Reload, ListenersComeAndGo) {
  write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns, more] } }\n",
                                "  dns: { tcp: \"127.0.0.1:5300\" }\n  more: { tcp: \"127.0.0.1:5301\" }\n"));
  start(ODD_GATE_WORKER);
  ASSERT_TRUE(await([&] { return generation() == 1; })) << log();
  EXPECT_TRUE(listens(5301));
  write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns] } }\n",
                                "  dns: { tcp: [\"127.0.0.1:5300\", \"127.0.0.1:5302\"] }\n"));
  ASSERT_TRUE(await([&] { return generation() == 2; }, 3s)) << log();
  EXPECT_TRUE(await([&] { return !listens(5301); }, 3s));  // once the old worker has let go of it
  EXPECT_TRUE(listens(5300));
  EXPECT_TRUE(listens(5302));
}

TEST_F(Reload, AddressThatIsTakenChangesNothing) {
  serve();
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(5399);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(taken, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns] } }\n",
                                "  dns: { tcp: [\"127.0.0.1:5300\", \"127.0.0.1:5399\"] }\n"));
  ASSERT_TRUE(await([&] { return said("generation 1 stays live"); }, 3s)) << log();
  EXPECT_THAT(log(), HasSubstr("error[G019]: cannot listen on 127.0.0.1:5399/tcp: Address already in use"));
  EXPECT_THAT(log(), HasSubstr("`ss -lnpt sport = :5399` shows which program has it"));
  ::close(taken);
}

TEST_F(Reload, PluginThatDiesThreeTimesIsKeptDownAndItsListenersAreClosed) {
  serve();
  for (int death = 0; death < 3; ++death) {
    const pid_t now = worker();
    ASSERT_GT(now, 0) << log();
    ASSERT_EQ(::kill(now, SIGUSR1), 0);
    if (death < 2)
      ASSERT_TRUE(await([&] { return worker() > 0 && worker() != now && status()["healthy"] == true; }, 2s)) << log();
  }
  ASSERT_TRUE(await([&] { return said("the third time in 60 s; its listeners are closed until a reload"); }, 2s))
      << log();
  EXPECT_FALSE(listens(5300));
  EXPECT_EQ(status()["healthy"], false);
  EXPECT_EQ(gateway_health({path("gateway.yaml"), directory_, ""}, false), 1);
  signal(SIGHUP);
  EXPECT_TRUE(await([&] { return status()["healthy"] == true && listens(5300); }, 3s)) << log();
  EXPECT_EQ(gateway_health({path("gateway.yaml"), directory_, ""}, false), 0);
}

TEST_F(Reload, PluginThatIsNotWellMakesTheGatewayUnhealthy) {
  serve("not-well");
  EXPECT_TRUE(await([&] { return status()["healthy"] == false; }, 3s));
}

TEST_F(Reload, TermDrainsAndEndsWithZero) {
  serve();
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0) << log();
  EXPECT_FALSE(listens(5300));
  EXPECT_FALSE(std::filesystem::exists(path("lab.sock")));
}

TEST_F(Reload, SecondTermEndsAtOnce) {
  write("gateway.yaml", gateway("  - { name: dns, config: { upstreams: [never-drains] } }\n",
                                "  dns: { tcp: \"127.0.0.1:5300\" }\n", "drain: 1h\n"));
  start(ODD_GATE_WORKER);
  ASSERT_TRUE(await([&] { return generation() == 1; })) << log();
  signal(SIGTERM);
  ASSERT_TRUE(await([&] { return status().value("state", "") == "draining"; }, 2s)) << log();
  EXPECT_FALSE(listens(5300) && status()["healthy"] == true);
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0) << log();
}

TEST_F(Reload, SecondGatewayOfTheNameIsRefused) {
  serve();
  const pid_t first = pid_;
  start(ODD_GATE_WORKER);
  EXPECT_EQ(wait(), 125);
  EXPECT_TRUE(said("another gateway of this name runs")) << log();
  pid_ = first;
  EXPECT_EQ(status()["healthy"], true);
}

TEST_F(Reload, StartThatFailsListensNowhere) {
  write("gateway.yaml", odd_gateway("refuse-start"));
  start(ODD_GATE_WORKER);
  EXPECT_EQ(wait(), 125);
  EXPECT_TRUE(said("worker (dns): plugin x: no")) << log();
  EXPECT_TRUE(said("the gateway is not started; nothing listens")) << log();
  EXPECT_FALSE(listens(5300));
}

TEST_F(Reload, SocketsOfSystemdAreTakenByName) {
  const int passed = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(5310);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(passed, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(passed, 5), 0);
  const auto activate = [&](const char* name) {
    return [passed, name] {
      ::dup2(passed, 3);
      ::setenv("LISTEN_FDS", "1", 1);
      ::setenv("LISTEN_FDNAMES", name, 1);
      ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    };
  };
  write("gateway.yaml", gateway("  - { name: dns, config: { listen: [dns] } }\n", "  dns: { systemd: other }\n"));
  start(ODD_GATE_WORKER, activate("other"));
  ASSERT_TRUE(await([&] { return generation() == 1; })) << log();
  EXPECT_EQ(status()["listeners"][0]["port"], 5310);
  signal(SIGHUP);
  EXPECT_TRUE(await([&] { return generation() == 2; }, 2s)) << log();
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
  start(ODD_GATE_WORKER, activate("wrong"));
  EXPECT_EQ(wait(), 125);
  EXPECT_TRUE(said("systemd has passed no socket called `other`")) << log();
  EXPECT_TRUE(said("it passed wrong")) << log();
  ::close(passed);
}

}  // namespace
}  // namespace sallyport
