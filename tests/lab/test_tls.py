"""The sni-filter in a cell: hellos of every kind, right and wrong, and clear HTTP, against a server that echoes raw bytes.

TLS-01 to -14; the witness counts no SYN for what is refused. raw.example.test echoes what it gets, so an accepted hello comes
back byte for byte: what left the client is what arrives.
"""

import hashlib
import os
import ssl
import struct

import pytest

from flow_support import POLICY, RAW, arrived, converse, denies, passes, refused, request
from small_internet import world
from small_internet.messages import (
    ALPN,
    GREASE,
    GROUPS,
    SIGNATURES,
    X25519,
    X25519MLKEM768,
    extension,
    hello,
    key_share,
    records,
    sni,
    versions,
)


def test_splice_keeps_certificate_and_hello(lab, witness):
    """TLS-01: the certificate is the server's own; the hello that arrives is the one that was sent."""
    code = (
        "import ssl,socket,sys,hashlib; c=ssl.create_default_context(); s=c.wrap_socket(socket.create_connection((sys.argv[1],443),5),server_hostname=sys.argv[1]);"
        "print(s.version(), hashlib.sha256(s.getpeercert(True)).hexdigest())"
    )
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        run = lab.run("/usr/bin/python3", "-c", code, "api.example.test", policy=POLICY)
    with open(lab.servers.certificates.certificate) as file:
        der = ssl.PEM_cert_to_DER_cert(file.read())
    assert run.text.split() == ["TLSv1.3", hashlib.sha256(der).hexdigest()], run
    data = records(hello())
    passes(lab, data)
    assert any(c.data == data for c in lab.servers.connections(port=443))


@pytest.mark.parametrize("address", [world.GOOD4, world.GOOD6, world.EVIL4])
def test_allowed_name_at_a_literal_address(lab, witness, address):
    """TLS-02 as a cell has it: a destination that our resolver did not give is refused, whatever the SNI says."""
    with witness.expect_zero():
        results, run = converse(lab, {"send": records(hello(b"api.example.test")).hex(), "to": [address, 443]})
    assert refused(results[0]), (results, run)
    assert run.denials(reason="ip_literal_denied"), run


def test_synthetic_address_that_nobody_was_given(lab, witness):
    """CEL-15: a stale or unknown address is refused, never taken for some name."""
    with witness.expect_zero():
        results, run = converse(
            lab,
            *(
                {"send": records(hello()).hex(), "to": [a, 443]}
                for a in ("198.18.200.200", "198.19.255.254", "198.18.0.1")
            ),
        )
    assert all(map(refused, results)), (results, run)
    assert run.denials(reason="dst_not_bound"), run


@pytest.mark.parametrize(
    "name", [b"evil.test", b"api.example.test", b"raw.example.test.evil.test", b"xraw.example.test", b"example.test"]
)
def test_other_sni_than_the_name_dialled(lab, witness, name):
    """TLS-03: even another allowed name is refused: the SNI must be the name that was looked up."""
    denies(lab, witness, records(hello(name)), ["sni_mismatch", "sni_not_allowed"])


