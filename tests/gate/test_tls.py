"""sni-filter behind the kernel's redirect or TPROXY: TLS-01 to -14, QUI-01, QUI-02, DOH-01 through the whole gate, the witness outside.

Four gates: true answers with `dial-own` and `strict`, the gateway's own address, and TPROXY in place of the redirect. raw.example.test
echoes what it gets: an accepted hello comes back octet for octet.
"""

import hashlib
import os
import socket
import ssl
import struct
import time

import pytest
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from small_internet import world
from small_internet.gate import GATE4, P0, Gate, gateway_yaml
from small_internet.messages import ALPN, GREASE, GROUPS, SIGNATURES, X25519, X25519MLKEM768, extension, hello, key_share, records, sni, versions
from small_internet.runner import TREE

POLICY = P0 + """
  - { name: raw, action: allow, clients: [agents], domains: [raw.example.test], ports: [80, 443, 5432, 8443] }
  - { name: other, action: allow, clients: [agents], domains: [other.example.test], ports: [80, 443] }
  - { name: git, action: allow, clients: [agents], domains: [git.example.test], ports: [22, 443] }
"""
DENIED = ["sni_not_allowed", "sni_mismatch", "no_rule", "name_not_allowed"]
UDP_PORTS = (80, 443, 853, 784, 8853, 4433, 123, 3478)  # QUI-02's
RAW = [(a, p) for a in (world.RAW4, world.RAW6) for p in (80, 443, 5432, 8443)]


@pytest.fixture(scope="module", params=["dial-own", "strict", "gateway", "tproxy"])
def gate(request, lab, agents):
    answers = "gateway" if request.param == "gateway" else "real"
    text = gateway_yaml(answers)
    if request.param == "strict":
        text = text.replace("destination: original", "destination: original, binding: strict, allow_grease_ech: true")
    if request.param == "tproxy":
        text = text.replace("transparent: redirect", "transparent: tproxy")
        agents.pass_bridged_packets_to_iptables(False)
    made = Gate(lab, text, POLICY).start()
    made.mode = request.param
    yield made
    made.stop()
    agents.pass_bridged_packets_to_iptables(True)


def converse(work, *flows, **options):
    """Each flow: a dict of probe.py's tcp step; `to` defaults to raw.example.test:443. Names are asked of the gate."""
    steps = [{"do": "tcp", "to": ["raw.example.test", 443], "family": 4, "timeout": 9, **flow} for flow in flows]
    return work.probe(steps, threads=16, **options)


def passes(work, data, **flow):
    results, run = converse(work, {"send": data.hex(), "read": len(data), **flow})
    assert bytes.fromhex(results[0].get("data", "")) == data, (results[0], run)


def refused(result, seconds=2.0):
    if "error" in result:
        return result["error"] in ("ECONNREFUSED", "ECONNRESET") and result["seconds"] < seconds
    data = bytes.fromhex(result["data"])
    closed = data == b"" or data[0] == 21 or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))
    return result["end"] in ("reset", "eof") and result["seconds"] < seconds and closed


def denies(gate, work, witness, data, reasons, **flow):
    """Closed, told, and nothing outside but the look-up of the name. (Of repeats within a second the audit has one line with a count.)"""
    def told():
        return gate.audit(plugin="sni-filter", verdict="deny")

    def total():
        return sum(r["count"] for r in told() if r["reason"] in reasons)

    already, count = len(told()), total()
    with witness.expect_only("raw.example.test"):
        results, run = converse(work, {"send": data.hex(), **flow})
    assert refused(results[0], flow.get("seconds", 2.0)), (results, run)
    end = time.monotonic() + 5
    while True:
        own = [r for r in told()[already:] if r["client"]["port"] == results[0]["local"]]
        assert {r["reason"] for r in own} <= set(reasons), own
        if own or total() > count:
            return
        assert time.monotonic() < end, (results, told()[-4:])
        time.sleep(0.02)


