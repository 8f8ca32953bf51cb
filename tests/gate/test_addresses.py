"""What belongs to an address, in a whole gate: bindings end with the port of their client, rules by address are open beforehand, and no
program of the host calls on a held network. NFT-01, NFT-08, NFT-10, with a witness outside."""

import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import time

import pytest

from kernel_support import DB4, DB6, POLICY, flush, nft, wait_until
from small_internet import world
from small_internet.fixtures import Workload
from small_internet.gate import AGENTS, GATE4, P0, Gate, gateway_yaml
from small_internet.namespaces import sh
from small_internet.runner import SALLYPORT

POLICYCTL = os.path.join(os.path.dirname(SALLYPORT), "policyctl")


@pytest.fixture
def strict(lab, agents):
    """A gate whose filter lets a client through to addresses that it was given."""
    made = Gate(lab, gateway_yaml("real").replace("destination: original", "destination: original, binding: strict"), POLICY).start()
    yield made
    made.stop()


class Tenants:
    """Containers of one address, one after another; each has a port and a MAC address of its own."""

    def __init__(self, lab, agents):
        self._agents, self.work = agents, Workload(lab, agents, "c")
        AGENTS["c"] = ("172.20.0.9", "fd00:20::9")

    def next(self):
        if "c" in self._agents.fds:
            self._agents.remove("c")
        self._agents.add("c")

    def mac(self):
        return re.search("link/ether (\\S+)", self.work.run("ip", "link", "show", "eth0").text)[1]

    def await_address(self, timeout=5.0):
        """Until its packets are let in as its own; nothing is asked that anything is bound by."""
        for server in (GATE4, "fd00:20::1"):
            wait_until(lambda server=server: "NXDOMAIN" in self.work.dig("+time=1", "evil.test", server=server).text, timeout)

    def unasked(self):
        """What it gets from addresses that it was given by nobody: (the filter's, the kernel's by IPv4, by IPv6)."""
        curl = self.work.curl("--resolve", f"api.example.test:443:{world.GOOD4}", "https://api.example.test/whoami")
        results, _ = self.work.probe([{"do": "udp", "to": [to, 5353], "send": "beef", "timeout": 1} for to in (DB4, DB6)])
        return curl.status == 0, *(r.get("data") == "beef" for r in results)

    def ask(self):
        assert self.work.dig("+short", "db.example.test").text.strip() == DB4
        assert self.work.dig("+short", "db.example.test", "AAAA", server="fd00:20::1").text.strip() == DB6
        assert self.work.curl("https://api.example.test/whoami").status == 0

    def close(self):
        if "c" in self._agents.fds:
            self._agents.remove("c")
        AGENTS.pop("c", None)


@pytest.fixture
def tenants(lab, agents):
    made = Tenants(lab, agents)
    yield made
    made.close()


def test_a_new_container_has_no_binding_of_the_old_one(strict, lab, tenants, work, witness):
    """The filter's, the kernel's, and flows that conntrack knows: all end with the port, and nobody else's do."""
    work.dig("+short", "db.example.test")
    tenants.next()
    tenants.ask()
    assert tenants.unasked() == (True, True, True)
    first = tenants.mac()
    tenants.next()
    assert tenants.mac() != first
    tenants.await_address()
    with witness.expect_zero():
        assert tenants.unasked() == (False, False, False)
    sets = sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "table", "inet", "sallyport")
    assert "172.20.0.7 . " + DB4 in sets and "172.20.0.9 . " not in sets and "fd00:20::9 . " not in sets
    assert "172.20.0.9" not in sh("ip", "netns", "exec", lab.namespaces.host, "conntrack", "-L", "-s", "172.20.0.9", "--mark", "0x53000000/0x53000000")
    tenants.ask()
    assert tenants.unasked() == (True, True, True)
    assert not strict.audit(reason="ruleset_tampered")


def test_a_container_that_is_there_before_anybody_looks(strict, lab, tenants, witness):
    """While the plugin stands still the address is the old port's, so the new one has nothing that could be taken from it; what it
    asks for afterwards stays."""
    tenants.next()
    tenants.ask()
    pid = next(pid for pid, plugins in strict.workers().items() if plugins == ["nftables"])
    os.kill(pid, signal.SIGSTOP)
    try:
        tenants.next()
        with witness.expect_zero():
            results, _ = tenants.work.probe([{"do": "udp", "to": [DB4, 5353], "send": "beef", "timeout": 0.5}])
            assert not results[0].get("data"), results
    finally:
        os.kill(pid, signal.SIGCONT)  # before the warden takes it for dead
    tenants.await_address()
    with witness.expect_zero():
        assert tenants.unasked() == (False, False, False)
    tenants.ask()
    time.sleep(1.5)
    assert tenants.unasked() == (True, True, True)


