// The http-proxy plugin: ABI glue, and one Proxy a thread. Every thread accepts from every listener.
#include <fcntl.h>
#include <policy/ext/metrics.h>
#include <policy/ext/tasks.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <policy/plugin.hpp>
#include <set>
#include <thread>
#include <vector>

#include "http-proxy/metrics.hpp"
#include "http-proxy/proxy.hpp"
#include "support/all_loops.hpp"
#include "support/resolver.hpp"
#include "support/sockets.hpp"

namespace sallyport::http_proxy {
namespace {

// Unguessable, so that a client can't have its own request taken for one that loops, nor learn much from it.
std::string random_pseudonym() {
  std::uint64_t bits = 0;
  while (::getrandom(&bits, sizeof bits, 0) != sizeof bits) {
  }
  char text[32];
  std::snprintf(text, sizeof text, "sallyport-%016llx", static_cast<unsigned long long>(bits));
  return text;
}

class HttpProxy final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    config_.max_connections = affordable_connections(config_.max_connections);
    counts_ = std::make_unique<net::ClientCounts>(config_.max_connections, config_.max_connections_per_client);
    budgets_ = net::TunnelBudgets::make(config_.budgets);
    via_ = random_pseudonym();
    metrics_ = std::make_unique<Metrics>(host);
    if (config_.auth != Auth::kNone) {
      const auto* clients = host.get<policy_clients_v1>(POLICY_CLIENTS_ID);
      const policy::Status started = clients ? verifier_.start(host, clients) : policy::Status();
      if (!started.ok()) return started;
    }
    const unsigned cpus = std::max(1u, std::thread::hardware_concurrency());
    const unsigned count = config_.workers ? config_.workers : cpus;
    for (unsigned i = 0; i < count; ++i) {
      workers_.push_back(std::make_unique<Worker>(*this));
      const policy::Status started = workers_.back()->start();
      if (!started.ok()) {
        stop();
        return started;
      }
    }
    for (const std::string& name : config_.listen) {
      const auto* sockets = host.get<policy_sockets_v1>(POLICY_SOCKETS_ID);
      const policy_code code = sockets->on_listener(host.raw(), policy::str(name), &HttpProxy::on_listener, this);
      if (code != POLICY_OK) {
        stop();
        return {code, "listener `" + name + "` is not known to the host", "/listen"};
      }
    }
    const auto* tasks = host.get<policy_tasks_v1>(POLICY_TASKS_ID);
    if (tasks) (void)tasks->on_publish(host.raw(), &HttpProxy::on_publish, this, &publish_task_);
    return {};
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "http-proxy takes a new config in a new process only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    if (!std::exchange(draining_, true)) {
      for (const auto& worker : workers_)
        drained_.post(worker->loop, [w = worker.get()] { w->at_work->proxy.drain(); });
    }
    flows_left = drained_.wait(std::chrono::seconds(1)) + (counts_ ? counts_->total() : 0);
    for (const auto& worker : workers_) flows_left += worker->at_work->proxy.turning_away();
    return {};
  }

  policy::Status stop() override {
    const auto* tasks = host.get<policy_tasks_v1>(POLICY_TASKS_ID);
    if (tasks && publish_task_ != 0) tasks->cancel(host.raw(), std::exchange(publish_task_, 0));
    verifier_.stop();
    for (const auto& worker : workers_) worker->loop.stop();
    return {};
  }

  std::string health() override {
    std::uint64_t sums[kShown] = {};
    for (const auto& worker : workers_) {
      for (std::size_t i = 0; i < kShown; ++i) sums[i] += worker->shown[i].load(std::memory_order_relaxed);
    }
    std::string out = R"({"ok":true,"connections":)" + std::to_string(counts_ ? counts_->total() : 0);
    for (std::size_t i = 0; i < kShown; ++i) out += ",\"" + std::string(kNames[i]) + "\":" + std::to_string(sums[i]);
    return out + "}";
  }

 private:
  static constexpr std::size_t kShown = 7;
  static constexpr std::array<std::string_view, kShown> kNames = {"tunnels", "requests", "allowed",       "denied",
                                                                  "failed",  "shed",     "idle_upstreams"};

  // All that lives on a worker's thread.
  struct AtWork;
  struct Worker {
    explicit Worker(HttpProxy& plugin) : owner(plugin) {}
    policy::Status start() {
      return loop.start(
          owner.host, [this](policy::Reader& reader) { at_work = std::make_unique<AtWork>(*this, reader); },
          [this] { at_work->proxy.stop(); });
    }
    HttpProxy& owner;
    std::array<std::atomic<std::uint64_t>, kShown> shown{};
    net::EventLoop loop;
    std::unique_ptr<AtWork> at_work;  // after loop, which has stopped before this goes
  };
  struct AtWork {
    AtWork(Worker& w, policy::Reader& reader)
        : worker(w),
          resolver(w.loop.context(), w.loop.tasks(), resolver_config(w.owner.config_)),
          verified(w.loop.context()),
          proxy(w.loop, w.owner.config_, services(reader)) {
      w.loop.tasks().spawn(publish());
    }
    static net::ResolverConfig resolver_config(const Config& config) {
      net::ResolverConfig out;
      out.upstreams = config.upstreams;
      return out;
    }
    Services services(policy::Reader& reader) {
      HttpProxy& owner = worker.owner;
      Services out;
      out.edge = owner.host.get<policy_edge_v1>(POLICY_EDGE_ID);
      out.decision = owner.host.get<policy_decision_v1>(POLICY_DECISION_ID);
      out.clients = owner.host.get<policy_clients_v1>(POLICY_CLIENTS_ID);
      out.flow = owner.host.get<policy_flow_v1>(POLICY_FLOW_ID);
      out.limits = owner.host.get<policy_limits_v1>(POLICY_LIMITS_ID);
      out.reader = &reader;
      out.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point deadline) {
        return resolver.resolve(name, type, deadline);
      };
      out.has_ipv6 = [this] { return route.has_ipv6(net::Clock::now()); };
      out.listens = [&owner](std::uint16_t port) { return owner.listens(port); };
      out.counts = owner.counts_.get();
      out.budgets = owner.budgets_.get();
      out.alarm = [&owner](std::string_view text) {
        owner.host.log(POLICY_LOG_WARNING, "tunnel_suspect: " + std::string(text));
      };
      if (owner.config_.auth != Auth::kNone && out.clients) {
        out.verify = [this](Login login) {
          return worker.owner.verifier_.verify(std::move(login), &worker.loop, &verified);
        };
      }
      out.via = owner.via_;
      return out;
    }
    // health() runs on any thread: what it shows is copied once a second; so are the metrics.
    net::awaitable<void> publish() {
      net::asio::steady_timer timer(worker.loop.context());
      Counters before;
      for (;;) {
        const Counters& now = proxy.counters();
        const std::array<std::uint64_t, kShown> values = {
            proxy.tunnels(), now.requests, now.allowed, now.denied, now.failed, now.shed, proxy.idle_upstreams()};
        for (std::size_t i = 0; i < kShown; ++i) worker.shown[i].store(values[i], std::memory_order_relaxed);
        worker.owner.metrics_->add(before, now, worker.owner.counts_->total());
        before = now;
        timer.expires_after(std::chrono::seconds(1));
        const auto [error] = co_await timer.async_wait(net::kAsResult);
        if (error) co_return;
      }
    }

    Worker& worker;
    net::RouteProbe route;
    net::Resolver resolver;
    net::Mailbox<policy_code> verified;
    Proxy proxy;
  };

  // [main] Each worker gets a duplicate of its own.
  static void on_listener(void* self, std::uint32_t added, policy_str name, int fd, std::uint64_t client_id) noexcept {
    auto& plugin = *static_cast<HttpProxy*>(self);
    const net::UniqueFd own(fd);
    if (added && !plugin.draining_) plugin.note_port(fd);
    for (const auto& worker : plugin.workers_) {
      Worker* const w = worker.get();
      if (!added) {
        w->loop.post(
            [w, text = std::string(policy::view(name)), client_id] { w->at_work->proxy.remove(text, client_id); });
        continue;
      }
      net::Listener listener{.name = std::string(policy::view(name)), .client_id = client_id};
      int type = 0, domain = 0;
      socklen_t size = sizeof type;
      if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return;
      size = sizeof domain;
      if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return;
      listener.is_stream = type == SOCK_STREAM;
      listener.is_v6 = domain == AF_INET6;
      listener.fd.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      if (!listener.is_stream || !listener.fd.valid()) continue;
      w->loop.post([w, moved = std::move(listener)]() mutable { w->at_work->proxy.add(std::move(moved)); });
    }
  }

  static void on_publish(void* self, policy_code) noexcept {
    for (const auto& worker : static_cast<HttpProxy*>(self)->workers_) {
      worker->loop.post([w = worker.get()] { w->at_work->proxy.decide_again(); });
    }
  }

  void note_port(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return;
    const std::uint16_t port =
        ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port
                                            : reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
    const std::lock_guard lock(ports_mutex_);
    ports_.insert(port);
  }
  bool listens(std::uint16_t port) {
    const std::lock_guard lock(ports_mutex_);
    return ports_.contains(port);
  }

  Config config_;
  std::unique_ptr<net::ClientCounts> counts_;
  std::unique_ptr<net::TunnelBudgets> budgets_;
  Verifier verifier_;  // idle, and without a thread, if nobody has credentials
  std::unique_ptr<Metrics> metrics_;
  std::string via_;
  std::mutex ports_mutex_;
  std::set<std::uint16_t> ports_;
  std::uint64_t publish_task_ = 0;
  bool draining_ = false;
  net::AllLoops drained_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace
}  // namespace sallyport::http_proxy

