// The workers of a gate: what each is told, its start, its death, its retirement.
#include <absl/strings/str_format.h>
#include <cap-ng.h>
#include <unistd.h>

#include <algorithm>

#include "host/gate/gate.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::size_t kMostDeaths = 3;
constexpr std::chrono::seconds kDeathWindow{60};
// Killed from outside after that long in service is no crash loop: an operator, or the kernel short of memory.
constexpr std::chrono::seconds kSettled{2};

bool holds(unsigned capability) { return ::capng_have_capability(CAPNG_EFFECTIVE, capability) == 1; }

}  // namespace

std::uint32_t Gate::worker_uid(const GatewayModel& gateway) {
  return ::geteuid() == 0 && holds(CAP_SETUID) ? gateway.uid : ::geteuid();
}

json Gate::setup_of(const Prepared& prepared, const PreparedGroup& plan, const json& topology) const {
  json plugins = json::array();
  for (const std::size_t index : plan.plugins) {
    const PreparedPlugin& plugin = prepared.plugins[index];
    plugins.push_back({{"name", plugin.name},
                       {"manifest", plugin.image.manifest},
                       {"config", plugin.config},
                       {"needed", plugin.image.needed}});
  }
  json setup = {{"type", "setup"},
                {"plugins", std::move(plugins)},
                {"clients", json::array()},
                {"fd_names",
                 {"snapshot", "audit", "audit_wake", "synthetic", "ledger", "ledger_recorded", "ledger_applied",
                  "journal", "metrics", "limits"}},
                {"gate",
                 {{"topology", topology},
                  {"sources", prepared.sources},
                  {"enforcers", prepared.enforcers},
                  {"first_enforcer", plan.first_enforcer},
                  {"flow_layer", prepared.flow_layer},
                  {"credentials", prepared.credentials},
                  {"client_key", memory_->client_key},
                  {"applied_fds", plan.enforces ? GateMemory::kSlots : 0}}},
                {"privileges", {{"capabilities", plan.privileges.capabilities}, {"sockets", plan.privileges.sockets}}}};
  if (::geteuid() == 0 && holds(CAP_SETUID)) setup["uid"] = worker_uid(prepared.gateway);
  return setup;
}

bool Gate::start_worker(Group& group, const Policy& policy, std::string& why) {
  absl::StatusOr<GateAudit::Source*> audit = audit_->add_source();
  const int slot = memory_->take_slot();
  if (!audit.ok() || slot < 0) {
    why = audit.ok() ? "too many workers are draining" : std::string(audit.status().message());
    if (audit.ok()) audit_->remove_source(*audit);
    if (slot >= 0) memory_->free_slot(slot);
    return false;
  }
  const int applied = memory_->applied[static_cast<std::size_t>(slot)].get();
  std::vector<int> fds = {policy.memory.get(),   (*audit)->ring.fd(),     audit_->wake_fd(), memory_->synthetic.fd(),
                          memory_->ledger.fd(),  memory_->recorded.get(), applied,           memory_->journal.fd(),
                          memory_->metrics.fd(), memory_->limits.fd()};
  if (group.plan.enforces) {
    for (const Descriptor& fd : memory_->applied) fds.push_back(fd.get());
  }
  for (const std::size_t index : group.plan.plugins) fds.push_back(group.prepared->plugins[index].image.fd);

  // A capability means nothing inside a user namespace.
  WorkerProcess::Jail jail = jail_.value_or(WorkerProcess::Jail::kNamespaces);
  if (!group.plan.privileges.capabilities.empty() && !WorkerProcess::may_administer())
    jail = WorkerProcess::Jail::kPlain;
  const auto log = [name = group.plan.name](std::string_view text) { say(text); };
  const auto start = [&] {
    json setup = group.setup;
    setup["limits_holder"] = slot;
    setup["jail"] = jail == WorkerProcess::Jail::kPlain ? "plain" : "namespaces";
    // In a user namespace of its own there is one id, and it is nobody's already.
    if (jail == WorkerProcess::Jail::kNamespaces && !WorkerProcess::may_administer()) setup.erase("uid");
    return GroupWorker::start(program_, jail, setup, fds, policy.generation, log);
  };
  auto worker = start();
  if (!worker.ok() && absl::IsFailedPrecondition(worker.status()) && jail == WorkerProcess::Jail::kNamespaces) {
    say("namespaces are refused here, as in most containers: workers go without a root of their own");
    jail_ = jail = WorkerProcess::Jail::kPlain;
    worker = start();
  }
  if (!worker.ok()) {
    why = text_of(worker.status());
    audit_->remove_source(*audit);
    memory_->free_slot(slot);
    return false;
  }
  group.process = {group.plan.name, *std::move(worker), *audit, slot, Clock::now()};
  group.handed_over = false;
  return true;
}

void Gate::hand_over(Group& group) {
  for (const GateSocket& socket : sockets_) {
    if (!group.plan.listens.contains(socket.listener)) continue;
    for (const Descriptor& fd : socket.fds) group.process.worker->send_listener(socket.listener, fd.get());
  }
  group.handed_over = true;
}

void Gate::retire(Process process, std::chrono::milliseconds deadline) {
  if (!process.worker) return;
  process.worker->drain(deadline);
  draining_.push_back(std::move(process));
}

// Its end is over: what it left in the audit is taken, what it held is free again.
void Gate::bury(Process& process) {
  process.worker.reset();
  if (process.audit != nullptr) audit_->remove_source(process.audit);
  if (process.slot >= 0) memory_->free_slot(process.slot);
  process = {};
}

void Gate::on_death(Group& group, Clock::time_point now) {
  const bool served = group.process.worker->state() != GroupWorker::State::kStarting;
  const std::string refusal = group.process.worker->refusal();
  const bool settled = served && now - group.process.started > kSettled;
  std::string why = group.process.worker->end();
  bury(group.process);
  if (stopping_) return;
  if (!refusal.empty()) return take_down(group, refusal);  // refused in words: it would be refused again
  if (!(settled && why == "killed by signal 9")) group.deaths.push_back(now);
  while (!group.deaths.empty() && now - group.deaths.front() > kDeathWindow) group.deaths.pop_front();
  if (group.deaths.size() >= kMostDeaths) return take_down(group, why + ", the third time in 60 s");
  say(absl::StrFormat("worker (%s) %s; its open connections are gone, a new one takes over", group.plan.name, why));
  if (!start_worker(group, policy_, why)) take_down(group, why);
}

void Gate::take_down(Group& group, std::string why) {
  group.why_down = std::move(why);
  std::erase_if(sockets_, [&](const GateSocket& socket) { return group.plan.listens.contains(socket.listener); });
  say(absl::StrFormat("worker (%s) %s; its listeners are closed until a reload", group.plan.name, group.why_down));
}

}  // namespace sallyport
