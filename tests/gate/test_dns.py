"""The dns plugin at a gate, asked by raw messages from an agent's namespace: true answers, and the gateway's own address.

DNS-01 to -31, -35, -36. What the plugin does alone is in tests/plugins/dns; here it is the whole gate, with the witness.
"""

import collections
import concurrent.futures
import ipaddress
import re
import socket
import struct
import time

import pytest

from small_internet import world
from small_internet.gate import GATE4, GATE6, Gate, gateway_yaml
from small_internet.messages import Answer, query

POLICY = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: api, action: allow, clients: [agents], domains: [api.example.test], ports: [443] }
  - { name: cdn, action: allow, clients: [agents], domains: ["*.cdn.test"], ports: [80, 443] }
  - { name: pkg, action: allow, clients: [agents], domains: [pkg.test], ports: [80, 443] }
  - name: others
    action: allow
    clients: [agents]
    domains: ["*.scripted.test", "*.guard.test", "*.loop.test", alias.example.test, v4only.example.test, v6only.example.test, mail.example.test, long.example.test]
  - { name: supervisor, action: allow, clients: [agents], domains: [supervisor], resolves_to: [172.20.0.5/32], ports: [8080] }
"""
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
EDNS = (0, 1232, b"")


@pytest.fixture(scope="module", params=["real", "gateway"])
def gate(request, lab, agents):
    made = Gate(lab, gateway_yaml(request.param), POLICY).start()
    made.answers = request.param
    yield made
    made.stop()


@pytest.fixture
def ask(lab, agents):
    """ask(message, …): an Answer or `silence` each; tcp=True; agent and server may be said."""

    def one(message, tcp, agent, server, timeout):
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with lab.namespaces.inside(agents.fds[agent]):
            s = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        with s:
            s.settimeout(timeout)
            try:
                s.connect((server, 53))
                if not tcp:
                    s.send(message)
                    return Answer(s.recv(65535))
                s.sendall(struct.pack("!H", len(message)) + message)
                data = b""
                while len(data) < 2 or len(data) < 2 + struct.unpack_from("!H", data)[0]:
                    chunk = s.recv(65535)
                    if not chunk:
                        return "closed"
                    data += chunk
                return Answer(data[2:])
            except OSError as error:
                return "silence" if isinstance(error, TimeoutError) else error.strerror

    def ask(*messages, tcp=False, agent="a", server=GATE4, timeout=6):
        messages = [bytes.fromhex(m) if isinstance(m, str) else m for m in messages]
        answers = [one(m, tcp, agent, server, timeout) for m in messages]
        return answers[0] if len(answers) == 1 else answers

    return ask


def addresses(answer):
    return {str(ipaddress.ip_address(data)) for kind, _, data in answer.answers if kind in (1, 28)}


def assert_policy_denial(answer):
    assert answer.rcode == NXDOMAIN and not answer.answers, vars(answer)
    assert answer.authority and answer.authority[0][0] == 6, vars(answer)
    _, ttl, data = answer.authority[0]
    assert min(ttl, struct.unpack("!I", data[-4:])[0]) <= 10
    if answer.opt:
        assert answer.ede == [15]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_allowed_name(gate, ask, witness, tcp):
    """DNS-01, DNS-04."""
    with witness.expect_only("api.example.test"):
        answer = ask(query("api.example.test", edns=EDNS), tcp=tcp)
    assert (answer.rcode, answer.aa, answer.ra, answer.whole) == (NOERROR, False, True, True), vars(answer)
    assert addresses(answer) == {GATE4 if gate.answers == "gateway" else world.GOOD4}
    found = gate.wait_audit(name="api.example.test", plugin="dns", client_addr="172.20.0.7")
    assert found[-1]["effective"] == "allow" and found[-1]["client"]["group"] == "agents"


def test_aaaa_over_ipv6(gate, ask, witness):
    answer = ask(query("api.example.test", "AAAA"), server=GATE6)
    assert addresses(answer) == {GATE6 if gate.answers == "gateway" else world.GOOD6}
    gate.wait_audit(name="api.example.test", client_addr="fd00:20::7", client_group="agents")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("name", ["evil.test", "xapi.example.test", "api.example.test.evil.test", "cdn.test", "test", "nowhere.invalid"])
def test_denied_name(gate, ask, witness, name, tcp):
    """DNS-02, NAM-03."""
    with witness.expect_zero():
        answer = ask(query(name, edns=EDNS), tcp=tcp)
    assert_policy_denial(answer)
    assert answer.ede == [15]
    assert gate.wait_audit(name=name, verdict="deny")[0]["reason"] in ("no_rule", "name_not_allowed")


def test_exfiltration_by_labels(gate, ask, witness):
    """DNS-03."""
    with witness.expect_zero():
        answers = ask(*[query(f"{i:04x}c2VjcmV0.evil.test") for i in range(1000)])
    assert all(a.rcode == NXDOMAIN for a in answers)


def test_upstream_truncates(gate, ask, witness):
    """DNS-04: TC from upstream is followed by TCP, once."""
    with witness.expect_only("tc.scripted.test") as seen:
        answer = ask(query("tc.scripted.test"))
    assert answer.rcode == NOERROR and len(answer.answers) == 1 and not answer.tc
    assert {q.transport for q in seen.asked} == {"udp", "tcp"}


def test_case_and_client_options_do_not_cross(gate, ask, witness):
    """DNS-05."""
    secret = b"SECRETPAYLOAD"
    options = struct.pack("!HH", 65001, len(secret)) + secret + struct.pack("!HH", 10, 8) + b"COOKIE42" + struct.pack("!HHHBB", 8, 7, 1, 24, 0) + b"\x0a\x0b\x0c"
    with witness.expect_only("v4only.example.test") as seen:
        answer = ask(query("V4OnLy.ExAmPlE.TeSt", ident=0xBEEF, edns=(0, 1232, options)))
    assert answer.rcode == NOERROR and answer.question.startswith(b"\x06V4OnLy\x07ExAmPlE\x04TeSt\0")
    for asked in seen.asked:
        assert secret not in asked.raw and b"COOKIE42" not in asked.raw and b"ExAmPlE" not in asked.raw and b"\x0a\x0b\x0c" not in asked.raw[12:]


@pytest.mark.parametrize("name, qtype", [("v4only.example.test", "AAAA"), ("v6only.example.test", "A")])
def test_name_without_that_family(gate, ask, name, qtype):
    """DNS-06. With the gateway's own address both families lead to it: what the name has, the gateway dials."""
    answer = ask(query(name, qtype))
    assert answer.rcode == NOERROR, vars(answer)
    if gate.answers == "real":
        assert not answer.answers and answer.authority[0][0] == 6, vars(answer)


