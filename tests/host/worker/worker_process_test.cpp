// The worker as a process of its own, jailed, driven over its channel as the warden drives it. The plugin is
// probe_plugin.cpp. As root the namespaces' jail runs too.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <policy/abi.h>
#include <policy/ext/log.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "audit/audit_ring.hpp"
#include "engine/decide.hpp"
#include "host/channel/channel.hpp"
#include "host/worker/worker.hpp"
#include "ledger/binding_table.hpp"
#include "metrics/metrics_table.hpp"

namespace sallyport {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

int memory_file(std::span<const std::byte> bytes) {
  const int fd = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
  return fd;
}

int plugin_file() {
  std::ifstream in(PROBE_PLUGIN, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_FALSE(text.empty());
  return memory_file(std::as_bytes(std::span(text)));
}

constexpr char kManifest[] =
    R"({"name":"probe","version":"1.0.0","needs":["policy.edge/1","policy.decision/1","policy.audit/1",)"
    R"("policy.sockets/1","policy.clients/1","policy.flow/1","policy.tasks/1"],"layers":["tcp"],)"
    R"("privileges":{},"config":{"type":"object","additionalProperties":false,"properties":{}}})";

// A policy that lets 127.0.0.0/8 reach api.test, or nobody.
int policy(std::uint64_t generation, bool allows) {
  PolicyModel model;
  model.clients = {{"agents", {*Prefix::parse("127.0.0.0/8")}, {}}};
  if (allows) {
    RuleModel rule;
    rule.name = "api";
    rule.action = Action::kAllow;
    rule.clients = {"agents"};
    rule.domains = {*Pattern::parse("api.test")};
    rule.ports = {{443, 443, kProtoTcp}};
    model.rules.push_back(rule);
  }
  const auto bytes = compile(model, generation);
  EXPECT_TRUE(bytes.ok());
  return memory_file(*bytes);
}

// The descriptors that several workers of one gateway share.
struct Shared {
  BindingTable ledger = *BindingTable::create({.capacity = 64, .per_client = 64, .seed = 9});
  int recorded = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  ~Shared() { ::close(recorded); }
};

class WorkerUnderTest {
 public:
  struct Options {
    std::string config = "{}";
    std::string jail = "plain";
    json privileges = json::object();
    std::optional<unsigned> uid;
    unsigned enforcers = 0;
    Shared* shared = nullptr;
    int own_applied = -1;
    std::vector<int> applied;
  };

  explicit WorkerUnderTest(const Options& options)
      : ring_(*AuditRing::create(128, -1, 1)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    auto ends = Channel::pair();
    EXPECT_TRUE(ends);
    channel_.emplace(std::move(ends->first));
    pid_ = ::fork();
    if (pid_ == 0) {
      channel_.reset();
      const bool alone = options.jail == "plain" || ::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0;
      if (!alone) ::_exit(99);
      run_worker(ends->second.fd());
    }
    json body = {
        {"type", "setup"},
        {"plugins",
         {{{"name", "probe"}, {"manifest", kManifest}, {"config", options.config}, {"needed", json::array()}}}},
        {"clients", json::array()},
        {"log", POLICY_LOG_DEBUG},
        {"jail", options.jail},
        {"privileges", options.privileges},
        {"gate",
         {{"topology", {{"name", "test"}}},
          {"sources", {"127.0.0.0/8"}},
          {"enforcers", options.enforcers},
          {"flow_layer", true},
          {"credentials", json::array()},
          {"client_key", 77},
          {"applied_fds", options.applied.size()}}}};
    if (options.uid) body["uid"] = *options.uid;
    std::vector<int> fds{policy(1, true), ring_.fd(), wake_};
    json names = {"snapshot", "audit", "audit_wake"};
    if (options.shared != nullptr) {
      names.insert(names.end(), {"ledger", "ledger_recorded", "ledger_applied"});
      fds.insert(fds.end(), {options.shared->ledger.fd(), options.shared->recorded, options.own_applied});
    }
    body["fd_names"] = names;
    fds.insert(fds.end(), options.applied.begin(), options.applied.end());
    fds.push_back(plugin_file());
    EXPECT_TRUE(channel_->send(body, fds));
    ::close(fds.front());
    ::close(fds.back());
  }

  ~WorkerUnderTest() {
    channel_.reset();
    if (pid_ > 0 && !gone_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(wake_);
  }

  Channel& channel() { return *channel_; }
  AuditRing& ring() { return ring_; }

  // The next message of that type; lines of the log and those in between are kept.
  json wait_for(const std::string& type, std::chrono::milliseconds limit = 10s) {
    const auto end = Clock::now() + limit;
    while (Clock::now() < end) {
      Message message;
      const auto outcome = channel_->receive(message, 50);
      if (outcome == Channel::Outcome::kNothing) continue;
      if (outcome != Channel::Outcome::kMessage) break;
      if (message.body["type"] == "log") log_.push_back(message.body["text"]);
      if (message.body["type"] == "crashed") ADD_FAILURE() << message.body;
      if (message.body["type"] == type) return message.body;
      if (message.body["type"] == "failed") return message.body;
    }
    ADD_FAILURE() << "no message " << type << ", log: " << testing::PrintToString(log_);
    return nullptr;
  }
  bool wait_for_log(const std::string& text, std::chrono::milliseconds limit = 10s) {
    const auto end = Clock::now() + limit;
    for (;;) {
      for (const std::string& line : log_) {
        if (line.find(text) != std::string::npos) return true;
      }
      Message message;
      if (Clock::now() >= end) break;
      if (channel_->receive(message, 50) == Channel::Outcome::kMessage && message.body["type"] == "log")
        log_.push_back(message.body["text"]);
    }
    return false;
  }
  const std::vector<std::string>& log() const { return log_; }

  void start() {
    channel_->send({{"type", "start"}});
    const json answer = wait_for("serving");
    ASSERT_EQ(answer["type"], "serving") << answer;
  }
  void publish(std::uint64_t generation, bool allows) {
    const int fd = policy(generation, allows);
    channel_->send({{"type", "publish"}, {"generation", generation}}, {fd});
    ::close(fd);
  }
  // -1: it did not end in time.
  int exit_status(std::chrono::milliseconds limit = 10s) {
    const auto end = Clock::now() + limit;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) != pid_) {
      if (Clock::now() > end) return -1;
      std::this_thread::sleep_for(5ms);
    }
    gone_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  std::vector<AuditRecord> take_audit(std::size_t count) {
    std::vector<AuditRecord> all;
    const auto end = Clock::now() + 10s;
    while (all.size() < count && Clock::now() < end) {
      std::vector<AuditRecord> some(16);
      some.resize(ring_.read(some));
      all.insert(all.end(), some.begin(), some.end());
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }

 private:
  AuditRing ring_;
  int wake_;
  std::optional<Channel> channel_;
  pid_t pid_ = -1;
  bool gone_ = false;
  std::vector<std::string> log_;
};

// A listener on loopback, as the warden opens it.
class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 16), 0);
    socklen_t length = sizeof address_;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &length);
  }
  ~Listener() { ::close(fd_); }
  int fd() const { return fd_; }
  void give(WorkerUnderTest& worker) const {
    worker.channel().send({{"type", "listener"}, {"name", "web"}, {"client", 0}}, {fd_});
  }

 private:
  friend class Connection;
  int fd_;
  sockaddr_in address_{};
};

