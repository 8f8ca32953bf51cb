#include "host/kernel/kernel_tables.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "host/kernel/ruleset.hpp"
#include "host/kernel/steering.hpp"

namespace sallyport::kernel {

using nlohmann::json;

KernelError KernelTables::install(const Topology& topology, const std::string& elements) {
  return install(topology, elements, bridge_ports(topology));
}

KernelError KernelTables::install(const Topology& topology, const std::string& elements,
                                  const std::vector<std::string>& ports) {
  if (needs_bridge_table(topology)) {
    // A claim that ends, or a port that goes, between the two: then without them.
    if (context_.run(bridge_table(topology, ports, claims()))) {
      if (KernelError error = context_.run(bridge_table(topology, ports))) return error;
    }
  }
  if (KernelError error = install_inet(topology, elements)) return error;
  if (KernelError error = stop_link_local_learning(topology)) return error;
  return needs_steering(topology) ? put_steering(topology) : remove_steering();
}

std::string KernelTables::claims() {
  std::string out;
  for (const ClaimKind& kind : kClaimKinds) {
    for (const char* prefix : {"claim", "claimed"}) {
      const std::string set = prefix + std::string(kind.name);
      const std::optional<std::string> list = with_expiry("bridge sallyport", set);
      if (!list) return {};
      if (!list->empty()) out += "add element bridge sallyport " + set + " { " + *list + " }\n";
    }
  }
  return out;
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
  const std::string elements = own_elements + drained();  // in this order: the later end of an element is the new one
  const KernelError error = context_.run(inet_table(topology, elements));
  // In a user namespace a socket's buffer has a bound that only the host's root may lift (net.core.wmem_max): then the
  // closed tables first, and what opens them in steps.
  if (!error || elements.empty() || error->find("Message too long") == std::string::npos) return error;
  if (KernelError closed = context_.run(inet_table(topology, {}))) return closed;
  for (std::size_t at = 0; at < elements.size();) {
    const std::size_t end = std::min(elements.find('\n', at), elements.size() - 1);
    if (KernelError step = context_.run(elements.substr(at, end + 1 - at))) return step;
    at = end + 1;
  }
  return std::nullopt;
}

KernelError KernelTables::set_ports(const std::vector<std::string>& ports) {
  std::string text = "flush set bridge sallyport ports\n";
  for (const std::string& port : ports) text += "add element bridge sallyport ports { \"" + port + "\" }\n";
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
  for (const char* chain : {"guard", "capture", "input", "forward"}) {
    if (!has("inet", chain)) return false;
  }
  return !needs_bridge_table(topology) || (has("bridge", "claims") && has("bridge", "forward"));
}

}  // namespace sallyport::kernel
