// From one configuration of a gate to the next.
#include <absl/strings/str_format.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <numeric>

#include "host/gate/gate.hpp"
#include "host/gate/kernel.hpp"
#include "language/trial.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

// From the change of the tables to the drain of the workers: those that are new have to be serving.
constexpr std::chrono::seconds kChangeTime{5};

void print(const Diagnostics& diagnostics) {
  const std::string text = render(diagnostics, ::isatty(2) == 1 && ::getenv("NO_COLOR") == nullptr);
  std::fputs(text.c_str(), stderr);
}

json texts(const std::vector<Prefix>& prefixes) {
  json all = json::array();
  for (const Prefix& prefix : prefixes) all.push_back(prefix.text());
  return all;
}

const char* text_of(Transparent transparent) {
  return transparent == Transparent::kRedirect ? "redirect" : transparent == Transparent::kTproxy ? "tproxy" : "no";
}

// What a process of this group was made with. Where it is the same the process stays, and its flows with it.
std::string signature_of(const Prepared& prepared, const PreparedGroup& plan, json setup) {
  bool sees_topology = false;
  std::string contents;
  for (const std::size_t index : plan.plugins) {
    const PreparedPlugin& plugin = prepared.plugins[index];
    sees_topology |= plugin.sees_topology;
    contents += " " + std::to_string(plugin.content);
  }
  if (!sees_topology) setup["gate"].erase("topology");
  for (const char* published : {"sources", "credentials"}) setup["gate"].erase(published);  // come with the policy
  return setup.dump() + contents;
}

std::uint64_t count(MetricsTable& metrics, std::string_view name, std::string_view labels = {}) {
  const Result<std::uint32_t> id = metrics.define(name, labels);
  return id.ok() ? *id : MetricsTable::kOverflow;
}

std::int64_t milliseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace

json Gate::topology_of(const Prepared& prepared, const std::vector<GateSocket>& sockets) const {
  const GatewayModel& gateway = prepared.gateway;
  json topology = {{"name", gateway.name},
                   {"networks", json::array()},
                   {"listeners", json::array()},
                   {"internal", json::array()},
                   {"own", own_},
                   {"worker", worker_uid(gateway)},
                   {"kernel", prepared.enforcers > 0 ? "kept" : "none"}};
  for (const NetworkModel& network : gateway.networks) {
    json pins = json::array();
    for (const PinModel& pin : network.pins) {
      pins.push_back({{"address", pin.address.text()}});
      if (!pin.port.empty()) pins.back()["port"] = pin.port;
      if (!pin.mac.empty()) pins.back()["mac"] = pin.mac;
    }
    topology["networks"].push_back({{"name", network.name},
                                    {"interfaces", network.interfaces},
                                    {"addresses", texts(network.addresses)},
                                    {"addresses_per_port", network.addresses_per_port},
                                    {"pins", std::move(pins)},
                                    {"from_host", network.open_from_host ? "open" : "closed"}});
  }
  for (const GateSocket& socket : sockets) {
    topology["listeners"].push_back({{"name", socket.listener},
                                     {"proto", socket.proto == kProtoUdp ? "udp" : "tcp"},
                                     {"address", socket.address.text()},
                                     {"port", socket.port},
                                     {"transparent", text_of(socket.transparent)}});
  }
  const auto addresses = [&](const std::string& name) {
    const auto found = std::find_if(prepared.policy.clients.begin(), prepared.policy.clients.end(),
                                    [&](const ClientModel& client) { return client.name == name; });
    return found == prepared.policy.clients.end() ? json::array() : texts(found->addresses);
  };
  for (const auto& [from, to] : gateway.internal)
    topology["internal"].push_back({{"from", addresses(from.text)}, {"to", addresses(to.text)}});
  return topology;
}

bool Gate::prepare(Transition& next) {
  PreparedOutcome outcome = options_.compose ? prepare_gateway(options_.compose()) : prepare_gateway(options_.file);
  print(outcome.diagnostics);
  if (!next.first || outcome.prepared) watch_.watch(outcome.watched);
  if (!outcome.prepared) return false;
  if (!next.first && outcome.prepared->gateway.name != name_) {
    say("a gateway keeps its name while it runs; restart it to call it " + outcome.prepared->gateway.name);
    return false;
  }
  const auto differs = [](const Placed& one, const Placed& other) { return one.text != other.text; };
  if (prepared_ && !std::ranges::equal(prepared_->gateway.sinks, outcome.prepared->gateway.sinks, std::not_fn(differs)))
    say("the audit's sinks change at a restart; until then it goes where it went");
  name_ = outcome.prepared->gateway.name;
  next.prepared = std::make_shared<Prepared>(*std::move(outcome.prepared));
  return true;
}

