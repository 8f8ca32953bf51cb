"""Options of the dns plugin, each with a gate of its own: decision 6 of ACCEPTANCE (what a denied name gets), DNS-08 (`svcb: strip`)."""

import struct

import pytest

from dns_client import EDNS, NOERROR, NXDOMAIN, REFUSED, addresses, query
from small_internet.gate import gateway_yaml

POLICY = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: scripted, action: allow, clients: [agents], domains: ["*.scripted.test", api.example.test] }
"""


def options(answers, text):
    return gateway_yaml(answers).replace(f"answers: {answers},", f"answers: {answers}, {text},")


@pytest.mark.parametrize("word, code", [("zero", NOERROR), ("refused", REFUSED), ("nxdomain", NXDOMAIN)])
def test_blocked_answer(gates, ask, witness, word, code):
    gates(options("real", f"blocked_answer: {word}"), POLICY)
    with witness.expect_zero():
        answer, six, text = ask(query("evil.test", edns=EDNS), query("evil.test", "AAAA", edns=EDNS), query("evil.test", "TXT", edns=EDNS))
    assert [a.rcode for a in (answer, six, text)] == [code] * 3 and [a.ede for a in (answer, six, text)] == [[15]] * 3
    assert addresses(answer) == ({"0.0.0.0"} if word == "zero" else set()) and addresses(six) == ({"::"} if word == "zero" else set())
    assert not text.answers and all(ttl <= 10 for a in (answer, six, text) for _, ttl, _ in a.answers + a.authority)


def parameters(rdata, at):
    found = {}
    while at < len(rdata):
        key, size = struct.unpack_from("!HH", rdata, at)
        found[key] = rdata[at + 4 : at + 4 + size]
        at += 4 + size
    return found


@pytest.mark.parametrize("answers", ["real", "gateway"])
def test_https_records_without_what_leads_around(gates, ask, witness, answers):
    """DNS-08: no ech, no hints; the rest octet by octet; a record or an alias that leads elsewhere is dropped; a name outside is denied."""
    gate = gates(options(answers, "svcb: strip"), POLICY)
    with witness.expect_only("svcb.scripted.test") as seen:
        first, again = ask(query("svcb.scripted.test", "HTTPS", edns=EDNS), query("svcb.scripted.test", "HTTPS", edns=EDNS))
    assert [q.type for q in seen.asked] == ["HTTPS"], "the second one is kept here"
    for answer in (first, again):
        assert answer.rcode == NOERROR and len(answer.answers) == 1, vars(answer)
        kind, ttl, rdata = answer.answers[0]
        assert kind == 65 and ttl <= 60 and rdata[:3] == b"\0\1\0"
        assert parameters(rdata, 3) == {0: b"\0\1", 1: b"\x02h2\x02h3", 3: b"\x01\xbb", 65280: b"of my own"}
        assert b"ECHCONFIG" not in answer.message
    gate.wait_audit(name="svcb.scripted.test", effective="allow")
    for name in ("svcbaway.scripted.test", "svcbalias.scripted.test"):
        answer = ask(query(name, "HTTPS", edns=EDNS))
        assert answer.rcode == NOERROR and not answer.answers and answer.authority[0][0] == 6, vars(answer)
    service = ask(query("_8443._foo.svcb.scripted.test", 64, edns=EDNS))  # SVCB itself
    assert service.rcode == NOERROR and [kind for kind, _, _ in service.answers] == [64] and b"ECHCONFIG" not in service.message, vars(service)
    assert parameters(service.answers[0][2], 3) == {0: b"\0\1", 1: b"\x02h2\x02h3", 3: b"\x01\xbb", 65280: b"of my own"}
    with witness.expect_zero():
        denied, other = ask(query("evil.test", "HTTPS", edns=EDNS), query("svcb.scripted.test", "TXT", edns=EDNS))
    assert denied.rcode == NXDOMAIN and denied.ede == [15]
    assert other.rcode == NOERROR and not other.answers
    gate.set_policy(POLICY.replace('"*.scripted.test", ', ""))
    with witness.expect_zero():
        assert ask(query("svcb.scripted.test", "HTTPS")).rcode == NXDOMAIN, "not from the cache"
