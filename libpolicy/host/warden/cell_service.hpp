// CellService: what answers a cell's listeners: policy, plugins, worker, synthetic addresses, audit. `sallyport run`
// and `sallyport attach` differ in how the listeners came to be, and in nothing here.
//
// Order    open() reads and checks everything, start() begins the worker (its jail takes a while), serve() gives it the
//          listeners and waits until it serves; then wait() and step() in a loop; finish().
// Threads  [main], with no other thread in the process: the worker is cloned.
// Errors   kInvalidArgument of open(): the policy's diagnostics, rendered for stderr. All others: one text of a line or
//          more, what and remedy.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <poll.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/cell/cell.hpp"
#include "host/plugin/plugin_image.hpp"
#include "host/warden/address_watch.hpp"
#include "host/warden/audit_trail.hpp"
#include "host/warden/run.hpp"
#include "host/warden/run_policy.hpp"
#include "host/warden/supervisor.hpp"
#include "language/trusted_file.hpp"
#include "ledger/synthetic_table.hpp"
#include "limits/limits_table.hpp"

namespace sallyport {

// The synthetic IPv6 addresses: "Sally" in a unique local prefix, the same in every cell, since nothing routes between
// them.
inline constexpr const char* kCellUla = "fd53:616c:6c79::";

class CellService {
 public:
  // Of `options`: policy_file, allow, name, resolver, audit_file, plugin_directory.
  static absl::StatusOr<std::unique_ptr<CellService>> open(const RunOptions& options, Supervisor::Log log);

  absl::Status start();
  absl::Status serve(CellSockets sockets);  // takes them

  // Reads the policy again. What is good holds when this returns, for open flows too; anything else changes nothing.
  // Errors as open().
  absl::Status reload();

  // Sleeps until one of `others` or the service has something, or most_ms, or a second at most. False: poll() failed.
  bool wait(std::span<pollfd> others, int most_ms = 1000);
  // What came up while it slept. Other addresses of the host than before are guarded from then on.
  void step();

  // Stops the worker, closes the listeners, writes out the audit.
  AuditLoss finish();

  const RunPolicy& policy() const noexcept { return policy_; }
  AuditTrail& audit() noexcept { return *audit_; }
  const std::string& plugin_directory() const noexcept { return plugin_directory_; }

  CellService(const CellService&) = delete;
  CellService& operator=(const CellService&) = delete;
  ~CellService();

 private:
  CellService() = default;
  absl::Status publish(RunPolicy next);
  void guard_own_addresses();

  RunOptions options_;
  Supervisor::Log log_;
  AddressWatch addresses_;
  RunPolicy policy_;
  bool has_resolvers_ = false;
  std::string plugin_directory_;
  std::vector<PluginImage> images_;
  std::optional<TrustedFile> program_;
  std::optional<AuditTrail> audit_;
  std::optional<SyntheticTable> table_;
  std::optional<LimitsTable> limits_;  // as long as the cell
  std::optional<Supervisor> supervisor_;
  CellSockets sockets_;
};

}  // namespace sallyport
