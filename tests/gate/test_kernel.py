"""The kernel plane of a whole gate: NFT-01 to -11 (without Docker: tests/docker), with a witness outside and agents that are root."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from small_internet import world
from small_internet.gate import AGENTS, GATE4, P0, Gate, gateway_yaml
from small_internet.namespaces import sh

HERE = os.path.dirname(os.path.abspath(__file__))
# UDP by name: an echo server's port, and the time's.
POLICY = P0 + """
  - { name: clock, action: allow, clients: [agents], domains: [db.example.test], ports: [123/udp, 5353/udp, 5432] }
"""
DB4 = "52.1.2.3"


@pytest.fixture
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


def attack(work, seconds, *kinds):
    return work.root("/usr/bin/python3", f"{HERE}/attacker.py", str(seconds), *([",".join(kinds)] if kinds else []), timeout=seconds + 30)


def test_every_protocol_to_everywhere(gate, work, witness):
    """NFT-01, NFT-02, NFT-06: TCP, UDP, ICMP, SCTP, GRE, raw, marked and spoofed packets, v4 and v6, as root."""
    with witness.expect_zero():
        run = attack(work, 3)
    assert run.status == 0 and all(n > 10 for n in run.json().values()), run


SCAPY = """
import sys
from scapy.all import *
conf.verb = 0
mac = getmacbyip("172.20.0.1")
evil4, evil6 = "185.199.108.66", "2a0a:e5c0::66"
def out(p): sendp(Ether(dst=mac)/p, iface="eth0")
def out6(p): sendp(Ether(dst=sys.argv[1])/p, iface="eth0")
big = IP(dst=evil4)/UDP(sport=1, dport=4433)/(b"x" * 3000)
for f in fragment(big, fragsize=600): out(f)
out(IP(dst=evil4, flags="MF", frag=0, id=7)/UDP(sport=1, dport=443)/(b"a" * 64))
out(IP(dst=evil4, flags=0, frag=4, id=7)/(b"b" * 64))           # overlaps the first
out(IP(dst=evil4, options=IPOption_LSRR(routers=["9.9.9.9"]))/UDP(sport=1, dport=4433)/b"routed")
out(IP(dst=evil4, options=IPOption_SSRR(routers=["9.9.9.9"]))/TCP(sport=1, dport=443, flags="S"))
out(IP(src="172.20.0.8", dst=evil4)/UDP(sport=1, dport=4433)/b"spoofed")
out(IP(src="5.9.10.2", dst=evil4)/UDP(sport=1, dport=4433)/b"spoofed")
out(IP(src="172.20.0.8", dst=evil4)/TCP(sport=1, dport=443, flags="S"))
for proto in (2, 41, 47, 50, 51, 89, 103, 132, 136, 253, 255): out(IP(dst=evil4, proto=proto)/(b"z" * 32))
out(IP(dst=evil4)/IP(dst=evil4)/UDP(dport=4433)/b"in ip")
out6(IPv6(dst=evil6)/UDP(sport=1, dport=4433)/b"six")
out6(IPv6(dst=evil6)/IPv6ExtHdrFragment(m=1, offset=0, id=9)/UDP(sport=1, dport=443)/(b"a" * 64))
out6(IPv6(dst=evil6)/IPv6ExtHdrRouting(addresses=["2620:fe::fe"])/UDP(sport=1, dport=4433)/b"routed")
out6(IPv6(dst=evil6)/IPv6ExtHdrHopByHop()/IPv6ExtHdrDestOpt()/UDP(sport=1, dport=4433)/b"options")
for kind in (0x0800, 0x86DD, 0x8847, 0x8863, 0x88CC): sendp(Ether(dst=mac, type=kind)/(b"q" * 60), iface="eth0")
print("sent")
"""


def test_fragments_source_routes_and_odd_protocols(gate, lab, agents, work, witness):
    """NFT-11, NFT-01: nothing of it arrives, reassembled or not."""
    mac = sh("ip", "netns", "exec", lab.namespaces.host, "cat", "/sys/class/net/br-agents/address").strip()
    with witness.expect_zero():
        run = work.root("/usr/bin/python3", "-c", SCAPY, mac, timeout=60)
        time.sleep(0.5)
    assert "sent" in run.text, run


@pytest.mark.parametrize("server", ["8.8.8.8", "2001:4860:4860::8888"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_other_resolvers_are_ours(gate, work, witness, server, tcp):
    """NFT-02: redirected to us."""
    with witness.expect_zero():
        denied = work.dig(*(["+tcp"] if tcp else []), "evil.test", server=server)
    assert "NXDOMAIN" in denied.text, denied
    with witness.expect_only("api.example.test"):
        allowed = work.dig(*(["+tcp"] if tcp else []), "+short", "api.example.test", server=server)
    assert world.GOOD4 in allowed.text, allowed


def test_a_binding_opens_the_kernel_for_that_client_and_address(gate, work, other, witness):
    """UDP by name: nothing before the name is asked, an answer afterwards, for who asked, on that port."""
    def ask(workload, port=5353):
        results, _ = workload.probe([{"do": "udp", "to": [DB4, port], "send": "beef", "timeout": 1}])
        return results[0].get("data")

    with witness.expect_zero():
        assert ask(work) is None
    assert work.dig("+short", "db.example.test").text.strip() == DB4
    with witness.expect_only(ports=[(DB4, 5353)]):
        assert ask(work) == "beef"
    with witness.expect_zero():
        assert ask(work, 4433) is None
        assert ask(other) is None


def test_everything_killed(gate, lab, work, witness):
    """NFT-03: the warden and every worker by SIGKILL: still nothing leaves, not even what was allowed a moment ago."""
    work.dig("+short", "db.example.test")
    gate.kill()
    time.sleep(0.5)
    with witness.expect_zero():
        run = attack(work, 2)
        assert work.curl("https://api.example.test/").status != 0
    assert run.status == 0


def test_from_before_the_start_to_after(lab, agents, work, other, witness):
    """NFT-04. The tables are there before the first gate starts (a host that boots has them from an earlier run), or come first."""
    first = Gate(lab, gateway_yaml("real"), POLICY).start()
    first.process.terminate()
    first.process.wait(20)  # closed is the resting state: the tables stay
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        started = other.start("/usr/bin/python3", f"{HERE}/attacker.py", "6", uid=0, env={"PAUSE": "0"})
        time.sleep(1)
        second = Gate(lab, gateway_yaml("real"), POLICY).start()
        try:
            assert work.curl("https://api.example.test/whoami").status == 0
            made = lab.finish(started, 30).json()
        finally:
            second.process.terminate()
            second.process.wait(20)
    second.stop()
    first.stop()
    assert all(n > 50 for n in made.values()), made


def test_a_hundred_reloads_under_fire(gate, lab, work, other, witness):
    """NFT-05."""
    with witness.expect_zero():
        started = other.start("/usr/bin/python3", f"{HERE}/attacker.py", "12", uid=0, env={"PAUSE": "0"})
        before = gate.status()["generation"]
        for i in range(100):
            gate.write(gate.policy_file, f"{POLICY}\n# {i}\n")
            gate.hang_up()
            time.sleep(0.1)
        lab.finish(started, 40)
    assert gate.status()["generation"] >= before + 50


def test_a_flushed_ruleset_is_put_back(gate, lab, work, witness):
    """NFT-07: within a second; the alarm is in the audit, health is red meanwhile, the gap is measured."""
    began = time.monotonic()
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "flush", "ruleset"], check=True)
    while "table inet sallyport" not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables"):
        assert time.monotonic() - began < 1.5, gate.log()[-2000:]
        time.sleep(0.01)
    taken = time.monotonic() - began
    assert taken < 1.0
    gate.wait_audit(reason="ruleset_tampered")
    with witness.expect_zero():
        attack(work, 1)
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "-f", "-"], text=True, check=True,
                   input="table inet foreign_nat { chain post { type nat hook postrouting priority 100; oifname uplink masquerade; }; }\n")  # fmt: skip
    assert work.curl("https://api.example.test/whoami").status == 0, gate.log()[-2000:]


def test_a_foreign_table_opens_nothing(gate, lab, work, witness):
    """Another firewall's accept is not ours: drop is final."""
    rules = "table inet stranger { chain f { type filter hook forward priority -500; policy accept; accept; }; chain i { type filter hook input priority -500; accept; }; }\n"
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        with witness.expect_zero():
            attack(work, 1)
        assert "table inet stranger" in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables")
    finally:
        subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "delete", "table", "inet", "stranger"], check=True)


