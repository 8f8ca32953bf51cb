#include "host/kernel/topology.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sallyport::kernel {
namespace {

using nlohmann::json;

Error malformed(const char* what) { return {ErrorCode::kMalformed, what, 0}; }

bool is_interface(const std::string& name) {
  // What could end a word of the rules, or stand for others there, is no name.
  return !name.empty() && name.size() <= 15 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.' || c == ':' || c == '@';
         });
}

bool is_mac(const std::string& text) {
  if (text.size() != 17) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (i % 3 == 2 ? text[i] != ':' : !digit) return false;
  }
  return true;
}

bool read_prefixes(const json& list, std::vector<Prefix>& out) {
  for (const json& text : list) {
    const Result<Prefix> prefix = Prefix::parse(text.get<std::string>());
    if (!prefix.ok()) return false;
    out.push_back(*prefix);
  }
  return true;
}

Result<Topology> read(const json& body) {
  Topology out;
  out.name = body.value("name", "");
  for (const json& network : body.value("networks", json::array())) {
    HeldNetwork held;
    held.name = network.value("name", "");
    for (const json& interface : network.value("interfaces", json::array())) {
      held.interfaces.push_back(interface.get<std::string>());
      if (!is_interface(held.interfaces.back())) return malformed("topology: an interface's name");
    }
    held.addresses_per_port = network.value("addresses_per_port", held.addresses_per_port);
    if (held.addresses_per_port < 1 || held.addresses_per_port > 1024)
      return malformed("topology: the addresses of a port");
    held.open_from_host = network.value("from_host", "") == "open";
    if (!read_prefixes(network.value("addresses", json::array()), held.addresses))
      return malformed("topology: a network's address");
    for (const json& entry : network.value("pins", json::array())) {
      const Result<Address> address = Address::parse(entry.value("address", ""));
      if (!address.ok()) return malformed("topology: a pin's address");
      Pin pin{*address, entry.value("port", ""), entry.value("mac", "")};
      if ((!pin.port.empty() && !is_interface(pin.port)) || (!pin.mac.empty() && !is_mac(pin.mac)))
        return malformed("topology: a pin's port or MAC address");
      held.pins.push_back(std::move(pin));
    }
    out.networks.push_back(std::move(held));
  }
  for (const json& listener : body.value("listeners", json::array())) {
    GateListener entry;
    entry.name = listener.value("name", "");
    const std::string proto = listener.value("proto", ""), transparent = listener.value("transparent", "no");
    if (proto != "tcp" && proto != "udp") return malformed("topology: a listener's protocol");
    entry.proto = proto == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
    const Result<Address> address = Address::parse(listener.value("address", ""));
    if (!address.ok()) return malformed("topology: a listener's address");
    entry.address = *address;
    entry.any_address = std::all_of(address->octets().begin(), address->octets().end(), [](auto o) { return o == 0; });
    entry.port = listener.value("port", std::uint16_t{0});
    if (transparent == "redirect") entry.transparent = GateListener::Transparent::kRedirect;
    if (transparent == "tproxy") entry.transparent = GateListener::Transparent::kTproxy;
    out.listeners.push_back(std::move(entry));
  }
  for (const json& pair : body.value("internal", json::array())) {
    InternalPair entry;
    if (!read_prefixes(pair.value("from", json::array()), entry.from) ||
        !read_prefixes(pair.value("to", json::array()), entry.to))
      return malformed("topology: an internal pair's address");
    out.internal.push_back(std::move(entry));
  }
  for (const json& own : body.value("own", json::array())) {
    const Result<Address> address = Address::parse(own.get<std::string>());
    if (!address.ok()) return malformed("topology: an own address");
    out.own.push_back(*address);
  }
  if (body.contains("worker")) out.worker = body["worker"].get<std::uint32_t>();
  return out;
}

}  // namespace

Result<Topology> parse_topology(std::string_view text) {
  const json body = json::parse(text, nullptr, false);
  if (!body.is_object()) return malformed("topology: not a JSON object");
  try {
    return read(body);
  } catch (const json::exception&) {
    return malformed("topology: a value of the wrong type");
  }
}

}  // namespace sallyport::kernel
