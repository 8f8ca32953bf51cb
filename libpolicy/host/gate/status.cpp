// What a gate says of itself.
#include <absl/strings/str_format.h>
#include <policy/abi.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "host/gate/gate.hpp"
#include "language/trial.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

// A plugin that says nothing of its health is well; one that says anything but true is not.
bool is_well(const json& health) {
  const auto ok = health.find("ok");
  return ok == health.end() || *ok == json(true);
}

}  // namespace

bool Gate::healthy() const {
  if (!ready_ || stopping_) return false;
  return std::all_of(groups_.begin(), groups_.end(), [](const Group& group) {
    if (!group.process.worker || group.process.worker->state() != GroupWorker::State::kServing) return false;
    const auto& health = group.process.worker->health();
    return std::all_of(health.begin(), health.end(), [](const auto& row) { return is_well(row.second); });
  });
}

json Gate::status() const {
  const char* state = stopping_ ? "draining" : !ready_ ? "starting" : transition_ ? "reloading" : "serving";
  json out = {{"schema", "sallyport.status/1"},
              {"name", name_},
              {"state", state},
              {"healthy", healthy()},
              {"generation", live_},
              {"pid", ::getpid()},
              {"plugins", json::array()},
              {"draining", json::array()},
              {"kernel", {{"state", kernel_closed_ ? "closed" : "none"}}},
              {"listeners", topology_.is_object() ? topology_["listeners"] : json::array()}};
  if (prepared_) out["policy"] = prepared_->gateway.policy.text;
  if (prepared_) out["trials"] = trials_on(prepared_->policy, std::time(nullptr));
  if (audit_) out["audit"] = {{"records", audit_->records()}, {"lost", audit_->lost()}};
  for (const Group& group : groups_) {
    for (const std::size_t index : group.plan.plugins) {
      json plugin = {{"name", group.prepared->plugins[index].name},
                     {"process", group.plan.name},
                     {"pid", nullptr},
                     {"state", "down"},
                     {"ok", false}};
      if (group.process.worker) {
        const GroupWorker& worker = *group.process.worker;
        const bool serving = worker.state() == GroupWorker::State::kServing;
        plugin["pid"] = worker.pid();
        plugin["state"] = serving ? "serving" : "starting";
        const auto health = worker.health().find(group.prepared->plugins[index].name);
        if (health != worker.health().end()) plugin["health"] = health->second;
        plugin["ok"] = serving && (health == worker.health().end() || is_well(health->second));
      } else {
        plugin["why"] = group.why_down;
      }
      out["plugins"].push_back(std::move(plugin));
    }
  }
  for (const Process& process : draining_)
    out["draining"].push_back(
        {{"process", process.name}, {"pid", process.worker->pid()}, {"flows_left", process.worker->flows_left()}});
  return out;
}

void Gate::count_health() {
  const json all = status();
  for (const json& plugin : all["plugins"]) {
    const Result<std::uint32_t> id =
        memory_->metrics.define("sallyport_plugin_up", "plugin=\"" + plugin["name"].get<std::string>() + "\"");
    memory_->metrics.set(id.ok() ? *id : MetricsTable::kOverflow, plugin["ok"] == json(true) ? 1 : 0);
  }
  MetricsTable& metrics = memory_->metrics;
  const auto gauge = [&](std::string_view name, std::uint64_t value, std::string_view labels = {}) {
    if (const Result<std::uint32_t> id = metrics.define(name, labels); id.ok()) metrics.set(*id, value);
  };
  gauge("sallyport_build_info", 1,
        absl::StrFormat("version=\"%s\",abi=\"%d.%d\"", SALLYPORT_VERSION, POLICY_ABI_MAJOR, POLICY_ABI_LEVEL));
  gauge("sallyport_ledger_entries", memory_->ledger.used());
  gauge("sallyport_ledger_evictions_total", memory_->ledger.evictions());
}

std::string Gate::answer(const std::string& request) {
  if (request == "metrics") {
    count_health();
    return memory_->metrics.text();
  }
  if (!request.empty() && request != "status") return "{\"error\":\"expected status or metrics\"}\n";
  return status().dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace) + "\n";
}

}  // namespace sallyport
