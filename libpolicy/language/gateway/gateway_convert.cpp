#include "language/gateway/gateway_convert.hpp"

#include <grp.h>
#include <net/if.h>
#include <pwd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <span>

#include "engine/model.hpp"
#include "language/gateway/lower.hpp"
#include "language/suggest.hpp"
#include "language/values.hpp"
#include "sallyport/gateway/v1/gateway.pb.h"

namespace sallyport {
namespace {

using gateway::v1::Gateway;
namespace fs = std::filesystem;

constexpr std::size_t kMostPlugins = 16;    // of one gateway; a worker's message carries a descriptor each
constexpr std::size_t kMostListeners = 64;  // names
constexpr std::uint32_t kMostPerPort = 1024;
constexpr std::chrono::hours kMostDrain{1};  // more is no drain, it is a gateway that does not stop

std::string element(const std::string& path, std::size_t index) { return path + "[" + std::to_string(index) + "]"; }

// What the kernel's rules take as a name (host/kernel/topology.cpp).
bool is_port_name(const std::string& name) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:@";
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_not_of(kPlain) == std::string::npos;
}

// Lower case. No group, and not what stands for none.
bool is_unicast_mac(const std::string& text) {
  if (text.size() != 17 || text == "00:00:00:00:00:00") return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (i % 3 == 2 ? text[i] != ':' : !digit) return false;
  }
  return std::string_view("02468ace").find(text[1]) != std::string_view::npos;
}

class Converter {
 public:
  Converter(const Gateway& gateway, const Place& place, const YamlTree& tree, const std::string& file,
            Reporter& reporter)
      : gateway_(gateway), place_(place), tree_(tree), reporter_(reporter) {
    model_.file = file;
    std::error_code error;
    model_.directory = fs::absolute(file, error).parent_path().lexically_normal().string();
  }

  GatewayModel run() {
    version();
    name();
    files();
    networks();
    listeners();
    plugins();
    internal();
    audit();
    user();
    drain();
    return std::move(model_);
  }

 private:
  void version();
  void name();
  void files();
  void networks();
  void pins(const gateway::v1::Network& written, const Place& place, const std::string& path, NetworkModel& network);
  void listeners();
  void listener(const gateway::v1::Listener& listener, const Place& place);
  void endpoints(const google::protobuf::RepeatedPtrField<std::string>& values, const Place* place, std::uint16_t proto,
                 ListenerModel& into);
  void plugins();
  void internal();
  void audit();
  void user();
  void drain();

  void plain_name(std::string_view what, const std::string& text, const Span& at, const std::string& path) {
    if (is_plain_name(text)) return;
    const std::string plain = plain_name_of(text);
    reporter_.error("P025", at, path, std::string(what) + " " + in_ticks(text) + " is not one word",
                    plain.empty() ? "use letters, digits, `-`, `_` and `.`" : "write " + in_ticks(plain));
  }

  // Beside the file, unless it says where.
  std::string beside(const std::string& path) const {
    return path.empty() || path[0] == '/' ? path : (fs::path(model_.directory) / path).lexically_normal().string();
  }

  Span first_key() const { return place_.fields.empty() ? Span{1, 1, 1} : place_.fields.front().key; }

  const Gateway& gateway_;
  const Place& place_;
  const YamlTree& tree_;  // the user's own
  Reporter& reporter_;
  GatewayModel model_;
  struct Taken {
    std::uint16_t proto;
    Address address;
    std::uint16_t port;
    auto operator<=>(const Taken&) const = default;
  };
  std::map<Taken, Span> taken_;
  std::map<Address, Span> pinned_;
};

void Converter::version() {
  const Place* written = place_.field(Gateway::kVersionFieldNumber);
  if (written == nullptr) {
    reporter_.error("P006", first_key(), "version", "`version` is missing", "write `version: 1` as the first line");
  } else if (gateway_.version() != 1 && !reporter_.failed()) {
    reporter_.error("P023", written->value, "version",
                    "version " + std::to_string(gateway_.version()) + " is not known", "this program reads version 1");
  }
}