@pytest.mark.parametrize("qtype", ["TXT", "NULL", "CNAME", "MX", "SRV", "ANY", "HTTPS", 64, 2, 6, 12, 43, 48, 257, 65280])
def test_other_types(gate, ask, witness, qtype):
    """DNS-07, DNS-09."""
    with witness.expect_zero():
        answer = ask(query("mail.example.test", qtype))
    assert not answer.answers and (answer.rcode == NOERROR or (qtype == "ANY" and answer.rcode in (NOTIMP, REFUSED))), vars(answer)
    gate.wait_audit(name="mail.example.test", reason="qtype_denied")


@pytest.mark.parametrize("qtype", [252, 251], ids=["AXFR", "IXFR"])
def test_zone_transfers(gate, lab, agents, ask, witness, qtype):
    """DNS-10: REFUSED, and the connection stays usable."""
    with witness.expect_only("api.example.test"):
        assert ask(query("api.example.test", qtype)).rcode == REFUSED
        with lab.namespaces.inside(agents.fds["a"]):
            s = socket.create_connection((GATE4, 53), 5)
        with s:
            codes = []
            for kind in (qtype, "A"):
                message = query("api.example.test", kind)
                s.sendall(struct.pack("!H", len(message)) + message)
                size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
                codes.append(Answer(s.recv(size, socket.MSG_WAITALL)).rcode)
    assert codes == [REFUSED, NOERROR]


