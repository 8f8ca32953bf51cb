#include "pcap-monitor/config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/config.hpp"

namespace sallyport::monitor {

using namespace std::chrono_literals;

policy::Status parse_config(std::string_view json, Config& out) {
  net::ConfigReader reader(json);
  const Config preset;
  out.interfaces = reader.strings("interfaces", preset.interfaces);
  out.snaplen = reader.number("snaplen", preset.snaplen, 64, 262144);
  out.ring_octets = reader.number("ring_octets", preset.ring_octets, 1u << 20, 1u << 30);
  out.options.max_flows = reader.number("max_flows", preset.options.max_flows, 16, 10'000'000);
  out.options.upload_octets = reader.number("upload_octets", preset.options.upload_octets, 0, ~0ull >> 1);
  out.options.bindings = reader.boolean("bindings", preset.options.bindings);
  out.decisions = reader.boolean("decisions", preset.decisions);
  const auto grace = reader.duration("grace", 2s, 1s, 60s);  // below 1 s records have not arrived yet
  out.options.grace_ns = static_cast<std::uint64_t>(grace.count()) * 1'000'000;
  const auto addresses = [&](const char* option, std::vector<Address>& into) {
    const std::vector<std::string> texts = reader.strings(option, {});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Result<Address> address = Address::parse(texts[i]);
      if (!address.ok()) reader.fail("/" + std::string(option) + "/" + std::to_string(i), "expected an address");
      if (address.ok()) into.push_back(*address);
    }
  };
  addresses("resolvers", out.options.resolvers);
  addresses("gateways", out.options.own);
  return reader.status();
}

policy::Status apply_topology(std::string_view json, Config& config) {
  const nlohmann::json topology = nlohmann::json::parse(json, nullptr, false);
  const policy::Status broken(POLICY_INTERNAL, "the topology is not as docs/gateway.md has it");
  if (!topology.is_object()) return broken;
  const auto list = [](const nlohmann::json& of, const char* key) {
    return of.is_object() && of.contains(key) && of[key].is_array() ? of[key] : nlohmann::json::array();
  };
  const auto prefixes = [&](const nlohmann::json& texts, std::vector<Prefix>& out) {
    for (const auto& text : texts) {
      const Result<Prefix> prefix = Prefix::parse(text.is_string() ? text.get<std::string>() : "");
      if (!prefix.ok()) return false;
      out.push_back(*prefix);
    }
    return true;
  };
  // As plugins/nftables has it: UDP, and TCP where no transparent listener captures it.
  config.options.udp_by_address = config.options.tcp_by_address = topology.value("kernel", "") == "kept";
  for (const auto& listener : list(topology, "listeners")) {
    if (listener.is_object() && listener.value("proto", "") == "tcp" && listener.value("transparent", "no") != "no")
      config.options.tcp_by_address = false;
  }
  const bool named = !config.interfaces.empty();
  for (const auto& network : list(topology, "networks")) {
    if (!prefixes(list(network, "addresses"), config.options.clients)) return broken;
    for (const auto& interface : list(network, "interfaces")) {
      if (!interface.is_string()) return broken;
      const std::string name = interface.get<std::string>();
      if (!named && std::find(config.interfaces.begin(), config.interfaces.end(), name) == config.interfaces.end())
        config.interfaces.push_back(name);
    }
  }
  for (const auto& text : list(topology, "own")) {
    const Result<Address> address = Address::parse(text.is_string() ? text.get<std::string>() : "");
    if (!address.ok()) return broken;
    config.options.own.push_back(*address);
  }
  for (const auto& pair : list(topology, "internal")) {
    std::vector<Prefix> from, to;
    if (!prefixes(list(pair, "from"), from) || !prefixes(list(pair, "to"), to)) return broken;
    for (const Prefix& a : from) {
      for (const Prefix& b : to) config.options.internal.emplace_back(a, b);
    }
  }
  return {};
}

}  // namespace sallyport::monitor
