"""What raw sockets on a held network can do to the rules and to its neighbours: NFT-06, NFT-11 and their kind. Agents are root."""

import os
import socket
import threading
import time

import pytest
from small_internet import world
from small_internet.gate import AGENTS, GATE4, P0, Gate, gateway_yaml
from small_internet.namespaces import sh

HERE = os.path.dirname(os.path.abspath(__file__))
ECHO = 5353
POLICY = """
version: 1
clients:
  a: { addresses: [172.20.0.7/32, "fd00:20::7/128"] }
  b: { addresses: [172.20.0.8/32, "fd00:20::8/128"] }
rules:
  - { name: both, action: allow, clients: [a, b], domains: [api.example.test, slow.example.test], ports: [443] }
  - { name: clock, action: allow, clients: [b], domains: [db.example.test], ports: [123/udp, 5353/udp] }
"""
DB4 = "52.1.2.3"


@pytest.fixture
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


def mac_of(namespace, interface):
    return sh("ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{interface}/address").strip()


@pytest.fixture
def frames(lab, work):
    bridge = mac_of(lab.namespaces.host, "br-agents")

    def send(kind, *arguments):
        run = work.root("/usr/bin/python3", f"{HERE}/frames.py", kind, bridge, *arguments, timeout=60)
        assert run.text == "sent\n", run

    return send


def counters(lab):
    text = sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "counters", "table", "bridge", "sallyport")
    words = text.split()
    return {words[i + 1]: int(words[i + 4]) for i, word in enumerate(words) if word == "counter"}


@pytest.mark.parametrize("tags", ["", "8100", "8100,8100", "88a8,8100", "8100,8100,8100", "88a8,88a8", "9100,8100"])
def test_no_wrapper_hides_whose_address_it_is(gate, other, frames, witness, tags):
    """NFT-06: the other agent's address, in any number of VLAN tags that mean no VLAN."""
    assert DB4 in other.dig("+short", "db.example.test").text
    with witness.expect_zero():
        frames("wrapped", tags, DB4, str(ECHO))
        time.sleep(0.3)
    assert not [r for r in gate.audit() if r["client"].get("addr") == AGENTS["b"][0] and r.get("host") == "api.example.test"]