def test_a_port_that_came_and_went_unseen_leaves_its_address(strict, tenants):
    """It was among the links at no look: its claims are found by themselves within some seconds."""
    pid = next(pid for pid, plugins in strict.workers().items() if plugins == ["nftables"])
    os.kill(pid, signal.SIGSTOP)
    try:
        tenants.next()
        tenants.work.dig("+time=1", "evil.test")
        tenants.work.dig("+time=1", "evil.test", server="fd00:20::1")
        tenants.next()
    finally:
        os.kill(pid, signal.SIGCONT)
    tenants.await_address(12)
    tenants.ask()


def test_a_container_that_came_while_the_plugin_was_dead(strict, lab, tenants, witness):
    tenants.next()
    tenants.ask()
    pid = next(pid for pid, plugins in strict.workers().items() if plugins == ["nftables"])
    os.kill(pid, signal.SIGSTOP)  # so that it does not see the port go
    tenants.next()
    os.kill(pid, signal.SIGKILL)
    tenants.await_address()
    with witness.expect_zero():
        assert tenants.unasked() == (False, False, False)
    tenants.ask()
    assert tenants.unasked() == (True, True, True)


BY_ADDRESS = """
version: 1
clients:
  a: { addresses: [172.20.0.7/32, "fd00:20::7/128"] }
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: hole, action: deny, addresses: [52.1.2.9/32] }
  - { name: clock, action: allow, clients: [a], addresses: [52.1.2.0/24, "2600:1f18::/64"], ports: [123/udp, 5353/udp, 5432] }
  - { name: ads, action: deny, domains: [ads.test] }
"""
CLOSED = [("52.1.2.3", 4433), ("52.1.2.9", 5353), ("52.1.3.3", 5353), (DB6, 4433), ("2600:1f18:0:1::3", 5353), ("2600:1f18::5efe:5101:203", 5353), ("2600:1f18::200:5efe:5101:203", 5353)]  # fmt: skip


def echoes(workload, *targets):
    """Which of them answer, by UDP."""
    results, run = workload.probe([{"do": "udp", "to": list(to), "send": "beef", "timeout": 1} for to in targets], threads=len(targets))
    return [to for to, r in zip(targets, results) if r.get("data") == "beef"], results, run


def test_udp_by_address_is_open_for_its_clients_and_ports(lab, agents, work, other, witness):
    """Without a name: for who may, where and on which ports the policy says; not beyond, nor for others; both families."""
    gate = Gate(lab, gateway_yaml("real"), BY_ADDRESS).start()
    open_ = [(DB4, 5353), ("52.1.2.255", 123), (DB6, 5353)]
    try:
        with witness.expect_only(ports=open_):
            assert echoes(work, *open_)[0] == open_
        with witness.expect_zero():
            assert echoes(work, *CLOSED)[0] == []
            assert echoes(other, *open_)[0] == []
        # It is put back like everything else, and a policy that says the same changes nothing.
        flush(lab)
        wait_until(lambda: gate.health("nftables").get("reasserted", 0) == 1)
        assert echoes(work, *open_)[0] == open_
        gate.set_policy(BY_ADDRESS + "# the same\n")
        assert echoes(work, *open_)[0] == open_
        # An element that the policy does not allow goes.
        nft(lab, "add element inet sallyport literal4 { 172.20.0.8 . 52.1.2.3 . 17 . 5353 }\n")
        wait_until(lambda: gate.health("nftables").get("reasserted", 0) == 2)
        with witness.expect_zero():
            assert echoes(other, (DB4, 5353))[0] == []
        assert "G024" not in gate.log()
    finally:
        gate.stop()


def test_udp_by_address_ends_with_its_rule(lab, agents, work, witness):
    """NFT-08: the set is empty and the flow dead within a second; a tunnel by address too."""
    gate = Gate(lab, gateway_yaml("real"), BY_ADDRESS).start()
    try:
        with lab.namespaces.inside(agents.fds["a"]):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(1)
        udp.connect((DB4, 5353))
        udp.send(b"ping")
        assert udp.recv(64) == b"ping"
        began = time.monotonic()
        gate.set_policy(BY_ADDRESS.replace("52.1.2.0/24, ", ""))
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 1.2:
                udp.send(b"ping")
                udp.recv(64)
        assert time.monotonic() - began < 1.0
        with witness.expect_zero(), pytest.raises(OSError):
            udp.send(b"ping")
            udp.recv(64)
        assert echoes(work, (DB6, 5353))[0] == [(DB6, 5353)], "what stays, stays"
        sets = sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "set", "inet", "sallyport", "literal4")
        assert "elements" not in sets, sets
        udp.close()
    finally:
        gate.stop()


