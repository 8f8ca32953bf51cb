#include "host/gate/prepared.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <string_view>

#include "host/gate/credentials.hpp"
#include "host/gate/plugin_config.hpp"
#include "host/gate/unopened.hpp"
#include "host/warden/beside_program.hpp"
#include "host/warden/own_addresses.hpp"
#include "language/gateway/gateway_load.hpp"
#include "language/load.hpp"
#include "language/suggest.hpp"
#include "ledger/binding_table.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::size_t kMostSources = 1000;  // they travel in one message to the workers

constexpr std::string_view kCapabilities[] = {"net_admin", "net_raw"};
constexpr std::string_view kSockets[] = {"netlink_netfilter", "netlink_route", "packet"};

void look_into(const PluginImage& image, PreparedPlugin& plugin) {
  struct stat info;
  if (::fstat(image.fd, &info) != 0 || info.st_size == 0) return;
  const auto size = static_cast<std::size_t>(info.st_size);
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, image.fd, 0);
  if (bytes == MAP_FAILED) return;
  const std::string_view text(static_cast<const char*>(bytes), size);
  plugin.content = std::hash<std::string_view>{}(text);
  plugin.sees_topology = text.find("policy.topology/") != std::string_view::npos;
  ::munmap(bytes, size);
}

std::vector<std::string> texts(const json& object, const char* key) {
  std::vector<std::string> found;
  if (!object.is_object() || !object.contains(key) || !object[key].is_array()) return found;
  for (const json& entry : object[key]) {
    if (entry.is_string()) found.push_back(entry);
  }
  return found;
}

class Preparation {
 public:
  Preparation(GatewayModel model, Reporter& reporter, Diagnostics& others) : reporter_(reporter), others_(others) {
    prepared_.gateway = std::move(model);
  }

  Prepared run() {
    open_plugins();
    listeners();
    policy();
    internal();
    sources();
    limits();
    flows();
    unopened();
    if (!gateway().credentials.text.empty())
      prepared_.credentials = load_credentials(gateway().credentials.text, others_);
    prepared_.groups = group_plugins(models_, prepared_.plugins);
    return std::move(prepared_);
  }

 private:
  const GatewayModel& gateway() const { return prepared_.gateway; }

  void open_plugins();
  void manifest(PreparedPlugin& plugin, const PluginModel& model);
  void listeners();
  void policy();
  void internal();
  void sources();
  void limits();
  void flows();
  void unopened();

  Reporter& reporter_;   // on gateway.yaml
  Diagnostics& others_;  // of other files
  Prepared prepared_;
  std::vector<PluginModel> models_;  // of prepared_.plugins, in the same order
};

void Preparation::manifest(PreparedPlugin& plugin, const PluginModel& model) {
  const json manifest = json::parse(plugin.image.manifest);  // read_manifest() has parsed it once
  for (const std::string& layer : texts(manifest, "layers")) {
    plugin.enforces |= layer == "kernel";
    plugin.decides_names |= layer == "dns";
    plugin.decides_flows |= layer == "tcp" || layer == "tls" || layer == "http" || layer == "kernel";
  }
  for (const std::string& id : texts(manifest, "needs")) plugin.keeps_limits |= id == "policy.limits/1";
  if (plugin.enforces && ++prepared_.enforcers == BindingTable::kMaxEnforcers + 1) {
    reporter_.error("P024", model.at, model.path,
                    "more than " + std::to_string(BindingTable::kMaxEnforcers) + " plugins keep rules in the kernel",
                    "one is enough");
  }
  prepared_.flow_layer |= plugin.decides_flows;
  const json privileges = manifest.value("privileges", json::object());
  const auto take = [&](const char* key, auto& known, std::set<std::string>& into) {
    for (const std::string& word : texts(privileges, key)) {
      if (std::find(std::begin(known), std::end(known), word) == std::end(known)) {
        reporter_.error(
            "G012", model.at, model.path,
            "plugin " + in_ticks(plugin.name) + " asks for the privilege " + in_ticks(word) + ", which no plugin gets",
            "is it made for this version?");
      }
      into.insert(word);
    }
  };
  take("capabilities", kCapabilities, plugin.privileges.capabilities);
  take("sockets", kSockets, plugin.privileges.sockets);
}

