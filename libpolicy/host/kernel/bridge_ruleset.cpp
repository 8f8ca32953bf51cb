#include "host/kernel/ruleset.hpp"
#include "host/kernel/ruleset_text.hpp"

namespace sallyport::kernel {

bool needs_bridge_table(const Topology& topology) { return !all_interfaces(topology).empty(); }

std::string bridge_table(const Topology& topology, const std::vector<std::string>& ports, const std::string& elements) {
  std::vector<std::string> quoted;
  for (const std::string& port : ports) quoted.push_back("\"" + port + "\"");
  return "add table bridge sallyport\ndelete table bridge sallyport\ntable bridge sallyport {\nset ports { type "
         "ifname;" +
         (quoted.empty() ? "" : " elements = " + set_of(quoted) + ";") + " }\n" + bridge_body(topology) + "}\n" +
         elements;
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
  for (const bool v4 : {true, false}) {
    const std::string n = v4 ? "4" : "6", type = v4 ? "ipv4_addr" : "ipv6_addr";
    text.line("set claim" + n + " { type " + type +
              " . iface_index; flags dynamic,timeout; timeout 10m; size 65536; }");
    text.line("set claimed" + n + " { type " + type + "; flags dynamic,timeout; timeout 10m; size 65536; }");
  }

  // An address belongs to the port that used it first, until the port goes (the gateway takes its claims out) or ten
  // silent minutes have passed.
  text.line("chain claims {").line("type filter hook prerouting priority -300; policy accept;");
  text.line("arp saddr ip @own4 counter name source_spoofed drop");
  text.line("ip saddr @own4 counter name source_spoofed drop").line("ip6 saddr @own6 counter name source_spoofed drop");
  text.line("icmpv6 type { 134, 137 } iifname @ports counter name router_advert drop");
  text.line("iifname @ports meta l4proto 17 th sport { 67, 547 } counter name router_advert drop");
  text.line("arp saddr ip @held4 jump claim_arp").line("ip saddr @held4 jump claim_ip");
  text.line("ip6 saddr @held6 jump claim_ip6");
  text.line("iifname @ports ip saddr != @held4 counter name source_spoofed drop");
  text.line("iifname @ports ip6 saddr != { fe80::/10, :: } ip6 saddr != @held6 counter name source_spoofed drop");
  text.line("}");
  const auto claim = [&](const char* chain, const std::string& source, const std::string& n) {
    const std::string pair = "{ " + source + " . meta iif }";
    text.line(std::string("chain ") + chain + " {");
    text.line(source + " . meta iif @claim" + n + " update @claim" + n + " " + pair + " update @claimed" + n + " { " +
              source + " } return");
    text.line(source + " @claimed" + n + " counter name source_spoofed drop");
    text.line("add @claim" + n + " " + pair + " add @claimed" + n + " { " + source + " }");
    text.line("}");
  };
  claim("claim_arp", "arp saddr ip", "4");
  claim("claim_ip", "ip saddr", "4");
  claim("claim_ip6", "ip6 saddr", "6");

  // By port, and by address too: a port that has just come is in no set yet.
  text.line("chain forward {").line("type filter hook forward priority -200; policy accept;");
  pair_rules(text, topology, "accept");
  bool pairs6 = false;
  for (const InternalPair& pair : topology.internal) {
    const std::vector<std::string> a = texts(pair.from, true), b = texts(pair.to, true);
    pairs6 |= !texts(pair.from, false).empty() && !texts(pair.to, false).empty();
    if (a.empty() || b.empty()) continue;
    for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)})
      text.line("arp saddr ip " + set_of(from) + " arp daddr ip " + set_of(to) + " accept");
  }
  if (pairs6) text.line("icmpv6 type { 135, 136 } ip6 saddr @held6 accept");
  for (const char* rule : {"ip saddr @held4", "ip daddr @held4", "arp saddr ip @held4", "arp daddr ip @held4",
                           "ip6 saddr @held6", "ip6 daddr @held6", "iifname @ports", "oifname @ports"})
    text.line(std::string(rule) + " counter name not_gateway drop");
  text.line("}");
  return text.out;
}

}  // namespace sallyport::kernel
