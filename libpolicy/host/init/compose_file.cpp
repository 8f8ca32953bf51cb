#include "host/init/compose_file.hpp"

#include <absl/strings/str_format.h>
#include <absl/strings/str_join.h>
#include <arpa/inet.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

constexpr const char* kFiles[] = {"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"};
constexpr const char* kBridgeOption = "com.docker.network.bridge.name";
constexpr const char* kService = "sallyport";  // the gateway's own
constexpr std::size_t kLongestInterface = 15;  // IFNAMSIZ - 1
constexpr int kMostMerges = 8;

// Of a map, or of what it merges.
YAML::Node member(const YAML::Node& map, const char* key, int merges = kMostMerges) {
  if (!map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  if (const YAML::Node found = map[key]) return found;
  const YAML::Node merged = map["<<"];
  if (!merged || merges == 0) return YAML::Node(YAML::NodeType::Undefined);
  if (merged.IsMap()) return member(merged, key, merges - 1);
  for (const YAML::Node& one : merged) {
    if (const YAML::Node found = member(one, key, merges - 1)) return found;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string text_of(const YAML::Node& node) { return node && node.IsScalar() ? node.Scalar() : std::string(); }

Texts keys_of(const YAML::Node& node) {
  Texts keys;
  if (node && node.IsMap()) {
    for (const auto& entry : node) keys.push_back(text_of(entry.first));
  } else if (node && node.IsSequence()) {
    for (const YAML::Node& entry : node) keys.push_back(text_of(entry));
  }
  return keys;
}

bool has(const Texts& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

bool is_true(const YAML::Node& node) { return text_of(node) == "true"; }

Texts networks_of(const YAML::Node& service) {
  if (member(service, "network_mode")) return {};
  const YAML::Node networks = member(service, "networks");
  return networks && networks.size() != 0 ? keys_of(networks) : Texts{"default"};
}

absl::Status fault(const ComposeNetwork& found, const std::string& text) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", found.file, text));
}

// ADDRESS/LENGTH; nothing where it is neither IPv4 nor IPv6, or a variable.
std::optional<int> family_of(const std::string& subnet) {
  const std::size_t slash = subnet.find('/');
  if (slash == subnet.npos) return std::nullopt;
  const std::string address = subnet.substr(0, slash), length = subnet.substr(slash + 1);
  unsigned char octets[16];
  const int family = address.find(':') == address.npos ? AF_INET : AF_INET6;
  const bool digits = !length.empty() && length.size() <= 3 && length.find_first_not_of("0123456789") == length.npos;
  if (!digits || std::atoi(length.c_str()) > (family == AF_INET ? 30 : 127)) return std::nullopt;
  if (::inet_pton(family, address.c_str(), octets) != 1) return std::nullopt;
  return family;
}

// The first address of a subnet, which is what the engine takes for the bridge when nobody says.
std::string first_address(const std::string& subnet) {
  const std::size_t slash = subnet.find('/');
  in_addr address{};
  ::inet_pton(AF_INET, subnet.substr(0, slash).c_str(), &address);
  const unsigned host_bits = 32 - static_cast<unsigned>(std::atoi(subnet.c_str() + slash + 1));
  const std::uint32_t network = host_bits == 32 ? 0 : ntohl(address.s_addr) >> host_bits << host_bits;
  address.s_addr = htonl(network + 1);
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &address, text, sizeof text);
}

absl::Status read_addresses(const YAML::Node& network, ComposeNetwork& found) {
  for (const YAML::Node& block : member(member(network, "ipam"), "config")) {
    const std::string subnet = text_of(member(block, "subnet"));
    const std::optional<int> family = family_of(subnet);
    if (!family)
      return fault(
          found,
          absl::StrFormat("network `%s`: subnet `%s` is no ADDRESS/LENGTH; write one (a variable cannot be followed)",
                          found.name, subnet));
    found.subnets.push_back(subnet);
    if (*family != AF_INET || !found.gateway.empty()) continue;
    const std::string gateway = text_of(member(block, "gateway"));
    unsigned char octets[4];
    if (!gateway.empty() && ::inet_pton(AF_INET, gateway.c_str(), octets) != 1)
      return fault(found, absl::StrFormat("network `%s`: gateway `%s` is no IPv4 address", found.name, gateway));
    found.gateway = gateway.empty() ? first_address(subnet) : gateway;
  }
  if (!found.subnets.empty() && found.gateway.empty())
    return fault(found,
                 absl::StrFormat("network `%s` has no IPv4 subnet; the gateway needs one to answer on", found.name));
  if (found.subnets.empty() && is_true(member(network, "enable_ipv6")))
    return fault(found, absl::StrFormat(
                            "network `%s` has enable_ipv6 and no subnets; name them under ipam, since the policy does",
                            found.name));
  return absl::OkStatus();
}

// "1400" stays a text: the emitter by itself would write a number, which the engine does not take for an option.
void write_flow(const YAML::Node& node, YAML::Emitter& out) {
  if (node.IsMap()) {
    out << YAML::Flow << YAML::BeginMap;
    for (const auto& entry : node) {
      out << YAML::Key << text_of(entry.first) << YAML::Value;
      write_flow(entry.second, out);
    }
    out << YAML::EndMap;
  } else if (node.IsSequence()) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const YAML::Node& entry : node) write_flow(entry, out);
    out << YAML::EndSeq;
  } else if (node.IsScalar()) {
    if (node.Tag() == "!") out << YAML::DoubleQuoted;
    out << node.Scalar();
  } else {
    out << YAML::Null;
  }
}