def test_frames_that_a_bridge_gives_its_host_unseen(lab, gate, frames, witness):
    """NFT-01, NFT-10: nothing is answered to an outside source, and no program of the host hears anything."""
    host = lab.namespaces.host
    sh("ip", "netns", "exec", host, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.v-a.rp_filter=0")
    with lab.namespaces.inside(lab.namespaces.host_fd):
        heard = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        heard[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for s in heard:
            s.bind(("", 7000))
            s.setblocking(False)
    with witness.expect_zero():
        frames("link_local")
        time.sleep(0.5)
    for s in heard:
        with s, pytest.raises(BlockingIOError):
            s.recv(100)
    assert not [r for r in gate.audit() if r.get("name") == "secret.evil.test"], "dns was not asked either"


def test_nobody_passes_for_a_multicast_router(lab, gate, agents, other, frames):
    """Else the bridge sends neighbour messages to its port alone, and no other agent has IPv6."""
    url = "https://api.example.test/whoami"
    assert other.curl("-6", url).status == 0
    frames("queried", "2")
    time.sleep(2)
    sh("ip", "netns", "exec", agents.namespaces["b"], "ip", "-6", "neigh", "flush", "dev", "eth0")
    assert other.curl("-6", url).status == 0
    assert counters(lab)["router_advert"] > 20


@pytest.mark.parametrize("attack", ["stolen", "stolen_unseen", "advertised"])
def test_neighbours_keep_their_frames(lab, gate, agents, other, frames, witness, attack):
    """NFT-11's kind: a port that speaks with another's MAC address, or advertises another's address, takes nothing from it."""
    flags = ["-6"] if attack == "advertised" else []
    url = "https://api.example.test/whoami"
    assert other.curl(*flags, url).status == 0
    arguments = [mac_of(agents.namespaces["b"], "eth0")] if attack.startswith("stolen") else []
    attacker = threading.Thread(target=lambda: frames(attack, *arguments, "4"))
    attacker.start()
    try:
        time.sleep(1.5)
        for _ in range(4):
            assert other.curl(*flags, "--max-time", "3", url).status == 0
    finally:
        attacker.join()
    if attack != "stolen_unseen":
        assert counters(lab)["source_spoofed"] > 50, "it was there, and dropped"


@pytest.mark.parametrize("kind", ["redirect", "tproxy"])
def test_errors_about_denied_flows_stay(lab, agents, frames, witness, kind):
    """NFT-01: an ICMP error carries octets of its sender's choice; a flow that was refused is no way out for them."""
    if kind == "tproxy":
        agents.pass_bridged_packets_to_iptables(False)
    gate = Gate(lab, gateway_yaml("real").replace("transparent: redirect", f"transparent: {kind}"), P0).start()
    try:
        with witness.expect_zero():
            frames("own_errors")
            time.sleep(0.3)
    finally:
        gate.stop()
        agents.pass_bridged_packets_to_iptables(True)


def test_errors_about_the_gateways_flows_stay(gate, other, frames, witness):
    for i in range(4):
        other.dig("+short", "api.example.test")
    with witness.expect_zero():
        frames("errors_about_others", world.RESOLVER, world.HOST4)
        time.sleep(0.3)
    assert other.dig("+short", "db.example.test").text.strip() == DB4


def test_a_port_has_a_share_of_the_addresses(lab, gate, work, other, witness):
    """One port cannot be a hundred clients, each with its own limits."""
    addresses = [f"172.20.7.{i}" for i in range(1, 13)]
    for address in addresses:
        work.root("ip", "addr", "add", f"{address}/16", "dev", "eth0")
    try:
        served = 0
        for address in addresses:
            run = work.run("dig", f"@{GATE4}", "-b", address, "+tries=1", "+time=1", "api.example.test", timeout=5)
            served += "status:" in run.text
        assert 0 < served <= 4, served
    finally:
        for address in addresses:
            work.root("ip", "addr", "del", f"{address}/16", "dev", "eth0")
    assert other.dig("+short", "db.example.test").text.strip() == DB4


PINS = {
    "port": "{ 172.20.0.8: { port: v-b }, \"fd00:20::8\": { port: v-b } }",
    "mac": "{ 172.20.0.8: { mac: \"MAC\" }, \"fd00:20::8\": { mac: \"MAC\" } }",
    "both": "{ 172.20.0.8: { port: v-b, mac: \"MAC\" }, \"fd00:20::8\": { port: v-b, mac: \"MAC\" } }",
}


@pytest.mark.parametrize("kind", PINS)
def test_a_pinned_address_is_nobody_elses_even_before_its_owner_has_spoken(lab, agents, work, other, frames, witness, kind):
    """The first taker of an address that nobody has used is dropped, by ARP, IP and neighbour advertisement; its owner is not."""
    pins = PINS[kind].replace("MAC", mac_of(agents.namespaces["b"], "eth0"))
    text = gateway_yaml("real").replace("interfaces: [br-agents]", f"interfaces: [br-agents], pins: {pins}")
    sh("ip", "-n", agents.namespaces["b"], "link", "set", "eth0", "down")
    gate = Gate(lab, text, POLICY).start()
    try:
        with witness.expect_zero():
            frames("taken", "172.20.0.8", "fd00:20::8", world.EVIL4, str(ECHO))
            time.sleep(0.3)
        for name in ("claimed4", "claimed6"):
            held = sh("ip", "netns", "exec", lab.namespaces.host, "nft", "list", "set", "bridge", "sallyport", name)
            assert "172.20.0.8" not in held and "fd000020000000000000000000000008" not in held.replace(":", ""), held
        assert counters(lab)["source_spoofed"] >= 5
        assert not gate.audit(plugin="dns"), "nobody was asked anything"
    finally:
        bring_up(agents, "b")
        gate.stop()
    gate = Gate(lab, text, POLICY).start()
    try:
        assert other.curl("https://api.example.test/whoami").status == 0
        assert other.curl("-6", "https://api.example.test/whoami").status == 0
        assert work.curl("https://api.example.test/whoami").status == 0, "the rest of the network is as ever"
    finally:
        gate.stop()


def bring_up(agents, name):
    """What an interface loses by going down."""
    space = agents.namespaces[name]
    sh("ip", "-n", space, "link", "set", "eth0", "up")
    sh("ip", "-n", space, "addr", "replace", f"{AGENTS[name][1]}/64", "dev", "eth0", "nodad")
    sh("ip", "-n", space, "route", "replace", "default", "via", GATE4)
    sh("ip", "-n", space, "-6", "route", "replace", "default", "via", "fd00:20::1")


def test_who_had_an_address_before_it_was_pinned_does_not_keep_it(lab, agents, gate, work, other):
    """A pin that comes with a reload: the claim of the first taker goes, and its packets with it."""
    work.root("ip", "addr", "add", "172.20.0.77/16", "dev", "eth0")
    try:
        assert "NXDOMAIN" in work.dig("-b", "172.20.0.77", "evil.test").text
        generation = gate.status()["generation"]
        gate.write(gate.config, gateway_yaml("real").replace("interfaces: [br-agents]", "interfaces: [br-agents], pins: { 172.20.0.77: { port: v-b } }"))
        while gate.status()["generation"] == generation:
            time.sleep(0.01)
        assert "evil.test" not in work.dig("-b", "172.20.0.77", "+time=1", "evil.test").text.partition("QUESTION")[2]
        other.root("ip", "addr", "add", "172.20.0.77/16", "dev", "eth0")
        work.root("ip", "addr", "del", "172.20.0.77/16", "dev", "eth0")
        sh("ip", "-n", lab.namespaces.host, "neigh", "flush", "to", "172.20.0.77")
        assert "NXDOMAIN" in other.dig("-b", "172.20.0.77", "evil.test").text
    finally:
        for one in (work, other):
            one.root("ip", "addr", "del", "172.20.0.77/16", "dev", "eth0")