class Connection {
 public:
  explicit Connection(const Listener& to) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to.address_), sizeof to.address_), 0);
  }
  ~Connection() { ::close(fd_); }
  // The octet that came back; 0: closed; -1: nothing within the time.
  int echo(std::chrono::milliseconds limit = 5s) {
    [[maybe_unused]] const auto sent = ::send(fd_, "x", 1, MSG_NOSIGNAL);
    return hear(limit);
  }
  int hear(std::chrono::milliseconds limit) {
    pollfd polled{fd_, POLLIN, 0};
    if (::poll(&polled, 1, static_cast<int>(limit.count())) <= 0) return -1;
    char byte = 0;
    return ::recv(fd_, &byte, 1, 0) == 1 ? byte : 0;
  }

 private:
  int fd_;
};

constexpr char kFlows[] = R"({"flows":true,"react":true})";

TEST(WorkerProcess, ServesAndRevokesAtANewPolicy) {
  WorkerUnderTest worker({.config = kFlows});
  const Listener listener;
  listener.give(worker);
  worker.start();
  Connection open(listener);
  EXPECT_EQ(open.echo(), 'x');
  worker.channel().send({{"type", "ping"}});
  EXPECT_EQ(worker.wait_for("pong")["health"]["probe"], json({{"ok", true}, {"flows", 1}}));

  worker.publish(2, false);
  EXPECT_EQ(worker.wait_for("published")["generation"], 2);
  EXPECT_THAT(worker.log(), testing::Contains("told of a new policy"));
  EXPECT_EQ(open.hear(900ms), 0) << "the flow is closed within a second";
  Connection refused(listener);
  EXPECT_EQ(refused.echo(), 0);

  const auto audit = worker.take_audit(3);
  ASSERT_EQ(audit.size(), 3u);
  EXPECT_EQ(audit[0].verdict, Effect::kAllow);
  EXPECT_EQ(audit[0].client_address(), *Address::parse("127.0.0.1"));
  EXPECT_NE(audit[0].client_port, 0);
  EXPECT_EQ(audit[1].kind, AuditKind::kClose);
  EXPECT_EQ(audit[1].reason, Reason::kRevoked);
  EXPECT_EQ(audit[1].generation, 1u);
  const json detail = json::parse(audit[1].detail_text());
  EXPECT_EQ(detail["bytes"], json({{"up", 3}, {"down", 4}}));
  EXPECT_EQ(detail["flow"], "1");
  EXPECT_EQ(audit[2].verdict, Effect::kDeny);
  EXPECT_EQ(audit[2].generation, 2u);
}

