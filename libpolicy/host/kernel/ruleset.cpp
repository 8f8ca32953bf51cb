#include "host/kernel/ruleset.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstdio>

#include "host/kernel/ruleset_text.hpp"
#include "host/kernel/steering.hpp"

// Why conntrack entries are marked (kAdmitted): `ct state established accept` alone would keep open for ever what got
// in while somebody had flushed the rules. Only what was admitted here carries the bit, and a revocation deletes the
// entry.
//
// Why both exact and interval sets: a set with intervals over several fields is rebuilt whole at each change (pipapo);
// most bindings have one or two ports, and go into a hash.
namespace sallyport::kernel {
namespace {

using Transparent = GateListener::Transparent;

// ICMP errors to one source: a browser's page, or a program with a hundred flows at once.
constexpr const char* kRefusals = "200/second burst 100 packets";
// ICMP errors about a flow that conntrack knows (not what a helper expects). They carry octets of their sender's choice
// to an end of that flow, whosever flow it is: nobody who is held sends any to anywhere. No bypass attempt either: an
// ordinary client answers so to what comes too late.
constexpr std::string_view kErrors = "meta l4proto { 1, 58 } ct state related ";

std::string socket_of(const Address& address, std::uint16_t port) {
  return address.is_v4() ? address.text() + ":" + std::to_string(port)
                         : "[" + address.text() + "]:" + std::to_string(port);
}

bool is_dns(const GateListener& listener) {
  return listener.transparent == Transparent::kNo && (listener.name == "dns" || listener.port == 53);
}

const GateListener* find(const Topology& topology, bool v4, auto wanted) {
  const auto found = std::find_if(topology.listeners.begin(), topology.listeners.end(), [&](const GateListener& entry) {
    return entry.address.is_v4() == v4 && wanted(entry);
  });
  return found == topology.listeners.end() ? nullptr : &*found;
}

// The listeners that whoever is held may address: by address, or by port for those bound to all.
void listener_sets(Text& text, const Topology& topology) {
  std::vector<std::string> exact[2], any[2];
  for (const GateListener& listener : topology.listeners) {
    if (listener.transparent != Transparent::kNo) continue;
    const bool v4 = listener.address.is_v4();
    const std::string end = std::to_string(listener.proto) + " . " + std::to_string(listener.port);
    auto& list = listener.any_address ? any[v4] : exact[v4];
    const std::string element = listener.any_address ? end : listener.address.text() + " . " + end;
    if (std::find(list.begin(), list.end(), element) == list.end()) list.push_back(element);
  }
  for (const bool v4 : {true, false}) {
    const std::string number = v4 ? "4" : "6";
    const auto declare = [&](const std::string& name, const std::string& type, const std::vector<std::string>& list) {
      text.line("set " + name + number + " { type " + type + ";" +
                (list.empty() ? "" : " elements = " + set_of(list) + ";") + " }");
    };
    declare("listen", std::string(v4 ? "ipv4_addr" : "ipv6_addr") + " . inet_proto . inet_service", exact[v4]);
    declare("listen_any", "inet_proto . inet_service", any[v4]);
  }
}

std::string to_listeners(bool v4, std::string_view verdict) {
  const std::string n = v4 ? "4" : "6";
  return std::string(family(v4)) + " daddr . meta l4proto . th dport @listen" + n + " " + std::string(verdict) + "\n" +
         nfproto(v4) + " fib daddr type local meta l4proto . th dport @listen_any" + n + " " + std::string(verdict);
}

// Listeners that have gone while a worker still finishes what it had accepted there. Until then, what is established
// goes on; it opens nothing: a SYN is refused, and what belongs to no socket of that worker's is reset by TCP itself.
void drained_sets(Text& text) {
  for (const DrainedSet& set : kDrainedSets)
    text.line("set " + std::string(set.name) + " { type " + std::string(set.type) + "; flags timeout; timeout 1h; }");
}

void to_drained(Text& text) {
  const std::string established = "ct direction original ct state established tcp flags & syn == 0 ";
  for (const bool v4 : {true, false}) {
    const std::string n = v4 ? "4" : "6";
    text.line(established + family(v4) + " daddr . tcp dport @drained" + n + " accept");
    text.line(nfproto(v4) + " " + established + "fib daddr type local tcp dport @drained_any" + n + " accept");
  }
}

void bound_sets(Text& text) {
  for (const bool v4 : {true, false}) {
    const std::string n = v4 ? "4" : "6", address = v4 ? "ipv4_addr" : "ipv6_addr";
    const std::string type = address + " . " + address + " . inet_proto . inet_service";
    text.line("set bound" + n + " { type " + type + "; flags timeout; size 65536; }");
    text.line("set range" + n + " { type " + type + "; flags interval, timeout; size 65536; }");
    text.line("set literal" + n + " { type " + type + "; flags interval; size 65536; }");
  }
}

// Of networks that are known by their addresses alone.
std::vector<Prefix> without_interface(const Topology& topology) {
  std::vector<Prefix> out;
  for (const HeldNetwork& network : topology.networks) {
    if (network.interfaces.empty()) out.insert(out.end(), network.addresses.begin(), network.addresses.end());
  }
  return out;
}

// What no policy decides: sources that are not where they belong, routes that the sender chose, routers that are none.
void guard_chain(Text& text, const Topology& topology) {
  text.line("chain guard {").line("type filter hook prerouting priority -310; policy accept;");
  // What a bridge gives the host as if it came from the port, past every hook of the bridge family, whatever is in it.
  text.line("meta iiftype 1 ether daddr and ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter name not_gateway drop");
  for (const bool v4 : {true, false}) {
    const std::vector<std::string> own = texts(topology.own, v4);
    if (!own.empty()) text.line("jump held_" + std::string(v4 ? "own4" : "own6"));
  }
  for (const HeldNetwork& network : topology.networks) {
    if (network.interfaces.empty()) continue;
    std::vector<std::string> names;
    for (const std::string& interface : network.interfaces) names.push_back("\"" + interface + "\"");
    const std::string in = "iifname " + set_of(names) + " ";
    const std::vector<std::string> four = texts(network.addresses, true);
    std::vector<std::string> six = texts(network.addresses, false);
    six.insert(six.end(), {"fe80::/10", "::"});
    text.line(in + (four.empty() ? "meta nfproto 2" : "ip saddr != " + set_of(four)) +
              " counter name source_spoofed drop");
    text.line(in + "ip6 saddr != " + set_of(six) + " counter name source_spoofed drop");
    // The same addresses from elsewhere: somebody beside the network speaks in its name.
    const std::string elsewhere = "iifname != " + set_of([&] {
                                    std::vector<std::string> with_loopback = names;
                                    with_loopback.push_back("\"lo\"");
                                    return with_loopback;
                                  }()) +
                                  " ";
    if (!four.empty()) text.line(elsewhere + "ip saddr " + set_of(four) + " counter name source_spoofed drop");
    const std::vector<std::string> global = texts(network.addresses, false);
    if (!global.empty()) text.line(elsewhere + "ip6 saddr " + set_of(global) + " counter name source_spoofed drop");
  }
  for (const std::string held : {"iifname @held_if ", "ip saddr @held4 ", "ip6 saddr @held6 "}) {
    const bool six = held.starts_with("ip6"), four = held.starts_with("ip s");
    if (!six) {
      text.line(held + "ip option lsrr exists counter name source_routed drop");
      text.line(held + "ip option ssrr exists counter name source_routed drop");
      text.line(held + "icmp type 5 counter name router_advert drop");
    }
    if (!four) {
      text.line(held + "exthdr rt exists counter name source_routed drop");
      text.line(held + "icmpv6 type { 134, 137 } counter name router_advert drop");
    }
  }
  text.line("}");
  for (const bool v4 : {true, false}) {
    const std::vector<std::string> own = texts(topology.own, v4);
    if (own.empty()) continue;
    text.line("chain held_" + std::string(v4 ? "own4" : "own6") + " {");
    text.line("iifname @held_if " + std::string(family(v4)) + " saddr " + set_of(own) +
              " counter name source_spoofed drop");
    text.line("}");
  }
}

// Written out instead of looked up: while a transaction takes effect a new set is empty for a moment, and what is in no
// set of held ones is anybody's traffic, which passes.
std::vector<std::string> held_conditions(const Topology& topology, bool source) {
  std::vector<std::string> out;
  for (const std::string& interface : all_interfaces(topology))
    out.push_back((source ? "iifname " : "oifname ") + interface);
  const std::vector<Prefix> prefixes = without_interface(topology);
  for (const bool v4 : {true, false}) {
    for (const std::string& prefix : texts(prefixes, v4))
      out.push_back(std::string(family(v4)) + (source ? " saddr " : " daddr ") + prefix);
  }
  return out;
}

// Port 53 to whichever server, and TCP to whichever address, end at the gateway's own listeners.
void capture_chain(Text& text, const Topology& topology) {
  text.line("chain capture {").line("type nat hook prerouting priority -100; policy accept;");
  for (const std::string& held : held_conditions(topology, true)) text.line(held + " jump captured");
  text.line("}").line("chain captured {");
  pair_rules(text, topology, "accept");
  for (const bool v4 : {true, false}) text.line(to_listeners(v4, "accept"));
  for (const bool v4 : {true, false}) {
    for (const std::uint8_t proto : {IPPROTO_UDP, IPPROTO_TCP}) {
      const GateListener* dns =
          find(topology, v4, [&](const GateListener& entry) { return is_dns(entry) && entry.proto == proto; });
      if (dns == nullptr) continue;
      const std::string match = nfproto(v4) + " meta l4proto " + std::to_string(proto) + " th dport 53 ";
      text.line(match + (dns->any_address
                             ? "redirect to :" + std::to_string(dns->port)
                             : "dnat " + std::string(family(v4)) + " to " + socket_of(dns->address, dns->port)));
    }
    const GateListener* catching = find(topology, v4, [](const GateListener& entry) {
      return entry.transparent == Transparent::kRedirect && entry.proto == IPPROTO_TCP;
    });
    if (catching == nullptr) continue;
    // Port 53 without a listener for it is no connection to be looked into.
    text.line(nfproto(v4) + " tcp dport != 53 " +
              (catching->any_address
                   ? "redirect to :" + std::to_string(catching->port)
                   : "dnat " + std::string(family(v4)) + " to " + socket_of(catching->address, catching->port)));
  }
  text.line("}");
}

// TPROXY: packets keep their destination and are delivered here by their mark (steering.hpp). `tproxy` finds the flow's
// own socket, or the listener; where there is none the rule ends, the packet stays unmarked, and forward refuses it.
void steer_chain(Text& text, const Topology& topology) {
  if (!needs_steering(topology)) return;
  text.line("chain steer {").line("type filter hook prerouting priority -150; policy accept;");
  for (const std::string& held : held_conditions(topology, true)) text.line(held + " jump steered");
  text.line("}").line("chain steered {");
  // Whoever marks packets on this host does not mean ours.
  const std::string rest = std::to_string(~kSteeredMask);
  text.line("meta mark set meta mark and " + rest);
  pair_rules(text, topology, "return");
  for (const bool v4 : {true, false}) text.line(to_listeners(v4, "return"));
  for (const bool v4 : {true, false}) {
    const GateListener* catching = find(topology, v4, [](const GateListener& entry) {
      return entry.transparent == Transparent::kTproxy && entry.proto == IPPROTO_TCP;
    });
    if (catching == nullptr) continue;
    const std::string where =
        catching->any_address ? ":" + std::to_string(catching->port) : socket_of(catching->address, catching->port);
    text.line(nfproto(v4) + " tcp dport != 53 tproxy " + family(v4) + " to " + where + " meta mark set meta mark and " +
              rest + " or " + std::to_string(kSteered));
  }
  text.line("}");
}

void input_chain(Text& text, const Topology& topology) {
  text.line("chain input {").line("type filter hook input priority 0; policy accept;");
  for (const std::string& held : held_conditions(topology, true)) text.line(held + " jump to_gateway");
  text.line("}").line("chain to_gateway {");
  // Replies to what this host began. What they began themselves is held against the listeners packet by packet: a flow
  // that got in while somebody had flushed the rules does not go on.
  text.line("ct direction reply ct state established accept");
  text.line(std::string(kErrors) + "drop");
  for (const bool v4 : {true, false}) text.line(to_listeners(v4, "accept"));
  for (const GateListener& listener : topology.listeners) {
    if (listener.transparent != Transparent::kRedirect) continue;
    // Only what was captured: a client that dials this port itself has no destination to be judged by.
    text.line(nfproto(listener.address.is_v4()) + " meta l4proto " + std::to_string(listener.proto) + " th dport " +
              std::to_string(listener.port) + " ct status dnat accept");
  }
  if (needs_steering(topology))
    text.line("meta l4proto 6 meta mark and " + std::to_string(kSteeredMask) + " == " + std::to_string(kSteered) +
              " accept");
  to_drained(text);
  // Neighbours and group membership; nothing that answers (no echo).
  text.line("icmpv6 type { 131, 132, 135, 136, 143 } accept");
  text.line("jump refuse").line("}");
}

// What programs of this host begin towards those who are held: the gateway's workers alone. A workload that nobody here
// connects to has nobody here to carry its octets on.
void output_chain(Text& text, const Topology& topology) {
  Topology closed = topology;
  std::erase_if(closed.networks, [](const HeldNetwork& network) { return network.open_from_host; });
  text.line("counter from_host { }");
  text.line("chain output {").line("type filter hook output priority 0; policy accept;");
  text.line("oifname \"lo\" accept");
  for (const std::string& held : held_conditions(closed, false)) text.line(held + " jump from_host");
  text.line("}").line("chain from_host {");
  // Answers, ours of chain refuse among them: those are about flows that conntrack has never confirmed.
  text.line("ct direction reply ct state established accept").line("ct state related accept");
  text.line("icmp type { 3, 11, 12 } accept").line("icmpv6 type { 1, 2, 3, 4 } accept");
  // Neighbours, routers, groups.
  text.line("icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 137, 143 } accept").line("ip protocol 2 accept");
  if (topology.worker) text.line("meta skuid " + std::to_string(*topology.worker) + " accept");
  // No program of ours waits for a timeout either.
  text.line("meta l4proto 6 counter name from_host reject with tcp reset");
  text.line("counter name from_host reject with icmpx type admin-prohibited").line("}");
}

void forward_chains(Text& text, const Topology& topology) {
  const std::string admitted = std::to_string(kAdmitted);
  text.line("chain forward {").line("type filter hook forward priority 0; policy accept;");
  for (const std::string& held : held_conditions(topology, true)) text.line(held + " jump from_held");
  for (const std::string& held : held_conditions(topology, false)) text.line(held + " jump to_held");
  text.line("}").line("chain from_held {");
  text.line("ct state invalid counter name not_gateway drop");
  text.line("ct state established ct mark and " + admitted + " == " + admitted + " accept");
  text.line(std::string(kErrors) + "drop");
  pair_rules(text, topology, "ct mark set ct mark or " + admitted + " accept");
  // Where br_netfilter hands bridged packets over (Docker turns it on), neighbours of a pair find each other. What was
  // routed no longer has the full hop limit.
  if (std::any_of(topology.internal.begin(), topology.internal.end(), [](const InternalPair& pair) {
        return !texts(pair.from, false).empty() && !texts(pair.to, false).empty();
      }))
    text.line("ip6 hoplimit 255 icmpv6 type { 135, 136 } accept");
  for (const bool v4 : {true, false}) {
    for (const char* set : {"bound", "range"}) {
      const std::string f = family(v4);
      text.line("ct direction original " + f + " saddr . " + f + " daddr . meta l4proto . th dport @" + set +
                (v4 ? "4" : "6") + " ct mark set ct mark or " + admitted + " accept");
    }
  }
  // What the policy allows by address alone. An interface identifier that carries an IPv4 address (ISATAP) is another
  // destination than its neighbours, and no range can leave it out.
  text.line("ct direction original ip saddr . ip daddr . meta l4proto . th dport @literal4 ct mark set ct mark or " +
            admitted + " accept");
  text.line(
      "meta nfproto 10 @nh,256,32 and 0xfdffffff != 0x00005efe ct direction original ip6 saddr . ip6 daddr . meta "
      "l4proto . th dport @literal6 ct mark set ct mark or " +
      admitted + " accept");
  text.line("jump refuse").line("}").line("chain to_held {");
  text.line("ct state established ct mark and " + admitted + " == " + admitted + " accept");
  text.line(std::string(kErrors) + "ct mark and " + admitted + " == " + admitted + " accept");
  text.line("counter name not_gateway drop").line("}");
}

// Never a silent hang: each kind gets the answer that its clients understand. The kernel's own limit of ICMP errors to
// one address (one a second after six) is lifted by the warden, so that a client that tries many flows at once falls
// back with all of them; in its place each source has a share of its own, and none can use up what is for all.
void refuse_chain(Text& text) {
  for (const bool v4 : {true, false})
    text.line("set refused" + std::string(v4 ? "4" : "6") + " { type " + (v4 ? "ipv4_addr" : "ipv6_addr") +
              "; flags dynamic,timeout; timeout 10s; size 65536; }");
  text.line("chain unreachable {");
  for (const bool v4 : {true, false})
    text.line("add @refused" + std::string(v4 ? "4" : "6") + " { " + family(v4) + " saddr limit rate over " +
              kRefusals + " } drop");
  text.line("meta l4proto 17 reject with icmpx type port-unreachable");
  text.line("reject with icmpx type admin-prohibited").line("}");
  text.line("chain refuse {");
  text.line("meta l4proto 17 th dport 443 counter name quic_denied goto unreachable");
  for (const std::uint16_t port : kCountedPorts) {
    text.line("meta l4proto 17 th dport " + std::to_string(port) + " counter name udp_" + std::to_string(port) +
              " goto unreachable");
  }
  text.line("meta l4proto 17 counter name udp_denied goto unreachable");
  text.line("meta l4proto 6 th dport 853 counter name dot_denied reject with tcp reset");
  text.line("meta l4proto 6 counter name not_gateway reject with tcp reset");
  text.line("counter name other_proto goto unreachable").line("}");
}

}  // namespace

std::string inet_body(const Topology& topology) {
  Text text;
  for (const std::string_view counter : kCounters) text.line("counter " + std::string(counter) + " { }");
  const std::vector<std::string> interfaces = all_interfaces(topology);
  text.line("set held_if { type ifname;" + (interfaces.empty() ? "" : " elements = " + set_of(interfaces) + ";") +
            " }");
  interval_set(text, "held4", "ipv4_addr", texts(without_interface(topology), true));
  interval_set(text, "held6", "ipv6_addr", texts(without_interface(topology), false));
  listener_sets(text, topology);
  drained_sets(text);
  bound_sets(text);
  refuse_chain(text);
  guard_chain(text, topology);
  steer_chain(text, topology);
  capture_chain(text, topology);
  input_chain(text, topology);
  output_chain(text, topology);
  forward_chains(text, topology);
  return text.out;
}

std::string drained_elements(const std::vector<GateListener>& gone, std::chrono::seconds lasting) {
  std::string out;
  for (const GateListener& listener : gone) {
    // TPROXY's packets are delivered by the listener's own rule in chain steer, which goes with it.
    if (listener.proto != IPPROTO_TCP || listener.transparent == Transparent::kTproxy) continue;
    const std::string set =
        std::string(listener.any_address ? "drained_any" : "drained") + (listener.address.is_v4() ? "4" : "6");
    const std::string address = listener.any_address ? "" : listener.address.text() + " . ";
    out += "add element inet sallyport " + set + " { " + address + std::to_string(listener.port) + " expires " +
           std::to_string(lasting.count()) + "s }\n";
  }
  return out;
}

std::string shape_of(const Topology& topology) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: a name for what was meant, not a defence
  for (const std::string& text : {inet_body(topology), bridge_body(topology)}) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  char name[32];
  std::snprintf(name, sizeof name, "%s%016llx", kShape, static_cast<unsigned long long>(hash));
  return name;
}

std::string inet_table(const Topology& topology, const std::string& elements) {
  return "add table inet sallyport\ndelete table inet sallyport\ntable inet sallyport {\nchain " + shape_of(topology) +
         " { }\n" + inet_body(topology) + "}\n" + elements;
}

}  // namespace sallyport::kernel
