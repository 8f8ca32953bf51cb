// The host side of the plugin ABI: the extensions of policy/ext/*.h over engine, ledger and audit.
//
// Invariant Only names and addresses that edge issued (by their seal) reach decide(); any other is POLICY_INVALID,
// which an SDK
//           reads as deny.
// Lifetime  One WorkerShared per process; it outlives every policy_host, which outlives its plugin.
// Threads   Each function carries its tag in policy/ext/*.h. WorkerShared is filled on [main] before a plugin starts.
#pragma once

#include <policy/abi.h>
#include <policy/ext/edge.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit_ring.hpp"
#include "engine/decide.hpp"
#include "ledger/synthetic_table.hpp"
#include "names/address.hpp"
#include "names/domain_name.hpp"

namespace sallyport {

struct WorkerClient {
  std::uint64_t id = 0;
  std::string cell;          // name, for the audit
  std::uint64_t groups = 0;  // of the snapshot
};

struct WorkerListener {
  std::string name;
  int fd = -1;  // owned by the worker; plugins get duplicates
  std::uint64_t client_id = 0;
};

struct WorkerShared {
  std::shared_ptr<const Snapshot> snapshot;
  std::optional<AuditRing> audit;
  std::optional<SyntheticTable> synthetic;
  std::vector<WorkerClient> clients;
  std::vector<WorkerListener> listeners;
  bool flow_layer = false;  // a plugin that decides flows is loaded, so a dns decision may leave the port to it
  std::function<void(std::string_view plugin, std::int32_t level, std::string_view text, std::string_view fields)>
      log;  // [any]

  const WorkerClient* client(std::uint64_t id) const noexcept;
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
const policy_edge_v1& edge_extension() noexcept;

}  // namespace sallyport

// The opaque types of policy/abi.h.
struct policy_host {
  sallyport::WorkerShared* shared = nullptr;
  std::string plugin;
};