MALFORMED = {
    "missing": hello(None),
    "no-extensions": hello(None, extensions=[]),
    "empty-list": hello(None, before=[extension(0, b"\0\0")]),
    "empty-extension": hello(None, before=[extension(0, b"")]),
    "other-type": hello(None, before=[sni(b"raw.example.test", kind=1)]),
    "two-names": hello(None, before=[sni(b"raw.example.test", b"raw.example.test")]),
    "two-extensions": hello(None, before=[sni(b"raw.example.test"), sni(b"raw.example.test")]),
    "allowed-then-denied": hello(None, before=[sni(b"raw.example.test", b"evil.test")]),
    "ipv4": hello(b"52.5.5.5"),
    "ipv6": hello(b"2600:1f18::5"),
    "trailing-dot": hello(b"raw.example.test."),
    "leading-dot": hello(b".raw.example.test"),
    "double-dot": hello(b"raw..example.test"),
    "nul": hello(b"raw.example.test\0.evil.test"),
    "space": hello(b"raw.example.test "),
    "port": hello(b"raw.example.test:443"),
    "long": hello(b"a" * 256),
    "label-64": hello(b"a" * 64 + b".example.test"),
    "empty-name": hello(b""),
    "utf8": hello("räw.example.test".encode()),
    "name-length-lies": hello(None, before=[extension(0, struct.pack("!HBH", 19, 0, 17) + b"raw.example.test")]),
    "list-length-lies": hello(None, before=[extension(0, struct.pack("!HBH", 20, 0, 16) + b"raw.example.test")]),
    "bytes-after-list": hello(None, before=[extension(0, struct.pack("!HBH", 19, 0, 16) + b"raw.example.test\0")]),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_wrong_sni(lab, witness, kind):
    """TLS-04."""
    denies(lab, witness, records(MALFORMED[kind]), ["sni_missing", "sni_malformed", "tls_malformed"])


def test_case_is_folded(lab):
    """TLS-04: letters' case does not matter."""
    passes(lab, records(hello(b"RAW.ExAmPlE.test")))


def test_cut_into_two_segments_everywhere(lab, witness):
    """TLS-05: the same verdict for every cut, allowed and denied."""
    good, bad = records(hello()), records(hello(b"evil.test"))
    with witness.expect_only("raw.example.test", ports=RAW):
        results, run = converse(
            lab,
            *({"pieces": [good[:i].hex(), good[i:].hex()], "read": len(good)} for i in range(1, len(good))),
            timeout=100,
        )
    assert [i for i, r in enumerate(results, 1) if bytes.fromhex(r.get("data", "")) != good] == [], run
    with witness.expect_only("raw.example.test"):
        results, run = converse(
            lab, *({"pieces": [bad[:i].hex(), bad[i:].hex()]} for i in range(1, len(bad))), timeout=100
        )
    assert [(i, r) for i, r in enumerate(results, 1) if not refused(r, 4)] == []


def test_cut_into_two_records_everywhere(lab, witness):
    """TLS-06: records may cut the hello anywhere; also records of one octet."""
    good, bad = hello(), hello(b"evil.test")
    flows = [records(good, i) for i in range(1, len(good))] + [records(good, size=1)]
    with witness.expect_only("raw.example.test", ports=RAW):
        results, run = converse(lab, *({"send": f.hex(), "read": len(f)} for f in flows), timeout=100)
    assert [i for i, (r, f) in enumerate(zip(results, flows), 1) if bytes.fromhex(r.get("data", "")) != f] == [], run
    flows = [records(bad, i) for i in range(1, len(bad))] + [records(bad, size=1)]
    with witness.expect_only("raw.example.test"):
        results, run = converse(lab, *({"send": f.hex()} for f in flows), timeout=100)
    assert [(i, r) for i, r in enumerate(results, 1) if not refused(r, 4)] == []


def post_quantum(name):
    return hello(
        None,
        extensions=[
            GROUPS,
            SIGNATURES,
            ALPN,
            versions(GREASE, 0x0304),
            key_share((GREASE, 1), X25519MLKEM768, X25519),
            sni(name),
        ],
    )


def test_post_quantum_hello(lab, witness):
    """TLS-07: 1.7 kB, the SNI last."""
    assert len(post_quantum(b"raw.example.test")) > 1400
    passes(lab, records(post_quantum(b"raw.example.test")))
    denies(lab, witness, records(post_quantum(b"evil.test")), ["sni_mismatch", "sni_not_allowed"])


def padded(name, size):
    plain = hello(name)
    return hello(name, after=[extension(21, bytes(size - len(plain) - 4))])


@pytest.mark.parametrize("size", [11414, 30000, 60000])
def test_huge_hello(lab, witness, size):
    """TLS-08."""
    passes(lab, records(padded(b"raw.example.test", size)))
    denies(lab, witness, records(padded(b"evil.test", size)), ["sni_mismatch", "sni_not_allowed"])


def test_hello_over_the_limit(lab, witness):
    """TLS-08: 64 KiB and one octet."""
    first, second = extension(21, bytes(60000)), extension(35, bytes(70000 - 60000))
    body = hello(None, extensions=[sni(b"raw.example.test"), first])
    oversized = b"\x01" + struct.pack("!I", 65537)[1:] + body[4:] + second
    denies(lab, witness, records(oversized[:65541]), ["hello_too_large", "tls_malformed"])


def test_grease_and_unknown_extensions_in_any_order(lab):
    """TLS-09."""
    parts = [
        extension(GREASE, b""),
        sni(b"raw.example.test"),
        extension(10, struct.pack("!3H", 4, GREASE, 29)),
        SIGNATURES,
        versions(GREASE, 0x0304, 0x0303),
        key_share((GREASE, 1), X25519),
        extension(0xABCD, os.urandom(40)),
        extension(0x3A3A, b"\0"),
    ]
    for rotation in range(len(parts)):
        passes(
            lab, records(hello(None, extensions=parts[rotation:] + parts[:rotation], ciphers=(GREASE, 0x1301, 0x1302)))
        )


@pytest.mark.parametrize(
    "kind, extensions, version",
    [
        ("1.3-only", [sni(b"raw.example.test"), GROUPS, SIGNATURES, versions(0x0304), key_share(X25519)], 0x0303),
        ("1.2", [sni(b"raw.example.test"), GROUPS, SIGNATURES], 0x0303),
        ("1.0", [sni(b"raw.example.test"), GROUPS], 0x0301),
    ],
)
def test_versions(lab, kind, extensions, version):
    """TLS-10."""
    passes(lab, records(hello(None, extensions=extensions, version=version)))


def test_sslv2_hello(lab, witness):
    """TLS-10."""
    body = b"\x01\x03\x01" + struct.pack("!3H", 9, 0, 16) + b"\x00\x00\x2f\x00\x00\x35\x00\x00\x0a" + os.urandom(16)
    denies(lab, witness, struct.pack("!H", 0x8000 | len(body)) + body, ["tls_malformed", "not_tls"])


ECH_OUTER = extension(
    0xFE0D,
    b"\0"
    + struct.pack("!HHB", 1, 1, 7)
    + struct.pack("!H", 32)
    + os.urandom(32)
    + struct.pack("!H", 144)
    + os.urandom(144),
)


@pytest.mark.parametrize(
    "kind, added",
    [("ech", ECH_OUTER), ("ech-inner", extension(0xFE0D, b"\x01")), ("esni", extension(0xFFCE, os.urandom(60)))],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_encrypted_names(lab, witness, kind, added):
    """TLS-11: the outer name is allowed; GREASE looks the same on the wire."""
    denies(lab, witness, records(hello(after=[added])), "ech_denied")
    denies(
        lab, witness, records(hello(None, extensions=[added, sni(b"raw.example.test"), versions(0x0304)])), "ech_denied"
    )


@pytest.mark.parametrize(
    "kind, data",
    [("partial", records(hello())[:60]), ("header", b"\x16\x03"), ("nothing", b"")],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_silence_after_a_part(lab, witness, kind, data):
    """TLS-12, TLS-14: closed at 5 s; nothing was dialled."""
    with witness.expect_only("raw.example.test"):
        results, run = converse(lab, {"send": data.hex()}, {"send": data.hex(), "to": ["raw.example.test", 80]})
    for result in results:
        assert refused(result, 6.5) and result["seconds"] > 4, (results, run)
    assert {d["reason"] for d in run.denials()} == {"hello_timeout"}, run


def test_trickled_hello_does_not_renew_the_deadline(lab, witness):
    """TLS-12: one octet every half second is still closed at 5 s."""
    data = records(hello())
    with witness.expect_only("raw.example.test"):
        results, run = converse(lab, {"pieces": [data[i : i + 1].hex() for i in range(16)], "pause": 0.5})
    assert refused(results[0], 7), (results, run)


def lies():
    """Each length field of a hello, one too large and one too small, and the hello cut at each octet."""
    plain = hello()
    fields = {"handshake": (1, 3), "session": (38, 1), "ciphers": (71, 2)}
    at = 71 + 2 + struct.unpack_from("!H", plain, 71)[0]
    fields["compression"] = (at, 1)
    fields["extensions"] = (at + 2, 2)
    fields["first-extension"] = (at + 6, 2)
    for field, (offset, width) in fields.items():
        value = int.from_bytes(plain[offset : offset + width], "big")
        for change in (-1, 1):
            yield f"{field}{change:+d}", plain[:offset] + (value + change).to_bytes(width, "big") + plain[
                offset + width :
            ]
    for cut in range(4, len(plain), 7):
        body = plain[4:cut]
        yield f"cut-{cut}", b"\x01" + struct.pack("!I", len(body))[1:] + body


def test_lying_lengths(lab, witness):
    """TLS-13: every one is closed, at once or when nothing more comes; nothing is dialled."""
    rows = list(lies())
    with witness.expect_only("raw.example.test"):
        results, run = converse(lab, *({"send": records(data).hex()} for _, data in rows), timeout=100)
    assert [(name, r) for (name, _), r in zip(rows, results) if not refused(r, 6.5)] == [], run


@pytest.mark.parametrize(
    "kind, data",
    [
        ("http", b"GET / HTTP/1.1\r\nHost: raw.example.test\r\n\r\n"),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("smtp", b"EHLO x\r\n"),
        ("zeros", bytes(64)),
        ("alert", b"\x15\x03\x01\x00\x02\x02\x28"),
        ("application-data", b"\x17\x03\x03\x00\x10" + bytes(16)),
        ("server-hello", b"\x16\x03\x03\x00\x06\x02\x00\x00\x02\x03\x03"),
        ("empty-record", b"\x16\x03\x01\x00\x00"),
        ("huge-record", b"\x16\x03\x01\xff\xff" + bytes(100)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_other_first_bytes_on_443(lab, witness, kind, data):
    """TLS-14."""
    denies(lab, witness, data, ["not_tls", "tls_malformed"])


def test_tunnel_any_takes_other_protocols(lab):
    """`tunnel: any` is the rule's explicit word for a name whose port 443 is not TLS."""
    results, run = converse(
        lab, {"send": b"SSH-2.0-x\r\n".hex(), "to": ["db.example.test", 443], "read": 10, "timeout": 3}
    )
    assert "data" in results[0] and results[0]["end"] != "timeout", (results, run)
    assert [
        r for r in run.audit if r["verdict"] == "allow" and r["name"] == "db.example.test" and r["port"] == 443
    ], run


@pytest.mark.parametrize("port", [5432, 8443, 2222])
def test_first_flight_is_checked_on_other_ports(lab, port):
    """Any port: TLS or HTTP in the client's first flight must carry the name that was dialled; other protocols pass."""
    banner = world.BANNER if port == world.BANNER_PORT else b""
    good, bad = records(hello()), records(hello(b"evil.test"))
    http, evil_http = (request(h, f"/{port}") for h in (f"raw.example.test:{port}", "evil.test"))
    results, run = converse(
        lab,
        *(
            {"to": ["raw.example.test", port], "send": d.hex(), "read": len(banner) + len(d), "timeout": 4}
            for d in (good, b"plain protocol\r\n", http, bad, evil_http)
        ),
    )
    received = [bytes.fromhex(r.get("data", "")) for r in results]
    assert received[:2] == [banner + good, banner + b"plain protocol\r\n"], (results, run)
    seen = arrived(lab, port)
    assert [d for d in seen if d.startswith(b"GET ") and f"raw.example.test:{port}".encode() in d], (results, run)
    assert not [d for d in seen if b"evil.test" in d], (results, run)
    # The echo of a request is no response, which is the origin's fault and not the client's.
    denials = [d for d in run.denials() if not (d.get("cause") or "").startswith("response:")]
    assert {d["reason"] for d in denials} <= {"sni_mismatch", "sni_not_allowed", "host_mismatch"} and len(
        denials
    ) == 2, run


@pytest.mark.parametrize("tunnel", [False, True], ids=["inspecting", "tunnel"])
def test_the_rule_of_the_address_says_whether_to_look(lab, tunnel):
    """The first rule that may match is for another address; the one that permits this address decides (rule 6)."""
    other, this = ("", ", tunnel: any") if tunnel else (", tunnel: any", "")
    policy = f"""version: 1
rules:
  - {{name: inside, action: allow, domains: [raw.example.test], resolves_to: [10.0.0.0/8], ports: [443]{other}}}
  - {{name: outside, action: allow, domains: [raw.example.test], ports: [443]{this}}}
"""
    assert lab.policyctl("explain", "-p", "policy.yaml", "raw.example.test:443", policy=policy).status == 0
    ssh, good, evil = b"SSH-2.0-x\r\n", records(hello()), records(hello(b"evil.test"))
    results, run = converse(
        lab, *({"send": d.hex(), "read": len(d), "timeout": 4} for d in (good, ssh, evil)), policy=policy
    )
    assert bytes.fromhex(results[0].get("data", "")) == good, (results, run)
    assert (bytes.fromhex(results[1].get("data", "")) == ssh) == tunnel, (results, run)
    assert tunnel or (refused(results[1]) and refused(results[2])), (results, run)


def test_disguised_first_flights_on_other_ports(lab):
    """What lenient servers take for TLS or HTTP carries no other name either."""
    evil = records(hello(b"evil.test"))
    rows = [
        b"\x14\x03\x01\x00\x00" + evil,
        b"\x14\x03\x01\x00\x01\x01" + evil,
        b"\x15\x03\x01\x00\x02\x01\x5a" + evil,
        evil[:1] + b"\x02" + evil[2:],
        *(
            blank + b"GET /disguised HTTP/1.1\r\nHost: evil.test\r\n\r\n"
            for blank in (b"\x0b", b"\x1c", b"\x85", b"\xa0")
        ),
        b"GET\x0b/disguised HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        b"COPY /\x018 HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    ]
    results, run = converse(
        lab, *({"to": ["raw.example.test", 8443], "send": d.hex(), "read": 4096, "timeout": 4} for d in rows)
    )
    assert [d for d in arrived(lab, 8443) if b"evil.test" in d] == [], (results, run)
    assert len(
        [r for r in run.audit if r["verdict"] == "deny" and r["reason"] in ("tls_malformed", "framing_ambiguous")]
    ) == len(rows), run


def test_refused_flows_write_one_record_each(lab):
    results, run = converse(lab, *({"send": records(hello(b"evil.test")).hex()} for _ in range(5)))
    assert sum(d["count"] for d in run.denials(plugin="sni-filter")) == 5, run.audit