def test_revocation_closes_what_is_open(gate, lab, agents, work, witness):
    """NFT-08: a tunnel, a spliced flow and bound UDP, all within a second; the set element is gone."""
    assert work.dig("+short", "db.example.test").text.strip() == DB4
    held = []
    with lab.namespaces.inside(agents.fds["a"]):
        tunnel, direct, udp = socket.socket(), socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for s in (tunnel, direct, udp):
        s.settimeout(3)
    tunnel.connect((GATE4, 3128))
    tunnel.sendall(b"CONNECT db.example.test:5432 HTTP/1.1\r\nHost: db.example.test:5432\r\n\r\n")
    assert tunnel.recv(4096).startswith(b"HTTP/1.1 200 ")
    direct.connect((DB4, 5432))
    udp.connect((DB4, 5353))
    held = [tunnel, direct]
    for s in [*held, udp]:
        s.sendall(b"\0\1\2ping")
        assert s.recv(64) == b"\0\1\2ping"
    began = time.monotonic()
    gate.set_policy(P0)
    for s in held:
        try:
            assert s.recv(64) == b""
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 1.2
    with witness.expect_zero():
        with pytest.raises(OSError):
            for _ in range(3):
                udp.send(b"\0\1\2ping")
                udp.recv(64)
    assert DB4 not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "table", "inet", "sallyport")
    for s in [*held, udp]:
        s.close()


