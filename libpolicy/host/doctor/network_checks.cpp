// Ports, forwarding, Docker's networks, and what of the host stays reachable from them.
#include <absl/strings/str_format.h>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "host/attach/docker_engine.hpp"
#include "host/doctor/checks.hpp"
#include "host/doctor/child.hpp"
#include "host/doctor/listeners.hpp"
#include "host/gate/sockets.hpp"
#include "host/kernel/nft_context.hpp"
#include "host/warden/resolvers.hpp"

namespace sallyport::doctor {
namespace {

using nlohmann::json;

// What Sallyport's tables there say, as JSON; empty: there are none; nothing: one may not look.
std::optional<std::string> tables_there() {
  if (!has_capability(12)) return std::nullopt;  // CAP_NET_ADMIN
  return read_in_child([]() -> std::optional<std::string> {
    kernel::NftContext context;
    std::string tables, inet, bridge;
    if (!context.ok() || context.list("list tables", tables)) return std::nullopt;
    if (context.list("list table inet sallyport", inet)) inet.clear();  // there is none
    if (context.list("list table bridge sallyport", bridge)) bridge.clear();
    return inet + bridge;
  });
}

bool holds(const std::optional<std::string>& tables, const std::string& interface) {
  return tables && tables->find("\"" + interface + "\"") != std::string::npos;
}

std::string holders_text(const std::vector<ListeningSocket>& sockets) {
  std::string all;
  std::set<std::string> seen;
  for (const ListeningSocket& socket : sockets) {
    if (seen.insert(socket.text()).second) all += (all.empty() ? "" : ", ") + socket.text();
  }
  return all;
}

std::string remedy_of(const std::vector<ListeningSocket>& holders) {
  const bool resolved = std::any_of(holders.begin(), holders.end(), [](const ListeningSocket& socket) {
    return socket.program.starts_with("systemd-resolve");
  });
  return resolved
             ? "DNSStubListener=no in /etc/systemd/resolved.conf and systemctl restart systemd-resolved, or another "
               "address for the gateway"
             : "stop it, bind it to other addresses, or give the gateway another address";
}

struct Wanted {
  bool udp = false;
  std::uint16_t port = 0;
};

// Whether anybody has it on any address: bound as a gateway's listener on every address would be.
int bind_everywhere(const Wanted& wanted) {
  const int fd = ::socket(AF_INET, (wanted.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  if (!wanted.udp) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(wanted.port);
  const int error = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

// Without a gateway in question: the ports that the shapes of deploy/ use.
void check_usual_ports(Findings& out) {
  const std::vector<ListeningSocket> sockets = listening_sockets();
  for (const Wanted& wanted : {Wanted{true, 53}, Wanted{false, 53}, Wanted{false, 3128}, Wanted{false, 15001}}) {
    const std::string name = absl::StrFormat("%d/%s", wanted.port, wanted.udp ? "udp" : "tcp");
    std::vector<ListeningSocket> holders;
    for (const ListeningSocket& socket : sockets) {
      if (socket.port == wanted.port && socket.udp == wanted.udp) holders.push_back(socket);
    }
    const int error = bind_everywhere(wanted);
    const bool everywhere =
        std::any_of(holders.begin(), holders.end(), [](const ListeningSocket& socket) { return socket.everywhere; });
    if (everywhere || (error == EADDRINUSE && holders.empty())) {
      out.warn("serve", "port",
               name + " is taken on every address: " +
                   (holders.empty() ? "by another network namespace's rules" : holders_text(holders)),
               remedy_of(holders));
    } else if (!holders.empty()) {
      std::string addresses;
      for (const ListeningSocket& socket : holders)
        addresses += (addresses.empty() ? "" : ", ") + socket.address.text();
      out.ok("serve", "port", name + " is free but for " + addresses + ": " + holders_text(holders));
    } else if (error == EACCES) {
      out.warn("serve", "port", name + " is free, and may not be bound from here",
               "root, CAP_NET_BIND_SERVICE, or sysctl -w net.ipv4.ip_unprivileged_port_start=" +
                   std::to_string(wanted.port));
    } else if (error != 0) {
      out.warn("serve", "port", name + ": " + std::strerror(error), "give the gateway another port");
    } else {
      out.ok("serve", "port", name + " is free");
    }
  }
}

// Who is in the way of a listener: on its address or on every one.
std::vector<ListeningSocket> in_the_way(const GateSocket& wanted) {
  std::vector<ListeningSocket> found;
  const std::string text = wanted.address.text();
  const bool everywhere = text == "0.0.0.0" || text == "::";
  for (ListeningSocket& socket : listening_sockets()) {
    if (socket.port == wanted.port && socket.udp == (wanted.proto == kProtoUdp) &&
        (everywhere || socket.everywhere || socket.address.text() == text))
      found.push_back(std::move(socket));
  }
  return found;
}

struct HostAddress {
  std::string interface, text;
};

std::vector<HostAddress> host_addresses() {
  std::vector<HostAddress> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    const Result<Address> address = Address::from_sockaddr(entry->ifa_addr, sizeof(sockaddr_in));
    if (address.ok()) found.push_back({entry->ifa_name, address->text()});
  }
  ::freeifaddrs(list);
  return found;
}

// What a workload behind this interface finds on the host, unless the kernel is closed for it.
void check_bridge_address(const std::string& network, const std::string& interface,
                          const std::optional<std::string>& tables, Findings& out) {
  for (const HostAddress& address : host_addresses()) {
    if (address.interface != interface) continue;
    if (holds(tables, interface)) {
      out.ok("serve", "bridge-address",
             absl::StrFormat("%s: the gateway's tables close %s; of the host's %s its listeners alone are reachable",
                             network, interface, address.text));
      continue;
    }
    std::vector<ListeningSocket> reachable;
    for (ListeningSocket& socket : listening_sockets()) {
      if (socket.everywhere || socket.address.text() == address.text) reachable.push_back(std::move(socket));
    }
    const std::string what = holders_text(reachable);
    const bool blind = !tables.has_value();
    out.warn(
        "serve", "bridge-address",
        absl::StrFormat("%s: the host's bridge address %s stays reachable to agents%s: %s", network, address.text,
                        blind ? ", as far as one can see without CAP_NET_ADMIN" : "",
                        what.empty() ? "nothing listens there now" : what),
        blind ? "bind these to other addresses; a gateway with CAP_NET_ADMIN closes them"
              : "sallyport serve with `interfaces: [" + interface + "]` closes it; or bind these to other addresses");
  }
}

absl::StatusOr<json> ask_docker(const std::string& engine, const std::string& path) {
  const absl::StatusOr<std::string> answer = ask_engine(engine, path);
  if (!answer.ok()) return answer.status();
  const std::size_t head = answer->find("\r\n\r\n");
  if (!answer->starts_with("HTTP/1.") || answer->substr(9, 3) != "200" || head == std::string::npos)
    return absl::UnavailableError("the Docker engine answers otherwise: " + answer->substr(0, answer->find('\r')));
  json body = json::parse(answer->substr(head + 4), nullptr, /*allow_exceptions=*/false);
  if (body.is_discarded()) return absl::UnavailableError("the Docker engine answered what is no JSON");
  return body;
}

std::string text_at(const json& from, const char* key) {
  const auto found = from.is_object() ? from.find(key) : from.end();
  return from.is_object() && found != from.end() && found->is_string() ? found->get<std::string>() : "";
}

const json& member(const json& from, const char* key) {
  static const json kNone;
  const auto found = from.is_object() ? from.find(key) : from.end();
  return from.is_object() && found != from.end() ? *found : kNone;
}

struct DockerNetwork {
  struct Container {
    std::string name;
    std::set<std::string> networks;
  };
  std::string name, interface;
  bool internal = false;
  std::size_t containers = 0;
  std::vector<Container> without_dns;  // that were given no resolver
};

constexpr std::size_t kLookedAt = 100;  // containers of one network; more have the same compose file, as a rule

// Those ask the engine, at 127.0.0.11, and it asks the host's resolver for them.
std::vector<DockerNetwork::Container> without_dns(const std::string& engine, const json& containers) {
  std::vector<DockerNetwork::Container> found;
  std::size_t left = kLookedAt;
  for (auto it = containers.begin(); it != containers.end() && left > 0; ++it, --left) {
    const absl::StatusOr<json> one = ask_docker(engine, "/containers/" + it.key() + "/json");
    if (!one.ok()) continue;
    const json& dns = member(member(*one, "HostConfig"), "Dns");
    if (dns.is_array() && !dns.empty()) continue;
    DockerNetwork::Container container;
    container.name = text_at(*one, "Name");
    if (container.name.starts_with('/')) container.name.erase(0, 1);
    const json& networks = member(member(*one, "NetworkSettings"), "Networks");
    for (auto network = networks.begin(); networks.is_object() && network != networks.end(); ++network)
      container.networks.insert(network.key());
    found.push_back(std::move(container));
  }
  return found;
}

// For a network without a way out. Who is on an open one too, as a gateway is, may ask whom it likes.
void check_docker_dns(const DockerNetwork& network, const std::set<std::string>& open, const std::string& resolver,
                      Findings& out) {
  std::string names;
  for (const DockerNetwork::Container& one : network.without_dns) {
    const bool outside = std::any_of(one.networks.begin(), one.networks.end(),
                                     [&](const std::string& other) { return open.contains(other); });
    if (!outside) names += (names.empty() ? "" : ", ") + one.name;
  }
  if (names.empty() || resolver.empty()) return;
  out.warn("serve", "docker-dns",
           absl::StrFormat("network %s: of %s the engine takes the names that they ask for to the host's resolver at "
                           "%s, past the gateway",
                           network.name, names, resolver),
           "`dns: [ADDRESS OF THE GATEWAY]` for each service in its compose file (docker run --dns)");
}

// The host's resolver, if it is on loopback: from there the engine asks it past every network (CVE-2024-29018).
std::string loopback_resolver() {
  const absl::StatusOr<std::vector<std::string>> resolvers = host_resolvers();
  if (!resolvers.ok()) return "";
  for (const std::string& one : *resolvers) {
    if (one.starts_with("127.") || one.starts_with("[::1]")) return one;
  }
  return "";
}

absl::StatusOr<std::vector<DockerNetwork>> docker_networks(const std::string& engine) {
  const absl::StatusOr<json> all = ask_docker(engine, "/networks");
  if (!all.ok()) return all.status();
  std::vector<DockerNetwork> found;
  for (const json& entry : *all) {
    if (text_at(entry, "Driver") != "bridge") continue;
    const std::string id = text_at(entry, "Id");
    DockerNetwork network;
    network.name = text_at(entry, "Name");
    network.internal = entry.contains("Internal") && entry["Internal"] == true;
    if (entry.contains("Options")) network.interface = text_at(entry["Options"], "com.docker.network.bridge.name");
    if (network.interface.empty()) network.interface = "br-" + id.substr(0, 12);
    // The list has no containers; the network itself does.
    const absl::StatusOr<json> one = ask_docker(engine, "/networks/" + id);
    if (one.ok() && one->contains("Containers") && (*one)["Containers"].is_object()) {
      network.containers = (*one)["Containers"].size();
      network.without_dns = without_dns(engine, (*one)["Containers"]);
    }
    found.push_back(std::move(network));
  }
  return found;
}

}  // namespace

void check_ports(const Examined& examined, Findings& out) {
  if (!examined.prepared) {
    if (examined.file.empty()) check_usual_ports(out);
    return;
  }
  const GatewayModel& gateway = examined.prepared->gateway;
  if (examined.runs) return out.ok("serve", "port", "the gateway runs and has its ports");
  std::set<std::string> used;
  for (const PreparedGroup& group : examined.prepared->groups) used.insert(group.listens.begin(), group.listens.end());
  bool all = true;
  std::size_t count = 0;
  for (const ListenerModel& listener : gateway.listeners) {
    if (!used.contains(listener.name)) continue;
    for (const EndpointModel& endpoint : listener.endpoints) {
      GateSocket socket;
      socket.listener = listener.name;
      socket.proto = endpoint.proto;
      socket.address = endpoint.address;
      socket.port = endpoint.port;
      socket.transparent = listener.transparent;
      ++count;
      Reporter reporter(*gateway.source->source);
      if (open_socket(socket, gateway, reporter)) continue;  // and closed again
      all = false;
      const std::vector<ListeningSocket> holders = in_the_way(socket);
      const Diagnostics diagnostics = reporter.take();
      const Diagnostic fault = diagnostics.empty() ? Diagnostic{} : diagnostics.front();
      out.fail("serve", "port", fault.message + (holders.empty() ? "" : ": " + holders_text(holders)),
               holders.empty() ? fault.repair : remedy_of(holders));
    }
  }
  if (all) out.ok("serve", "port", absl::StrFormat("every address that is listened on can be had (%d)", count));
}

void check_forwarding(Findings& out) {
  const auto is_on = [](const char* path) {
    std::ifstream file(path);
    int value = 0;
    return static_cast<bool>(file >> value) && value != 0;
  };
  const bool v4 = is_on("/proc/sys/net/ipv4/ip_forward"), v6 = is_on("/proc/sys/net/ipv6/conf/all/forwarding");
  const std::string which = v4 && v6 ? "IPv4 and IPv6" : v4 ? "IPv4" : "IPv6";
  if (!v4 && !v6)
    return out.ok("serve", "forwarding", "off: nothing passes this host but through the gateway's listeners");
  const std::optional<std::string> tables = tables_there();
  if (tables && !tables->empty())
    return out.ok("serve", "forwarding", "on for " + which + ", and the gateway's tables are in the kernel");
  out.warn(
      "serve", "forwarding",
      "on for " + which + ", and " +
          (tables ? "no gateway's tables are in the kernel: networks behind this host reach what its routes lead to"
                  : "one cannot see without CAP_NET_ADMIN whether a gateway's tables close it"),
      tables ? "start sallyport serve before the networks; or sysctl -w net.ipv4.ip_forward=0 "
               "net.ipv6.conf.all.forwarding=0 where nothing needs it"
             : "run doctor as root");
}

void check_networks(const Examined& examined, Findings& out) {
  const std::optional<std::string> tables = tables_there();
  std::set<std::string> looked_at;
  const auto engine = engine_socket();
  absl::StatusOr<std::vector<DockerNetwork>> networks =
      engine.ok() ? docker_networks(*engine) : absl::StatusOr<std::vector<DockerNetwork>>(engine.status());
  if (!networks.ok()) {
    const std::string reason(networks.status().message());
    const std::size_t cut = reason.find('\n');
    if (engine.ok() && ::access(engine->c_str(), F_OK) != 0) {
      out.ok("serve", "docker", "no Docker engine here (" + *engine + ")");
    } else {
      out.warn("serve", "docker", "its networks cannot be looked at: " + reason.substr(0, cut),
               cut == reason.npos ? "run doctor as root" : reason.substr(cut + 1));
    }
  } else {
    const std::string resolver = loopback_resolver();
    std::set<std::string> open;
    for (const DockerNetwork& network : *networks) {
      if (!network.internal && !holds(tables, network.interface)) open.insert(network.name);
    }
    for (const DockerNetwork& network : *networks) {
      const bool closed = holds(tables, network.interface);
      const std::string name = "network " + network.name;
      if (network.internal || closed) {
        out.ok("serve", "docker",
               name + (network.internal ? " is internal: it has no way out of its own"
                                        : " is not internal, and closed by the gateway's tables"));
      } else if (network.containers == 0 && network.name == "bridge") {
        out.ok("serve", "docker", "Docker's default network is not internal, and has no container");
      } else {
        out.warn("serve", "docker",
                 absl::StrFormat("%s is not internal: its containers (%d) reach the outside past any gateway", name,
                                 network.containers),
                 "internal: true in its compose file (docker network create --internal), or `interfaces: [" +
                     network.interface + "]` in gateway.yaml");
      }
      if (network.internal || closed) check_docker_dns(network, open, resolver, out);
      if (looked_at.insert(network.interface).second && (network.containers > 0 || network.name != "bridge"))
        check_bridge_address(name, network.interface, tables, out);
    }
  }
  if (!examined.prepared) return;
  for (const NetworkModel& network : examined.prepared->gateway.networks) {
    for (const std::string& interface : network.interfaces) {
      const std::vector<HostAddress> addresses = host_addresses();
      const bool there = ::access(("/sys/class/net/" + interface).c_str(), F_OK) == 0 ||
                         std::any_of(addresses.begin(), addresses.end(),
                                     [&](const HostAddress& address) { return address.interface == interface; });
      if (!there) {
        out.warn("serve", "interface", "network " + network.name + ": there is no interface " + interface + " now",
                 "what comes later under that name is held from its first packet; `ip link` lists what there is");
      } else if (looked_at.insert(interface).second) {
        check_bridge_address("network " + network.name, interface, tables, out);
      }
    }
  }
}

}  // namespace sallyport::doctor