absl::Status read_network(const YAML::Node& network, ComposeNetwork& found) {
  const YAML::Node external = member(network, "external");
  if (external && text_of(external) != "false")
    return fault(found,
                 absl::StrFormat("network `%s` is external, so that no file can make it internal; make it anew with "
                                 "`docker network create --internal`, or let this file make it",
                                 found.name));
  const std::string driver = text_of(member(network, "driver"));
  if (!driver.empty() && driver != "bridge")
    return fault(found, absl::StrFormat("network `%s` has driver `%s`; only a bridge can be held", found.name, driver));
  if (const absl::Status status = read_addresses(network, found); !status.ok()) return status;
  YAML::Node copy = network && network.IsMap() ? YAML::Clone(network) : YAML::Node(YAML::NodeType::Map);
  if (found.subnets.empty()) {
    found.subnets = {"172.20.0.0/16"};
    found.gateway = "172.20.0.1";
  }
  found.bridge = text_of(member(member(network, "driver_opts"), kBridgeOption));
  if (found.bridge.empty()) found.bridge = ("br-" + found.name).substr(0, kLongestInterface);
  if (found.bridge.size() > kLongestInterface || found.bridge.find_first_of("$/ :") != found.bridge.npos)
    return fault(found, absl::StrFormat("network `%s`: `%s` is no name of an interface; 1 to %d octets", found.name,
                                        found.bridge, kLongestInterface));
  copy["internal"] = true;
  copy["driver_opts"][kBridgeOption] = found.bridge;
  if (!copy["ipam"]["config"]) {
    YAML::Node block;
    block["subnet"] = found.subnets[0];
    copy["ipam"]["config"].push_back(block);
  }
  for (YAML::Node block : copy["ipam"]["config"]) {
    const std::string subnet = text_of(block["subnet"]);
    if (family_of(subnet) != AF_INET) continue;
    if (!block["gateway"]) block["gateway"] = found.gateway;
    break;
  }
  YAML::Emitter out;
  write_flow(copy, out);
  found.definition = out.c_str();
  return absl::OkStatus();
}

void warn_of(const std::string& name, const YAML::Node& service, ComposeNetwork& found) {
  for (const std::string& other : networks_of(service)) {
    if (other != found.name)
      found.warnings.push_back(
          absl::StrFormat("service `%s` is on network `%s` too, which nothing holds", name, other));
  }
  if (is_true(member(service, "privileged")))
    found.warnings.push_back(absl::StrFormat("service `%s` is privileged: it can leave by the host", name));
  for (const std::string& capability : keys_of(member(service, "cap_add"))) {
    if (capability == "ALL" || capability == "SYS_ADMIN" || capability == "CAP_SYS_ADMIN")
      found.warnings.push_back(
          absl::StrFormat("service `%s` has cap_add %s: it can leave by the host", name, capability));
  }
}

absl::Status read_services(const YAML::Node& services, const Texts& only, ComposeNetwork& found) {
  const Texts names = keys_of(services);
  if (has(names, kService))
    return fault(found,
                 absl::StrFormat("service `%s` is there already, and is what the gateway's would be called", kService));
  for (const std::string& name : only) {
    if (!has(names, name))
      return fault(
          found, absl::StrFormat("--agents: there is no service `%s`; there are %s", name, absl::StrJoin(names, ", ")));
  }
  for (const std::string& name : names) {
    const YAML::Node service = services[name];
    if (text_of(member(service, "network_mode")) == "host")
      found.warnings.push_back(absl::StrFormat("service `%s` has network_mode host: nothing holds it", name));
    if (only.empty() ? !has(networks_of(service), found.name) : !has(only, name)) continue;
    found.services.push_back(name);
    warn_of(name, service, found);
  }
  if (!found.services.empty()) return absl::OkStatus();
  return fault(found,
               absl::StrFormat("no service is on network `%s`; name another by --network, or the services by --agents",
                               found.name));
}

}  // namespace

absl::StatusOr<ComposeNetwork> read_compose(const std::string& directory, const std::string& network,
                                            const Texts& only) {
  ComposeNetwork found;
  found.name = network;
  std::error_code error;
  for (const char* file : kFiles) {
    if (!fs::is_regular_file(fs::path(directory) / file, error)) continue;
    found.file = file;
    break;
  }
  if (found.file.empty())
    return absl::NotFoundError(absl::StrFormat(
        "--network: there is no compose.yaml or docker-compose.yml in %s to lay it over; name its directory by --dir",
        directory));
  try {
    const YAML::Node file = YAML::LoadFile((fs::path(directory) / found.file).string());
    found.version = text_of(member(file, "version"));
    const YAML::Node networks = member(file, "networks");
    const Texts known = keys_of(networks);
    if (network != "default" && !has(known, network))
      return fault(found,
                   absl::StrFormat("there is no network `%s`; there %s", network,
                                   known.empty() ? "is `default`" : "are default, " + absl::StrJoin(known, ", ")));
    if (const absl::Status status = read_network(member(networks, network.c_str()), found); !status.ok()) return status;
    if (const absl::Status status = read_services(member(file, "services"), only, found); !status.ok()) return status;
  } catch (const YAML::Exception& wrong) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s:%d:%d: %s", found.file, wrong.mark.line + 1, wrong.mark.column + 1, wrong.msg));
  }
  return found;
}

}  // namespace sallyport