bool Gate::compile_policy(Transition& next) {
  next.policy.generation = generation_ + 1;
  const Result<std::vector<std::byte>> bytes = compile(next.prepared->policy, next.policy.generation);
  if (!bytes.ok()) {
    say(absl::StrFormat("the policy cannot be compiled: %s", bytes.error().message));
    return false;
  }
  absl::StatusOr<Descriptor> memory = sealed_memory("sallyport-policy", *bytes);
  if (!memory.ok()) {
    say(text_of(memory.status()));
    return false;
  }
  Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(memory->get());
  if (!snapshot.ok()) {
    say(absl::StrFormat("the policy cannot be mapped: %s", snapshot.error().message));
    return false;
  }
  next.policy.memory = *std::move(memory);
  next.policy.snapshot = *snapshot;
  generation_ = next.policy.generation;  // given out: a failure does not give it back
  return true;
}

// Those that are missing are bound. TCP ones do not listen yet.
bool Gate::open_sockets(Transition& next) {
  const GatewayModel& gateway = next.prepared->gateway;
  std::set<std::string> listeners;
  for (const PreparedGroup& plan : next.prepared->groups) listeners.insert(plan.listens.begin(), plan.listens.end());
  Reporter reporter(*gateway.source->source);
  std::vector<GateSocket> wanted = wanted_sockets(gateway, listeners, activated_, reporter);
  next.topology = topology_of(*next.prepared, wanted);
  // Tables that stay are not put in anew: their sets would be empty until the plugin has filled them again. It has said
  // that they are as they should be.
  const bool stays = !next.first && next.topology == topology_ && healthy() && prepared_->enforcers > 0 &&
                     next.prepared->enforcers > 0;
  if (!reporter.failed() && next.prepared->closes_kernel() && !stays) {
    // The plugin that keeps the tables puts in those of a new topology, once, with what its sets hold; nothing listens
    // before commit() has seen them. Until then the ones that are there are closed as well.
    const bool plugins_turn = !next.first && next.topology != topology_ && healthy() && prepared_->enforcers > 0 &&
                              next.prepared->enforcers > 0;
    const auto drain = std::chrono::ceil<std::chrono::seconds>(gateway.drain + kChangeTime);
    const absl::Status closed =
        plugins_turn ? drain_kernel(next.topology, topology_, drain) : close_kernel(next.topology, topology_, drain);
    if (!closed.ok()) {
      say(std::string(closed.message()));
      return false;
    }
    next.kernel_changed = true;
    kernel_closed_ = true;
    if (next.first && !lift_icmp_limits())
      say("net.ipv4.icmp_ratelimit and net.ipv6.icmp.ratelimit cannot be set to 0 from here: what is refused beyond "
          "one packet a second gets no ICMP error, and its client waits");
  }
  for (GateSocket& socket : wanted) {
    const bool there =
        std::any_of(sockets_.begin(), sockets_.end(), [&](const GateSocket& open) { return open.same_as(socket); });
    if (there) continue;
    // Another listener had the address until now: it is bound again once that one is closed, which only a commit does.
    const auto other = std::find_if(sockets_.begin(), sockets_.end(), [&](const GateSocket& open) {
      return open.systemd.empty() && socket.systemd.empty() && open.proto == socket.proto &&
             open.address == socket.address && open.port == socket.port;
    });
    const bool same_kind = other != sockets_.end() &&
                           (other->transparent == Transparent::kTproxy) == (socket.transparent == Transparent::kTproxy);
    if (same_kind) {
      for (const Descriptor& fd : other->fds) socket.fds.emplace_back(::dup(fd.get()));
      socket.listening = other->listening;
    } else {
      open_socket(socket, gateway, reporter);
    }
    next.opened.push_back(std::move(socket));
  }
  const bool failed = reporter.failed();
  print(reporter.take());
  return !failed;
}