void Preparation::open_plugins() {
  const std::string directory = gateway().plugin_dir.text.empty()
                                    ? beside_program("../plugins", "../lib/sallyport/plugins")
                                    : gateway().plugin_dir.text;
  for (const PluginModel& model : gateway().plugins) {
    absl::StatusOr<PluginImage> image = open_plugin(directory, model.file);
    if (!image.ok()) {
      std::string message(image.status().message());
      std::string repair;
      if (const std::size_t cut = message.rfind("; "); cut != std::string::npos) {
        repair = message.substr(cut + 2);
        message.resize(cut);
      }
      reporter_.error("G012", model.file_at, model.path, std::move(message), std::move(repair));
      continue;
    }
    PreparedPlugin plugin;
    plugin.name = model.name;
    plugin.image = *std::move(image);
    look_into(plugin.image, plugin);
    manifest(plugin, model);
    if (std::optional<json> config = read_plugin_config(gateway(), model, plugin.image, reporter_)) {
      plugin.listens = texts(*config, "listen");
      plugin.config = config->dump();
    }
    prepared_.plugins.push_back(std::move(plugin));
    models_.push_back(model);
  }
}

void Preparation::listeners() {
  std::vector<std::string> names;
  for (const ListenerModel& listener : gateway().listeners) names.push_back(listener.name);
  std::map<std::string, std::size_t> users;
  for (std::size_t i = 0; i < prepared_.plugins.size(); ++i) {
    for (std::size_t k = 0; k < prepared_.plugins[i].listens.size(); ++k) {
      const std::string& name = prepared_.plugins[i].listens[k];
      const PluginModel& model = models_[i];
      // The word itself, where it is written; a default is not.
      Span at = model.config_at;
      if (model.has_config) {
        const YamlTree& tree = gateway().source->tree;
        for (std::size_t n = 0; n + 1 < tree[model.config].children.size(); n += 2) {
          const YamlNode& list = tree[tree[model.config].children[n + 1]];
          if (tree[tree[model.config].children[n]].scalar != "listen") continue;
          at = k < list.children.size() ? tree[list.children[k]].at : list.at;
        }
      }
      const std::string path = model.path + ".config.listen[" + std::to_string(k) + "]";
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        const std::string_view near = nearest(name, std::span<const std::string>(names));
        reporter_.error("G014", at, path, "no listener is called " + in_ticks(name),
                        !near.empty() ? "did you mean " + in_ticks(near) + "?"
                                      : "write listeners: { " + name + ": { tcp: \"…:…\" } }");
        continue;
      }
      const auto [first, fresh] = users.emplace(name, i);
      if (!fresh && first->second != i) {
        reporter_.error("G015", at, path,
                        "listener " + in_ticks(name) + " belongs to " +
                            in_ticks(prepared_.plugins[first->second].name) + " already",
                        "give each plugin a listener of its own");
      }
    }
  }
  for (const ListenerModel& listener : gateway().listeners) {
    if (users.contains(listener.name) || reporter_.failed()) continue;
    reporter_.warning("G016", listener.at, "listeners." + listener.name,
                      "no plugin listens on " + in_ticks(listener.name), "it is not opened");
  }
}

void Preparation::policy() {
  LoadOutcome outcome = load_policy_file(gateway().policy.text, LoadOptions{own_addresses(), std::time(nullptr)});
  for (const std::string& file : outcome.files) {
    const std::string path = std::filesystem::path(file).lexically_normal().string();
    if (path != gateway().policy.text) prepared_.watched.push_back(path);
  }
  std::set<std::string> reopened;  // a client that `internal` names is used, though no rule names it
  for (const auto& [from, to] : gateway().internal) {
    for (const Placed* word : {&from, &to}) reopened.insert("clients." + word->text);
  }
  for (Diagnostic& diagnostic : outcome.diagnostics) {
    if (diagnostic.code == "P040" && reopened.contains(diagnostic.path)) continue;
    others_.push_back(std::move(diagnostic));
  }
  if (!outcome.model) return;
  prepared_.policy = *std::move(outcome.model);
  prepared_.policy.source = gateway().policy_word;
  // Named as the policy is: beside it.
  const auto folder = [](const std::string& file) { return file.substr(0, file.rfind('/') + 1); };
  const std::string from = folder(gateway().policy.text), to = folder(gateway().policy_word);
  for (std::string& file : prepared_.policy.included) {
    if (file.starts_with(from)) file = to + file.substr(from.size());
  }
}

