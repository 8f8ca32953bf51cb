// WorkerSetup: the warden's first message, read whole before any of it is used.
//
// Form     worker.hpp describes it. `sallyport run` names no descriptors: snapshot, audit, audit_wake, synthetic then.
// Errors   What nlohmann-json throws on a message of the wrong shape, which the caller catches; a text otherwise.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "host/channel/channel.hpp"
#include "host/worker/credentials.hpp"
#include "host/worker/jail.hpp"
#include "host/worker/policy_versions.hpp"

namespace sallyport {

struct PluginSetup {
  std::string name, manifest, config;
  std::vector<std::string> needed;  // system libraries
  int fd = -1;                      // of the checked copy; the message's
};

struct GateSetup {
  std::string topology;
  std::vector<Prefix> sources;
  std::shared_ptr<const CredentialSet> credentials;  // none: this gateway has none
  unsigned enforcers = 0, first_enforcer = 0;
  bool flow_layer = false;
  std::array<std::uint64_t, 2> client_key{};
};

struct WorkerSetup {
  std::vector<PluginSetup> plugins;
  std::vector<CellClient> cells;
  std::map<std::string, int> fds;  // by name; the message's
  std::vector<int> applied_fds;
  std::optional<unsigned> uid;
  std::optional<std::int32_t> log;
  unsigned limits_holder = 0;
  std::optional<GateSetup> gate;
  KeptPrivileges privileges;
  bool plain_jail = false;

  int fd(const std::string& name) const {
    const auto found = fds.find(name);
    return found != fds.end() ? found->second : -1;
  }
};

// The message keeps its descriptors.
std::variant<WorkerSetup, std::string> read_setup(const Message& message);

// Parts of a setup that a publish message may bring anew.
std::vector<Prefix> read_sources(const nlohmann::json& texts);                         // throws on what is no prefix
std::shared_ptr<const CredentialSet> read_credentials(const nlohmann::json& entries);  // nullptr for an empty list

}  // namespace sallyport
