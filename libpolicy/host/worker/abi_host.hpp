// The host side of the plugin ABI: the extensions of policy/ext/*.h over engine, ledger and audit.
//
// Invariant Only names and addresses that edge issued (by their seal) reach decide(); any other is POLICY_INVALID,
// which an SDK
//           reads as deny.
// Lifetime  One WorkerShared per process; it outlives every policy_host, which outlives its plugin.
// Threads   Each function carries its tag in policy/ext/*.h. WorkerShared is filled on [main] before a plugin starts.
#pragma once

#include <policy/abi.h>
#include <policy/ext/audit.h>
#include <policy/ext/clients.h>
#include <policy/ext/decision.h>
#include <policy/ext/draft/decisions.h>
#include <policy/ext/draft/literals.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/draft/topology.h>
#include <policy/ext/edge.h>
#include <policy/ext/flow.h>
#include <policy/ext/ledger.h>
#include <policy/ext/limits.h>
#include <policy/ext/metrics.h>
#include <policy/ext/sockets.h>
#include <policy/ext/tasks.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "audit/audit_ring.hpp"
#include "audit/decision_journal.hpp"
#include "engine/decide.hpp"
#include "engine/decision_cache.hpp"
#include "host/worker/credentials.hpp"
#include "host/worker/flow_table.hpp"
#include "host/worker/ledger_service.hpp"
#include "host/worker/policy_versions.hpp"
#include "host/worker/tasks.hpp"
#include "ledger/synthetic_table.hpp"
#include "limits/limits_table.hpp"
#include "metrics/metrics_table.hpp"
#include "names/address.hpp"
#include "names/domain_name.hpp"
#include "names/request_path.hpp"

namespace sallyport {

struct WorkerListener {
  std::string name;
  int fd = -1;  // owned by the worker; plugins get duplicates
  std::uint64_t client_id = 0;
};

struct ListenerSubscriber {
  policy_host* host = nullptr;
  std::string name;
  policy_listener_fn callback = nullptr;
  void* user = nullptr;
};

struct WorkerShared {
  PolicyVersions versions;
  std::optional<AuditRing> audit;
  std::optional<SyntheticTable> synthetic;
  std::optional<LimitsTable> limits;
  unsigned limits_holder = 0;             // whose connections this process counts (LimitsTable::enter)
  std::vector<WorkerListener> listeners;  // of [main], as is what follows
  std::vector<ListenerSubscriber> listener_subscribers;
  bool flow_layer = false;  // a plugin that decides flows is loaded, so a dns decision may leave the port to it
  std::function<void(std::string_view plugin, std::int32_t level, std::string_view text, std::string_view fields)>
      log;  // [any]

  // What only a gate has; absent in a cell's worker, where get() answers NULL for it.
  bool gate = false;
  std::string topology;                       // JSON
  std::array<std::uint64_t, 2> client_key{};  // of the ids of IPv6 clients
  std::optional<CredentialChecks> credential_checks;
  std::optional<LedgerService> ledger;
  std::optional<DecisionJournal> journal;
  std::optional<MetricsTable> metrics;
  FlowTable flows;
  Tasks tasks;
  std::thread::id main_thread = std::this_thread::get_id();

  // At a gate a listener's sockets may come after its plugin has started; the topology says which there will be.
  std::vector<std::string> expected_listeners;
  bool knows_listener(const std::string& name) const {
    return std::find(expected_listeners.begin(), expected_listeners.end(), name) != expected_listeners.end();
  }

  bool on_main() const noexcept { return std::this_thread::get_id() == main_thread; }

