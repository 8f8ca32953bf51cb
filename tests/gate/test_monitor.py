"""MON-01, MON-03 through a whole gate: what pcap-monitor says beside enforcers, beside a kernel that is open by mistake, of shapes
and volumes, of what it could not see; and what sallyport-monitor says of captures that tcpdump and tshark took."""

import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from small_internet import world
from small_internet.gate import AGENTS, GATE4, P0, UPSTREAMS, Gate, gateway_yaml
from small_internet.namespaces import sh
from small_internet.runner import BUILD, TREE

MONITOR = f"{BUILD}/bin/sallyport-monitor"
AGENT4 = AGENTS["a"][0]
DB4, RANGE4 = "52.1.2.3", "52.5.5.5"
POLICY = P0 + """
  - { name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5353/udp, 5432] }
  - { name: by-address, action: allow, clients: [agents], addresses: [52.5.5.0/24], ports: [4433/udp, 5432] }
"""
ENFORCERS = [
    "{ name: nftables, config: {} }",
    f"{{ name: dns, config: {{ listen: [dns], answers: real, {UPSTREAMS} }} }}",
    f"{{ name: http-proxy, config: {{ listen: [proxy], {UPSTREAMS} }} }}",
    f"{{ name: sni-filter, config: {{ listen: [catch], destination: original, {UPSTREAMS} }} }}",
]


def watching(options="", enforcers=ENFORCERS):
    monitor = f"{{ name: pcap-monitor, config: {{ interfaces: [br-agents], grace: 1s{options and ', ' + options} }} }}"
    return gateway_yaml("real", plugins=[*enforcers, monitor])


# Nothing closes the kernel here, as after a mistake: agents have a way round the gate.
OPEN = watching(enforcers=ENFORCERS[1:3]).replace(", interfaces: [br-agents] }\nlisteners", " }\nlisteners")


