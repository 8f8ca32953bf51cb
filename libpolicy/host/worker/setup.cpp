#include "host/worker/setup.hpp"

#include <stdexcept>

#include "ledger/binding_table.hpp"
#include "limits/limits_table.hpp"
#include "names/sip_hash.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

GateSetup read_gate(const json& in) {
  GateSetup gate;
  gate.topology = in.contains("topology") ? in["topology"].dump() : "{}";
  gate.sources = read_sources(in.value("sources", json::array()));
  gate.credentials = read_credentials(in.value("credentials", json::array()));
  gate.enforcers = in.value("enforcers", 0u);
  gate.first_enforcer = in.value("first_enforcer", 0u);
  gate.flow_layer = in.value("flow_layer", false);
  // Any text: both halves of the key are drawn from it, so that every worker of a gateway has the same ids.
  const json key = in.value("client_key", json());
  const std::string text = key.is_string() ? key.get<std::string>() : key.dump();
  gate.client_key = {sip_hash({1, 0}, text), sip_hash({2, 0}, text)};
  if (gate.enforcers > BindingTable::kMaxEnforcers || gate.first_enforcer >= BindingTable::kMaxEnforcers)
    throw std::runtime_error("more enforcers than the ledger has places for");
  return gate;
}

}  // namespace

std::vector<Prefix> read_sources(const json& texts) {
  std::vector<Prefix> sources;
  for (const json& text : texts) {
    const Result<Prefix> prefix = Prefix::parse(text.get<std::string>());
    if (!prefix.ok()) throw std::runtime_error("sources: " + text.get<std::string>() + " is no prefix");
    sources.push_back(*prefix);
  }
  return sources;
}

std::shared_ptr<const CredentialSet> read_credentials(const json& entries) {
  std::vector<std::pair<std::string, std::string>> users;
  for (const json& entry : entries) users.emplace_back(entry.at("user"), entry.at("hash"));
  return users.empty() ? nullptr : std::make_shared<const CredentialSet>(users);
}

std::variant<WorkerSetup, std::string> read_setup(const Message& message) {
  const json& body = message.body;
  WorkerSetup setup;
  json names = {"snapshot", "audit", "audit_wake", "synthetic"};
  if (body.contains("fd_names")) names = body["fd_names"];
  const std::size_t applied = body.contains("gate") ? body["gate"].value("applied_fds", std::size_t{0}) : 0;
  const json& plugins = body.at("plugins");
  if (message.fds.size() != names.size() + applied + plugins.size()) return "worker: setup with the wrong descriptors";
  std::size_t at = 0;
  for (const json& name : names) setup.fds[name.get<std::string>()] = message.fds[at++];
  for (const char* name : {"snapshot", "audit", "audit_wake"}) {
    if (!setup.fds.contains(name)) return std::string("worker: setup without ") + name;
  }
  for (std::size_t i = 0; i < applied; ++i) setup.applied_fds.push_back(message.fds[at++]);
  for (const json& plugin : plugins) {
    setup.plugins.push_back(
        {plugin.at("name"), plugin.at("manifest"), plugin.at("config"), plugin.at("needed"), message.fds[at++]});
  }
  for (const json& client : body.value("clients", json::array()))
    setup.cells.push_back({client.at("id"), client.at("cell"), 0});
  if (body.contains("uid")) setup.uid = body["uid"].get<unsigned>();
  if (body.contains("log")) setup.log = body["log"].get<std::int32_t>();
  setup.limits_holder = body.value("limits_holder", 0u);
  if (setup.limits_holder >= LimitsTable::kHolders) return "worker: no such holder of limits";
  if (body.contains("gate")) setup.gate = read_gate(body["gate"]);
  const json privileges = body.value("privileges", json::object());
  for (const json& word : privileges.value("capabilities", json::array())) {
    if (!setup.privileges.add_capability(word.get<std::string>()))
      return "worker: no plugin is given the capability " + word.get<std::string>();
  }
  for (const json& word : privileges.value("sockets", json::array())) {
    if (!setup.privileges.add_socket(word.get<std::string>()))
      return "worker: no plugin is given sockets of " + word.get<std::string>();
  }
  setup.plain_jail = body.value("jail", "namespaces") == std::string("plain");
  return setup;
}

}  // namespace sallyport
