#include <algorithm>

#include "host/kernel/ruleset.hpp"
#include "host/kernel/ruleset_text.hpp"

namespace sallyport::kernel {
namespace {

// One number for all bridges: the sets are for all, and a port that may use many is no worse on another.
std::string new_claims(const Topology& topology) {
  unsigned most = 1;
  for (const HeldNetwork& network : topology.networks) most = std::max(most, network.addresses_per_port);
  return "6/hour burst " + std::to_string(most) + " packets";
}

}  // namespace

// Addresses that the operator has tied to a port or a MAC address, before anybody claims anything: who else speaks as
// one, by ARP, IP or a neighbour advertisement, is dropped.
static void pin_rules(Text& text, const Topology& topology) {
  for (const HeldNetwork& network : topology.networks) {
    for (const Pin& pin : network.pins) {
      const std::string address = pin.address.text();
      std::vector<std::string> speaks;
      if (pin.address.is_v4()) {
        speaks = {"arp saddr ip " + address + " ", "ip saddr " + address + " "};
      } else {
        std::string number = "0x";
        for (const std::uint8_t octet : pin.address.octets()) {
          constexpr char kDigits[] = "0123456789abcdef";
          number += {kDigits[octet >> 4], kDigits[octet & 15]};
        }
        speaks = {"ip6 saddr " + address + " ", "icmpv6 type 136 @th,64,128 " + number + " "};
      }
      for (const std::string& as : speaks) {
        if (!pin.port.empty()) text.line(as + "iifname != \"" + pin.port + "\" counter name source_spoofed drop");
        if (!pin.mac.empty()) text.line(as + "ether saddr != " + pin.mac + " counter name source_spoofed drop");
      }
      if (!pin.port.empty() && !pin.mac.empty())
        text.line("ether saddr " + pin.mac + " iifname != \"" + pin.port + "\" counter name source_spoofed drop");
      if (pin.address.is_v4() && !pin.mac.empty())
        text.line(speaks[0] + "arp saddr ether != " + pin.mac + " counter name source_spoofed drop");
    }
  }
}

bool needs_bridge_table(const Topology& topology) { return !all_interfaces(topology).empty(); }

std::string bridge_table(const Topology& topology, const BridgePorts& ports, const std::string& elements) {
  const auto set = [](const char* name, const std::vector<std::string>& interfaces) {
    std::vector<std::string> quoted;
    for (const std::string& interface : interfaces) quoted.push_back("\"" + interface + "\"");
    return std::string("set ") + name + " { type ifname;" +
           (quoted.empty() ? "" : " elements = " + set_of(quoted) + ";") + " }\n";
  };
  return "add table bridge sallyport\ndelete table bridge sallyport\ntable bridge sallyport {\n" +
         set("ports", ports.held) + set("foreign", ports.foreign) + bridge_body(topology) + "}\n" + elements;
}

std::string bridge_body(const Topology& topology) {
  const std::vector<Prefix> held = all_addresses(topology);
  Text text;
  for (const char* counter : {"source_spoofed", "not_gateway", "router_advert"})
    text.line(std::string("counter ") + counter + " { }");
  interval_set(text, "held4", "ipv4_addr", texts(held, true));
  interval_set(text, "held6", "ipv6_addr", texts(held, false));
  interval_set(text, "own4", "ipv4_addr", texts(topology.own, true));
  interval_set(text, "own6", "ipv6_addr", texts(topology.own, false));
  for (const ClaimKind& kind : kClaimKinds) {
    const std::string name(kind.name),
        kept = "; flags dynamic,timeout; timeout " + std::to_string(kClaimMinutes) + "m; size 65536; }";
    text.line("set claim" + name + " { " + std::string(kind.pair_type) + kept);
    text.line("set claimed" + name + " { " + std::string(kind.type) + kept);
    text.line("set claims_per_port" + name + " { type iface_index; flags dynamic,timeout; timeout 1h; size 4096; }");
  }

  // What somebody speaks as belongs to the port that used it first, until the port goes (the gateway takes its claims
  // out) or kClaimMinutes of silence have passed.
  text.line("chain claims {").line("type filter hook prerouting priority -300; policy accept;");
  // Nothing in a VLAN tag: the host takes off those that mean no VLAN, and `arp`, `icmpv6` below look at what stands
  // behind the addresses, where a tag would be. A second tag is in the protocol, the first in neither's place.
  for (const char* type : {"ether type", "meta protocol"})
    text.line(std::string("iifname @ports ") + type + " != { 0x0800, 0x0806, 0x86dd } counter name not_gateway drop");
  text.line("iifname @ports jump claim_mac");
  text.line("arp saddr ip @own4 counter name source_spoofed drop");
  text.line("ip saddr @own4 counter name source_spoofed drop").line("ip6 saddr @own6 counter name source_spoofed drop");
  // Another bridge of this host, with the same addresses behind it, takes none of ours. A port that has just come is in
  // no set yet: until then it is held to what its addresses say.
  text.line("iifname @foreign return");
  pin_rules(text, topology);
  // Routers, and queriers of multicast groups: whoever passes for one takes the others' neighbour messages.
  text.line("icmpv6 type { 130, 134, 137, 151, 152, 153 } iifname @ports counter name router_advert drop");
  text.line("iifname @ports ip protocol 2 @th,0,8 0x11 counter name router_advert drop");
  text.line("iifname @ports meta l4proto 103 counter name router_advert drop");
  text.line("iifname @ports meta l4proto 17 th sport { 67, 547 } counter name router_advert drop");
  text.line("iifname @ports icmpv6 type 136 jump claim_neighbour");
  text.line("arp saddr ip @held4 jump claim_arp").line("ip saddr @held4 jump claim_ip");
  text.line("ip6 saddr @held6 jump claim_ip6").line("iifname @ports ip6 saddr fe80::/10 jump claim_ip6");
  std::string outside4 = "iifname @ports meta protocol 0x0800",
              outside6 = "iifname @ports ip6 saddr != fe80::/10 ip6 saddr != ::";
  for (const std::string& prefix : texts(held, true)) outside4 += " ip saddr != " + prefix;
  for (const std::string& prefix : texts(held, false)) outside6 += " ip6 saddr != " + prefix;
  text.line(outside4 + " counter name source_spoofed drop").line(outside6 + " counter name source_spoofed drop");
  text.line("}");
  const auto claim = [&](const std::string& chain, const std::string& source, const std::string& kind) {
    const std::string pair = source + " . meta iif", both = "@claim" + kind + " { " + pair + " } ",
                      alone = "@claimed" + kind + " { " + source + " }";
    text.line("chain " + chain + " {");
    text.line(pair + " @claim" + kind + " update " + both + "update " + alone + " return");
    text.line(source + " @claimed" + kind + " counter name source_spoofed drop");
    // A share for each port: who has many addresses has many clients' limits, and the sets are for all.
    text.line("add @claims_per_port" + kind + " { meta iif limit rate over " + new_claims(topology) +
              " } counter name source_spoofed drop");
    text.line("add " + both + "add " + alone);
    text.line(pair + " @claim" + kind + " return");
    text.line("counter name source_spoofed drop").line("}");  // the set is full
  };
  claim("claim_mac", "ether saddr", "_mac");
  claim("claim_arp", "arp saddr ip", "4");
  claim("claim_ip", "ip saddr", "4");
  claim("claim_ip6", "@nh,64,128", "6");        // the source
  claim("claim_neighbour", "@th,64,128", "6");  // the target of an advertisement

  // By port, and by address too: a port that has just come is in no set yet.
  text.line("chain forward {").line("type filter hook forward priority -200; policy accept;");
  pair_rules(text, topology, "accept");
  for (const InternalPair& pair : topology.internal) {
    const std::vector<std::string> a4 = texts(pair.from, true), b4 = texts(pair.to, true);
    if (!a4.empty() && !b4.empty()) {
      for (const auto& [from, to] : {std::pair(a4, b4), std::pair(b4, a4)})
        text.line("arp saddr ip " + set_of(from) + " arp daddr ip " + set_of(to) + " accept");
    }
    const std::vector<std::string> a6 = texts(pair.from, false), b6 = texts(pair.to, false);
    if (a6.empty() || b6.empty()) continue;
    for (auto [from, to] : {std::pair(a6, b6), std::pair(b6, a6)}) {
      to.push_back("ff02::1:ff00:0/104");  // solicited nodes
      text.line("icmpv6 type { 135, 136 } ip6 saddr " + set_of(from) + " ip6 daddr " + set_of(to) + " accept");
    }
  }
  // Written out, as in the inet table: a set is empty for a moment when the table is replaced.
  for (const std::string& prefix : texts(held, true)) {
    for (const char* field : {"ip saddr ", "ip daddr ", "arp saddr ip ", "arp daddr ip "})
      text.line(field + prefix + " counter name not_gateway drop");
  }
  for (const std::string& prefix : texts(held, false)) {
    for (const char* field : {"ip6 saddr ", "ip6 daddr "}) text.line(field + prefix + " counter name not_gateway drop");
  }
  for (const char* rule : {"iifname @ports", "oifname @ports"})
    text.line(std::string(rule) + " counter name not_gateway drop");
  text.line("}");
  return text.out;
}

}  // namespace sallyport::kernel