void Preparation::internal() {
  if (has_errors(others_)) return;  // the policy's clients are not known
  std::vector<std::string> names;
  for (const ClientModel& client : prepared_.policy.clients) names.push_back(client.name);
  for (std::size_t i = 0; i < gateway().internal.size(); ++i) {
    for (const Placed* word : {&gateway().internal[i].first, &gateway().internal[i].second}) {
      if (std::find(names.begin(), names.end(), word->text) != names.end()) continue;
      const std::string_view near = nearest(word->text, std::span<const std::string>(names));
      reporter_.error("G017", word->at, "internal[" + std::to_string(i) + "]",
                      "the policy has no client " + in_ticks(word->text),
                      near.empty() ? "`clients` in " + gateway().policy.text + " names them"
                                   : "did you mean " + in_ticks(near) + "?");
    }
  }
}

void Preparation::sources() {
  std::set<std::string> blocks;
  for (const NetworkModel& network : gateway().networks) {
    for (const Prefix& prefix : network.addresses) blocks.insert(prefix.text());
  }
  if (gateway().networks.empty()) {
    for (const ClientModel& client : prepared_.policy.clients) {
      for (const Prefix& prefix : client.addresses) blocks.insert(prefix.text());
    }
  }
  prepared_.sources.assign(blocks.begin(), blocks.end());
  if (blocks.size() > kMostSources) {
    reporter_.error(
        "G021", gateway().policy.at, "networks",
        std::to_string(blocks.size()) + " blocks of sources; at most " + std::to_string(kMostSources) + " are possible",
        "write `networks:` with the few blocks that hold them all");
  }
}

// Limits are kept by whoever passes the bytes on. Where that is somebody else, a rule that has some would be weaker
// than it reads.
void Preparation::limits() {
  if (has_errors(others_) || reporter_.failed()) return;
  const auto refuse = [this](const RuleModel& rule, const std::string& why, const std::string& remedy) {
    reporter_.error(
        "P059", gateway().policy.at, "policy",
        "rule " + in_ticks(rule.name) + " (line " + std::to_string(rule.where.line) + ") has limits, " + why, remedy);
  };
  const bool captured =
      std::any_of(gateway().listeners.begin(), gateway().listeners.end(), [](const ListenerModel& listener) {
        return listener.transparent != Transparent::kNo &&
               std::any_of(listener.endpoints.begin(), listener.endpoints.end(),
                           [](const EndpointModel& endpoint) { return endpoint.proto == kProtoTcp; });
      });
  const auto carries = [](const PreparedPlugin& plugin) { return plugin.decides_flows && !plugin.enforces; };
  const bool any_carries = std::any_of(prepared_.plugins.begin(), prepared_.plugins.end(), carries);
  for (const RuleModel& rule : prepared_.policy.rules) {
    if (!rule.limits.any()) continue;
    const auto other =
        std::find_if(prepared_.plugins.begin(), prepared_.plugins.end(), [&](const PreparedPlugin& plugin) {
          const bool passes = carries(plugin) || (plugin.decides_names && rule.limits.requests);
          return passes && !plugin.keeps_limits;
        });
    LimitsModel of_flows = rule.limits;
    of_flows.requests.reset();
    if (other != prepared_.plugins.end()) {
      refuse(rule, "which plugin " + in_ticks(other->name) + " does not keep",
             "use a version of it that needs policy.limits/1, or remove the limits");
    } else if (prepared_.enforcers > 0 && !captured) {
      refuse(rule, "and the kernel forwards its flows past them",
             "add a listener with `transparent: redirect` for sni-filter, or remove the limits");
    } else if (!any_carries && of_flows.any()) {
      refuse(rule, "and no plugin here sees the bytes of its flows",
             "add http-proxy or sni-filter; a gateway of names alone can keep `requests`, of questions");
    }
  }
}

