"""Clear HTTP through the sni-filter: the Host of every request is the name that was dialled, or the connection ends."""

import re

import pytest

from flow_support import converse, denies, request
from small_internet import world
from small_internet.messages import hello, records


@pytest.mark.parametrize("host", ["api.example.test", "API.example.test", "api.example.test:80"])
def test_clear_http(lab, host):
    results, run = converse(
        lab, {"to": ["api.example.test", 80], "send": request(host, "/whoami").hex(), "read": 10, "timeout": 4}
    )
    assert results[0].get("data", "").startswith(b"HTTP/1.1 200".hex()), (results, run)


REFUSED_HTTP = {
    "other-host": request("evil.test"),
    "allowed-other-host": request("api.example.test"),
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "no-host-1.0": b"GET / HTTP/1.0\r\n\r\n",
    "two-hosts": request("raw.example.test", extra="Host: evil.test\r\n"),
    "two-equal-hosts": request("raw.example.test", extra="Host: raw.example.test\r\n"),
    "empty-host": request(""),
    "list": request("raw.example.test, evil.test"),
    "userinfo": request("raw.example.test@evil.test"),
    "other-port": request("raw.example.test:8080"),
    "two-ports": request("raw.example.test:80:443"),
    "literal": request("52.5.5.5"),
    "nul": request("raw.example.test\0.evil.test"),
    "percent": request("raw.example.test%00.evil.test"),
    "absolute-form-elsewhere": request("raw.example.test", path="http://evil.test/"),
    "connect": b"CONNECT evil.test:443 HTTP/1.1\r\nHost: raw.example.test\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : raw.example.test\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost:\r\n raw.example.test\r\n\r\n",
    "bare-lf": b"GET / HTTP/1.1\nHost: raw.example.test\n\n",
    "leading-space": b"GET / HTTP/1.1\r\n Host: raw.example.test\r\n\r\n",
    "both-lengths": b"POST / HTTP/1.1\r\nHost: raw.example.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"POST / HTTP/1.1\r\nHost: raw.example.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "h2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "tls-on-80": records(hello(b"evil.test")),
}


@pytest.mark.parametrize("kind", REFUSED_HTTP)
def test_refused_http(lab, witness, kind):
    """Clear HTTP: the Host of the first request must be the name; ambiguous heads are refused before anything is dialled."""
    run = denies(
        lab,
        witness,
        REFUSED_HTTP[kind],
        [
            "host_mismatch",
            "framing_ambiguous",
            "unparsed",
            "authority_malformed",
            "not_tls",
            "sni_mismatch",
            "sni_not_allowed",
            "tls_malformed",
            "ip_literal_denied",
        ],
        to=["raw.example.test", 80],
    )
    assert run.denials()


def test_second_request_elsewhere(lab, witness):
    """Every request of the connection is checked: the second is for another host and never arrives."""
    first, second = request("api.example.test", "/whoami"), request("evil.test", "/whoami")
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 80), (world.GOOD6, 80)]):
        results, run = converse(
            lab,
            {"to": ["api.example.test", 80], "pieces": [first.hex(), second.hex()], "pause": 0.3, "timeout": 4},
            {"to": ["api.example.test", 80], "send": (first + second).hex(), "timeout": 4},
        )
    for result in results:
        text = bytes.fromhex(result["data"]).decode()
        assert (
            text.count("host=api.example.test") == 1
            and "host=evil.test" not in text
            and result["end"] in ("eof", "reset")
        ), (results, run)
    assert not [r for r in lab.servers.requests() if r["host"] == "evil.test"]


def test_h2c_upgrade_does_not_reach_the_server(lab):
    data = request(
        "raw.example.test",
        extra="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    )
    results, run = converse(lab, {"to": ["raw.example.test", 80], "send": data.hex(), "read": 4, "timeout": 4})
    assert not re.search(rb"h2c", b"".join(c.data for c in lab.servers.connections(port=80)), re.I), (results, run)
    curl = lab.run("curl", "-sS", "--http2", "http://api.example.test/whoami", allow=["api.example.test:80"])
    assert curl.status == 0 and "host=api.example.test" in curl.text, curl


def test_body_cannot_hide_a_request(lab, witness):
    """A body that looks like a request for another host is a body; what follows it is checked."""
    inner = request("evil.test")
    posted = b"POST /upload HTTP/1.1\r\nHost: api.example.test\r\nContent-Length: %d\r\n\r\n%s" % (len(inner), inner)
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 80), (world.GOOD6, 80)]):
        results, run = converse(
            lab,
            {
                "to": ["api.example.test", 80],
                "send": (posted + request("api.example.test", "/whoami")).hex(),
                "timeout": 3,
                "half": True,
            },
        )
    assert not run.denials(), run
    assert not [r for r in lab.servers.requests() if r["host"] == "evil.test"]