@pytest.mark.parametrize("name, qtype", [(n, "A") for n in world.GUARDED4] + [(n, "AAAA") for n in world.GUARDED6])
def test_guarded_answers(gate, ask, witness, name, qtype):
    """DNS-11, DNS-12."""
    with witness.expect_only(name):
        answer = ask(query(name, qtype, edns=EDNS))
    assert answer.rcode == NXDOMAIN and not answer.answers and answer.ede == [15], vars(answer)
    assert gate.wait_audit(name=name, verdict="deny")[0]["reason"] in ("answer_forbidden_addr", "guard_metadata")


def test_guarded_and_good_answer(gate, ask):
    """DNS-11: that record is removed."""
    answer = ask(query("mixed.guard.test"))
    assert addresses(answer) == {GATE4 if gate.answers == "gateway" else world.GOOD4}


def test_alias_to_a_name_outside_the_policy(gate, ask, witness):
    """DNS-13."""
    answer = ask(query("alias.example.test"))
    assert addresses(answer) == {GATE4 if gate.answers == "gateway" else world.EVIL4}
    with witness.expect_zero():
        assert_policy_denial(ask(query("x.evil.test")))


@pytest.mark.parametrize("name", ["loop0.loop.test", "chain0.loop.test"])
def test_alias_loops_and_long_chains(gate, ask, witness, name):
    """DNS-14."""
    began = time.monotonic()
    with witness.watch() as seen:
        answer = ask(query(name))
    assert answer.rcode == SERVFAIL and time.monotonic() - began < 2 and len(seen.asked) <= 16


MALFORMED = {
    "pointer-loop": query("a", wire=b"\xc0\x0c"),
    "pointer-forward": query("a", wire=b"\xc0\x20"),
    "pointer-past-end": query("a", wire=b"\xcf\xff"),
    "label-of-64": query("a", wire=b"\x40" + b"a" * 64 + b"\0"),
    "name-of-256": query("a", wire=(b"\x3f" + b"a" * 63) * 4 + b"\0"),
    "qdcount-0": query("api.example.test", counts=(0, 0, 0, 0)),
    "qdcount-2": query("api.example.test", counts=(2, 0, 0, 0)),
    "ancount-1": query("api.example.test", counts=(1, 1, 0, 0)),
    "trailing": query("api.example.test", tail=b"\0\1\2"),
}


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_queries(gate, ask, witness, kind, tcp):
    """DNS-15, DNS-16, DNS-19."""
    with witness.expect_zero():
        answer = ask(MALFORMED[kind], tcp=tcp, timeout=1)
    assert answer in ("silence", "closed", "Connection reset by peer") or answer.rcode == FORMERR, vars(answer)
    assert ask(query("api.example.test")).rcode == NOERROR  # the worker is alive


@pytest.mark.parametrize("label", [b"a\0b", b"a.b", b"a\x80\xff", b"a\r\nb"], ids=["nul", "dot", "high", "crlf"])
def test_strange_octets_in_labels(gate, ask, witness, label):
    """DNS-17."""
    wire = bytes([len(label)]) + label + b"\x03cdn\x04test\0"
    with witness.expect_zero():
        answer = ask(query("a", wire=wire))
    assert answer.rcode == NXDOMAIN
    assert gate.wait_audit(reason="name_malformed")


@pytest.mark.parametrize("name", ["_dns.cdn.test", "a_b.cdn.test"])
def test_underscore(gate, ask, name):
    """DNS-18."""
    answer = ask(query(name))
    assert answer.rcode == NOERROR and answer.answers


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 15])
def test_other_opcodes(gate, ask, witness, opcode):
    """DNS-20: on every listener."""
    with witness.expect_zero():
        for tcp in (False, True):
            for server in (GATE4, GATE6):
                assert ask(query("api.example.test", flags=opcode << 11), tcp=tcp, server=server).rcode == NOTIMP


