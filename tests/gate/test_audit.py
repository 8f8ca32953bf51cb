"""ACCEPTANCE section 5: every deny writes exactly one record, {time, client, plugin, verdict, reason, name, addr, port, rule}, whichever
layer refuses and whether the policy was asked or not. What is folded within a second (equal records) adds up by its count."""

import re
import time

import pytest

from dns_client import EDNS, query
from proxy_client import connect_to, everything, head_of
from small_internet import world
from small_internet.gate import AGENTS, P0, Gate, gateway_yaml
from small_internet.messages import extension, hello, records
from test_proxy import REFUSED

POLICY = P0.replace("rules:\n", """rules:
  - { name: never, action: deny, clients: [agents], domains: [never.cdn.test] }
  - { name: raw, action: allow, clients: [agents], domains: [raw.example.test], ports: [443] }
""")


@pytest.fixture(scope="module")
def gate(lab, agents):
    text = gateway_yaml("real").replace("listen: [proxy],", "listen: [proxy], allow_grease_ech: true,")
    made = Gate(lab, text, POLICY).start()
    yield made
    made.stop()


class Denials:
    """Those of one plugin since it was made; they have to be as many as was said, and whole."""

    def __init__(self, gate, plugin):
        self._gate, self._plugin, self._before = gate, plugin, len(gate.audit(plugin=plugin))

    def _found(self):
        return [r for r in self._gate.audit(plugin=self._plugin)[self._before :] if r["verdict"] == "deny"]

    def are(self, number):
        end = time.monotonic() + 5
        while sum(r["count"] for r in self._found()) < number:
            assert time.monotonic() < end, (number, [(r["name"] or r["addr"] or r.get("raw"), r["port"] or r["dns"], r["reason"], r["count"]) for r in self._found()])
            time.sleep(0.05)
        time.sleep(1.3)  # a folded one would come later
        found = self._found()
        assert sum(r["count"] for r in found) == number, found
        live = self._gate.status()["generation"]
        for r in found:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", r["ts"]) and r["kind"] == "decision" and r["effective"] == "deny", r
            assert r["generation"] == live and r["client"]["group"] == "agents", r
            assert r["client"]["addr"] in (AGENTS["a"][0], AGENTS["a"][1]) and r["client"]["port"], r
            assert "rule" in r and "addr" in r and "port" in r, r
            assert r["name"] or r["addr"] or r.get("raw"), f"nobody knows what was wanted: {r}"
        return found


def test_every_refusal_of_the_explicit_proxy(gate, send):
    told = Denials(gate, "http-proxy")
    for _, octets, _ in REFUSED:
        send(octets)
    send(connect_to("never.cdn.test:443"))
    found = told.are(len(REFUSED) + 1)
    (never,) = [r for r in found if r["name"] == "never.cdn.test"]
    assert never["rule"] == "never" and never["port"] == 443 and re.fullmatch(r"policy\.yaml:\d+", never["where"]), never
    asked = {r["reason"] for r in found if r["where"]}
    # A literal may be any name, also one that a rule denies.
    assert asked == {"no_rule", "port_denied", "name_not_allowed"}, "the policy is named where it was asked"


def test_a_tunnel_that_is_closed_for_its_first_octets(gate, connect):
    """HTP-18 to -20."""
    rows = {"not_tls": b"GET / HTTP/1.1\r\nHost: raw.example.test\r\n\r\n", "sni_mismatch": records(hello(b"evil.test")), "sni_missing": records(hello(None)),
            "sni_malformed": records(hello(world.RAW4.encode())), "tls_malformed": b"\x16\x03\x01\xff\xff" + bytes(40)}  # fmt: skip
    told = Denials(gate, "http-proxy")
    for data in rows.values():
        with connect() as s:
            s.sendall(connect_to("raw.example.test:443"))
            assert head_of(s).startswith(b"HTTP/1.1 200 ")
            s.sendall(data)
            everything(s)
    found = told.are(len(rows))
    assert [(r["reason"], r["name"], r["port"], r["rule"]) for r in found] == [(reason, "raw.example.test", 443, "raw") for reason in rows], found