class Agent:
    """Flows of agent a by plain sockets: each returns its 5-tuple, (proto, client port, destination, port)."""

    def __init__(self, lab, agents, name="a"):
        self._lab, self._fd = lab, agents.fds[name]

    def _socket(self, address, kind):
        with self._lab.namespaces.inside(self._fd):
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.settimeout(1)
        return made

    def udp(self, address, port, *payloads, wait=0.3):
        with self._socket(address, socket.SOCK_DGRAM) as s:
            s.settimeout(wait or 1)
            s.connect((address, port))
            for payload in payloads or (b"leak",):
                try:
                    s.send(payload)
                except ConnectionRefusedError:  # that of the one before
                    s.send(payload)
                time.sleep(0.002)
            if wait:
                with contextlib.suppress(OSError):
                    s.recv(2048)
            return "udp", s.getsockname()[1], address, port

    def tcp(self, address, port, payload=b""):
        with self._socket(address, socket.SOCK_STREAM) as s:
            try:
                s.connect((address, port))
                s.sendall(payload)
                while s.recv(65536):
                    pass
            except OSError:
                pass
            return "tcp", s.getsockname()[1], address, port

    def http(self, address, host):
        return self.tcp(address, 80, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())

    def tls(self, address, name):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self._socket(address, socket.SOCK_STREAM) as s:
            s.connect((address, 443))
            tuple5 = "tcp", s.getsockname()[1], address, 443
            try:
                with context.wrap_socket(s, server_hostname=name) as channel:
                    channel.sendall(f"GET /whoami HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                    while channel.recv(65536):
                        pass
            except OSError:
                pass
            return tuple5


@pytest.fixture
def agent(lab, agents):
    return Agent(lab, agents)


def alarms(gate):
    return gate.audit(plugin="pcap-monitor")


def shown(record):
    """(reason, proto, client port, destination, port) of an alarm in the audit."""
    return record["reason"], record["proto"], record["client"]["port"], record["addr"], record["port"]


def until(what, timeout=8):
    """Waits until what() is true, and says what it was at the end."""
    end = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < end, f"after {timeout} s: {value}"
        time.sleep(0.05)
    return value


def settle(gate, count, timeout=8):
    """At least so many alarms, and no more of them once every flow so far has had its grace and its judgement."""
    until(lambda: len(alarms(gate)) >= count, timeout)
    time.sleep(2.5)
    return alarms(gate)


def test_beside_enforcers_only_what_they_do_not_decide_is_told(lab, agents, agent, work, witness):
    """MON-01, live: what the enforcers let through or refused is no alarm; what goes round them is one each, by its 5-tuple."""
    gate = Gate(lab, watching(), POLICY).start()
    try:
        with witness.watch() as seen:
            assert work.curl("https://api.example.test/whoami").status == 0
            assert work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status == 0
            assert work.curl("-x", f"http://{GATE4}:3128", "https://evil.test/").status != 0
            assert work.curl("--resolve", f"evil.test:443:{world.EVIL4}", "https://evil.test/").status != 0
            assert "NXDOMAIN" in work.dig("evil.test").text
            assert world.GOOD4 in work.dig("+short", "api.example.test", server="8.8.8.8").text, "led to the gateway"
            work.dig("db.example.test")
            agent.udp(DB4, 5353)
            agent.udp(RANGE4, 4433)  # by address: the kernel decides it, and tells of no flow
            round_it = {
                ("dst_not_bound", *agent.udp(world.EVIL4, 4433)),
                ("dst_not_bound", *agent.udp(world.EVIL6, 4433)),
                ("dst_not_bound", *agent.udp(world.EVIL4, 443)),
                ("port_denied", *agent.udp(DB4, 123)),
            }
            assert work.root("ping", "-c1", "-W1", world.EVIL4).status != 0
            found = settle(gate, 5)
        assert {shown(r) for r in found} == {*round_it, ("ip_literal_denied", "1", None, world.EVIL4, None)}
        for record in found:
            assert record["verdict"] == "deny" and record["count"] == 1, record
            assert record["cause"].startswith("not answered"), record
            assert record["client"]["group"] == "agents", record
        assert not [k for k in seen.arrived if k[1] in (world.EVIL4, world.EVIL6)], seen.arrived
        assert ("udp", RANGE4, 4433) in seen.arrived, seen.arrived
        health = gate.health("pcap-monitor")
        assert health["ok"] and health["complete"] and health["alarms"] == 5, health
    finally:
        gate.stop()


def test_a_kernel_that_is_open_by_mistake(lab, agents, agent, work, witness):
    """MON-01: one flow that is as it should be, five that are not, and all six went through: five reports with the right reasons."""
    gate = Gate(lab, OPEN, POLICY).start()
    try:
        assert "pcap-monitor" in gate.log()
        assert world.GOOD4 in work.dig("+short", "api.example.test").text
        agent.tls(world.GOOD4, "api.example.test")
        wrong = {
            ("no_decision", *agent.tcp(RANGE4, 5432, b"hello")),
            ("no_rule", *agent.tls(world.EVIL4, "evil.test")),
            ("dst_not_bound", *agent.tls(world.EVIL4, "api.example.test")),
            ("dst_not_bound", *agent.udp(world.EVIL4, 4433)),
            ("no_rule", *agent.http(world.EVIL4, "evil.test")),
        }
        found = settle(gate, 5)
        assert witness.count(world.EVIL4, 443) > 0, "it really left"
        assert all(r["cause"].startswith("answered") for r in found), found
        assert {shown(r) for r in found} == wrong
    finally:
        gate.stop()


CAPTURES = f"{TREE}/tests/plugins/pcap-monitor/captures"


def datagrams(capture):
    """What a client sent by UDP, in order."""
    return [bytes(p[UDP].payload) for p in rdpcap(f"{CAPTURES}/{capture}.pcap") if UDP in p and p[UDP].dport == 443]


QUIC = ("single", "multi", "out_of_order", "shuffled", "v2", "v2_multi", "retry", "server_id", "coalesced")
BAD_QUIC = ("tag", "cut", "length", "frame", "lies", "version", "no_hello")


@pytest.mark.parametrize("kernel", ["closed", "open"])
def test_names_in_quic(lab, agents, agent, work, witness, kernel):
    """QUI-03, live: the SNI of Initials that come in one packet, in several, out of order, in version 2; whether the kernel refuses
    them or, open by mistake, does not. What is malformed is counted as unparsed, names nothing, and is an alarm all the same."""
    policy = POLICY + "  - { name: h3, action: allow, clients: [agents], domains: [api.example.test], ports: [443/udp] }\n"
    gate = Gate(lab, watching() if kernel == "closed" else OPEN, policy).start()
    try:
        until(lambda: gate.health("pcap-monitor").get("complete"))
        pid = next(pid for pid, names in gate.workers().items() if "pcap-monitor" in names)
        assert world.GOOD4 in work.dig("+short", "api.example.test").text
        (allowed,) = datagrams("mon01")  # an Initial with the SNI api.example.test
        named, nameless = {}, {}
        with witness.watch() as seen:
            agent.udp(world.GOOD4, 443, allowed, wait=0)
            for number, capture in enumerate(QUIC):  # to an address each: equal alarms within a second are one line
                named[agent.udp(f"185.199.108.{100 + number}", 443, *datagrams(f"quic_{capture}"), wait=0)] = capture
            for number, capture in enumerate(BAD_QUIC):
                nameless[agent.udp(f"185.199.108.{200 + number}", 443, *datagrams(f"quic_bad_{capture}"), wait=0)] = capture
            # Allowed by its address alone, so to say: the name inside is another one.
            inside = agent.udp(world.GOOD4, 443, *datagrams("quic_single"), wait=0)
            found = settle(gate, len(QUIC) + len(BAD_QUIC) + 1)
            # Its own alarms are nobody's decision about what comes after them: the same name is told of again, here and elsewhere.
            again = {agent.udp(address, 443, *datagrams("quic_single"), wait=0) for address in (world.GOOD4, "185.199.108.150")}
            until(lambda: again <= {shown(r)[1:] for r in alarms(gate)})
        told = {shown(r)[1:]: r for r in found}
        assert set(told) == {*named, *nameless, inside}, (found, named, nameless)
        for flow, capture in [*named.items(), (inside, "inside")]:
            assert told[flow]["name"] == "quic.example.test" and told[flow]["reason"] == "quic_denied", (capture, told[flow])
        for flow, capture in nameless.items():
            assert told[flow]["name"] is None and told[flow]["reason"] in ("quic_denied", "dst_not_bound"), (capture, told[flow])
        health = gate.health("pcap-monitor")
        assert health["unparsed"] == len(BAD_QUIC) and health["complete"] and pid in gate.workers(), health
        assert (("udp", "185.199.108.100", 443) in seen.arrived) == (kernel == "open"), seen.arrived
    finally:
        gate.stop()


def question(name, kind=1):
    wire = b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\0"
    return struct.pack("!6H", int.from_bytes(os.urandom(2), "big"), 0x0100, 1, 0, 0, 0) + wire + struct.pack("!2H", kind, 1)


def test_tunnelling_shapes(lab, agents, agent, work):
    """Names, records and echoes that carry data, also where each one of them is allowed or refused by itself."""
    gate = Gate(lab, watching(), POLICY).start()

    def told(word):
        return [r for r in alarms(gate) if r["reason"] == "tunnel_suspect" and word in r["cause"]]

    try:
        for i in range(80):
            agent.udp(GATE4, 53, question(f"n{i}.evil.test"))
        until(lambda: told("no such name"))
        for i in range(25):
            agent.udp(GATE4, 53, question(f"{i:04d}{'d' * 30}.t.cdn.test"))
        until(lambda: told("distinct long names"))
        for i in range(45):
            agent.udp(GATE4, 53, question(f"n{i}.cdn.test", 16))
        until(lambda: told("TXT or NULL"))
        work.root("ping", "-f", "-c", "20", "-s", "1400", "-W1", world.EVIL4)
        until(lambda: told("ICMP echo"))
        found = [r for r in alarms(gate) if r["reason"] == "tunnel_suspect"]
        assert len(found) == 4, "each once a minute"
        assert all(r["client"]["addr"] == AGENT4 and r["client"]["group"] == "agents" for r in found), found
    finally:
        gate.stop()


def test_another_protocol_on_a_port_that_everyone_knows(lab, agents, agent, work):
    """What neither the policy nor an enforcer sees: something else than TLS at a port that an address rule opens."""
    policy = POLICY + "  - { name: any443, action: allow, clients: [agents], addresses: [52.5.5.0/24], ports: [443] }\n"
    gate = Gate(lab, OPEN, policy).start()
    try:
        sent = agent.tcp(world.RAW4, 443, b"SSH-2.0-OpenSSH_9.2\r\n")
        found = until(lambda: alarms(gate))
        assert shown(found[0])[1:] == sent and found[0]["reason"] in ("tunnel_suspect", "no_decision"), found
    finally:
        gate.stop()


def test_upload_volume(lab, agents, agent, work):
    """A destination that is allowed, and more sent there than was said: once."""
    gate = Gate(lab, watching("upload_octets: 1000000"), POLICY).start()
    try:
        base = lab.workspace()
        with open(f"{base}/upload", "wb") as file:
            file.truncate(700_000)
        for kind in ("below", "above", "again"):
            work.curl("-T", f"{base}/upload", "http://pkg.test/upload/x", "-4", "-o", "/dev/null")
            if kind == "below":
                time.sleep(1.5)
                assert not alarms(gate), alarms(gate)
        found = settle(gate, 1)
        assert [r["reason"] for r in found] == ["upload_volume"] and found[0]["client"]["group"] == "agents", found
    finally:
        gate.stop()


def test_what_was_lost_is_counted(lab, agents, agent, work):
    """MON-03: a flood while nobody empties the ring: never a silent "clean"."""
    gate = Gate(lab, watching("ring_octets: 1048576"), POLICY).start()
    try:
        until(lambda: gate.health("pcap-monitor").get("complete"))
        pid = next(pid for pid, names in gate.workers().items() if "pcap-monitor" in names)
        os.kill(pid, signal.SIGSTOP)  # shorter than the warden waits for an answer
        with lab.namespaces.inside(agents.fds["a"]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for _ in range(3000):
                try:
                    s.sendto(b"x" * 1400, (world.EVIL4, 4433))
                except OSError:
                    time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)
        health = until(lambda: (h := gate.health("pcap-monitor"))["kernel_dropped"] > 0 and h)
        assert health["complete"] is False and health["ok"], health
        assert "not everything is seen" in gate.log()
        assert pid in gate.workers(), "the same worker"
    finally:
        gate.stop()


def test_fragments_and_tunnels(lab, agents, agent, work):
    """MON-03, live: fragments that never become whole are counted; what is inside VLANs, GRE, 4in4, 4in6, 6in4 is looked at."""
    # At the agent's port: where br_netfilter is on, a bridge shows datagrams that have been put together.
    gate = Gate(lab, watching().replace("interfaces: [br-agents], grace", "interfaces: [v-a], grace"), POLICY).start()
    script = """
import sys
from scapy.all import *
conf.verb = 0
mac = getmacbyip("172.20.0.1")
def out(p): sendp(Ether(dst=mac)/p, iface="eth0")
flood = [Ether(dst=mac)/IP(dst="185.199.108.66", flags="MF", id=i)/UDP(sport=1, dport=4433)/(b"a" * 64) for i in range(1100)]
sendp(flood, iface="eth0")  # more than are kept
def inner(port): return IP(src="172.20.0.7", dst="185.199.108.66")/UDP(sport=port, dport=port + 1)/b"inside"
six = IPv6(src="fd00:20::7", dst="2a0a:e5c0::66")
out(IP(dst="185.199.108.66")/GRE()/inner(1111))
out(IP(dst="185.199.108.66", proto=4)/inner(2222))
sendp(Ether(dst=mac)/Dot1Q(vlan=5)/inner(3333), iface="eth0")
sendp(Ether(dst=mac)/IPv6(src="fd00:20::7", dst="2a0a:e5c0::66", nh=4)/inner(4444), iface="eth0")
sendp(Ether(dst=mac, type=0x88a8)/Dot1Q(vlan=6)/Dot1Q(vlan=7)/inner(5555), iface="eth0")
out(IP(dst="185.199.108.66", proto=41)/six/UDP(sport=6666, dport=6667)/b"inside")
sendp(Ether(dst=mac)/IPv6(src="fd00:20::7", dst="2a0a:e5c0::66", nh=47)/GRE()/inner(7777), iface="eth0")
print("sent")
"""
    try:
        run = work.root("/usr/bin/python3", "-c", script, timeout=60)
        assert "sent" in run.text, run
        inside = {("udp", port) for port in (1111, 2222, 3333, 4444, 5555, 6666, 7777)}
        until(lambda: inside <= {(r["proto"], r["client"]["port"]) for r in alarms(gate)})
        until(lambda: any(r["proto"] in ("47", "gre") for r in alarms(gate)))
        health = until(lambda: (h := gate.health("pcap-monitor"))["fragments_lost"] > 0 and h)
        assert health["complete"] is False, health
    finally:
        gate.stop()


def test_an_interface_that_goes_is_no_silence(lab, agents):
    """A monitor that sees nothing says so: the gateway is unhealthy."""
    host = lab.namespaces.host
    sh("ip", "-n", host, "link", "add", "goes", "type", "veth", "peer", "name", "goes-too")
    sh("ip", "-n", host, "link", "set", "goes", "up")
    gate = Gate(lab, watching().replace("interfaces: [br-agents], grace", "interfaces: [br-agents, goes], grace"), POLICY).start()
    try:
        until(lambda: gate.status()["healthy"])
        sh("ip", "-n", host, "link", "del", "goes")
        until(lambda: not gate.status()["healthy"])
        assert gate.health("pcap-monitor")["ok"] is False and "went away" in gate.log()
    finally:
        subprocess.run(["ip", "-n", host, "link", "del", "goes"], stderr=subprocess.DEVNULL)
        gate.stop()


def test_killed_and_back_in_the_middle_of_flows(lab, agents, agent, work, other):
    """REL-08 for the monitor: back within 2 s; flows that it saw only from their middle are no false alarm, and it sees again."""
    gate = Gate(lab, watching(), POLICY).start()
    try:
        base = lab.workspace()
        download = work.start("curl", "-sS", "-4", "--limit-rate", "200k", "--max-time", "9", "-o", "/dev/null", "https://api.example.test/big", base=base)
        time.sleep(1)
        pid = next(pid for pid, names in gate.workers().items() if "pcap-monitor" in names)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in gate.workers() and gate.status()["healthy"], 5)
        assert time.monotonic() - began < 2
        sent = ("dst_not_bound", *agent.udp(world.EVIL4, 4433))
        found = settle(gate, 1)
        assert [shown(r) for r in found] == [sent], found
        download[0].kill()
        lab.finish(download)
    finally:
        gate.stop()


