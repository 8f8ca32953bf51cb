// The sni-filter plugin: ABI glue, and one Filter a thread. Every thread accepts from every listener.
#include <fcntl.h>
#include <policy/ext/draft/topology.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <nlohmann/json.hpp>
#include <policy/plugin.hpp>
#include <thread>

#include "sni-filter/filter.hpp"
#include "sni-filter/metrics.hpp"
#include "support/all_loops.hpp"
#include "support/resolver.hpp"

namespace sallyport::sni {
namespace {

// Names of the listeners that the kernel redirects flows to; none in a cell.
std::set<std::string> redirected_listeners(const policy::Host& host) {
  std::set<std::string> out;
  const auto* topology = host.get<policy_topology_draft1>(POLICY_TOPOLOGY_ID);
  if (!topology) return out;
  std::string text(topology->json(host.raw(), nullptr, 0) + 1, '\0');
  text.resize(std::min(topology->json(host.raw(), text.data(), text.size()), text.size() - 1));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto listeners = json.is_object() ? json.find("listeners") : json.end();
  if (!json.is_object() || listeners == json.end() || !listeners->is_array()) return out;
  for (const auto& one : *listeners) {
    if (one.is_object() && one.value("transparent", "no") != "no") out.insert(one.value("name", ""));
  }
  return out;
}

class SniFilter final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    const bool gate = host.get<policy_clients_v1>(POLICY_CLIENTS_ID) != nullptr;
    const auto* flow = host.get<policy_flow_v1>(POLICY_FLOW_ID);
    const std::size_t most = affordable_flows(config_.max_flows, flow && !POLICY_HAS(flow, take_back));
    counts_ = std::make_unique<net::ClientCounts>(most, config_.max_flows_per_client);
    budgets_ = net::TunnelBudgets::make(config_.budgets);
    metrics_ = std::make_unique<Metrics>(host);
    redirected_ = redirected_listeners(host);
    const unsigned preset = gate ? std::max(1u, std::thread::hardware_concurrency()) : 1;
    const unsigned count = config_.workers ? config_.workers : preset;
    for (unsigned i = 0; i < count; ++i) {
      workers_.push_back(std::make_unique<Worker>(*this));
      const policy::Status started = workers_.back()->start();
      if (!started.ok()) {
        stop();
        return started;
      }
    }
    const auto* sockets = host.get<policy_sockets_v1>(POLICY_SOCKETS_ID);
    for (const std::string& name : config_.listen) {
      const policy_code code = sockets->on_listener(host.raw(), policy::str(name), &SniFilter::on_listener, this);
      if (code != POLICY_OK) {
        stop();
        return {code, "listener `" + name + "` is not known to the host", "/listen"};
      }
    }
    return {};
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "sni-filter takes a new config at a restart only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    if (!std::exchange(draining_, true)) {
      for (const auto& worker : workers_)
        drained_.post(worker->loop, [w = worker.get()] { w->at_work->filter.drain(); });
    }
    flows_left = drained_.wait(std::chrono::seconds(1)) + (counts_ ? counts_->total() : 0);
    return {};
  }

  policy::Status stop() override {
    for (const auto& worker : workers_) worker->loop.stop();
    return {};
  }

  std::string health() override {
    std::uint64_t sums[kShown] = {};
    for (const auto& worker : workers_) {
      for (std::size_t i = 0; i < kShown; ++i) sums[i] += worker->shown[i].load(std::memory_order_relaxed);
    }
    std::string out = R"({"ok":true,"flows":)" + std::to_string(counts_ ? counts_->total() : 0);
    for (std::size_t i = 0; i < kShown; ++i) out += ",\"" + std::string(kNames[i]) + "\":" + std::to_string(sums[i]);
    return out + "}";
  }

 private:
  static constexpr std::size_t kShown = 5;
  static constexpr std::array<std::string_view, kShown> kNames = {"opened", "denied", "failed", "shed", "revoked"};

  // All that lives on a worker's thread.
  struct AtWork;
  struct Worker {
    explicit Worker(SniFilter& plugin) : owner(plugin) {}
    policy::Status start() {
      return loop.start(
          owner.host, [this](policy::Reader& reader) { at_work = std::make_unique<AtWork>(*this, reader); },
          [this] { at_work->filter.close_listeners(); });
    }
    SniFilter& owner;
    std::array<std::atomic<std::uint64_t>, kShown> shown{};
    net::EventLoop loop;
    std::unique_ptr<AtWork> at_work;  // after loop, which has stopped before this goes
  };
  struct AtWork {
    AtWork(Worker& w, policy::Reader& reader)
        : worker(w),
          resolver(w.loop.context(), w.loop.tasks(), resolver_config(w.owner.config_)),
          filter(w.loop, w.owner.config_, services(reader), *w.owner.counts_) {
      w.loop.tasks().spawn(publish());
    }

    static net::ResolverConfig resolver_config(const Config& config) {
      net::ResolverConfig out;
      out.upstreams = config.upstreams;
      return out;
    }

    Services services(policy::Reader& reader) {
      const policy::Host& host = worker.owner.host;
      Services out;
      out.edge = host.get<policy_edge_v1>(POLICY_EDGE_ID);
      out.decision = host.get<policy_decision_v1>(POLICY_DECISION_ID);
      out.synthetic = host.get<policy_synthetic_draft1>(POLICY_SYNTHETIC_ID);
      out.clients = host.get<policy_clients_v1>(POLICY_CLIENTS_ID);
      out.flow = host.get<policy_flow_v1>(POLICY_FLOW_ID);
      out.ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID);
      out.limits = host.get<policy_limits_v1>(POLICY_LIMITS_ID);
      out.redirected = worker.owner.redirected_;
      out.reader = &reader;
      out.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point deadline) {
        return resolver.resolve(name, type, deadline);
      };
      out.budgets = worker.owner.budgets_.get();
      out.alarm = [&host](std::string_view text) {
        host.log(POLICY_LOG_WARNING, "tunnel_suspect: " + std::string(text));
      };
      out.has_ipv6 = [this] { return route.has_ipv6(net::Clock::now()); };
      return out;
    }

    // health() runs on any thread: what it shows is copied once a second; so are the metrics.
    net::awaitable<void> publish() {
      net::asio::steady_timer timer(worker.loop.context());
      Counters before;
      for (;;) {
        const Counters now = filter.counters();
        const std::array<std::uint64_t, kShown> values = {now.opened, now.denied, now.failed, now.shed, now.revoked};
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
    Filter filter;
  };

  // [main] Each worker gets a duplicate of its own.
  static void on_listener(void* self, std::uint32_t added, policy_str name, int fd, std::uint64_t client_id) noexcept {
    auto& plugin = *static_cast<SniFilter*>(self);
    const net::UniqueFd own(fd);
    for (const auto& worker : plugin.workers_) {
      Worker* const w = worker.get();
      if (!added) {
        w->loop.post(
            [w, text = std::string(policy::view(name)), client_id] { w->at_work->filter.remove(text, client_id); });
        continue;
      }
      net::Listener listener{.name = std::string(policy::view(name)), .client_id = client_id};
      listener.fd.reset(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      if (plugin.draining_ || !listener.fd.valid() || !net::describe(listener)) continue;
      w->loop.post([w, moved = std::move(listener)]() mutable { w->at_work->filter.add(std::move(moved)); });
    }
  }

  Config config_;
  std::set<std::string> redirected_;
  bool draining_ = false;
  net::AllLoops drained_;
  std::unique_ptr<net::ClientCounts> counts_;
  std::unique_ptr<net::TunnelBudgets> budgets_;
  std::unique_ptr<Metrics> metrics_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace
}  // namespace sallyport::sni

POLICY_PLUGIN(sallyport::sni::SniFilter, R"({
 "name": "sni-filter", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.sockets/1",
 "policy.limits/1"],
 "offers": [], "layers": ["tcp", "tls", "http", "dial"], "privileges": {}, "flags": [],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "listen": {"type": "array", "items": {"type": "string"}, "default": ["tcp"]},
   "destination": {"type": "string", "enum": ["auto", "synthetic", "original", "name"], "default": "auto"},
   "by_name": {"type": "array", "items": {"type": "string"}, "default": []},
   "by_original": {"type": "array", "items": {"type": "string"}, "default": []},
   "binding": {"type": "string", "enum": ["dial-own", "strict"], "default": "dial-own"},
   "upstreams": {"type": "array", "items": {"type": "string"}, "default": []},
   "hello_timeout": {"type": "string", "format": "duration", "default": "5s"},
   "connect_timeout": {"type": "string", "format": "duration", "default": "10s"},
   "idle_timeout": {"type": "string", "format": "duration", "default": "1h"},
   "allow_grease_ech": {"type": "boolean", "default": false},
   "max_flows": {"type": "integer", "minimum": 1, "maximum": 1000000, "default": 4096},
   "max_flows_per_client": {"type": "integer", "minimum": 1, "maximum": 1000000, "default": 1024},
   "workers": {"type": "integer", "minimum": 0, "maximum": 256, "default": 0},
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