@pytest.mark.parametrize("qclass", [3, 255])
def test_other_classes(gate, ask, witness, qclass):
    """DNS-21."""
    with witness.expect_zero():
        answer = ask(query("version.bind" if qclass == 3 else "api.example.test", "TXT" if qclass == 3 else "A", qclass=qclass))
    assert answer.rcode == REFUSED and not answer.answers


def test_edns(gate, ask):
    """DNS-22, DNS-23: version 1 is BADVERS; a size of 0 is 512, 65535 is capped; an answer that does not fit is TC and comes by TCP."""
    assert ask(query("api.example.test", edns=(1, 1232, b""))).rcode == BADVERS
    for size in (0, 512, 65535):
        answer = ask(query("long.example.test", edns=(0, size, b"")))
        assert answer.rcode == NOERROR
        if gate.answers == "real" and size <= 512:
            assert answer.tc and not answer.answers
    if gate.answers == "real":
        assert len(addresses(ask(query("long.example.test"), tcp=True))) == 60


def test_tcp_small_writes_pipelining_and_silence(gate, lab, agents):
    """DNS-24."""
    with lab.namespaces.inside(agents.fds["a"]):
        s = socket.create_connection((GATE4, 53), 5)
        quiet = socket.create_connection((GATE4, 53), 5)
        nothing = socket.create_connection((GATE4, 53), 5)
    with s, quiet, nothing:
        message = query("api.example.test", ident=1)
        for octet in struct.pack("!H", len(message)) + message:
            s.sendall(bytes([octet]))
        size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
        assert Answer(s.recv(size, socket.MSG_WAITALL)).ident == 1
        two = b"".join(struct.pack("!H", len(m)) + m for m in (query("pkg.test", ident=2), query("api.example.test", ident=3)))
        s.sendall(two)
        idents = set()
        for _ in range(2):
            size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
            idents.add(Answer(s.recv(size, socket.MSG_WAITALL)).ident)
        assert idents == {2, 3}
        nothing.sendall(b"\0\0")
        nothing.settimeout(5)
        assert nothing.recv(16) == b""
        began = time.monotonic()
        quiet.sendall(b"\xff\xff")
        quiet.settimeout(12)
        assert quiet.recv(16) == b"" and time.monotonic() - began < 11


def test_ten_thousand_queries_on_one_connection(gate, lab, agents):
    """DNS-25: served, or closed at the cap; the gate goes on."""
    with lab.namespaces.inside(agents.fds["a"]):
        s = socket.create_connection((GATE4, 53), 5)
    message = query("evil.test")
    served = 0
    with s:
        s.settimeout(5)
        try:
            for _ in range(100):
                s.sendall((struct.pack("!H", len(message)) + message) * 100)
                for _ in range(100):
                    size = struct.unpack("!H", s.recv(2, socket.MSG_WAITALL))[0]
                    s.recv(size, socket.MSG_WAITALL)
                    served += 1
        except (OSError, struct.error):
            pass
    assert served >= 100
    assert gate.status()["state"]


@pytest.mark.parametrize("name", ["wrongid.scripted.test", "wrongname.scripted.test", "wrongtype.scripted.test", "notreply.scripted.test"])
def test_wrong_replies_from_upstream(gate, ask, name):
    """DNS-26."""
    answer = ask(query(name))
    assert answer.rcode == NOERROR and world.EVIL4 not in addresses(answer)


def test_a_hundred_equal_queries_are_one(gate, ask, witness):
    """DNS-27."""
    with witness.watch() as seen, concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda i: ask(query("slow.scripted.test", ident=i)), range(100)))
    assert all(a.rcode == NOERROR for a in answers if not isinstance(a, str)) and sum(not isinstance(a, str) for a in answers) == 100
    asked = collections.Counter((q.name, q.type) for q in seen.asked)
    assert asked[("slow.scripted.test", "A")] <= 1, asked


