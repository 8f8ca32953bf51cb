"""The witness: counts on the far side of the wire what arrives there, before anything there looks at it.

It sees packets (per destination address and port, and everything that is neither TCP nor UDP), so that it does not depend
on which servers exist; the name server beside it keeps the names it was asked.
"""

import contextlib
import json
import time

from . import world
from .namespaces import sh

_RULES = """
table inet witness {
  set tcp4 { type ipv4_addr . inet_service; flags dynamic; size 65535; counter; }
  set tcp6 { type ipv6_addr . inet_service; flags dynamic; size 65535; counter; }
  set udp4 { type ipv4_addr . inet_service; flags dynamic; size 65535; counter; }
  set udp6 { type ipv6_addr . inet_service; flags dynamic; size 65535; counter; }
  set other4 { type ipv4_addr . inet_proto; flags dynamic; size 65535; counter; }
  set other6 { type ipv6_addr . inet_proto; flags dynamic; size 65535; counter; }
  chain swallowing {
    type filter hook prerouting priority -300;
    ip daddr BLACKHOLE4 drop
    ip6 daddr BLACKHOLE6 drop
  }
  chain arriving {
    type filter hook prerouting priority -310;
    iifname != "world0" accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
    meta nfproto ipv4 meta l4proto tcp tcp flags & (syn | ack) == syn add @tcp4 { ip daddr . tcp dport } accept
    meta nfproto ipv6 meta l4proto tcp tcp flags & (syn | ack) == syn add @tcp6 { ip6 daddr . tcp dport } accept
    meta l4proto tcp accept
    meta nfproto ipv4 meta l4proto udp add @udp4 { ip daddr . udp dport } accept
    meta nfproto ipv6 meta l4proto udp add @udp6 { ip6 daddr . udp dport } accept
    meta nfproto ipv4 add @other4 { ip daddr . meta l4proto } accept
    meta nfproto ipv6 add @other6 { ip6 daddr . meta l4proto } accept
  }
}
"""


class Witness:
    def __init__(self, namespaces, dns):
        self._net = namespaces.net
        self._dns = dns
        path = f"{namespaces.state}/witness.nft"
        with open(path, "w") as file:
            file.write(_RULES.replace("BLACKHOLE4", world.BLACKHOLE4).replace("BLACKHOLE6", world.BLACKHOLE6))
        sh("ip", "netns", "exec", self._net, "nft", "-f", path)

    def read(self):
        """{("tcp", "93.184.216.34", 443): packets, ("other", address, "icmp"): packets, ...}; TCP counts its SYNs."""
        found = {}
        for entry in json.loads(sh("ip", "netns", "exec", self._net, "nft", "-j", "list", "table", "inet", "witness"))[
            "nftables"
        ]:
            if "set" not in entry:
                continue
            for element in entry["set"].get("elem", []):
                address, port = element["elem"]["val"]["concat"]
                found[(entry["set"]["name"][:-1], address, port)] = element["elem"]["counter"]["packets"]
        return found

    def count(self, address, port, proto="tcp"):
        return self.read().get((proto, address, port), 0)

    def queries(self, name=None):
        """What the name servers were asked so far: [Question(name, type, transport, server)]."""
        return [q for q in self._dns.questions() if name is None or q.name == name]

    def _settled(self):
        """A reading that a second one, a moment later, agrees with: what an earlier run sent has arrived."""
        last = self.read()
        while True:
            time.sleep(0.02)
            now = self.read()
            if now == last:
                return now
            last = now

    @contextlib.contextmanager
    def watch(self):
        """Yields an object whose .arrived and .asked are filled at the end of the block."""
        seen = Seen()
        before, asked = self._settled(), len(self._dns.questions())
        yield seen
        after = self._settled()
        seen.arrived = {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}
        seen.asked = self._dns.questions()[asked:]

    @contextlib.contextmanager
    def expect_zero(self):
        """Nothing at all leaves during the block: no packet, no connection, no query."""
        with self.watch() as seen:
            yield seen
        assert not seen.arrived and not seen.asked, f"the witness saw {seen.arrived} and was asked {seen.asked}"

    @contextlib.contextmanager
    def expect_only(self, *names, ports=()):
        """During the block only these names are asked for, and only these (address, port) pairs are dialled.

        Packets to the resolver are implied by the questions, which are checked one by one.
        """
        with self.watch() as seen:
            yield seen
        strange = [q for q in seen.asked if q.name not in names]
        allowed = set(ports)
        for resolver in (world.RESOLVER, world.RESOLVER6):  # a late reply may be answered by ICMP: its socket is gone
            allowed.update({(resolver, 53), (resolver, "icmp"), (resolver, "ipv6-icmp")})
        packets = {k: n for k, n in seen.arrived.items() if (k[1], k[2]) not in allowed}
        assert not strange and not packets, f"the witness saw {packets} and was asked {strange}"


class Seen:
    """What arrived: {(proto, address, port): packets}, and the questions asked."""

    def __init__(self):
        self.arrived, self.asked = {}, []
