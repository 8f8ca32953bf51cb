// The sni-filter plugin: ABI glue. The thread's objects are made on the loop's thread.
#include <atomic>
#include <policy/plugin.hpp>

#include "sni-filter/filter.hpp"
#include "support/resolver.hpp"

namespace sallyport::sni {
namespace {

class SniFilter final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    const policy::Status started = loop_.start(
        host, [this](policy::Reader& reader) { worker_ = std::make_unique<Worker>(*this, reader); },
        [this] { worker_->filter.close_listeners(); });
    if (!started.ok()) return started;
    const policy::Status listening = listeners_.open(
        host, config_.listen, [this](net::Listener listener) { worker_->filter.add(std::move(listener)); },
        [this](const std::string& name, std::uint64_t client) { worker_->filter.remove(name, client); });
    if (!listening.ok()) stop();
    return listening;
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "sni-filter takes a new config at a restart only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    loop_.post([this] { worker_->filter.close_listeners(); });
    flows_left = worker_->filter.flows();
    return {};
  }

  policy::Status stop() override {
    loop_.stop();
    return {};
  }

  std::string health() override {
    return R"({"ok":true,"flows":)" + std::to_string(flows_.load()) + R"(,"opened":)" + std::to_string(opened_.load()) +
           R"(,"denied":)" + std::to_string(denied_.load()) + R"(,"failed":)" + std::to_string(failed_.load()) +
           R"(,"shed":)" + std::to_string(shed_.load()) + "}";
  }

 private:
  // All that lives on the loop's thread.
  struct Worker {
    Worker(SniFilter& plugin, policy::Reader& reader)
        : owner(plugin),
          resolver(plugin.loop_.context(), plugin.loop_.tasks(), resolver_config(plugin.config_)),
          filter(plugin.loop_, plugin.config_, services(reader)) {
      owner.loop_.tasks().spawn(publish());
    }

    static net::ResolverConfig resolver_config(const Config& config) {
      net::ResolverConfig out;
      out.upstreams = config.upstreams;
      return out;
    }

    Services services(policy::Reader& reader) {
      Services out;
      out.edge = owner.host.get<policy_edge_v1>(POLICY_EDGE_ID);
      out.decision = owner.host.get<policy_decision_v1>(POLICY_DECISION_ID);
      out.synthetic = owner.host.get<policy_synthetic_draft1>(POLICY_SYNTHETIC_ID);
      out.reader = &reader;
      out.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point deadline) {
        return resolver.resolve(name, type, deadline);
      };
      out.has_ipv6 = [this] { return route.has_ipv6(net::Clock::now()); };
      return out;
    }

    // health() runs on any thread: what it shows is copied once a second.
    net::awaitable<void> publish() {
      net::asio::steady_timer timer(owner.loop_.context());
      for (;;) {
        const Counters& now = filter.counters();
        owner.flows_ = filter.flows();
        owner.opened_ = now.opened;
        owner.denied_ = now.denied;
        owner.failed_ = now.failed;
        owner.shed_ = now.shed;
        timer.expires_after(std::chrono::seconds(1));
        const auto [error] = co_await timer.async_wait(net::kAsResult);
        if (error) co_return;
      }
    }

    SniFilter& owner;
    net::RouteProbe route;
    net::Resolver resolver;
    Filter filter;
  };

  Config config_;
  std::atomic<std::uint64_t> flows_{0}, opened_{0}, denied_{0}, failed_{0}, shed_{0};
  net::EventLoop loop_;
  net::Listeners listeners_{loop_};
  std::unique_ptr<Worker> worker_;  // after loop_, which has stopped before this goes
};

}  // namespace
}  // namespace sallyport::sni

POLICY_PLUGIN(sallyport::sni::SniFilter, R"({
 "name": "sni-filter", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.sockets/1", "policy.synthetic/draft1"],
 "offers": [], "layers": ["tcp", "tls", "http", "dial"], "privileges": {}, "flags": [],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "listen": {"type": "array", "items": {"type": "string"}, "default": ["tcp"]},
   "upstreams": {"type": "array", "items": {"type": "string"}, "default": []},
   "hello_timeout": {"type": "string", "format": "duration", "default": "5s"},
   "connect_timeout": {"type": "string", "format": "duration", "default": "10s"},
   "idle_timeout": {"type": "string", "format": "duration", "default": "1h"},
   "allow_grease_ech": {"type": "boolean", "default": false},
   "max_flows": {"type": "integer", "minimum": 1, "maximum": 1000000, "default": 4096}
  }
 }
})");