void Converter::name() {
  model_.name = gateway_.name();
  const Place* written = place_.field(Gateway::kNameFieldNumber);
  if (written != nullptr) return plain_name("name", model_.name, written->value, "name");
  model_.name = fs::path(model_.file).stem().string();
  if (!is_plain_name(model_.name)) model_.name = plain_name_of(model_.name);
  if (model_.name.empty()) model_.name = "gateway";
}

void Converter::files() {
  const Place* policy = place_.field(Gateway::kPolicyFieldNumber);
  if (policy == nullptr) {
    reporter_.error("P006", first_key(), "policy", "`policy` is missing",
                    "write `policy: policy.yaml`; a policy of `version: 1` alone denies everything");
  } else if (gateway_.policy().empty()) {
    reporter_.error("P005", policy->value, "policy", "an empty path", "name the policy file");
  } else {
    model_.policy = {beside(gateway_.policy()), policy->value};
    model_.policy_word = gateway_.policy();
  }
  if (const Place* plugin_dir = place_.field(Gateway::kPluginDirFieldNumber)) {
    model_.plugin_dir = {gateway_.plugin_dir(), plugin_dir->value};
    while (model_.plugin_dir.text.size() > 1 && model_.plugin_dir.text.ends_with('/'))
      model_.plugin_dir.text.pop_back();
    if (!gateway_.plugin_dir().starts_with('/')) {
      reporter_.error("G001", plugin_dir->value, "plugin_dir", "the plugin directory must be an absolute path",
                      "a search path is what a wrong plugin gets in by");
    }
  }
  const Place* credentials = place_.field(Gateway::kCredentialsFieldNumber);
  if (credentials == nullptr || credentials->explicit_null || credentials->partial) return;
  const Place* file = credentials->field(gateway::v1::Credentials::kFileFieldNumber);
  if (file == nullptr || gateway_.credentials().file().empty()) {
    if (file == nullptr || !reporter_.failed()) {
      reporter_.error("P006", credentials->key, "credentials", "`credentials` names no file",
                      "write credentials: { file: users }");
    }
    return;
  }
  model_.credentials = {beside(gateway_.credentials().file()), file->value};
}

void Converter::networks() {
  const Place* written = place_.field(Gateway::kNetworksFieldNumber);
  if (written == nullptr) return;
  std::map<std::string, Span> interfaces;
  for (const Place& entry : written->elements) {
    const auto found = gateway_.networks().find(entry.name);
    if (found == gateway_.networks().end()) continue;
    const std::string path = "networks." + entry.name;
    plain_name("network", entry.name, entry.key, path);
    NetworkModel network;
    network.name = entry.name;
    using gateway::v1::Network;
    const Place* addresses = entry.field(Network::kAddressesFieldNumber);
    for (std::size_t i = 0; addresses != nullptr && i < addresses->elements.size(); ++i) {
      const Place& at = addresses->elements[i];
      const std::string& text = found->second.addresses(static_cast<int>(i));
      Parsed<Prefix> prefix = read_prefix(text);
      if (auto* problem = std::get_if<Problem>(&prefix)) {
        reporter_
            .error(problem->code, at.value, element(path + ".addresses", at.index), problem->message, problem->repair)
            .note = problem->note;
      } else {
        network.addresses.push_back(std::get<Prefix>(prefix));
      }
    }
    const Place* names = entry.field(Network::kInterfacesFieldNumber);
    for (std::size_t i = 0; names != nullptr && i < names->elements.size(); ++i) {
      const Place& at = names->elements[i];
      const std::string& text = found->second.interfaces(static_cast<int>(i));
      const bool named = !text.empty() && text.size() < IFNAMSIZ && text != "." && text != ".." &&
                         std::none_of(
                             text.begin(), text.end(),
                             [](unsigned char c) { return c <= ' ' || c == '/' || c == ':' || c == '"' || c > '~'; });
      if (!named) {
        reporter_.error("G002", at.value, element(path + ".interfaces", at.index),
                        in_ticks(text) + " is no interface's name", "`ip link` lists them");
        continue;
      }
      const auto [first, fresh] = interfaces.emplace(text, at.value);
      if (!fresh) {
        reporter_
            .error("P012", at.value, element(path + ".interfaces", at.index),
                   "interface " + in_ticks(text) + " belongs to a network already", "keep one of the two")
            .related.push_back(reporter_.source().excerpt(first->second));
        continue;
      }
      network.interfaces.push_back(text);
    }
    if (const Place* share = entry.field(Network::kAddressesPerPortFieldNumber)) {
      network.addresses_per_port = found->second.addresses_per_port();
      if (network.addresses_per_port < 1 || network.addresses_per_port > kMostPerPort)
        reporter_.error("G023", share->value, path + ".addresses_per_port",
                        "a port has 1 to " + std::to_string(kMostPerPort) + " addresses, not " +
                            std::to_string(network.addresses_per_port),
                        "write the number of addresses that one port needs");
    }
    if (!entry.partial && addresses == nullptr) {
      reporter_.error("P006", entry.key, path, "network " + in_ticks(entry.name) + " has no addresses",
                      "write addresses: [172.20.0.0/16]: a source that is not in them is refused");
    }
    network.open_from_host = found->second.from_host() == gateway::v1::OPENING_OPEN;
    pins(found->second, entry, path, network);
    model_.networks.push_back(std::move(network));
  }
}