def test_a_hello_that_hides_a_name_is_told_by_the_proxy(gate, connect):
    """TLS-11, decision 8: what `allow_grease_ech` lets pass through a tunnel is in the audit as such."""
    data = records(hello(after=[extension(0xFE0D, b"\0" + bytes(64))]))
    with connect() as s:
        s.sendall(connect_to("raw.example.test:443"))
        assert head_of(s).startswith(b"HTTP/1.1 200 ")
        s.sendall(data)
        received = b""
        while len(received) < len(data) and (more := s.recv(65536)):
            received += more
        assert received == data
    (record,) = gate.wait_audit(plugin="http-proxy", reason="ech_present")
    assert record["verdict"] == "allow" and record["tls"] == {"sni": "raw.example.test", "alpn": "h2", "ech": True} and record["rule"] == "raw", record


def test_every_refusal_of_a_name(gate, ask):
    told = Denials(gate, "dns")
    names = [query(f"n{i}.evil.test", edns=EDNS) for i in range(20)]
    odd = [query("api.example.test", kind) for kind in ("TXT", "HTTPS", "MX", 252)]
    odd += [query("a", wire=b"\x03a\0b\x03cdn\x04test\0"), query("a", wire=b"\x06a\r\n{\"}\x03cdn\x04test\0"), query("never.cdn.test"), query("evil.test", "ANY")]
    for one in names + odd:
        ask(one)
        ask(one, tcp=True)
    found = told.are(2 * (len(names) + len(odd)))
    assert {r["reason"] for r in found} == {"no_rule", "name_not_allowed", "qtype_denied", "name_malformed"}
    assert {r["dns"]["transport"] for r in found} == {"udp", "tcp"}
    assert {r["raw"] for r in found if r["reason"] == "name_malformed"} == {r"a\x00b.cdn.test", r'a\x0d\x0a{"}.cdn.test'}


def test_every_refusal_of_a_transparent_flow(gate, work):
    told = Denials(gate, "sni-filter")
    malformed = [hello(None), hello(b"evil.test"), hello(b"52.5.5.5"), hello(b"raw.example.test."), hello(after=[extension(0xFE0D, b"\0" + bytes(64))])]
    sent = [records(one) for one in malformed] + [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", bytes(32)]
    steps = [{"do": "tcp", "to": [a, 443], "send": data.hex(), "timeout": 9} for data in sent for a in (world.EVIL4, world.EVIL6)]
    steps += [{"do": "tcp", "to": [world.EVIL4, port], "timeout": 9} for port in (22, 5432)]
    steps += [{"do": "tcp", "to": [world.EVIL4, 80], "send": f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode().hex(), "timeout": 9} for host in ("evil.test", "8.8.8.8", "a b")]
    results, run = work.probe(steps, threads=4)
    found = told.are(len(steps))
    where = {(world.EVIL4, p) for p in (22, 80, 443, 5432)} | {(world.EVIL6, 443)}
    assert {(r["addr"], r["port"]) for r in found if not r["name"]} == where, "where it wanted to go, if it named nobody"
    assert {r["client"]["port"] for r in found} <= {r["local"] for r in results if "local" in r} | {r["client"]["port"] for r in found if r["port"] in (22, 5432)}
    assert {r["name"] for r in found} == {None, "evil.test"}, found


def test_what_the_kernel_refuses(gate, work):
    """Counted by port: who it was the kernel does not say."""
    ports = (123, 853, 4433)
    for port in ports:
        work.probe([{"do": "udp", "to": [world.EVIL4, port], "send": "00", "timeout": 1}])
    for port in ports:
        (record,) = gate.wait_audit(plugin="nftables", reason="udp_denied", port=port)
        assert record["verdict"] == "deny" and record["count"] == 1 and record["proto"] == "udp" and record["client"]["group"] is None, record