void Gate::begin(bool first) {
  if (!first) {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    notify(absl::StrFormat("RELOADING=1\nMONOTONIC_USEC=%d", now.tv_sec * 1'000'000 + now.tv_nsec / 1000));
  }
  transition_ = std::make_unique<Transition>();
  Transition& next = *transition_;
  next.first = first;
  next.began = Clock::now();
  if (!prepare(next)) return abandon("the configuration is refused");
  if (first && !set_up(*next.prepared)) return abandon("");
  if (!compile_policy(next)) return abandon("the policy is refused");
  if (!open_sockets(next)) return abandon("");
  for (const PreparedGroup& plan : next.prepared->groups) {
    Group group;
    group.plan = plan;
    group.prepared = next.prepared;
    group.setup = setup_of(*next.prepared, plan, next.topology);
    group.signature = signature_of(*next.prepared, plan, group.setup);
    const auto running =
        std::find_if(groups_.begin(), groups_.end(), [&](const Group& other) { return other.plan.key == plan.key; });
    if (running != groups_.end() && running->process.worker && running->signature == group.signature) {
      next.kept.insert(plan.key);
      running->setup = std::move(group.setup);  // what its successor is told, should it die
      continue;
    }
    std::string why;
    if (!start_worker(group, next.policy, why)) return abandon(absl::StrFormat("worker (%s): %s", plan.name, why));
    next.fresh.push_back(std::move(group));
  }
  advance(Clock::now());
}

void Gate::advance(Clock::time_point now) {
  if (!transition_) return;
  if (!transition_->committed) {
    bool all = true;
    for (Group& group : transition_->fresh) {
      GroupWorker& worker = *group.process.worker;
      worker.on_channel();
      worker.tick(now);
      if (worker.has_ended() || !worker.refusal().empty()) {
        const std::string why = worker.end();
        bury(group.process);
        return abandon(absl::StrFormat("worker (%s): %s", group.plan.name, why));
      }
      all = all && worker.state() == GroupWorker::State::kServing;
    }
    if (!all) return;
    commit();
    if (!transition_ || !transition_->committed) return;
    for (Group& group : groups_) attend(group, now);
  }
  const bool live = std::all_of(groups_.begin(), groups_.end(), [&](const Group& group) {
    if (!group.process.worker) return !group.why_down.empty();
    return group.process.worker->state() == GroupWorker::State::kServing && group.handed_over &&
           group.process.worker->generation() == policy_.generation;
  });
  if (live) announce(now);
}

void Gate::commit() {
  Transition& next = *transition_;
  if (next.kernel_changed && !kernel_is_closed_for(next.topology)) {
    if (absl::Status closed = close_kernel(next.topology); !closed.ok()) return abandon(std::string(closed.message()));
  }
  for (GateSocket& socket : next.opened) {
    if (!socket.start_listening())
      return abandon(
          absl::StrFormat("cannot listen on %s port %d: %s", socket.address.text(), socket.port, std::strerror(errno)));
  }
  next.committed = true;
  policy_ = std::move(next.policy);
  audit_->publish(policy_.snapshot, match_text(next.prepared->policy));
  for (const PreparedPlugin& plugin : next.prepared->plugins) audit_->know_plugin(plugin.name);
  prepared_ = next.prepared;
  topology_ = std::move(next.topology);

  // Sockets: what is not in the topology goes, what is new comes.
  const auto wanted = [&](const GateSocket& socket) {
    return std::any_of(topology_["listeners"].begin(), topology_["listeners"].end(), [&](const json& listener) {
      return listener["name"] == socket.listener && listener["proto"] == (socket.proto == kProtoUdp ? "udp" : "tcp") &&
             listener["address"] == socket.address.text() && listener["port"] == socket.port &&
             listener["transparent"] == text_of(socket.transparent);
    });
  };
  std::set<std::string> shrunk, grown;
  for (const GateSocket& socket : sockets_) {
    if (!wanted(socket)) shrunk.insert(socket.listener);
  }
  std::erase_if(sockets_, [&](const GateSocket& socket) { return !wanted(socket); });
  for (GateSocket& socket : next.opened) {
    grown.insert(socket.listener);
    sockets_.push_back(std::move(socket));
  }
  next.opened.clear();

  std::list<Group> before;
  before.swap(groups_);
  for (const PreparedGroup& plan : prepared_->groups) {
    const auto same = [&](const Group& group) { return group.plan.key == plan.key; };
    if (const auto fresh = std::find_if(next.fresh.begin(), next.fresh.end(), same); fresh != next.fresh.end()) {
      groups_.splice(groups_.end(), next.fresh, fresh);
      continue;
    }
    const auto kept = std::find_if(before.begin(), before.end(), same);
    if (kept == before.end()) continue;
    groups_.splice(groups_.end(), before, kept);
    Group& group = groups_.back();
    group.prepared = prepared_;
    group.plan = plan;
    if (!group.process.worker || !group.handed_over) continue;  // its successor gets what there is then
    for (const std::string& listener : plan.listens) {
      if (!shrunk.contains(listener) && !grown.contains(listener)) continue;
      // A listener is named, not numbered: all of its sockets go, and those that stay come again.
      group.process.worker->send_unlisten(listener);
      for (const GateSocket& socket : sockets_) {
        if (socket.listener != listener) continue;
        for (const Descriptor& fd : socket.fds) group.process.worker->send_listener(listener, fd.get());
      }
    }
  }
  for (Group& group : before) retire(std::move(group.process), prepared_->gateway.drain);
  // Flows of those that drain are decided by the new policy too.
  for (Process& process : draining_)
    process.worker->publish(policy_.generation, policy_.memory.get(), prepared_->sources, prepared_->credentials);
}

