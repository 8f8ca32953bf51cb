// The dns plugin: ABI glue. It takes the listeners from the host, makes as many workers as there is work for, and deals
// the sockets out to them.
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <policy/plugin.hpp>

#include "dns/worker.hpp"

namespace sallyport::dns {
namespace {

class Dns final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return parse_config(json, config_); }

  policy::Status start() override {
    if (config_.answers == Answers::kSynthetic && !host.get<policy_synthetic_draft1>(POLICY_SYNTHETIC_ID))
      return {POLICY_UNSUPPORTED, "answers: synthetic needs a host that gives out synthetic addresses", "/answers"};
    if (config_.answers == Answers::kReal && !host.get<policy_ledger_v1>(POLICY_LEDGER_ID))
      return {POLICY_UNSUPPORTED, "answers: real needs a host that keeps a ledger of bindings", "/answers"};
    metrics_.define(host, config_.upstreams);
    if (policy::Status status = ask_for_listeners(); !status.ok()) return status;
    team_.budgets = net::TunnelBudgets::make(config_.budgets);
    for (std::size_t i = 0; i < worker_count(); ++i) team_.workers.push_back(std::make_unique<Worker>(team_));
    for (const auto& worker : team_.workers) {
      const policy::Status started = worker->start();
      if (started.ok()) continue;
      stop();
      return started;
    }
    for (net::Listener& listener : std::exchange(waiting_, {})) deal(std::move(listener));
    return {};
  }

  policy::Status reload(std::string_view json, bool dry_run) override {
    Config next;
    const policy::Status status = parse_config(json, next);
    if (!status.ok() || dry_run) return status;
    return {POLICY_UNSUPPORTED, "dns takes a new config at a restart only"};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    waiting_.clear();
    if (!std::exchange(draining_, true)) {
      for (const auto& worker : team_.workers) worker->drain(drained_);
    }
    flows_left = drained_.wait(std::chrono::seconds(1));
    flows_left += team_.handing.load();
    for (const auto& worker : team_.workers) flows_left += worker->flows();
    return {};
  }

  policy::Status stop() override {
    draining_ = true;
    waiting_.clear();
    for (const auto& worker : team_.workers) worker->stop();
    return {};
  }

  std::string health() override {
    Counted all;
    std::uint64_t flows = 0;
    for (const auto& worker : team_.workers) {
      const Counted one = worker->counted();
      flows += worker->flows();
      all.answers.queries += one.answers.queries;
      all.answers.allowed += one.answers.allowed;
      all.answers.denied += one.answers.denied;
      all.answers.failed += one.answers.failed;
      all.answers.malformed += one.answers.malformed;
      all.answers.unknown_clients += one.answers.unknown_clients;
      all.answers.cache_hits += one.answers.cache_hits;
      all.answers.bindings += one.answers.bindings;
      all.answers.late_enforcers += one.answers.late_enforcers;
      for (std::size_t i = 0; i < net::kTunnelBudgets; ++i)
        all.answers.tunnel_suspects[i] += one.answers.tunnel_suspects[i];
      all.resolver.udp_queries += one.resolver.udp_queries;
      all.resolver.tcp_queries += one.resolver.tcp_queries;
      all.resolver.timeouts += one.resolver.timeouts;
      all.resolver.merged += one.resolver.merged;
      all.resolver.spoof_suspects += one.resolver.spoof_suspects;
    }
    std::string out = R"({"ok":true)";
    const auto member = [&out](std::string_view key, std::uint64_t value) {
      out += ",\"" + std::string(key) + "\":" + std::to_string(value);
    };
    member("workers", team_.workers.size());
    member("queries", all.answers.queries);
    member("allowed", all.answers.allowed);
    member("denied", all.answers.denied);
    member("failed", all.answers.failed);
    member("malformed", all.answers.malformed);
    member("client_unknown", all.answers.unknown_clients);
    member("cache_hits", all.answers.cache_hits);
    member("bindings", all.answers.bindings);
    member("late_enforcers", all.answers.late_enforcers);
    member("upstream_queries", all.resolver.udp_queries + all.resolver.tcp_queries);
    member("upstream_timeouts", all.resolver.timeouts);
    member("merged", all.resolver.merged);
    member("spoof_suspect", all.resolver.spoof_suspects);
    member("tunnel_suspect", all.answers.suspects());
    member("flows", flows);
    return out + "}";
  }