def test_udp_by_address_behind_a_rule_by_name_stays_closed(lab, agents, work, witness):
    """Nobody knows the name of such a flow, so a deny rule by name denies it; that is said."""
    early = "".join(f"  - {{ name: early-{p}, action: deny, domains: [early.test], ports: [{p}/udp] }}\n" for p in (123, 5353))
    policy = BY_ADDRESS.replace("rules:\n", "rules:\n" + early)
    gate = Gate(lab, gateway_yaml("real"), policy).start()
    try:
        with witness.expect_zero():
            assert echoes(work, (DB4, 5353), (DB6, 5353))[0] == []
        assert "G024" in gate.log() and "rule `early-123` (line 7) denies what has no name" in gate.log(), gate.log()
    finally:
        gate.stop()


def test_tcp_by_address_where_nobody_captures_it(lab, agents, work, witness):
    """With a transparent listener TCP is the filter's; without one it is as UDP."""
    text = gateway_yaml("real")
    for line in (line for line in text.splitlines(keepends=True) if "catch" in line):
        text = text.replace(line, "")
    gate = Gate(lab, text, BY_ADDRESS).start()
    try:
        with witness.expect_only(ports=[(DB4, 5432), (DB6, 5432)]):
            results, _ = work.probe([{"do": "tcp", "to": [a, 5432], "send": "beef", "read": 2, "timeout": 3} for a in (DB4, DB6)], threads=2)
            assert [r.get("data") for r in results] == ["beef", "beef"], results
        with witness.expect_zero():
            results, _ = work.probe([{"do": "tcp", "to": [a, p], "send": "beef", "timeout": 3} for a, p in ((DB4, 5353), ("52.1.2.9", 5432), ("52.1.3.3", 5432))])
            assert not [r for r in results if r.get("data")], results
    finally:
        gate.stop()


NETWORKS = ["52.1.2.0/24", "52.1.2.3/32", "52.1.0.0/16", "10.0.0.0/8", "10.1.2.3/32", "169.254.169.254/32", "0.0.0.0/0", "2600:1f18::/64", "2600:1f18::3/128", "::/0", "fd00:99::/64"]  # fmt: skip
DESTINATIONS = ["52.1.2.3", "52.1.2.200", "52.1.3.3", "10.1.2.3", "10.9.9.9", "169.254.169.254", "8.8.4.4", "2600:1f18::3", "2600:1f18:0:1::3", "fd00:99::1"]
SPY = "".join(
    f"add set inet spy seen{n} {{ type {kind} . {kind} . inet_proto . inet_service; flags dynamic; size 4096; }}\n"
    f"add rule inet spy forward iifname br-agents add @seen{n} {{ {ip} saddr . {ip} daddr . meta l4proto . th dport }}\n"
    for n, kind, ip in ((4, "ipv4_addr", "ip"), (6, "ipv6_addr", "ip6"))
)


def generated(random):
    """A policy of rules by address, the same for TCP and UDP; now and then a deny rule by name, which denies what has none."""
    text = BY_ADDRESS.split("rules:")[0] + "rules:\n"
    for i in range(random.randint(1, 6)):
        action = random.choice(["allow", "allow", "deny"])
        to = ", ".join(f'"{n}"' for n in random.sample(NETWORKS, random.randint(1, 3)))
        to = "domains: [early.test]" if action == "deny" and random.random() < 0.1 else f"addresses: [{to}]"
        ports = random.sample(["5353", "443", "5000-5500", "1-65535"], random.randint(1, 2))
        clients = random.choice(["", "clients: [a], ", "clients: [agents], "])
        ports = ", ".join(f"{port}/{proto}" for port in ports for proto in ("tcp", "udp"))
        text += f"  - {{ name: r{i}, action: {action}, {clients}{to}, ports: [{ports}] }}\n"
    return text