void Gate::announce(Clock::time_point now) {
  std::string on;
  for (std::size_t i = 0; i < prepared_->plugins.size(); ++i) {
    const bool runs = std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) {
      return group.process.worker &&
             std::find(group.plan.plugins.begin(), group.plan.plugins.end(), i) != group.plan.plugins.end();
    });
    if (runs) on += " " + prepared_->plugins[i].name;
  }
  const auto took = milliseconds(now - transition_->began);
  transition_.reset();
  ready_ = true;
  live_ = policy_.generation;
  const std::string live =
      absl::StrFormat("generation %d live in %d ms on%s", policy_.generation, took, on.empty() ? " nothing" : on);
  say(live);
  MetricsTable& metrics = memory_->metrics;
  metrics.add(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_loads_total", "result=\"ok\"")), 1);
  metrics.set(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_generation")), policy_.generation);
  metrics.set(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_rules")), prepared_->policy.rules.size());
  const auto& rules = prepared_->policy.rules;
  metrics.set(
      static_cast<std::uint32_t>(count(metrics, "sallyport_policy_names")),
      std::accumulate(rules.begin(), rules.end(), std::uint64_t{0}, [](std::uint64_t sum, const RuleModel& rule) {
        for (const auto& list : rule.lists) sum += list->size();
        return sum + rule.domains.size();
      }));
  metrics.set(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_load_duration_seconds")),
              static_cast<std::uint64_t>(took) * 1'000'000);
  metrics.set(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_last_success_timestamp_seconds")),
              static_cast<std::uint64_t>(std::time(nullptr)));
  for (const std::string& trial : trials_on(prepared_->policy, std::time(nullptr)))
    say("OBSERVING " + trial + ": " + kTrialMeans);
  trial_end_ = policy_.snapshot->next_trial_end(std::time(nullptr));
  notify("READY=1\nSTATUS=" + live);
}

// Back to what was: nothing of it has been touched.
void Gate::abandon(std::string_view why) {
  Transition& next = *transition_;
  for (Group& group : next.fresh) {
    if (group.process.worker) {
      group.process.worker->kill("");
      group.process.worker->end();
    }
    bury(group.process);
  }
  const bool first = next.first;
  if (!first && next.kernel_changed && !kernel_is_closed_for(topology_)) {
    if (absl::Status back = close_kernel(topology_); !back.ok())
      say(absl::StrFormat("the kernel's tables cannot be set back: %s", back.message()));
  }
  transition_.reset();
  if (first) {
    failed_ = true;
    if (!why.empty()) say(std::string(why));
    say("the gateway is not started; nothing listens");
    return;
  }
  const std::string kept = absl::StrFormat("%s%sgeneration %d stays live; nothing was changed", why,
                                           why.empty() ? "" : "; ", policy_.generation);
  say(kept);
  MetricsTable& metrics = memory_->metrics;
  metrics.add(static_cast<std::uint32_t>(count(metrics, "sallyport_policy_loads_total", "result=\"error\"")), 1);
  notify("READY=1\nSTATUS=" + kept);
}

}  // namespace sallyport