// { 172.20.0.7: { port: veth7, mac: "02:42:ac:14:00:07" } }
void Converter::pins(const gateway::v1::Network& written, const Place& place, const std::string& path,
                     NetworkModel& network) {
  const Place* pins = place.field(gateway::v1::Network::kPinsFieldNumber);
  for (std::size_t i = 0; pins != nullptr && i < pins->elements.size(); ++i) {
    const Place& entry = pins->elements[i];
    const auto found = written.pins().find(entry.name);
    if (found == written.pins().end()) continue;
    const std::string where = path + ".pins." + entry.name;
    const Result<Address> address = Address::parse(entry.name);
    if (!address.ok()) {
      reporter_.error("G025", entry.key, where, in_ticks(entry.name) + " is no address",
                      "a pin is for one address: 172.20.0.7, \"fd00:20::7\"");
      continue;
    }
    if (network.interfaces.empty() && !place.partial)
      reporter_.error("G025", entry.key, where, "network " + in_ticks(network.name) + " has no interface to pin at",
                      "write interfaces: [br-agents], the bridge that the workloads are behind");
    const bool inside = std::any_of(network.addresses.begin(), network.addresses.end(),
                                    [&](const Prefix& prefix) { return prefix.contains(*address); });
    if (!inside && !network.addresses.empty())
      reporter_.error("G025", entry.key, where,
                      in_ticks(entry.name) + " is not among the addresses of network " + in_ticks(network.name),
                      "remove the pin, or add the block to `addresses`");
    const auto [first, fresh] = pinned_.emplace(*address, entry.key);
    if (!fresh)
      reporter_.error("G025", entry.key, where, in_ticks(entry.name) + " is pinned already", "keep one of the two")
          .related.push_back(reporter_.source().excerpt(first->second));
    const Place* port = entry.field(gateway::v1::Pin::kPortFieldNumber);
    const Place* mac = entry.field(gateway::v1::Pin::kMacFieldNumber);
    PinModel pin{*address, found->second.port(), found->second.mac()};
    std::transform(pin.mac.begin(), pin.mac.end(), pin.mac.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    if (port == nullptr && mac == nullptr && !entry.partial)
      reporter_.error("G025", entry.key, where, in_ticks(entry.name) + " is pinned to nothing",
                      "write { port: veth7 }, { mac: \"02:42:ac:14:00:07\" }, or both");
    if (port != nullptr && !is_port_name(pin.port))
      reporter_.error("G025", port->value, where + ".port", in_ticks(pin.port) + " is no port's name",
                      "`bridge link` lists them");
    if (mac != nullptr && !is_unicast_mac(pin.mac))
      reporter_.error("G025", mac->value, where + ".mac",
                      in_ticks(found->second.mac()) + " is no interface's MAC address",
                      "write six pairs of hexadecimal digits in quotes, such as \"02:42:ac:14:00:07\"");
    network.pins.push_back(std::move(pin));
  }
}

// "172.20.0.3:53", "[fd00::3]:53".
void Converter::endpoints(const google::protobuf::RepeatedPtrField<std::string>& values, const Place* place,
                          std::uint16_t proto, ListenerModel& into) {
  if (place == nullptr) return;
  const char* key = proto == kProtoUdp ? "udp" : "tcp";
  for (std::size_t i = 0; i < place->elements.size(); ++i) {
    const Place& at = place->elements[i];
    const std::string& text = values.Get(static_cast<int>(i));
    const std::string path = element("listeners." + into.name + "." + key, at.index);
    const std::size_t colon = text.rfind(':');
    const std::string host = colon == std::string::npos ? text : text.substr(0, colon);
    const std::string port_digits = colon == std::string::npos ? "" : text.substr(colon + 1);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    const Result<Address> address =
        Address::parse(bracketed ? std::string_view(host).substr(1, host.size() - 2) : host);
    unsigned port = 0;
    const auto [stop, failure] = std::from_chars(port_digits.data(), port_digits.data() + port_digits.size(), port);
    const bool has_port =
        failure == std::errc{} && stop == port_digits.data() + port_digits.size() && port >= 1 && port <= 65535;
    const Result<Address> whole = Address::parse(text);
    if (whole.ok()) {
      reporter_.error("G003", at.value, path, "an address without a port",
                      "write " + in_ticks(whole->is_v6() ? "[" + text + "]:53" : text + ":53"));
      continue;
    }
    if (!address.ok() || address->is_v6() != bracketed) {
      const bool named = !host.empty() && host.find_first_not_of("0123456789.:[]abcdefABCDEF") != std::string::npos;
      reporter_.error("G003", at.value, path, "expected address:port, found " + in_ticks(text),
                      host.empty() || host == "*"
                          ? "write \"0.0.0.0:" + (port_digits.empty() ? "53" : port_digits) + "\" for every address"
                      : named ? "a name can change its meaning: write the address"
                              : "write \"172.20.0.3:53\" or \"[fd00::3]:53\"");
      continue;
    }
    if (!has_port) {
      reporter_.error("G003", at.value, path, in_ticks(port_digits) + " is no port",
                      "a port is a number from 1 to 65535");
      continue;
    }
    EndpointModel endpoint{proto, *address, static_cast<std::uint16_t>(port), at.value, path};
    const auto [first, fresh] = taken_.emplace(Taken{proto, *address, endpoint.port}, at.value);
    if (!fresh) {
      reporter_.error("G004", at.value, path, in_ticks(text) + " is listened on already", "keep one of the two")
          .related.push_back(reporter_.source().excerpt(first->second));
      continue;
    }
    into.endpoints.push_back(std::move(endpoint));
  }
}

void Converter::listener(const gateway::v1::Listener& listener, const Place& place) {
  using gateway::v1::Listener;
  const std::string path = "listeners." + place.name;
  plain_name("listener", place.name, place.key, path);
  ListenerModel model;
  model.name = place.name;
  model.at = place.key;
  const Place* udp = place.field(Listener::kUdpFieldNumber);
  const Place* tcp = place.field(Listener::kTcpFieldNumber);
  const Place* systemd = place.field(Listener::kSystemdFieldNumber);
  const Place* transparent = place.field(Listener::kTransparentFieldNumber);
  endpoints(listener.udp(), udp, kProtoUdp, model);
  endpoints(listener.tcp(), tcp, kProtoTcp, model);
  model.systemd = listener.systemd();
  if (systemd != nullptr && (udp != nullptr || tcp != nullptr)) {
    reporter_.error("G005", systemd->key, path + ".systemd", "a listener is systemd's or has addresses, not both",
                    "remove `systemd`, or the addresses");
  }
  if (systemd != nullptr && model.systemd.empty())
    reporter_.error("P005", systemd->value, path + ".systemd", "an empty name",
                    "write the socket unit's FileDescriptorName");
  if (systemd == nullptr && udp == nullptr && tcp == nullptr && !place.partial) {
    reporter_.error("P006", place.key, path, "listener " + in_ticks(place.name) + " has no address",
                    "write tcp: \"172.20.0.2:3128\", udp, or systemd");
  }
  if (listener.transparent() == gateway::v1::TRANSPARENT_REDIRECT) model.transparent = Transparent::kRedirect;
  if (listener.transparent() == gateway::v1::TRANSPARENT_TPROXY) model.transparent = Transparent::kTproxy;
  if (model.transparent != Transparent::kNo && transparent != nullptr && udp != nullptr) {
    reporter_.error("G006", transparent->value, path + ".transparent", "what is sent here transparently is TCP alone",
                    "give the UDP address a listener of its own");
  }
  model_.listeners.push_back(std::move(model));
}

void Converter::listeners() {
  const Place* written = place_.field(Gateway::kListenersFieldNumber);
  if (written == nullptr) return;
  if (written->elements.size() > kMostListeners) {
    reporter_.error("P024", written->elements[kMostListeners].key, "listeners",
                    std::to_string(written->elements.size()) + " listeners; at most " + std::to_string(kMostListeners) +
                        " are possible",
                    "one listener can have several addresses");
  }
  for (const Place& entry : written->elements) {
    const auto found = gateway_.listeners().find(entry.name);
    if (found != gateway_.listeners().end()) listener(found->second, entry);
  }
}

void Converter::plugins() {
  const Place* written = place_.field(Gateway::kPluginsFieldNumber);
  if (written == nullptr || written->elements.empty()) {
    if (written == nullptr || written->explicit_null || !reporter_.failed()) {
      reporter_.error("P006", written == nullptr ? first_key() : written->key, "plugins",
                      "a gateway without plugins does nothing",
                      "write plugins: and below it `- { name: dns, config: {...} }`");
    }
    return;
  }
  if (written->elements.size() > kMostPlugins) {
    reporter_.error("P024", written->elements[kMostPlugins].value, "plugins",
                    std::to_string(written->elements.size()) + " plugins; at most " + std::to_string(kMostPlugins) +
                        " are possible",
                    "run a second gateway");
  }
  const std::uint32_t* nodes = value_of(tree_, tree_.root, "plugins");
  std::map<std::string, Span> names;
  for (std::size_t i = 0; i < written->elements.size(); ++i) {
    const Place& entry = written->elements[i];
    const auto& plugin = gateway_.plugins(static_cast<int>(i));
    using gateway::v1::Plugin;
    PluginModel model;
    model.path = element("plugins", entry.index);
    model.name = plugin.name();
    const Place* name = entry.field(Plugin::kNameFieldNumber);
    const Place* file = entry.field(Plugin::kFileFieldNumber);
    const Place* process = entry.field(Plugin::kProcessFieldNumber);
    const Place* config = entry.field(Plugin::kConfigFieldNumber);
    if (name == nullptr) {
      if (!entry.partial)
        reporter_.error("P006", entry.value, model.path, "a plugin without a name", "write name: dns");
      continue;
    }
    model.at = name->value;
    model.file_at = file != nullptr ? file->value : name->value;
    model.file = file != nullptr ? plugin.file() : plugin.name() + ".so";
    const bool plain = !model.name.empty() && model.name.size() <= 31 &&
                       model.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    if (!plain) {
      reporter_.error("G007", name->value, model.path + ".name", in_ticks(model.name) + " is no plugin's name",
                      "1 to 31 of a-z, 0-9 and -");
      continue;
    }
    const auto [first, fresh] = names.emplace(model.name, name->value);
    if (!fresh) {
      reporter_
          .error("P013", name->value, model.path + ".name", "two plugins are called " + in_ticks(model.name),
                 "give one another name, and `file: " + model.file + "`")
          .related.push_back(reporter_.source().excerpt(first->second));
      continue;
    }
    if (process != nullptr) {
      model.process = plugin.process();
      plain_name("process", model.process, process->value, model.path + ".process");
    }
    if (config != nullptr && nodes != nullptr && entry.index < tree_[*nodes].children.size()) {
      const std::uint32_t* value = value_of(tree_, tree_[*nodes].children[entry.index], "config");
      model.config_at = config->key;
      if (value != nullptr && tree_[*value].kind == YamlNode::Kind::kMap) {
        model.config = *value;
        model.has_config = true;
      } else if (!config->explicit_null) {
        reporter_.error("P005", config->value, model.path + ".config", "expected a mapping of options",
                        "write config: {...}, or remove the key");
      }
    } else {
      model.config_at = name->value;
    }
    model_.plugins.push_back(std::move(model));
  }
}

void Converter::internal() {
  const Place* written = place_.field(Gateway::kInternalFieldNumber);
  if (written == nullptr) return;
  for (std::size_t i = 0; i < written->elements.size(); ++i) {
    const Place& entry = written->elements[i];
    const auto& pair = gateway_.internal(static_cast<int>(i));
    const Place* clients = entry.field(gateway::v1::Pair::kClientsFieldNumber);
    if (clients == nullptr || clients->elements.size() != 2 || pair.clients_size() != 2) {
      if (!entry.partial &&
          (clients == nullptr || clients->elements.size() == static_cast<std::size_t>(pair.clients_size()))) {
        reporter_.error("G008", entry.value, element("internal", entry.index),
                        "expected a pair of the policy's clients", "write [agents, supervisor]");
      }
      continue;
    }
    model_.internal.emplace_back(Placed{pair.clients(0), clients->elements[0].value},
                                 Placed{pair.clients(1), clients->elements[1].value});
  }
}

void Converter::audit() {
  const Place* written = place_.field(Gateway::kAuditFieldNumber);
  const Place* sinks = written == nullptr ? nullptr : written->field(gateway::v1::Audit::kSinksFieldNumber);
  if (sinks == nullptr) {
    model_.sinks.push_back({"stdout", {}});
    return;
  }
  std::set<std::string> seen;
  for (std::size_t i = 0; i < sinks->elements.size(); ++i) {
    const Place& at = sinks->elements[i];
    std::string text = gateway_.audit().sinks(static_cast<int>(i));
    const std::string path = element("audit.sinks", at.index);
    if (text.starts_with("file:") && text.size() > 5) {
      text = "file:" + beside(text.substr(5));
    } else if (text != "stdout") {
      reporter_.error(
          "G009", at.value, path, "unknown sink " + in_ticks(text),
          text.find('/') != std::string::npos ? "write " + in_ticks("file:" + text) : "write stdout, or file:PATH");
      continue;
    }
    if (!seen.insert(text).second) {
      reporter_.error("P012", at.value, path, "sink " + in_ticks(text) + " is there twice", "keep one of the two");
      continue;
    }
    model_.sinks.push_back({std::move(text), at.value});
  }
}

void Converter::user() {
  const Place* written = place_.field(Gateway::kUserFieldNumber);
  const std::string text = written == nullptr ? "nobody" : gateway_.user();
  unsigned number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && failure == std::errc{} && stop == text.data() + text.size()) {
    model_.uid = model_.gid = number;
  } else if (const passwd* user = ::getpwnam(text.c_str()); user != nullptr) {
    model_.uid = user->pw_uid;
    model_.gid = user->pw_gid;
  } else if (written != nullptr) {
    reporter_.error("G010", written->value, "user", "there is no user " + in_ticks(text),
                    "adduser --system " + text + ", or remove the key, which means nobody");
    return;
  }
  if (model_.uid == 0 && written != nullptr) {
    reporter_.error("G010", written->value, "user", "workers never run as root",
                    "they parse what the workloads send: name a user that owns nothing, or remove the key");
  }
}

void Converter::drain() {
  const Place* written = place_.field(Gateway::kDrainFieldNumber);
  if (written == nullptr) return;
  const std::string& text = gateway_.drain();
  unsigned long number = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(stop, text.data() + text.size());
  constexpr std::pair<std::string_view, unsigned long> kUnits[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  const auto known =
      std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& row) { return row.first == unit; });
  if (failure != std::errc{} || known == std::end(kUnits) || number > 3'600'000) {
    reporter_.error(
        "G011", written->value, "drain", "expected a time such as 10s, found " + in_ticks(text),
        unit.empty() && failure == std::errc{} ? "write " + in_ticks(text + "s") : "units are ms, s, m and h");
    return;
  }
  model_.drain = std::chrono::milliseconds(number * known->second);
  if (model_.drain > kMostDrain)
    reporter_.error("G011", written->value, "drain", "longer than an hour", "write 1h, or less");
}

}  // namespace

GatewayModel convert_gateway(const Gateway& gateway, const Place& place, const YamlTree& tree, const std::string& file,
                             Reporter& reporter) {
  return Converter(gateway, place, tree, file, reporter).run();
}

}  // namespace sallyport
