// The dns plugin: ABI glue. The thread's objects are made on the loop's thread and destroyed there.
#include <atomic>
#include <policy/plugin.hpp>

#include "dns/responder.hpp"
#include "dns/server.hpp"

namespace sallyport::dns {
namespace {

class Dns final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    const policy::Status started = loop_.start(
        host, [this](policy::Reader& reader) { worker_ = std::make_unique<Worker>(*this, reader); },
        [this] { worker_->server.close(); });
    if (!started.ok()) return started;
    const policy::Status listening = listeners_.open(
        host, config_.listen, [this](net::Listener listener) { worker_->server.add(std::move(listener)); },
        [this](const std::string& name, std::uint64_t client) { worker_->server.remove(name, client); });
    if (!listening.ok()) stop();
    return listening;
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "dns takes a new config at a restart only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    loop_.post([this] { worker_->server.close(); });
    flows_left = 0;  // an answer at work is a matter of seconds and of one datagram
    return {};
  }

  policy::Status stop() override {
    loop_.stop();
    return {};
  }

  std::string health() override {
    return R"({"ok":true,"queries":)" + std::to_string(shown_.queries.load()) + R"(,"denied":)" +
           std::to_string(shown_.denied.load()) + R"(,"failed":)" + std::to_string(shown_.failed.load()) + "}";
  }

 private:
  // All that lives on the loop's thread.
  struct Worker {
    Worker(Dns& dns, policy::Reader& reader)
        : owner(dns),
          resolver(dns.loop_.context(), dns.loop_.tasks(), resolver_config(dns.config_)),
          responder(services(reader)),
          server(dns.loop_, responder) {
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
      out.upstreams = net::text_of(owner.config_.upstreams);
      out.resolve = [this](DomainName name, std::uint16_t type, net::Clock::time_point deadline) {
        return resolver.resolve(name, type, deadline);
      };
      out.has_ipv6 = [this] {
        return owner.config_.ipv6 == Ipv6::kOn ||
               (owner.config_.ipv6 == Ipv6::kAuto && route.has_ipv6(net::Clock::now()));
      };
      return out;
    }

    // health() runs on any thread: what it shows is copied once a second.
    net::awaitable<void> publish() {
      net::asio::steady_timer timer(owner.loop_.context());
      for (;;) {
        const Counters& now = responder.counters();
        owner.shown_.queries = now.queries;
        owner.shown_.denied = now.denied;
        owner.shown_.failed = now.failed;
        timer.expires_after(std::chrono::seconds(1));
        const auto [error] = co_await timer.async_wait(net::kAsResult);
        if (error) co_return;
      }
    }

    Dns& owner;
    net::RouteProbe route;
    net::Resolver resolver;
    Responder responder;
    Server server;
  };

  struct Shown {
    std::atomic<std::uint64_t> queries{0}, denied{0}, failed{0};
  };

  Config config_;
  Shown shown_;
  net::EventLoop loop_;
  net::Listeners listeners_{loop_};
  std::unique_ptr<Worker> worker_;  // after loop_, which has stopped before this goes
};

}  // namespace
}  // namespace sallyport::dns

POLICY_PLUGIN(sallyport::dns::Dns, R"({
 "name": "dns", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.sockets/1", "policy.synthetic/draft1"],
 "offers": [], "layers": ["dns"], "privileges": {}, "flags": [],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "listen": {"type": "array", "items": {"type": "string"}, "default": ["dns"]},
   "answers": {"type": "string", "enum": ["synthetic"], "default": "synthetic"},
   "upstreams": {"type": "array", "items": {"type": "string"}, "default": []},
   "ipv6": {"type": "string", "enum": ["auto", "on", "off"], "default": "auto"}
  }
 }
})");
