// Prepared: all that a gateway is to be, read and checked, before anything that runs is touched.
//
// Lifetime Owns the sealed copies of its plugins.
// Errors   All at once: gateway.yaml, the plugins' configs, the policy, the credentials. Prepared is there exactly if
//          none is an error.
// Threads  [main].
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/model.hpp"
#include "host/gate/serve.hpp"
#include "host/plugin/plugin_image.hpp"
#include "language/diagnostic.hpp"
#include "language/gateway/gateway_model.hpp"

namespace sallyport {

// What a plugin's manifest asks for beyond the ordinary.
struct Privileges {
  std::set<std::string> capabilities;  // "net_admin"
  std::set<std::string> sockets;       // "netlink_netfilter"

  bool none() const noexcept { return capabilities.empty() && sockets.empty(); }
  void add(const Privileges& other);
  std::string text() const;  // canonical; empty for none
  friend bool operator==(const Privileges&, const Privileges&) = default;
};

struct PreparedPlugin {
  std::string name;  // of the instance
  PluginImage image;
  std::string config;                // JSON, defaults filled in
  std::vector<std::string> listens;  // names of listeners, by `listen` of its config
  Privileges privileges;
  bool enforces = false;  // keeps rules in the kernel, by the ledger
  bool keeps_limits = false;  // needs policy.limits/1
  bool decides_names = false;
  bool decides_flows = false;
  std::uint64_t content = 0;   // a hash of the file
  bool sees_topology = false;  // knows of policy.topology: another topology needs another process
};

// The plugins of one worker process.
struct PreparedGroup {
  std::string key;   // what makes it the same group after a reload
  std::string name;  // "dns http-proxy", for people
  std::vector<std::size_t> plugins;
  Privileges privileges;
  std::set<std::string> listens;
  unsigned first_enforcer = 0;  // those of a group that enforce are numbered from here on, in its order
  bool enforces = false;
};

struct Prepared {
  GatewayModel gateway;
  PolicyModel policy;
  std::vector<PreparedPlugin> plugins;
  std::vector<PreparedGroup> groups;
  nlohmann::json credentials = nlohmann::json::array();  // [{user, hash}]
  std::vector<std::string> sources;                      // CIDR blocks; empty: every source
  unsigned enforcers = 0;
  bool flow_layer = false;
  std::vector<std::string> watched;  // files that a change of means a reload

  bool closes_kernel() const;  // networks behind interfaces, or rules in the kernel
};

struct PreparedOutcome {
  std::optional<Prepared> prepared;
  Diagnostics diagnostics;
  std::string name;
  std::vector<std::string> watched;  // as far as they are known, also if it failed
};

PreparedOutcome prepare_gateway(const std::string& file);
PreparedOutcome prepare_gateway(const ComposedGateway& composed);

// By their privileges, or as `process` says.
std::vector<PreparedGroup> group_plugins(const std::vector<PluginModel>& models,
                                         const std::vector<PreparedPlugin>& plugins);

}  // namespace sallyport