  // A listener that came or goes ([main]): tells its subscribers.
  void add_listener(WorkerListener listener);
  void remove_listener(const std::string& name, std::uint64_t client_id);
  // Nothing of this plugin's is called any more. [main]
  void forget(policy_host* host);
};

// The table every plugin is created with.
const policy_host_api& host_api() noexcept;

// Of policy.log/1, before any plugin is created.
void set_log_threshold(std::int32_t level) noexcept;

std::uint64_t seal_key() noexcept;  // of this process
void name_out(const DomainName& name, policy_name& out) noexcept;
const DomainName* name_in(const policy_name* name) noexcept;  // nullptr: not one of ours
void address_out(const Address& address, std::uint16_t port, policy_addr& out) noexcept;
std::optional<Address> address_in(const policy_addr* addr) noexcept;  // nothing: not one of ours

// The extensions, one file each.
const policy_edge_v1& edge_extension() noexcept;
const policy_decision_v1& decision_extension() noexcept;
const policy_audit_v1& audit_extension() noexcept;
const policy_clients_v1& clients_extension() noexcept;
const policy_flow_v1& flow_extension() noexcept;
const policy_ledger_v1& ledger_extension() noexcept;
const policy_tasks_v1& tasks_extension() noexcept;
const policy_metrics_v1& metrics_extension() noexcept;
const policy_limits_v1& limits_extension() noexcept;
const policy_topology_draft1& topology_extension() noexcept;
const policy_literals_draft1& literals_extension() noexcept;
const policy_decisions_draft1& decisions_extension() noexcept;
const policy_synthetic_draft1& synthetic_extension() noexcept;

// What they share.
inline std::string_view view(policy_str text) noexcept {
  return text.ptr != nullptr ? std::string_view(text.ptr, text.len) : std::string_view();
}
bool on_own_thread(const policy_thread* thread) noexcept;
std::uint64_t clock_ms(clockid_t clock) noexcept;
std::uint64_t monotonic_ns() noexcept;
// Seconds since 1970-01-01 UTC, as trials (mode: observe) are held against.
std::int64_t trial_clock() noexcept;

// The id of whoever sends from an address at a gate: 1<<63 and an IPv4 address, or 3<<62 and 62 bits of a keyed hash.
std::uint64_t client_id_of(const Address& peer, const std::array<std::uint64_t, 2>& key) noexcept;

// A C query as the engine's, by one version of the policy. Whatever it points to lives in it or in the C query.
struct Unpacked {
  Query query;
  Address address;
  std::array<char, kMostPathOctets> path;  // as much of it as query.path says
};
policy_code unpack(const WorkerShared& shared, const PolicyVersion& version, const policy_query& in,
                   Unpacked& out) noexcept;
// policy.limits/1 charge(), for a ticket too; by the version that thread has at hand.
policy_code charge_limits(policy_thread& thread, const policy_query& query, const policy_verdict& verdict,
                          std::uint32_t kind, std::uint64_t amount, policy_charge* out) noexcept;
void verdict_out(const Verdict& verdict, policy_verdict& out) noexcept;
// A plugin's, as much of it as there is: it may have been built for an earlier minor.
policy_verdict verdict_in(const policy_verdict& in) noexcept;
// The record of a decision or of a flow's end. ref may be nullptr; flags: of AuditFlag.
policy_code write_audit(policy_host& host, const policy_query& query, const policy_verdict& verdict, policy_str detail,
                        policy_str raw, policy_ref* ref, AuditKind kind, std::uint8_t flags = 0) noexcept;

}  // namespace sallyport

// The opaque types of policy/abi.h.
struct policy_host {
  sallyport::WorkerShared* shared = nullptr;
  std::string plugin;
  std::optional<unsigned> enforcer = std::nullopt;  // its place in the ledger, once it keeps rules
};

// One thread of one plugin.
struct policy_thread {
  policy_host* host;
  sallyport::PolicyVersions::Reader reader;
  std::thread::id owner;
  sallyport::DecisionCache cache;
  // Whom the last identify() or decide() was for: an id alone does not always tell the address.
  struct {
    std::uint64_t client_id = 0;
    std::uint64_t groups = 0, generation = 0;
  } last = {};
};
