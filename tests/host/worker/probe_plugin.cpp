// A plugin that does what its config says and tells of it in the log, for the tests of the worker process.
//
//   flows: true     accepts on its listeners, holds each connection under a ticket, and echoes until it is closed
//   react: false    ignores a revocation
//   keeps: true     follows the ledger and says that everything is in force
//   probe: true     tries what the jail forbids, and logs what came of it
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <policy/ext/clients.h>
#include <policy/ext/draft/topology.h>
#include <policy/ext/flow.h>
#include <policy/ext/ledger.h>
#include <policy/ext/metrics.h>
#include <policy/ext/tasks.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <policy/plugin.hpp>
#include <thread>
#include <vector>

namespace {

class Probe final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override {
    config_ = json;
    return {};
  }

  policy::Status start() override {
    say("start");
    host.get<policy_sockets_v1>(POLICY_SOCKETS_ID)->on_listener(host.raw(), policy::str("web"), on_listener, this);
    std::uint64_t id = 0;
    const auto* tasks = host.get<policy_tasks_v1>(POLICY_TASKS_ID);
    tasks->on_publish(host.raw(), on_publish, this, &id);
    tasks->timer(host.raw(), 1, 0, on_timer, this, &id);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (has("keeps")) host.get<policy_ledger_v1>(POLICY_LEDGER_ID)->on_recorded(host.raw(), on_recorded, this);
    if (has("probe")) probe();
    thread_ = std::thread([this] { serve(); });
    return {};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    draining_ = true;
    wake();
    flows_left = open_;
    return {};
  }

  policy::Status stop() override {
    stopping_ = true;
    wake();
    thread_.join();
    say("stop");
    return {};
  }

  std::string health() override { return "{\"ok\":true,\"flows\":" + std::to_string(open_.load()) + "}"; }

 private:
  struct Connection {
    int fd;
    policy_flow* flow;
  };