def test_what_is_open_by_address_is_what_explain_allows(lab, agents):
    """Flows of two clients under generated policies: forwarded if, and only if, the decision function says so."""
    text = "".join(line for line in gateway_yaml("real").splitlines(keepends=True) if "catch" not in line)
    gate = Gate(lab, text, BY_ADDRESS).start()
    generator, opened, closed = random.Random(7), 0, 0
    in_host = ("ip", "netns", "exec", lab.namespaces.host)
    nft(lab, "add table inet spy\nadd chain inet spy forward { type filter hook forward priority 50; }\n" + SPY)
    try:
        policies = (generated(generator) for _ in range(80))
        valid = (p for p in policies if subprocess.run([POLICYCTL, "check", "-"], input=p, capture_output=True, text=True).returncode == 0)
        for policy in itertools.islice(valid, 12):
            gate.set_policy(policy)
            time.sleep(0.25)
            nft(lab, "flush set inet spy seen4\nflush set inet spy seen6\n")
            asked = []
            for who in "ab":
                for to in generator.sample(DESTINATIONS, 6):
                    port = generator.choice([5353, 443, 5000, 5501])
                    for proto, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
                        with lab.namespaces.inside(agents.fds[who]):
                            flow = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, kind)
                        flow.setblocking(False)
                        with contextlib.suppress(OSError):
                            flow.connect((to, port))
                            flow.send(b"x")
                        asked.append((who, to, proto, port, flow))
            time.sleep(0.1)
            seen = "".join(sh(*in_host, "nft", "-n", "list", "set", "inet", "spy", f"seen{n}") for n in "46")
            for who, to, proto, port, flow in asked:
                flow.close()
                groups = ["--client", "agents"] + (["--client", "a"] if who == "a" else [])
                target = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
                run = subprocess.run([POLICYCTL, "explain", "-p", "-", *groups, target], input=policy, capture_output=True, text=True)
                number = {"tcp": 6, "udp": 17}[proto]
                forwarded = re.search(rf"{AGENTS[who][':' in to]} \. {to} \. (?:{proto}|{number}) \. {port}\b", seen) is not None
                assert forwarded == (run.returncode == 0), (policy, who, to, proto, port, run.stdout, run.stderr)
                opened, closed = opened + forwarded, closed + (not forwarded)
        assert opened > 20 and closed > 20, (opened, closed)
    finally:
        gate.stop()
        nft(lab, "delete table inet spy\n")


CALL = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
for address in sys.argv[2:]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
        s.settimeout(2)
        try: s.connect((address, 9000)); print("connected")
        except OSError as error: print(type(error).__name__)
"""


def call(lab, uid, *addresses):
    return sh("ip", "netns", "exec", lab.namespaces.host, "/usr/bin/python3", "-c", CALL, str(uid), *addresses).split()


def test_no_program_of_the_host_is_a_relay(lab, agents, work, witness):
    """All local traffic that is not the gateway's: a program of the host neither hears a held workload nor calls on one, so that it has nothing
    to carry on; the proxy, which the gateway is, does both. `from_host: open` is for hosts that must."""
    policy = P0 + "  - { name: supervisor, action: allow, domains: [supervisor], resolves_to: [172.20.0.8/32], ports: [9000] }\n"
    with lab.namespaces.inside(agents.fds["b"]):
        servers = [socket.create_server(("", 9000)), socket.create_server(("::", 9000), family=socket.AF_INET6)]
    gate = Gate(lab, gateway_yaml("real"), policy).start()
    try:
        for uid in (0, 1234):
            assert call(lab, uid, *AGENTS["b"]) == ["ConnectionRefusedError"] * 2
        text = sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "counter", "inet", "sallyport", "from_host")
        assert int(re.search(r"packets (\d+)", text)[1]) >= 4, text
        # What an agent is refused by stays an answer at once, by UDP and TCP.
        results, run = work.probe([{"do": kind, "to": [world.EVIL4, 4433], "send": "00", "timeout": 3} for kind in ("udp", "tcp")], threads=2)
        assert not [r for r in results if r.get("end") == "timeout"], (results, run)
        with lab.namespaces.inside(agents.fds["a"]):
            tunnel = socket.create_connection((GATE4, 3128), timeout=5)
        tunnel.sendall(b"CONNECT supervisor:9000 HTTP/1.1\r\nHost: supervisor:9000\r\n\r\n")
        assert tunnel.recv(4096).startswith(b"HTTP/1.1 200 "), gate.log()
        servers[0].settimeout(2)
        servers[0].accept()[0].close()
        tunnel.close()
        generation = gate.status()["generation"]
        gate.write(gate.config, gateway_yaml("real").replace("interfaces: [br-agents]", "interfaces: [br-agents], from_host: open"))
        wait_until(lambda: gate.status()["generation"] > generation)
        assert call(lab, 1234, *AGENTS["b"]) == ["connected"] * 2
    finally:
        gate.stop()
        for server in servers:
            server.close()
