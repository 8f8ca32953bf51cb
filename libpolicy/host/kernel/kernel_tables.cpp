#include "host/kernel/kernel_tables.hpp"

#include <net/if.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/kernel/claims.hpp"
#include "host/kernel/ruleset.hpp"
#include "host/kernel/steering.hpp"

namespace sallyport::kernel {

using nlohmann::json;

static bool is_too_long(const std::string& error) { return error.find("Message too long") != std::string::npos; }

KernelError KernelTables::install(const Topology& topology, const std::string& elements) {
  return install(topology, elements, bridge_ports(topology));
}

KernelError KernelTables::install(const Topology& topology, const std::string& own_elements, const BridgePorts& ports) {
  const std::string elements = own_elements + drained();  // in this order: the later end of an element is the new one
  const std::string claims = needs_bridge_table(topology) ? claims_again(claims_of(topology)) : std::string();
  const std::string bridge = needs_bridge_table(topology) ? bridge_table(topology, ports, claims) : std::string();
  if (KernelError together = context_.run(bridge + inet_table(topology, elements))) {
    if (!is_too_long(*together)) return together;
    if (!bridge.empty()) {
      if (KernelError error = run_in_steps(bridge_table(topology, ports), claims)) return error;
    }
    if (KernelError error = run_in_steps(inet_table(topology), elements)) return error;
  }
  if (KernelError error = stop_link_local_learning(topology)) return error;
  return needs_steering(topology) ? put_steering(topology) : remove_steering();
}

// Those that are there now, less those of addresses that are pinned by now: whoever had one first does not keep it.
std::vector<Claim> KernelTables::claims_of(const Topology& topology) {
  std::vector<Claim> claims = read_claims().value_or(std::vector<Claim>());
  std::erase_if(claims, [&](const Claim& claim) {
    return std::any_of(topology.networks.begin(), topology.networks.end(), [&](const HeldNetwork& network) {
      return std::any_of(network.pins.begin(), network.pins.end(), [&](const Pin& pin) {
        char name[IF_NAMESIZE] = {};
        const bool elsewhere = pin.port.empty() || ::if_indextoname(claim.port, name) == nullptr || pin.port != name;
        return claim.address == pin.address && elsewhere;
      });
    });
  });
  return claims;
}

// In a user namespace a socket's buffer has a bound that only the host's root may lift (net.core.wmem_max): then the
// closed table first, and what opens it in steps.
KernelError KernelTables::run_in_steps(const std::string& table, const std::string& elements) {
  if (KernelError closed = context_.run(table)) return closed;
  for (std::size_t at = 0; at < elements.size();) {
    const std::size_t end = std::min(elements.find('\n', at), elements.size() - 1);
    if (KernelError step = context_.run(elements.substr(at, end + 1 - at))) return step;
    at = end + 1;
  }
  return std::nullopt;
}

// Of the tables that are there, whoever put them in.
std::string KernelTables::drained() {
  std::string out;
  for (const DrainedSet& set : kDrainedSets) {
    const std::optional<std::string> list = with_expiry("inet sallyport", std::string(set.name));
    if (list && !list->empty()) out += "add element inet sallyport " + std::string(set.name) + " { " + *list + " }\n";
  }
  return out;
}

// "a . b expires 9s, ...", as `add element` takes it; nothing if the set cannot be read.
std::optional<std::string> KernelTables::with_expiry(const std::string& table, const std::string& set) {
  std::string text, list;
  if (context_.list("list set " + table + " " + set, text)) return std::nullopt;
  const json listing = json::parse(text, nullptr, false);
  if (!listing.is_object()) return std::nullopt;
  for (const json& entry : listing.value("nftables", json::array())) {
    if (!entry.contains("set")) continue;
    for (const json& element : entry["set"].value("elem", json::array())) {
      if (!element.is_object() || !element.contains("elem")) continue;
      const json& body = element["elem"];
      std::string words;
      const json value = body.value("val", json());
      for (const json& word : value.is_object() ? value.value("concat", json::array()) : json::array({value}))
        words += (words.empty() ? "" : " . ") + (word.is_string() ? word.get<std::string>() : word.dump());
      const std::int64_t seconds = body.value("expires", std::int64_t{0});
      if (seconds > 0) list += (list.empty() ? "" : ", ") + words + " expires " + std::to_string(seconds) + "s";
    }
  }
  return list;
}

std::string KernelTables::shape() {
  std::string text;
  if (context_.list("list chains inet", text)) return {};
  const std::size_t at = text.find("\"table\": \"sallyport\", \"name\": \"" + std::string(kShape));
  if (at == std::string::npos) return {};
  const std::size_t begin = text.find(kShape, at);
  return text.substr(begin, text.find('"', begin) - begin);
}

KernelError KernelTables::install_inet(const Topology& topology, const std::string& own_elements) {
  const std::string elements = own_elements + drained();
  const KernelError error = context_.run(inet_table(topology, elements));
  return error && is_too_long(*error) ? run_in_steps(inet_table(topology), elements) : error;
}

KernelError KernelTables::set_ports(const BridgePorts& ports) {
  std::string text;
  for (const auto& [set, names] : {std::pair("ports", &ports.held), std::pair("foreign", &ports.foreign)}) {
    text += std::string("flush set bridge sallyport ") + set + "\n";
    for (const std::string& name : *names)
      text += std::string("add element bridge sallyport ") + set + " { \"" + name + "\" }\n";
  }
  return context_.run(text);
}

KernelError KernelTables::remove() {
  // `add` first: deleting a table that is not there fails the transaction.
  if (KernelError error = context_.run("add table bridge sallyport\ndelete table bridge sallyport\n")) return error;
  if (KernelError error = context_.run("add table inet sallyport\ndelete table inet sallyport\n")) return error;
  return remove_steering();
}

bool KernelTables::present(const Topology& topology) {
  std::string json;
  if (context_.list("list chains", json)) return false;
  const auto has = [&](const char* family, const char* chain) {
    return json.find(std::string("{\"family\": \"") + family + "\", \"table\": \"sallyport\", \"name\": \"" + chain +
                     "\"") != std::string::npos;
  };
  for (const char* chain : {"guard", "capture", "input", "output", "forward"}) {
    if (!has("inet", chain)) return false;
  }
  return !needs_bridge_table(topology) || (has("bridge", "claims") && has("bridge", "forward"));
}

}  // namespace sallyport::kernel