TEST(WorkerProcess, ShutsDownWhatAPluginDoesNotClose) {
  WorkerUnderTest worker({.config = R"({"flows":true})"});
  const Listener listener;
  listener.give(worker);
  worker.start();
  Connection open(listener);
  EXPECT_EQ(open.echo(), 'x');
  const auto begin = Clock::now();
  worker.publish(2, false);
  EXPECT_EQ(open.hear(800ms), -1) << "a second is the plugin's own";
  EXPECT_EQ(open.hear(1200ms), 0);
  EXPECT_LT(Clock::now() - begin, 1500ms);
  EXPECT_TRUE(worker.wait_for_log("a revoked flow was still open after a second"));
}

TEST(WorkerProcess, AFlowThatIsStillAllowedGoesOn) {
  WorkerUnderTest worker({.config = kFlows});
  const Listener listener;
  listener.give(worker);
  worker.start();
  Connection open(listener);
  EXPECT_EQ(open.echo(), 'x');
  for (std::uint64_t generation = 2; generation < 20; ++generation) {
    worker.publish(generation, true);
    EXPECT_EQ(worker.wait_for("published")["generation"], generation);
  }
  EXPECT_EQ(open.echo(), 'x');
}

TEST(WorkerProcess, ABadPolicyLeavesTheOldOne) {
  WorkerUnderTest worker({.config = kFlows});
  const Listener listener;
  listener.give(worker);
  worker.start();
  const auto refused = [&](std::uint64_t said, int fd) {
    worker.channel().send({{"type", "publish"}, {"generation", said}}, {fd});
    ::close(fd);
    const json answer = worker.wait_for("failed_publish");
    EXPECT_EQ(answer["generation"], said);
    return answer["text"].get<std::string>();
  };
  EXPECT_THAT(refused(3, policy(2, false)), testing::HasSubstr("another generation"));
  EXPECT_THAT(refused(1, policy(1, false)), testing::HasSubstr("not later"));
  EXPECT_THAT(refused(2, memory_file(std::as_bytes(std::span("garbage")))), testing::HasSubstr("snapshot"));
  worker.channel().send({{"type", "publish"}, {"generation", 2}});
  EXPECT_THAT(worker.wait_for("failed_publish")["text"].get<std::string>(), testing::HasSubstr("without a snapshot"));
  const int good = policy(2, false);
  worker.channel().send({{"type", "publish"}, {"generation", 2}, {"sources", {"no prefix"}}}, {good});
  ::close(good);
  EXPECT_THAT(worker.wait_for("failed_publish")["text"].get<std::string>(), testing::HasSubstr("no prefix"));
  Connection open(listener);
  EXPECT_EQ(open.echo(), 'x');
}

TEST(WorkerProcess, ListenersComeAndGo) {
  WorkerUnderTest worker({.config = kFlows});
  worker.start();
  const Listener late;
  late.give(worker);
  EXPECT_TRUE(worker.wait_for_log("listener added 0"));
  Connection open(late);
  EXPECT_EQ(open.echo(), 'x');
  worker.channel().send({{"type", "unlisten"}, {"name", "web"}, {"client", 0}});
  EXPECT_TRUE(worker.wait_for_log("listener removed 0"));
  Connection waits(late);  // the warden's socket still takes it
  EXPECT_EQ(waits.echo(300ms), -1);
  EXPECT_EQ(open.echo(), 'x');
  const Listener again;
  again.give(worker);
  Connection other(again);
  EXPECT_EQ(other.echo(), 'x');
}