POLICY_PLUGIN(sallyport::http_proxy::HttpProxy, R"({
 "name": "http-proxy", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.sockets/1",
 "policy.limits/1"],
 "offers": [], "layers": ["tcp", "tls", "http", "dial"], "privileges": {}, "flags": [],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "listen": {"type": "array", "items": {"type": "string"}, "default": ["proxy"]},
   "upstreams": {"type": "array", "items": {"type": "string"}, "default": []},
   "workers": {"type": "integer", "minimum": 0, "maximum": 256, "default": 0},
   "auth": {"type": "string", "enum": ["none", "optional", "required"], "default": "none"},
   "host_mismatch": {"type": "string", "enum": ["reject", "rewrite"], "default": "reject"},
   "allow_grease_ech": {"type": "boolean", "default": false},
   "audit_paths": {"type": "boolean", "default": false},
   "header_timeout": {"type": "string", "format": "duration", "default": "10s"},
   "body_timeout": {"type": "string", "format": "duration", "default": "30s"},
   "response_timeout": {"type": "string", "format": "duration", "default": "5m"},
   "connect_timeout": {"type": "string", "format": "duration", "default": "10s"},
   "hello_timeout": {"type": "string", "format": "duration", "default": "5s"},
   "idle_timeout": {"type": "string", "format": "duration", "default": "1h"},
   "keepalive_timeout": {"type": "string", "format": "duration", "default": "60s"},
   "upstream_idle": {"type": "string", "format": "duration", "default": "15s"},
   "body_rate": {"type": "integer", "minimum": 0, "maximum": 1000000, "default": 32},
   "max_header": {"type": "integer", "minimum": 1024, "maximum": 65536, "default": 65536},
   "max_fields": {"type": "integer", "minimum": 8, "maximum": 1000, "default": 1000},
   "max_target": {"type": "integer", "minimum": 256, "maximum": 16384, "default": 16384},
   "max_connections": {"type": "integer", "minimum": 1, "maximum": 1000000, "default": 4096},
   "max_connections_per_client": {"type": "integer", "minimum": 1, "maximum": 1000000, "default": 512},
   "max_requests": {"type": "integer", "minimum": 1, "maximum": 1000000000, "default": 10000},
   "max_idle_upstreams": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 8},
   "budgets": {"type": "object", "additionalProperties": false, "properties": {
    "window": {"type": "string", "format": "duration", "default": "60s"},
    "cooldown": {"type": "string", "format": "duration", "default": "10m"},
    "names": {"type": "integer", "minimum": 0, "maximum": 65536, "default": 300},
    "long_names": {"type": "integer", "minimum": 0, "maximum": 65536, "default": 50},
    "long_label": {"type": "integer", "minimum": 0, "maximum": 63, "default": 30},
    "octets": {"type": "integer", "minimum": 0, "maximum": 16777216, "default": 4096},
    "absent": {"type": "integer", "minimum": 0, "maximum": 65536, "default": 60},
    "answers": {"type": "integer", "minimum": 0, "maximum": 16777216, "default": 32768}
   }}
  }
 }
})");