// A gateway of names alone: ports and addresses are decided by whoever routes, not here. That is what its user asked
// for, and has to know.
void Preparation::flows() {
  if (prepared_.flow_layer || prepared_.plugins.empty() || reporter_.failed()) return;
  const bool by_name = std::any_of(prepared_.plugins.begin(), prepared_.plugins.end(),
                                   [](const PreparedPlugin& plugin) { return plugin.decides_names; });
  prepared_.flow_layer = true;  // also where nobody decides: a monitor's questions of names leave the port open
  if (!by_name) return;
  reporter_.warning("G022", gateway().plugins.front().at, "plugins",
                    "no plugin here decides connections: names are decided, their ports and addresses are not",
                    reporter_.source().of_options() ? "run sallyport-sni, sallyport-proxy or a packet filter beside it"
                                                    : "add nftables, sni-filter or http-proxy");
}

void Preparation::unopened() {
  if (has_errors(others_) || reporter_.failed()) return;
  for (const UnopenedRule& rule : unopened_rules(prepared_))
    reporter_.warning("G024", gateway().policy.at, "policy", rule.why, rule.remedy);
}

}  // namespace

void Privileges::add(const Privileges& other) {
  capabilities.insert(other.capabilities.begin(), other.capabilities.end());
  sockets.insert(other.sockets.begin(), other.sockets.end());
}

std::string Privileges::text() const {
  std::string all;
  for (const std::string& word : capabilities) all += "cap_" + word + " ";
  for (const std::string& word : sockets) all += word + " ";
  if (!all.empty()) all.pop_back();
  return all;
}

bool Prepared::closes_kernel() const {
  return enforcers > 0 || std::any_of(gateway.networks.begin(), gateway.networks.end(),
                                      [](const NetworkModel& network) { return !network.interfaces.empty(); });
}

std::vector<PreparedGroup> group_plugins(const std::vector<PluginModel>& models,
                                         const std::vector<PreparedPlugin>& plugins) {
  std::vector<PreparedGroup> groups;
  for (std::size_t i = 0; i < plugins.size(); ++i) {
    const std::string& process = models[i].process;
    const std::string key = process == "own"  ? "own " + plugins[i].name
                            : process.empty() ? "privileges " + plugins[i].privileges.text()
                                              : "process " + process;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const PreparedGroup& g) { return g.key == key; });
    if (group == groups.end()) group = groups.insert(groups.end(), PreparedGroup{.key = key});
    group->name += (group->name.empty() ? "" : " ") + plugins[i].name;
    group->plugins.push_back(i);
    group->privileges.add(plugins[i].privileges);
    group->listens.insert(plugins[i].listens.begin(), plugins[i].listens.end());
  }
  unsigned number = 0;
  for (PreparedGroup& group : groups) {
    group.first_enforcer = number;
    for (const std::size_t index : group.plugins) number += plugins[index].enforces ? 1 : 0;
    group.enforces = number > group.first_enforcer;
  }
  return groups;
}

namespace {

// watched: the gateway's own file, if it has one.
PreparedOutcome prepare(GatewayOutcome loaded, std::vector<std::string> watched) {
  PreparedOutcome outcome;
  outcome.name = loaded.name;
  outcome.diagnostics = std::move(loaded.diagnostics);
  outcome.watched = std::move(watched);
  if (!loaded.model) return outcome;
  outcome.watched.push_back(loaded.model->policy.text);
  if (!loaded.model->credentials.text.empty()) outcome.watched.push_back(loaded.model->credentials.text);
  const std::shared_ptr<const GatewayText> text = loaded.model->source;
  Reporter reporter(*text->source);
  Diagnostics others;
  Prepared prepared = Preparation(*std::move(loaded.model), reporter, others).run();
  for (Diagnostic& diagnostic : reporter.take()) outcome.diagnostics.push_back(std::move(diagnostic));
  for (Diagnostic& diagnostic : others) outcome.diagnostics.push_back(std::move(diagnostic));
  outcome.watched.insert(outcome.watched.end(), prepared.watched.begin(), prepared.watched.end());
  prepared.watched = outcome.watched;
  if (!has_errors(outcome.diagnostics)) outcome.prepared = std::move(prepared);
  return outcome;
}

}  // namespace

PreparedOutcome prepare_gateway(const std::string& file) {
  return prepare(load_gateway_file(file), {std::filesystem::absolute(file).lexically_normal().string()});
}

PreparedOutcome prepare_gateway(const ComposedGateway& composed) {
  return prepare(load_gateway(composed.text(), composed.name, composed.options()), {});
}

}  // namespace sallyport