 private:
  policy::Status ask_for_listeners() {
    const auto* sockets = host.get<policy_sockets_v1>(POLICY_SOCKETS_ID);
    for (const std::string& name : config_.listen) {
      const policy_code code = sockets->on_listener(host.raw(), policy::str(name), &Dns::on_listener, this);
      if (code != POLICY_OK) return {code, "listener `" + name + "` is not known to the host", "/listen"};
    }
    return {};
  }

  static void on_listener(void* self, std::uint32_t added, policy_str name, int fd, std::uint64_t client_id) noexcept {
    auto& dns = *static_cast<Dns*>(self);
    net::Listener listener{std::string(policy::view(name)), client_id, net::UniqueFd(fd)};
    if (!added) {
      for (const auto& worker : dns.team_.workers) worker->post_removed(listener.name, client_id);
      return;
    }
    int type = 0, domain = 0;
    socklen_t length = sizeof type;
    if (dns.draining_ || ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return;
    length = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return;
    listener.is_stream = type == SOCK_STREAM;
    listener.is_v6 = domain == AF_INET6;
    if (dns.team_.workers.empty()) {
      dns.waiting_.push_back(std::move(listener));
    } else {
      dns.deal(std::move(listener));
    }
  }

  // Sockets of one address (SO_REUSEPORT) are one queue each; the kernel deals queries out to them by flow.
  static std::string address_of(const net::Listener& listener) {
    sockaddr_storage local{};
    socklen_t length = sizeof local;
    ::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&local), &length);
    return {reinterpret_cast<const char*>(&local), length};
  }

  std::size_t worker_count() const {
    std::map<std::string, std::size_t> sockets;
    std::size_t most = 1;
    for (const net::Listener& listener : waiting_)
      if (!listener.is_stream && listener.client_id == 0) most = std::max(most, ++sockets[address_of(listener)]);
    return config_.workers == 0 ? most : std::min<std::size_t>(most, config_.workers);
  }

  void deal(net::Listener listener) {
    const std::size_t turn = listener.is_stream ? streams_++ : dealt_[address_of(listener)]++;
    team_.workers[turn % team_.workers.size()]->post_listener(std::move(listener));
  }

  Config config_;
  Metrics metrics_;
  std::vector<net::Listener> waiting_;        // until there are workers
  std::map<std::string, std::size_t> dealt_;  // UDP sockets so far, by address
  std::size_t streams_ = 0;
  bool draining_ = false;
  net::AllLoops drained_;
  Team team_{host, config_, metrics_};
};

}  // namespace
}  // namespace sallyport::dns

POLICY_PLUGIN(sallyport::dns::Dns, R"({
 "name": "dns", "version": "0.2.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.sockets/1",
 "policy.limits/1"],
 "offers": [], "layers": ["dns"], "privileges": {}, "flags": [],
 "config": {
  "type": "object", "additionalProperties": false,
  "properties": {
   "listen": {"type": "array", "items": {"type": "string"}, "default": ["dns"]},
   "answers": {"type": "string", "enum": ["synthetic", "gateway", "real"], "default": "synthetic"},
   "gateway_addresses": {"type": "array", "items": {"type": "string"}, "default": []},
   "upstreams": {"type": "array", "items": {"type": "string"}, "default": []},
   "blocked_answer": {"type": "string", "enum": ["nxdomain", "zero", "refused"], "default": "nxdomain"},
   "svcb": {"type": "string", "enum": ["nodata", "strip"], "default": "nodata"},
   "ipv6": {"type": "string", "enum": ["auto", "on", "off"], "default": "auto"},
   "apply_timeout": {"type": "string", "format": "duration", "default": "500ms"},
   "workers": {"type": "integer", "minimum": 0, "maximum": 64, "default": 0},
   "cache_entries": {"type": "integer", "minimum": 0, "maximum": 4194304, "default": 65536},
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