  bool has(const char* key) const { return config_.find(std::string("\"") + key + "\":true") != std::string::npos; }
  void say(const std::string& text) { host.log(POLICY_LOG_INFO, text); }
  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
  }

  static void on_listener(void* self, std::uint32_t added, policy_str, int fd, std::uint64_t client) {
    auto& plugin = *static_cast<Probe*>(self);
    {
      const std::lock_guard lock(plugin.mutex_);
      if (added) {
        plugin.listeners_.push_back(fd);
      } else {
        for (const int old : plugin.listeners_) ::close(old);
        plugin.listeners_.clear();
      }
    }
    plugin.say((added ? "listener added " : "listener removed ") + std::to_string(client));
    plugin.wake();
  }
  static void on_publish(void* self, policy_code) { static_cast<Probe*>(self)->say("told of a new policy"); }
  static void on_timer(void* self, policy_code) { static_cast<Probe*>(self)->say("timer"); }
  static void on_recorded(void* self) {
    auto& plugin = *static_cast<Probe*>(self);
    plugin.recorded_ = true;
    plugin.wake();
  }
  static void on_applied(void* self, policy_code code) {
    static_cast<Probe*>(self)->say(code == POLICY_OK ? "in force" : "not applied in time");
  }
  static void on_revoked(void* self, std::uint64_t flow, std::uint16_t) {
    auto& plugin = *static_cast<Probe*>(self);
    const std::lock_guard lock(plugin.mutex_);
    plugin.revoked_.push_back(flow);
    plugin.wake();
  }

  void serve() {
    policy::Reader reader(host);
    std::vector<Connection> connections;
    const auto* flows = host.get<policy_flow_v1>(POLICY_FLOW_ID);
    const auto end = [&](std::size_t i, std::uint16_t reason) {
      ::close(connections[i].fd);
      flows->close(connections[i].flow, 3, 4, reason);
      connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i));
      open_ = connections.size();
    };
    while (!stopping_) {
      std::vector<pollfd> polled{{wake_, POLLIN, 0}};
      std::size_t listening = 0;
      {
        const std::lock_guard lock(mutex_);
        if (!draining_) {
          for (const int fd : listeners_) polled.push_back({fd, POLLIN, 0}), ++listening;
        }
      }
      for (const Connection& c : connections) polled.push_back({c.fd, POLLIN, 0});
      ::poll(polled.data(), polled.size(), 1000);
      std::uint64_t count;
      while (::read(wake_, &count, sizeof count) > 0) {
      }
      if (recorded_.exchange(false)) keep_up(reader);
      if (has("react")) {
        std::vector<std::uint64_t> revoked;  // close() waits for callbacks, so never under their lock
        {
          const std::lock_guard lock(mutex_);
          revoked.swap(revoked_);
        }
        for (const std::uint64_t flow : revoked) {
          for (std::size_t i = connections.size(); i-- > 0;) {
            if (flows->id(connections[i].flow) == flow) end(i, POLICY_REASON_REVOKED);
          }
        }
        if (connections.size() + 1 + listening != polled.size()) continue;
      }
      for (std::size_t i = connections.size(); i-- > 0;) {
        if (polled[1 + listening + i].revents == 0) continue;
        char byte;
        if (::recv(connections[i].fd, &byte, 1, MSG_DONTWAIT) == 1) {
          [[maybe_unused]] const auto sent = ::send(connections[i].fd, &byte, 1, MSG_NOSIGNAL);
        } else {
          end(i, POLICY_REASON_OK);
        }
      }
      for (std::size_t i = 0; i < listening; ++i) {
        if (polled[1 + i].revents == 0) continue;
        sockaddr_storage peer{};
        socklen_t length = sizeof peer;
        const int fd = accept_from(polled[1 + i].fd, peer, length);
        if (fd >= 0) take(reader, fd, peer, length, connections);
      }
      open_ = connections.size();
    }
    while (!connections.empty()) end(0, POLICY_REASON_OK);
  }

  // Nothing from a listener that went while it was polled.
  int accept_from(int listener, sockaddr_storage& peer, socklen_t& length) {
    const std::lock_guard lock(mutex_);
    if (std::find(listeners_.begin(), listeners_.end(), listener) == listeners_.end()) return -1;
    return ::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC);
  }

  void take(policy::Reader& reader, int fd, const sockaddr_storage& from, socklen_t length,
            std::vector<Connection>& connections) {
    const auto* edge = host.get<policy_edge_v1>(POLICY_EDGE_ID);
    policy_addr peer{};
    policy_name name{};
    policy_query query{};
    query.layer = POLICY_LAYER_DIAL;
    query.proto = IPPROTO_TCP;
    query.port = 443;
    query.known = POLICY_KNOW_NAME | POLICY_KNOW_PORT;
    query.client = &peer;
    query.name = &name;
    const bool known =
        edge->addr(&from, length, &peer, nullptr) == POLICY_OK &&
        edge->name(policy::str("api.test"), POLICY_FORM_HOST, &name, nullptr) == POLICY_OK &&
        host.get<policy_clients_v1>(POLICY_CLIENTS_ID)->identify(reader.raw(), 0, &peer, &query.client_id) == POLICY_OK;
    const policy_verdict verdict = reader.decide(query);
    reader.audit(query, verdict);
    const auto* flows = host.get<policy_flow_v1>(POLICY_FLOW_ID);
    query.struct_size = sizeof query;
    policy_flow* flow = nullptr;
    if (!known || verdict.verdict != POLICY_ALLOW ||
        flows->open(reader.raw(), &query, &verdict, on_revoked, this, &flow) != POLICY_OK) {
      ::close(fd);
      return;
    }
    flows->attach(flow, fd);
    connections.push_back({fd, flow});
    if (has("records")) record(reader, query);
  }

  // An answer that waits for whoever keeps rules.
  void record(policy::Reader& reader, const policy_query& query) {
    const auto* ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID);
    policy_binding binding{};
    binding.struct_size = sizeof binding;
    binding.client_id = query.client_id;
    binding.client = *query.client;
    binding.addr = *query.client;
    binding.name = *query.name;
    std::uint64_t seq = 0;
    if (ledger->record(reader.raw(), &binding, sizeof binding, 1, &seq) != POLICY_OK) return say("not recorded");
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto at = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
    if (ledger->when_applied(reader.raw(), seq, at + 500'000'000, on_applied, this) != POLICY_OK) say("no wait");
  }

  void keep_up(policy::Reader& reader) {
    const auto* ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID);
    for (;;) {
      policy_binding bindings[4];
      std::size_t n = 4;
      if (ledger->next(reader.raw(), &cursor_, bindings, sizeof bindings[0], &n) != POLICY_OK) return;
      if (n == 0) break;
      for (std::size_t i = 0; i < n; ++i) say("kept " + std::string(policy::view(bindings[i].name)));
    }
    ledger->applied(reader.raw(), cursor_);
  }

  void probe() {
    const auto tell = [&](const char* what, long result) {
      say(std::string(what) + (result >= 0 ? " works" : " fails"));
      if (result >= 0) ::close(static_cast<int>(result));
    };
    tell("open", ::syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY));
    tell("unix", ::socket(AF_UNIX, SOCK_STREAM, 0));
    tell("inet", ::socket(AF_INET, SOCK_STREAM, 0));
    tell("netfilter", ::socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    tell("route", ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    tell("audit", ::socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT));
    tell("packet", ::socket(AF_PACKET, SOCK_RAW, 0));
    tell("raw", ::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const int mark = 7;  // needs CAP_NET_ADMIN
    tell("mark", ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0 ? ::dup(fd) : -1);
    tell("index", ::if_nametoindex("lo") > 0 ? ::dup(fd) : -1);
    ::close(fd);
    say("uid " + std::to_string(::getuid()));
  }

  std::string config_;
  std::thread thread_;
  std::atomic<bool> stopping_{false}, draining_{false}, recorded_{false};
  std::atomic<std::size_t> open_{0};
  std::uint64_t cursor_ = 0;
  int wake_ = -1;
  std::mutex mutex_;
  std::vector<int> listeners_;
  std::vector<std::uint64_t> revoked_;
};

}  // namespace

POLICY_PLUGIN(Probe,
              R"({"name":"probe","version":"1.0.0","needs":["policy.edge/1","policy.decision/1","policy.audit/1",)"
              R"("policy.sockets/1","policy.clients/1","policy.flow/1","policy.tasks/1"],"layers":["tcp"],)"
              R"("privileges":{},"config":{"type":"object","additionalProperties":false,"properties":{}}})");
