// The nftables plugin: ABI glue. The enforcer is made on the loop's thread and destroyed there.
#include <policy/ext/tasks.h>

#include <atomic>
#include <future>
#include <memory>
#include <policy/plugin.hpp>

#include "nftables/enforcer.hpp"
#include "support/config.hpp"

namespace sallyport::nft {
namespace {

// A policy is in force everywhere within a second; the kernel's part takes milliseconds.
constexpr std::chrono::seconds kPublishDeadline{2};

class Nftables final : public policy::Plugin {
 public:
  using Plugin::Plugin;

  policy::Status configure(std::string_view json) override { return net::ConfigReader(json).status(); }

  policy::Status start() override {
    const auto* topology = host.get<policy_topology_draft1>(POLICY_TOPOLOGY_ID);
    std::string text(topology->json(host.raw(), nullptr, 0), '\0');
    topology->json(host.raw(), text.data(), text.size() + 1);
    Result<kernel::Topology> parsed = kernel::parse_topology(text);
    if (!parsed.ok()) return {POLICY_INVALID, std::string(parsed.error().message)};
    if (parsed->holds_nothing()) return {POLICY_INVALID, "gateway.yaml names no networks: there is nothing to hold"};
    define();
    std::promise<void> begun;
    std::future<void> ready = begun.get_future();
    const policy::Status started = loop_.start(
        host,
        [&](policy::Reader& reader) {
          enforcer_ = std::make_unique<Enforcer>(host, reader, loop_, *std::move(parsed), series_, shown_);
          loop_.post([&begun, this] {
            enforcer_->begin();
            begun.set_value();
          });
        },
        [] {});
    if (!started.ok()) return started;
    ready.get();
    if (!shown_.healthy) {
      stop();
      return {POLICY_UNAVAILABLE, "the kernel's tables cannot be kept; the log says why"};
    }
    if (const auto* ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID))
      ledger->on_recorded(host.raw(), &Nftables::recorded, this);
    if (const auto* tasks = host.get<policy_tasks_v1>(POLICY_TASKS_ID))
      tasks->on_publish(host.raw(), &Nftables::published, this, &publish_task_);
    return {};
  }

  policy::Status drain(std::uint64_t, std::uint64_t& flows_left) override {
    flows_left = 0;
    loop_.post([this] { enforcer_->rest(); });
    return {};
  }

  policy::Status stop() override {
    if (const auto* ledger = host.get<policy_ledger_v1>(POLICY_LEDGER_ID))
      ledger->on_recorded(host.raw(), nullptr, nullptr);
    const auto* tasks = host.get<policy_tasks_v1>(POLICY_TASKS_ID);
    if (tasks && publish_task_ != 0) tasks->cancel(host.raw(), publish_task_);
    publish_task_ = 0;
    loop_.stop();
    enforcer_.reset();
    return {};
  }

  std::string health() override {
    return std::string(R"({"ok":)") + (shown_.healthy ? "true" : "false") + R"(,"bindings":)" +
           std::to_string(shown_.bindings) + R"(,"elements":)" + std::to_string(shown_.elements) + R"(,"reasserted":)" +
           std::to_string(shown_.reasserted) + R"(,"last_gap_us":)" + std::to_string(shown_.last_gap_us) +
           R"(,"failed":)" + std::to_string(shown_.failed) + "}";
  }

 private:
  void define() {
    series_.api = host.get<policy_metrics_v1>(POLICY_METRICS_ID);
    series_.host = host.raw();
    if (!series_.api) return;
    for (std::size_t i = 0; i < std::size(kernel::kCounters); ++i) {
      const std::string labels = "kind=\"" + std::string(kernel::kCounters[i]) + "\"";
      series_.api->define(host.raw(), policy::str("sallyport_bypass_attempts_total"), policy::str(labels),
                          &series_.bypass[i]);
    }
    const auto define = [this](std::string_view name, std::uint32_t& id) {
      series_.api->define(host.raw(), policy::str(name), policy::str(""), &id);
    };
    define("sallyport_kernel_ruleset_drift", series_.drift);
    define("sallyport_kernel_elements", series_.elements);
    define("sallyport_kernel_bindings", series_.bindings);
    define("sallyport_kernel_reassertions_total", series_.reassertions);
    define("sallyport_kernel_refused_transactions_total", series_.refused);
  }

  static void recorded(void* user) {
    auto* self = static_cast<Nftables*>(user);
    if (self->told_.exchange(true)) return;  // it is going to look
    self->loop_.post([self] {
      self->told_ = false;
      self->enforcer_->follow_ledger();
    });
  }
  static void published(void* user, policy_code) {
    auto* self = static_cast<Nftables*>(user);
    auto done = std::make_shared<std::promise<void>>();
    self->loop_.post([self, done] {
      self->enforcer_->policy_changed();
      done->set_value();
    });
    done->get_future().wait_for(kPublishDeadline);
  }

  Shown shown_;
  std::atomic<bool> told_{false};
  Series series_;
  std::uint64_t publish_task_ = 0;
  net::EventLoop loop_;
  std::unique_ptr<Enforcer> enforcer_;
};

}  // namespace
}  // namespace sallyport::nft

POLICY_PLUGIN(sallyport::nft::Nftables, R"({
 "name": "nftables", "version": "0.1.0", "license": "Apache-2.0",
 "needs": ["policy.edge/1", "policy.decision/1", "policy.audit/1", "policy.log/1", "policy.ledger/1", "policy.tasks/1",
           "policy.topology/draft1"],
 "offers": [], "layers": ["kernel"],
 "privileges": {"capabilities": ["net_admin"], "sockets": ["netlink_netfilter", "netlink_route"]}, "flags": ["singleton"],
 "config": {"type": "object", "additionalProperties": false, "properties": {}}
})");