def take(lab, path, program):
    """Starts a capture on the bridge, and returns a function that ends it."""
    command = {
        "tcpdump": ["tcpdump", "-i", "br-agents", "-U", "-w", path, "-Z", "root"],
        "tcpdump-64": ["tcpdump", "-i", "br-agents", "-U", "-s", "64", "-w", path, "-Z", "root"],
        "tshark": ["tshark", "-q", "-i", "br-agents", "-w", path],
    }[program]
    log = open(f"{path}.log", "wb")
    process = lab.namespaces.spawn(lab.namespaces.host_fd, command, stderr=log, stdout=log, env={"PATH": os.environ["PATH"], "HOME": lab.namespaces.state})

    def ready():
        with open(f"{path}.log") as file:
            text = file.read()
        assert process.poll() is None, text
        return "listening on" in text or "Capturing on" in text

    until(ready, 20)
    time.sleep(0.5)  # dumpcap says so a little before it does

    def end():
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        log.close()

    return end


def read(path, policy, *arguments):
    run = subprocess.run([MONITOR, "--read", path, "-p", policy, "--gateway", GATE4, *arguments], capture_output=True, text=True, timeout=60)
    return run.returncode, [json.loads(line) for line in run.stdout.splitlines()], run.stderr


@pytest.mark.parametrize("program", ["tcpdump", "tshark"])
def test_offline(lab, agents, agent, work, program):
    """MON-01, offline: the same five of the same six flows, by a capture that somebody else took."""
    gate = Gate(lab, gateway_yaml("real", plugins=ENFORCERS[1:3]).replace(", interfaces: [br-agents] }\nlisteners", " }\nlisteners"), POLICY).start()
    try:
        path = f"{gate.directory}/{program}.pcap"
        end = take(lab, path, program)
        work.dig("+short", "api.example.test")
        good = agent.tls(world.GOOD4, "api.example.test")
        wrong = {
            ("no_rule", *agent.tls(world.EVIL4, "evil.test")),
            ("dst_not_bound", *agent.tls(world.EVIL4, "api.example.test")),
            ("dst_not_bound", *agent.udp(world.EVIL4, 4433)),
            ("no_rule", *agent.http(world.EVIL4, "evil.test")),
            ("dst_not_bound", *agent.tcp(DB4, 5432, b"hello")),
        }
        end()
        status, lines, errors = read(path, gate.policy_file)
        found = {(a["reason"], a["proto"], a["client_port"], a["dest"], a["port"]) for a in lines if a["kind"] == "alarm"}
        assert found == wrong and status == 1, (found, errors)
        flows = {(f["proto"], f["client_port"], f["dest"], f["port"]): f for f in lines if f["kind"] == "flow"}
        assert flows[good]["standing"] == "allowed" and flows[good]["name"] == "api.example.test", flows[good]
        assert lines[-1]["kind"] == "summary" and lines[-1]["complete"] is True, lines[-1]
    finally:
        gate.stop()


def test_offline_with_64_octets_of_each_packet(lab, agents, agent, work):
    """MON-03: what was cut off is counted, and no "clean" is said: status 4 where nothing else is wrong."""
    gate = Gate(lab, gateway_yaml("real", plugins=ENFORCERS[1:3]).replace(", interfaces: [br-agents] }\nlisteners", " }\nlisteners"), POLICY).start()
    try:
        path = f"{gate.directory}/cut.pcap"
        end = take(lab, path, "tcpdump-64")
        assert work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status == 0
        end()
        status, lines, errors = read(path, gate.policy_file)
        assert lines[-1]["complete"] is False and lines[-1]["truncated"] > 0, lines[-1]
        assert status == 4, (status, errors, [a for a in lines if a["kind"] == "alarm"])
    finally:
        gate.stop()