def test_splice_keeps_certificate_and_hello(gate, lab, work, witness):
    """TLS-01."""
    code = (
        "import ssl,socket,sys,hashlib; c=ssl.create_default_context(); s=c.wrap_socket(socket.create_connection((sys.argv[1],443),5),server_hostname=sys.argv[1]);"
        "print(s.version(), hashlib.sha256(s.getpeercert(True)).hexdigest())"
    )
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        run = work.run("/usr/bin/python3", "-c", code, "api.example.test")
    with open(lab.servers.certificates.certificate) as file:
        der = ssl.PEM_cert_to_DER_cert(file.read())
    assert run.text.split() == ["TLSv1.3", hashlib.sha256(der).hexdigest()], f"{run}\n{gate.audit()[-4:]}"
    data = records(hello())
    passes(work, data)
    assert any(c.data == data for c in lab.servers.connections(port=443))


def test_allowed_name_at_an_address_of_the_clients_choice(gate, lab, work, witness):
    """TLS-02: dial-own reaches our answer; strict closes. At the guest's address: nobody."""
    data = records(hello(b"raw.example.test"))
    with witness.expect_only("raw.example.test", ports=RAW):
        results, run = converse(work, {"send": data.hex(), "read": len(data), "to": [world.EVIL4, 443]}, {"send": data.hex(), "read": len(data), "to": [world.EVIL6, 443], "family": 6})
    for result in results:
        if gate.mode in ("dial-own", "tproxy"):
            assert bytes.fromhex(result.get("data", "")) == data, (results, run)
        elif gate.mode == "strict":
            assert refused(result), (results, run)
    if gate.mode == "strict":
        gate.wait_audit(reason="dst_not_bound")
    assert not [c for c in lab.servers.connections(world.EVIL4, 443) if c.data == data]


@pytest.mark.parametrize("name", [b"evil.test", b"raw.example.test.evil.test", b"xraw.example.test", b"example.test"])
def test_denied_sni_at_a_bound_address(gate, work, witness, name):
    """TLS-03."""
    denies(gate, work, witness, records(hello(name)), DENIED)