def test_upstream_ports_and_ids_are_random(gate, ask, witness):
    """DNS-28: chi-square over 16 bins; no port twice in sequence."""
    with witness.watch() as seen:
        for i in range(600):
            ask(query(f"r{i}.{gate.answers}.cdn.test"))
    asked = [q for q in seen.asked if q.name.endswith(f".{gate.answers}.cdn.test")]
    assert len(asked) >= 600
    for values, top in (([struct.unpack_from("!H", q.raw)[0] for q in asked], 65536), ([q.port for q in asked if getattr(q, "port", None)], 65536)):
        if not values:
            continue
        low = min(values) if top == 65536 and max(values) < 61000 and min(values) > 1000 else 0
        high = max(values) + 1
        bins = collections.Counter((v - low) * 16 // (high - low) for v in values)
        expected = len(values) / 16
        chi = sum((bins[i] - expected) ** 2 / expected for i in range(16))
        assert chi < 60, (chi, bins)  # 15 degrees of freedom: 1 in 10^6
        assert all(a != b for a, b in zip(values, values[1:])), "the same twice in sequence"


def test_extra_records_are_dropped(gate, ask, witness):
    """DNS-29."""
    answer = ask(query("extra.scripted.test"))
    assert world.EVIL4 not in addresses(answer)
    with witness.watch() as seen:
        assert world.EVIL4 not in addresses(ask(query("pkg.test")))
    assert all(q.name == "pkg.test" for q in seen.asked)


def test_ttl_floor_and_cap(gate, ask):
    """DNS-30."""
    answer = ask(query("ttl0.scripted.test"))
    assert answer.rcode == NOERROR and all(30 <= ttl <= 3600 for _, ttl, _ in answer.answers), vars(answer)


def test_client_outside_the_networks(lab, gate, witness):
    """DNS-31: REFUSED and EDE 18, by whoever reaches the listener from elsewhere."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((world.HOST4, 0))
    with s, witness.expect_zero():
        s.settimeout(5)
        s.sendto(query("api.example.test", edns=EDNS), (GATE4, 53))
        answer = Answer(s.recv(65535))
    assert answer.rcode == REFUSED and answer.ede == [18], vars(answer)
    gate.wait_audit(reason="client_unknown")


def test_single_label_by_resolves_to(gate, ask, witness):
    """A compose service: answered here, never asked for outside."""
    with witness.expect_zero():
        answer = ask(query("supervisor"))
    assert answer.rcode == NOERROR and addresses(answer) == {GATE4 if gate.answers == "gateway" else "172.20.0.5"}, vars(answer)


def test_silent_upstream(gate, ask, witness):
    """DNS-35."""
    began = time.monotonic()
    with witness.watch() as seen:
        answer = ask(query("silent.scripted.test", edns=EDNS), timeout=8)
    assert answer.rcode == SERVFAIL and answer.ede and answer.ede[0] in (22, 23) and time.monotonic() - began < 5.5
    assert len(seen.asked) <= 8


def test_a_removed_name_is_not_answered_from_the_cache(gate, ask, witness):
    """DNS-36."""
    assert ask(query("pkg.test")).rcode == NOERROR
    gate.set_policy(re.sub(r"domains: \[pkg.test\]", "domains: [other.test]", POLICY))
    with witness.expect_zero():
        assert_policy_denial(ask(query("pkg.test")))
        assert_policy_denial(ask(query("PKG.test"), tcp=True))
    gate.set_policy(POLICY)
    assert ask(query("pkg.test")).rcode == NOERROR


@pytest.mark.parametrize("word, code", [("zero", NOERROR), ("refused", REFUSED), ("nxdomain", NXDOMAIN)])
def test_blocked_answer(lab, agents, ask, witness, word, code):
    """Decision 6 of ACCEPTANCE: what a denied name gets."""
    text = gateway_yaml("real").replace("answers: real", f"answers: real, blocked_answer: {word}")
    made = Gate(lab, text, POLICY).start()
    try:
        with witness.expect_zero():
            answer, six = ask(query("evil.test", edns=EDNS), query("evil.test", "AAAA"))
        assert answer.rcode == code and answer.ede == [15]
        if word == "zero":
            assert addresses(answer) == {"0.0.0.0"} and addresses(six) == {"::"}
    finally:
        made.stop()
