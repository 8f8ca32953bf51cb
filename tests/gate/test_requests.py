"""Methods and paths of rules at a gate, with real requests: through the explicit proxy, inside a CONNECT tunnel, and transparently."""

import pytest

from origin import Origin
from proxy_client import connect_to, everything, head_of
from small_internet.gate import P0, Gate, gateway_yaml
from test_proxy_origins import obliging

OPEN = [
    (b"GET", b"/pub/x"),
    (b"GET", b"/pub/x?q=/../secret;//"),
    (b"GET", b"/%70ub/x"),
]
CLOSED = [
    (b"POST", b"/pub/x"),
    (b"get", b"/pub/x"),
    (b"GET", b"/secret"),
    (b"GET", b"/pub/../secret"),
    (b"GET", b"/pub/%2e%2e/secret"),
    (b"GET", b"/pub/..;/secret"),
    (b"GET", b"/pub//x"),
    (b"GET", b"//pub/x"),
    (b"GET", b"/pub/%2fx"),
    (b"GET", b"/pub/a%5c..%5csecret"),
    (b"GET", b"/pub/%252e%252e/secret"),
    (b"GET", b"/PUB/x"),
    (b"GET", b"/pub"),
]
POLICY = P0 + """
  - { name: reads, action: allow, clients: [agents], domains: [load.example.test], ports: [80, 8080], methods: [GET], paths: [/pub/*] }
tests:
  - { allow: "http://load.example.test/pub/x", client: agents }
  - { deny: "http://load.example.test/secret", client: agents }
  - { deny: "https://load.example.test/pub/x", client: agents }
"""


@pytest.fixture(scope="module")
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


def request(method, target, host=b"load.example.test", *fields):
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: " + host, *fields, b"Content-Length: 0", b"", b""])


@pytest.mark.parametrize("port", [80, 8080])
def test_requests_through_the_explicit_proxy(gate, lab, connect, port):
    origin = Origin(lab, obliging, port=port)
    authority = b"load.example.test" + (b"" if port == 80 else b":8080")
    try:
        for method, path in OPEN:
            with connect() as s:
                s.sendall(request(method, b"http://" + authority + path, authority))
                assert b" 200 " in head_of(s).split(b"\r\n")[0], (method, path)
        before = len(origin.received)
        for method, path in CLOSED:
            with connect() as s:
                s.sendall(request(method, b"http://" + authority + path, authority))
                assert head_of(s).split(b" ")[1] in (b"403", b"400"), (method, path)
        # Many servers see both spellings as one field.
        for field in (b"X-HTTP-Method-Override: DELETE", b"X_HTTP_Method_Override: DELETE", b"x_original-url: /secret"):
            with connect() as s:
                s.sendall(request(b"GET", b"http://" + authority + b"/pub/x", authority, field))
                assert b" 403 " in head_of(s), field
        assert len(origin.received) == before, "not one of them reached the origin"
    finally:
        origin.close()


def test_requests_inside_a_tunnel(gate, lab, connect):
    origin = Origin(lab, obliging, port=8080)
    host = b"load.example.test:8080"
    try:
        for method, path in OPEN + CLOSED:
            with connect() as s:
                s.sendall(connect_to("load.example.test:8080"))
                assert head_of(s).startswith(b"HTTP/1.1 200 ")
                s.sendall(request(method, path, host))
                said = head_of(s)
                assert (b" 200 " in said.split(b"\r\n")[0]) == ((method, path) in OPEN), (method, path, said)
        assert not any(b"secret" in r and b"q=" not in r for r in origin.received), origin.received
    finally:
        origin.close()


def test_a_tunnel_without_requests_is_closed(gate, lab, connect):
    """What nobody can see allows nothing: octets of another protocol where a rule asks for requests."""
    origin = Origin(lab, obliging, port=8080)
    try:
        with connect() as s:
            s.sendall(connect_to("load.example.test:8080"))
            assert head_of(s).startswith(b"HTTP/1.1 200 ")
            s.sendall(b"\x00\x01\x02binary, no HTTP" * 8)
            everything(s)
        assert not any(b"binary" in r for r in origin.received), origin.received
    finally:
        origin.close()


def test_requests_of_transparent_flows(gate, lab, work):
    origin = Origin(lab, obliging, port=80)
    try:
        assert work.curl("-o", "/dev/null", "-w", "%{http_code}", "http://load.example.test/pub/x").text.endswith("200")
        before = len(origin.received)
        for path in ("/secret", "/pub/../secret", "/pub/%2e%2e/secret", "/pub//x"):
            ran = work.curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", f"http://load.example.test{path}")
            assert ran.text.endswith("403"), (path, ran.text)
        assert work.curl("-X", "POST", "-o", "/dev/null", "-w", "%{http_code}", "http://load.example.test/pub/x").text.endswith("403")
        assert len(origin.received) == before
        denied = gate.wait_audit(name="load.example.test", verdict="deny", plugin="sni-filter")[-1]
        assert denied["reason"] == "no_rule" and denied["effective"] == "deny" and denied["mode"] == "enforce", denied
    finally:
        origin.close()


def test_https_is_no_request_that_anyone_sees(gate, work, witness):
    with witness.expect_only("load.example.test", ports=[]):
        assert work.curl("https://load.example.test/pub/x").status != 0