MALFORMED = {
    "missing": hello(None),
    "no-extensions": hello(None, extensions=[]),
    "empty-list": hello(None, before=[extension(0, b"\0\0")]),
    "other-type": hello(None, before=[sni(b"raw.example.test", kind=1)]),
    "two-names": hello(None, before=[sni(b"raw.example.test", b"raw.example.test")]),
    "two-extensions": hello(None, before=[sni(b"raw.example.test"), sni(b"raw.example.test")]),
    "allowed-then-denied": hello(None, before=[sni(b"raw.example.test", b"evil.test")]),
    "ipv4": hello(b"52.5.5.5"),
    "ipv6": hello(b"2600:1f18::5"),
    "trailing-dot": hello(b"raw.example.test."),
    "nul": hello(b"raw.example.test\0.evil.test"),
    "port": hello(b"raw.example.test:443"),
    "space": hello(b"raw.example.test "),
    "utf8": hello("räw.example.test".encode()),
    "long": hello(b"a" * 256),
    "empty-name": hello(b""),
    "name-length-lies": hello(None, before=[extension(0, struct.pack("!HBH", 19, 0, 17) + b"raw.example.test")]),
    "list-length-lies": hello(None, before=[extension(0, struct.pack("!HBH", 20, 0, 16) + b"raw.example.test")]),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_wrong_sni(gate, work, witness, kind):
    """TLS-04."""
    denies(gate, work, witness, records(MALFORMED[kind]), ["sni_missing" if kind in ("missing", "no-extensions") else "sni_malformed"])


def test_case_is_folded(gate, work):
    """TLS-04."""
    passes(work, records(hello(b"RAW.ExAmPlE.test")))


def test_cuts(gate, work, witness):
    """TLS-05, TLS-06: each cut into two segments and two records, allowed and denied; records of one octet. (Of one gate; the others every seventh.)"""
    good, bad = hello(), hello(b"evil.test")
    wire_good, wire_bad = records(good), records(bad)
    cuts = range(1, len(good), 1 if gate.mode == "dial-own" else 7)
    flows = [{"pieces": [wire_good[:i].hex(), wire_good[i:].hex()], "read": len(wire_good)} for i in cuts]
    flows += [{"send": records(good, i).hex(), "read": len(records(good, i))} for i in cuts] + [{"send": records(good, size=1).hex(), "read": len(records(good, size=1))}]
    results, run = converse(work, *flows, timeout=120)
    wrong = [i for i, (r, f) in enumerate(zip(results, flows)) if r.get("data") != f.get("send", "".join(f.get("pieces", [])))]
    assert not wrong, (wrong, results[wrong[0]], run)
    with witness.expect_only("raw.example.test"):
        cuts = range(1, len(bad), cuts.step)
        results, run = converse(work, *({"pieces": [wire_bad[:i].hex(), wire_bad[i:].hex()]} for i in cuts), *({"send": records(bad, i).hex()} for i in cuts), {"send": records(bad, size=1).hex()}, timeout=120)
    assert not [r for r in results if not refused(r, 5)], run


def test_post_quantum_hello_with_its_name_last(gate, work, witness):
    """TLS-07."""
    def big(name):
        return records(hello(None, extensions=[GROUPS, SIGNATURES, ALPN, versions(0x0304), key_share(X25519MLKEM768, X25519), sni(name)]))

    assert len(big(b"raw.example.test")) > 1400
    passes(work, big(b"raw.example.test"))
    denies(gate, work, witness, big(b"evil.test"), DENIED)


def test_large_hello_and_too_large(gate, work, witness):
    """TLS-08."""
    small = len(hello(after=[extension(65000, b"")]))
    passes(work, records(hello(after=[extension(65000, os.urandom(11_414 - small))])))
    # Its extensions alone may have 65,535 octets, and its cipher suites as many.
    most = hello(ciphers=range(0xC000, 0xC000 + 5), after=[extension(65000, os.urandom(60_000))])
    large = hello(ciphers=[0x1301] * ((64 * 1024 + 2 - len(most)) // 2 + 5), after=[extension(65000, os.urandom(60_000))])
    assert len(large) > 64 * 1024
    denies(gate, work, witness, records(large), ["hello_too_large"])


def lies():
    """Each length field of a hello, one too large and one too small, and the hello cut at each seventh octet."""
    plain = hello()
    ciphers = 71
    compression = ciphers + 2 + struct.unpack_from("!H", plain, ciphers)[0]
    fields = {"handshake": (1, 3), "session": (38, 1), "ciphers": (ciphers, 2), "compression": (compression, 1), "extensions": (compression + 2, 2), "first-extension": (compression + 6, 2)}
    for field, (offset, width) in fields.items():
        value = int.from_bytes(plain[offset : offset + width], "big")
        for change in (-1, 1):
            yield f"{field}{change:+d}", records(plain[:offset] + (value + change).to_bytes(width, "big") + plain[offset + width :])
    for cut in range(4, len(plain), 7):
        body = plain[4:cut]
        yield f"cut-{cut}", records(b"\x01" + struct.pack("!I", len(body))[1:] + body)
    for size in (0, 1, 0xFFFF):
        yield f"record-{size}", b"\x16\x03\x01" + struct.pack("!H", size) + plain


def test_lying_lengths(gate, work, witness):
    """TLS-13: every one is closed, at once or when nothing more comes; nothing is dialled."""
    rows = list(lies())
    with witness.expect_only("raw.example.test"):
        results, run = converse(work, *({"send": data.hex()} for _, data in rows), timeout=100)
    assert [(name, r) for (name, _), r in zip(rows, results) if not refused(r, 8)] == [], run


def test_grease_and_versions(gate, work, witness):
    """TLS-09, TLS-10."""
    parts = [sni(b"raw.example.test"), SIGNATURES, ALPN, extension(10, struct.pack("!4H", 6, GREASE, 29, 23)), versions(GREASE, 0x0304, 0x0303), key_share((GREASE, 1), X25519)]
    greased = [extension(GREASE, b"\0"), extension(0x1A1A, b""), extension(0xFF77, os.urandom(40))]
    for i in range(len(parts)):  # shuffled, with what nobody knows between
        passes(work, records(hello(extensions=[*parts[i:], *greased, *parts[:i]], ciphers=(GREASE, 0x1301, 0x1302))))
    passes(work, records(hello(extensions=[sni(b"raw.example.test"), GROUPS, SIGNATURES, versions(0x0304), key_share(X25519)], ciphers=(0x1301,))))
    for version in (0x0303, 0x0301):
        passes(work, records(hello(extensions=[sni(b"raw.example.test"), GROUPS, SIGNATURES], version=version)))
    sslv2 = bytes.fromhex("802e0100020015000000100100800300800700c006004002008004008000") + os.urandom(16)
    denies(gate, work, witness, sslv2, ["tls_malformed"])


def test_ech(gate, work, witness):
    """TLS-11: denied, unless the operator lets it pass: then an allowed outer name passes, and the audit says so. ESNI hides the only name."""
    ech, esni = (extension(kind, b"\0" + os.urandom(64)) for kind in (0xFE0D, 0xFFCE))
    denies(gate, work, witness, records(hello(after=[esni])), ["ech_denied"])
    data = records(hello(after=[ech]))
    if gate.mode != "strict":
        return denies(gate, work, witness, data, ["ech_denied"])
    results, run = converse(work, {"send": data.hex(), "read": len(data)})
    assert bytes.fromhex(results[0].get("data", "")) == data, (results, run)
    found = gate.wait_audit(plugin="sni-filter", reason="ech_present", verdict="allow")
    assert found[-1]["tls"]["ech"] is True and found[-1]["name"] == "raw.example.test", found
    denies(gate, work, witness, records(hello(b"evil.test", after=[ech])), DENIED)


def test_half_a_hello_and_silence(gate, work, witness):
    """TLS-12: 5 s, no SYN upstream."""
    denies(gate, work, witness, records(hello())[:60], ["hello_timeout"], seconds=7.5)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: raw.example.test\r\n\r\n", b"SSH-2.0-x\r\n", b"EHLO x\r\n", b"\0" * 32, b"\x15\x03\x01\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + bytes(16)], ids=["http", "ssh", "smtp", "zeros", "alert", "data"])
def test_no_tls_on_443(gate, work, witness, data):
    """TLS-14; also the first octets of other TLS messages."""
    denies(gate, work, witness, data, ["not_tls", "tls_malformed"])


def test_silence_on_443(gate, work, witness):
    """TLS-14: not one octet."""
    denies(gate, work, witness, b"", ["hello_timeout"], seconds=7.5)


def test_clear_http(gate, work, witness):
    """Host decides: allowed, denied, and a second request of another Host on the same connection."""
    with witness.expect_only("pkg.test", ports=[(world.PKG4, 80), (world.PKG6, 80)]):
        run = work.curl("http://pkg.test/whoami")
        assert "host=pkg.test" in run.text, f"{run}\n{gate.audit()[-4:]}"
        run = work.curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: evil.test", "http://pkg.test/")
        assert run.text in ("400", "403"), run


def test_ssh_by_name(gate, work, witness):
    """A server that speaks first, by the binding of its address; the same name on another port."""
    if gate.mode == "gateway":
        pytest.skip("one address stands for every name there: what speaks first has none")
    steps = [{"do": "tcp", "to": ["git.example.test", port], "read": 4, "family": 4} for port in (22, 23)]
    with witness.expect_only("git.example.test", ports=[(world.GIT4, 22), (world.GIT6, 22)]):
        results, run = work.probe(steps)
    assert bytes.fromhex(results[0]["data"]).startswith(b"SSH-"), (results, run, gate.audit()[-4:])
    assert refused(results[1]), results


def test_literal_addresses(gate, work, witness):
    """DOH-01 by address, and every other: reset at once."""
    targets = [(a, p) for a in (world.EVIL4, "8.8.8.8", world.BLACKHOLE4) for p in (22, 80, 443, 853, 5432, 8080)]
    with witness.expect_zero():
        results, run = work.probe([{"do": "tcp", "to": list(t), "send": "00", "timeout": 8} for t in targets], threads=18)
    assert not [(t, r) for t, r in zip(targets, results) if not refused(r, 7.5)], results


def test_udp_is_refused_so_that_clients_fall_back(gate, work, witness):
    """QUI-01, QUI-02: an ICMP error at once, for as many flows as a browser tries; counted by port; nothing leaves."""
    with witness.expect_only("api.example.test"):
        for port in UDP_PORTS:
            results, run = work.probe([{"do": "udp", "to": [a, port], "send": "c0" * 40, "timeout": 2} for a in (world.EVIL4, "api.example.test", world.EVIL6) for _ in range(8)], threads=24)
            for result in results:
                assert result.get("error") == "ECONNREFUSED" and result["seconds"] < 1, (port, results, run)
    for port in UDP_PORTS:
        gate.wait_audit(plugin="nftables", verdict="deny", reason="quic_denied" if port == 443 else "udp_denied", port=port)


def test_one_floods_and_the_others_are_told(gate, work, other, witness):
    """QUI-01: refusals have a share for each source: who sends thousands of datagrams does not use up what is for all."""
    flood = "import socket, time\ns = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]\nend = time.monotonic() + 4\nwhile time.monotonic() < end:\n    for one in s: one.sendto(b'x' * 40, ('%s', 443))\n" % world.EVIL4
    with witness.expect_zero():
        started = other.start("/usr/bin/python3", "-c", flood)
        time.sleep(0.5)
        results, run = work.probe([{"do": "udp", "to": [world.EVIL4, 443], "send": "c0" * 40, "timeout": 2} for _ in range(8)], threads=2)
        work.lab.finish(started, 20)
    assert [r for r in results if r.get("error") == "ECONNREFUSED" and r["seconds"] < 1] == results, (results, run)


# What a client of HTTP/3 does (Debian's curl has none): an Initial first, and TCP as soon as it hears that nobody is there.
FALL_BACK = """
import socket, ssl, sys, time
name, initial = sys.argv[1], bytes.fromhex(sys.argv[2])
for family in map(int, sys.argv[3:]):
    began = time.monotonic()
    where = socket.getaddrinfo(name, 443, family, socket.SOCK_STREAM)[0][4]
    quic = socket.socket(family, socket.SOCK_DGRAM)
    quic.settimeout(3)
    quic.connect(where)
    quic.send(initial)
    try:
        quic.recv(2048)
        print("an answer by UDP")
    except OSError as error:
        print(type(error).__name__, end=" ")
    tls = ssl.create_default_context().wrap_socket(socket.create_connection(where[:2], 3), server_hostname=name)
    tls.sendall(f"GET /whoami HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(tls.recv(65536).split()[1].decode(), round(time.monotonic() - began, 3))
"""


def test_a_client_falls_back_from_quic_within_a_second(gate, work, witness):
    """QUI-01: the whole of it, over both families; no datagram leaves."""
    initial = bytes(next(iter(rdpcap(f"{TREE}/tests/plugins/pcap-monitor/captures/quic_single.pcap")))[UDP].payload)
    # `strict`: the name is asked of the resolver by IPv4, and a binding belongs to the address that asked.
    families = [socket.AF_INET, *([] if gate.mode == "strict" else [socket.AF_INET6])]
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]) as seen:
        run = work.run("/usr/bin/python3", "-c", FALL_BACK, "api.example.test", initial.hex(), *(str(int(f)) for f in families))
    words = [line.split() for line in run.text.splitlines()]
    assert [w[:2] for w in words] == [["ConnectionRefusedError", "200"]] * len(families) and all(float(w[2]) < 1 for w in words), run
    assert not [k for k in seen.arrived if k[0] == "udp" and k[2] == 443], seen.arrived
    gate.wait_audit(plugin="nftables", reason="quic_denied", port=443)


def test_dns_over_https_and_tls_names(gate, work, witness):
    """DOH-01: by name, transparently and through the proxy; by address through the proxy."""
    with witness.expect_zero():
        for target in ("dns.google:443", "dns.quad9.net:853", f"{world.RESOLVER}:443", f"[{world.RESOLVER6}]:853"):
            run = work.curl("-o", "/dev/null", "-w", "%{http_connect}", "--proxytunnel", "-x", f"http://{GATE4}:3128", f"https://{target}/dns-query")
            assert run.text == "403", run
        for name in ("dns.google", "cloudflare-dns.com", "dns.quad9.net"):
            assert work.curl(f"https://{name}/dns-query?name=evil.test").status == 6
        results, _ = work.probe([{"do": "tcp", "to": [world.RESOLVER, 853], "send": records(hello(b"dns.quad9.net")).hex()}])
    assert refused(results[0], 7), results