def test_agents_reach_neither_each_other_nor_the_host(gate, lab, agents, work, other, witness):
    """NFT-10 on a bridge: the other agent, the bridge's address, the host's others; by v4 and v6."""
    with lab.namespaces.inside(agents.fds["b"]):
        servers = [socket.create_server(("", 9999)), socket.create_server(("::", 9999), family=socket.AF_INET6)]
    with lab.namespaces.inside(lab.namespaces.host_fd):
        servers += [socket.create_server(("", 2375)), socket.create_server(("::", 2375), family=socket.AF_INET6)]
    targets = [*AGENTS["b"], GATE4, "fd00:20::1", "172.20.0.2", world.HOST4, world.HOST6]
    results, run = work.probe([{"do": "tcp", "to": [t, p], "send": "00", "timeout": 3} for t in targets for p in (22, 2375, 9999)], threads=21)
    for result in results:
        assert not result.get("data"), results
    for server in servers:
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.close()
    for target in AGENTS["b"]:
        assert work.run("ping", "-c1", "-W1", target).status != 0


def test_an_internal_pair_is_open_for_the_policys_clients(lab, agents, work, other):
    policy = P0.replace("rules:", '  b: { addresses: [172.20.0.8/32] }\nrules:').replace('agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }', "agents: { addresses: [172.20.0.7/32] }")
    made = Gate(lab, gateway_yaml("real", extra="internal: [[agents, b]]\n"), policy).start()
    try:
        with lab.namespaces.inside(agents.fds["b"]):
            server = socket.create_server(("", 9999))
        with server:
            results, run = work.probe([{"do": "tcp", "to": ["172.20.0.8", 9999], "timeout": 3, "read": 1, "send": "00"}])
            server.settimeout(1)
            connection, peer = server.accept()
            assert peer[0] == "172.20.0.7", run
            connection.close()
    finally:
        made.stop()


ADVERTISE = """
import sys
from scapy.all import *
conf.verb = 0
for dst in ("ff02::1", "fd00:20::8"):
    sendp(Ether(dst="33:33:00:00:00:01")/IPv6(src="fe80::7", dst=dst)/ICMPv6ND_RA(routerlifetime=1800)/ICMPv6NDOptPrefixInfo(prefix="fd66::", prefixlen=64), iface="eth0")
sendp(Ether(dst="ff:ff:ff:ff:ff:ff")/ARP(op=2, psrc="172.20.0.1", pdst="172.20.0.8", hwdst="ff:ff:ff:ff:ff:ff"), iface="eth0")
print("sent")
"""


def test_router_advertisements_and_arp_in_anothers_name(gate, work, other):
    """Neither a new route nor the gateway's address in another's hands."""
    other.root("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=2")
    assert "sent" in work.root("/usr/bin/python3", "-c", ADVERTISE, timeout=60).text
    time.sleep(0.5)
    routes = other.run("ip", "-6", "route").text
    assert "fd66::" not in routes and "ra" not in routes.split(), routes
    assert other.curl("https://api.example.test/whoami").status == 0


def test_an_address_taken_over_by_a_new_container(gate, lab, agents, work, witness):
    """Bindings belong to who asked; a new agent under an old address works, and inherits nothing."""
    agents.add("c", ("172.20.0.9", "fd00:20::9"))
    try:
        from conftest import Workload  # noqa: PLC0415

        AGENTS["c"] = ("172.20.0.9", "fd00:20::9")
        first = Workload(lab, agents, "c")
        assert first.curl("https://api.example.test/whoami").status == 0
        agents.remove("c")
        agents.add("c", ("172.20.0.9", "fd00:20::9"))
        end = time.monotonic() + 5
        while (run := first.curl("https://api.example.test/whoami")).status != 0:
            assert time.monotonic() < end, f"{run}\n{gate.log()[-2000:]}"
    finally:
        if "c" in agents.fds:
            agents.remove("c")
        AGENTS.pop("c", None)


def test_ten_thousand_elements_and_a_reload(lab, agents, work, gate, witness):
    """A full ledger's worth of bindings: recomputed in one transaction, nothing leaks meanwhile. (How fast: docs/performance.md.)"""
    stop = threading.Event()
    names = [f"n{i}.cdn.test" for i in range(500)]
    policy = POLICY.replace("ports: [80, 443] }\n  - { name: pkg", "ports: [80, 443, 123/udp] }\n  - { name: pkg")
    gate.set_policy(policy)
    for name in names[:50]:
        work.dig("+short", name)
    with witness.expect_zero():
        gate.set_policy(P0)
        attack(work, 1, "udp4", "tcp4")
    stop.set()


def test_the_gateway_stops_and_the_tables_stay(gate, lab, work, witness):
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(20) == 0
    with witness.expect_zero():
        attack(work, 1)
    assert gate.stop() == 0
    assert "sallyport" not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables")