TEST(WorkerProcess, DrainWaitsForTheLastFlow) {
  WorkerUnderTest worker({.config = kFlows});
  const Listener listener;
  listener.give(worker);
  worker.start();
  {
    Connection open(listener);
    EXPECT_EQ(open.echo(), 'x');
    worker.channel().send({{"type", "drain"}, {"deadline_ms", 60'000}});
    EXPECT_EQ(worker.wait_for("draining")["flows_left"], 1);
    EXPECT_EQ(open.echo(), 'x') << "what is open goes on";
    Connection late(listener);
    EXPECT_EQ(late.echo(300ms), -1) << "nothing new is taken";
  }
  EXPECT_EQ(worker.wait_for("draining")["flows_left"], 0);
  EXPECT_EQ(worker.exit_status(), 0);
}

TEST(WorkerProcess, DrainEndsAtItsDeadline) {
  WorkerUnderTest worker({.config = kFlows});
  const Listener listener;
  listener.give(worker);
  worker.start();
  Connection open(listener);
  EXPECT_EQ(open.echo(), 'x');
  worker.channel().send({{"type", "drain"}, {"deadline_ms", 300}});
  EXPECT_EQ(worker.wait_for("draining")["flows_left"], 1);
  EXPECT_EQ(open.hear(5s), 0);
  EXPECT_EQ(worker.exit_status(), 0);
}

TEST(WorkerProcess, AnAnswerWaitsForTheEnforcerOfAnotherWorker) {
  Shared shared;
  const int first = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), second = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const Listener listener;
  {
    WorkerUnderTest resolver({.config = R"({"flows":true,"react":true,"records":true})",
                              .enforcers = 1,
                              .shared = &shared,
                              .own_applied = first});
    listener.give(resolver);
    resolver.start();
    Connection alone(listener);
    EXPECT_EQ(alone.echo(), 'x');
    EXPECT_TRUE(resolver.wait_for_log("not applied in time")) << "no enforcer is there";

    WorkerUnderTest enforcer({.config = R"({"keeps":true})",
                              .enforcers = 1,
                              .shared = &shared,
                              .own_applied = second,
                              .applied = {first, second}});
    enforcer.start();
    EXPECT_TRUE(enforcer.wait_for_log("kept api.test")) << "what was recorded before it came";
    Connection open(listener);
    EXPECT_EQ(open.echo(), 'x');
    EXPECT_TRUE(resolver.wait_for_log("in force"));
    EXPECT_EQ(std::count(resolver.log().begin(), resolver.log().end(), "not applied in time"), 1);
  }
  ::close(first);
  ::close(second);
}

struct JailCase {
  const char* name;
  std::string jail;
  json privileges;
  std::vector<std::string> works, fails;
};

class Jail : public testing::TestWithParam<JailCase> {};

TEST_P(Jail, LeavesWhatWasAskedFor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  WorkerUnderTest worker(
      {.config = R"({"probe":true})", .jail = GetParam().jail, .privileges = GetParam().privileges, .uid = 65534});
  worker.start();
  for (const std::string& word : GetParam().works) EXPECT_TRUE(worker.wait_for_log(word + " works", 1s)) << word;
  for (const std::string& word : GetParam().fails) EXPECT_TRUE(worker.wait_for_log(word + " fails", 1s)) << word;
  EXPECT_TRUE(worker.wait_for_log("uid 65534", 1s));
}

const std::vector<JailCase> kJails = [] {
  std::vector<JailCase> all;
  for (const std::string jail : {"plain", "namespaces"}) {
    const bool plain = jail == "plain";
    all.push_back({plain ? "PlainNothing" : "Nothing",
                   jail,
                   json::object(),
                   {"inet"},
                   {"open", "unix", "netfilter", "route", "audit", "packet", "raw", "mark", "index"}});
    all.push_back({plain ? "PlainNftables" : "Nftables",
                   jail,
                   {{"capabilities", {"net_admin"}}, {"sockets", {"netlink_netfilter", "netlink_route"}}},
                   {"inet", "netfilter", "route", "mark", "index"},
                   {"open", "unix", "audit", "packet", "raw"}});
    all.push_back({plain ? "PlainMonitor" : "Monitor",
                   jail,
                   {{"capabilities", {"net_raw"}}, {"sockets", {"packet"}}},
                   {"inet", "packet", "index"},
                   {"open", "unix", "netfilter", "route", "audit", "raw"}});
  }
  return all;
}();
INSTANTIATE_TEST_SUITE_P(Privileges, Jail, testing::ValuesIn(kJails), [](const auto& row) { return row.param.name; });

TEST(WorkerProcess, RefusesPrivilegesItDoesNotKnow) {
  for (const json& privileges : {json{{"capabilities", {"sys_admin"}}}, json{{"sockets", {"netlink_audit"}}}}) {
    WorkerUnderTest worker({.privileges = privileges});
    EXPECT_THAT(worker.wait_for("failed")["text"].get<std::string>(), testing::HasSubstr("no plugin is given"));
    EXPECT_EQ(worker.exit_status(), 6);
  }
}

}  // namespace
}  // namespace sallyport
