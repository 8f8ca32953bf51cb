#include "host/init/generate.hpp"

#include <absl/strings/str_format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "host/init/compose_overlay.hpp"
#include "host/init/deploy_files.hpp"
#include "host/init/template.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kMostAgents = 200;   // addresses of 172.20.1.0/24, and some to spare
constexpr std::size_t kMostNetworks = 14;  // a name server each, and a gateway has 16 plugins at most
constexpr std::size_t kLongestAgent = 24;  // dns-NAME is a plugin's name

std::optional<std::string> fault_of(const InitOptions& options) {
  if (options.kind != "compose" && options.kind != "systemd")
    return absl::StrFormat("`%s`: expected compose or systemd", options.kind);
  if (options.shape != "transparent" && options.shape != "proxy" && options.shape != "cells")
    return absl::StrFormat("--shape %s: expected transparent, proxy or cells", options.shape);
  if (options.unprivileged && options.kind == "systemd")
    return "--unprivileged is for compose: one network an agent, and a gateway that is a container on all of them";
  if (options.unprivileged && options.shape == "cells")
    return "--unprivileged: a cell is made by entering the agent's namespaces, which needs privilege";
  if (!options.network.empty()) {
    if (options.kind != "compose") return "--network is for compose: an overlay of the compose file that is there";
    if (options.unprivileged)
      return "--network: an overlay holds the network as it is, which takes a gateway with NET_ADMIN";
    if (options.shape == "cells") return "--network: a cell's container has no network; leave --network out";
    return std::nullopt;  // the agents are services of that file, under its names
  }
  constexpr std::string_view kOctets = "abcdefghijklmnopqrstuvwxyz0123456789-";
  constexpr std::string_view kTaken[] = {"gateway", "supervisor", "outside", "agents", "cell", "policy"};
  std::set<std::string_view> seen;
  for (const std::string& agent : options.agents) {
    if (agent.empty() || agent.size() > kLongestAgent || agent.find_first_not_of(kOctets) != agent.npos ||
        agent.front() == '-' || agent.back() == '-')
      return absl::StrFormat("--agents: `%s` is no name; use 1 to %d of a-z, 0-9 and -", agent, kLongestAgent);
    if (std::find(std::begin(kTaken), std::end(kTaken), agent) != std::end(kTaken) || agent.starts_with("cell-"))
      return absl::StrFormat("--agents: `%s` is the name of another part; choose another", agent);
    if (!seen.insert(agent).second) return absl::StrFormat("--agents: `%s` is there twice", agent);
  }
  const std::size_t most = options.unprivileged ? kMostNetworks : kMostAgents;
  if (options.agents.size() > most)
    return absl::StrFormat("--agents: %d; at most %d are possible%s", options.agents.size(), most,
                           options.unprivileged ? " with a network each" : "");
  return std::nullopt;
}

// The service `agent` under the first name, and others that are like it.
std::string with_agents(std::string_view compose, const std::vector<std::string>& agents) {
  const std::string_view first = service_of(compose, "agent"), second = service_of(compose, "agent2");
  std::string blocks = replaced(first, "  agent: &agent", "  " + agents[0] + ": &agent");
  for (std::size_t i = 1; i < agents.size(); ++i) blocks += replaced(second, "  agent2:", "  " + agents[i] + ":");
  return replaced(replaced(compose, second, ""), first, blocks);
}

// A container and its cell for each.
std::string with_cells(std::string_view compose, const std::vector<std::string>& agents) {
  const std::string_view agent = service_of(compose, "agent"), cell = service_of(compose, "cell");
  std::string agents_text, cells_text;
  for (const std::string& name : agents) {
    const auto named = [&](std::string_view text) {
      return replaced(replaced(replaced(text, "${AGENT_NAME:-agent}", name), "\"--name\", \"agent\"",
                               "\"--name\", \"" + name + "\""),
                      "depends_on: [agent]", "depends_on: [" + name + "]");
    };
    agents_text += replaced(named(agent), "  agent:\n", "  " + name + ":\n");
    cells_text += replaced(named(cell), "  cell:\n", "  cell-" + name + ":\n");
  }
  return replaced(replaced(compose, cell, cells_text), agent, agents_text);
}

std::vector<GeneratedFile> compose_files(const InitOptions& options) {
  std::vector<GeneratedFile> files;
  const std::string below = "compose/" + options.shape + "/";
  for (const DeployFile& file : deploy_files()) {
    if (file.path.starts_with(below))
      files.push_back({std::string(file.path.substr(below.size())), std::string(file.text)});
  }
  if (options.unprivileged) {
    const std::vector<std::string> agents =
        options.agents.empty() ? std::vector<std::string>{"agent", "agent2"} : options.agents;
    for (GeneratedFile& file : files) {
      const std::size_t slash = file.path.rfind('/');
      const std::string name = slash == file.path.npos ? file.path : file.path.substr(slash + 1);
      const std::string_view text = shipped("templates/unprivileged/" + name);
      if (!text.empty()) file.text = fill(text, agents, options.shape);
    }
  } else if (!options.agents.empty()) {
    for (GeneratedFile& file : files) {
      if (file.path != "compose.yaml") continue;
      file.text =
          options.shape == "cells" ? with_cells(file.text, options.agents) : with_agents(file.text, options.agents);
    }
  }
  return files;
}

// Laid out as /etc is.
std::vector<GeneratedFile> systemd_files(const InitOptions& options) {
  std::vector<GeneratedFile> files;
  const auto unit = [&](const std::string& name) {
    files.push_back(
        {"systemd/system/" + name, replaced(shipped("systemd/" + name), "/usr/bin/sallyport", options.program)});
  };
  const std::string from = "compose/" + options.shape + "/sallyport/";
  if (options.shape == "cells") {
    unit("sallyport-attach@.service");
    const std::vector<std::string> agents = options.agents.empty() ? std::vector<std::string>{"agent"} : options.agents;
    for (const std::string& agent : agents)
      files.push_back({"sallyport/" + agent + ".yaml", std::string(shipped(from + "policy.yaml"))});
    return files;
  }
  unit("sallyport.service");
  for (const char* name : {"gateway.yaml", "policy.yaml"})
    files.push_back({"sallyport/" + std::string(name), std::string(shipped(from + name))});
  return files;
}

}  // namespace

absl::StatusOr<Generated> generate(const InitOptions& options) {
  if (const std::optional<std::string> fault = fault_of(options)) return absl::InvalidArgumentError(*fault);
  if (options.network.empty())
    return Generated{options.kind == "compose" ? compose_files(options) : systemd_files(options), {}, {}};
  absl::StatusOr<ComposeNetwork> network = read_compose(options.directory, options.network, options.agents);
  if (!network.ok()) return network.status();
  return Generated{overlay_files(options.shape, *network), network->file, network->warnings};
}

}  // namespace sallyport
