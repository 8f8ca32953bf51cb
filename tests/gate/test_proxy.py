"""The explicit proxy of a whole gate, by raw octets from an agent's namespace, with the witness: HTP-01 to -37.

What the plugin does alone, and every variant of these classes, is in tests/plugins/http-proxy.
"""

import base64
import re
import socket
import ssl
import subprocess
import time

import pytest

from small_internet import world
from small_internet.gate import DNS_LISTENER, GATE4, P0, PROXY_LISTENER, UPSTREAMS, Gate, gateway_yaml
from small_internet.messages import hello, records

POLICY = P0 + """
  - { name: more, action: allow, clients: [agents], domains: ["*.guard.test", "*.scripted.test", gone.example.test, raw.example.test] }
  - { name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5432, 8080, 9999] }
"""


@pytest.fixture(scope="module")
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


@pytest.fixture
def connect(lab, agents):
    def connect(port=3128, agent="a", timeout=8):
        with lab.namespaces.inside(agents.fds[agent]):
            s = socket.socket()
        s.settimeout(timeout)
        s.connect((GATE4, port))
        return s

    return connect


def everything(s):
    """What comes until the end; a reset is an end too."""
    data = b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


@pytest.fixture
def send(connect):
    """send(octets): (status or 0, whole answer); the connection must end."""

    def send(*pieces, **options):
        with connect(**options) as s:
            try:
                for piece in pieces:
                    s.sendall(piece)
            except OSError:
                pass
            data = everything(s)
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", data)
        return int(match[1]) if match else 0, data

    return send


def get(target, *fields, version="HTTP/1.1", method="GET"):
    return "\r\n".join([f"{method} {target} {version}", *fields, "", ""]).encode("latin-1")


def connect_to(authority, host=None):
    return get(authority, f"Host: {host or authority}", method="CONNECT")


def test_connect_and_tls(gate, connect, lab, witness):
    """HTP-01, with a half-close, and HTP-17's early octets."""
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        with connect() as s:
            s.sendall(connect_to("api.example.test:443"))
            head = b""
            while b"\r\n\r\n" not in head:
                head += s.recv(1)
            assert head.startswith(b"HTTP/1.1 200 "), head
            context = ssl.create_default_context(cafile=lab.servers.ca)
            with context.wrap_socket(s, server_hostname="api.example.test") as tls:
                tls.sendall(b"GET /whoami HTTP/1.1\r\nHost: api.example.test\r\nConnection: close\r\n\r\n")
                data = b""
                while chunk := tls.recv(65536):
                    data += chunk
    assert b"sni=api.example.test" in data
    gate.wait_audit(name="api.example.test", kind="close", plugin="http-proxy")


def test_early_octets_arrive_once_and_in_order(gate, connect, lab):
    """HTP-17: the hello in the same segment as the CONNECT."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=lab.servers.ca).wrap_bio(incoming, outgoing, server_hostname="api.example.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with connect() as s:
        s.sendall(connect_to("api.example.test:443") + outgoing.read())
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(1)
        assert head.startswith(b"HTTP/1.1 200 ")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if data := outgoing.read():
                    s.sendall(data)
                incoming.write(s.recv(65536))
    assert tls.version()


REFUSED = [
    ("HTP-02", connect_to("evil.test:443"), {403}),
    ("HTP-03", get("http://evil.test/", "Host: evil.test"), {403}),
    ("HTP-03-post", get("http://evil.test/", "Host: evil.test", "Content-Length: 3", method="POST") + b"abc", {403}),
    ("HTP-04-22", connect_to("api.example.test:22"), {403}),
    ("HTP-04-25", connect_to("api.example.test:25"), {403}),
    ("HTP-04-8443", connect_to("api.example.test:8443"), {403}),
    ("HTP-04-0", connect_to("api.example.test:0"), {400, 403}),
    ("HTP-04-65536", connect_to("api.example.test:65536"), {400}),
    ("HTP-04-negative", connect_to("api.example.test:-1"), {400}),
    ("HTP-04-none", connect_to("api.example.test"), {400}),
    ("HTP-05", get("http://pkg.test/", "Host: evil.test"), {400}),
    ("HTP-06", get("/", "Host: pkg.test"), {400}),
    ("HTP-07-two", get("http://pkg.test/", "Host: pkg.test", "Host: pkg.test"), {400}),
    ("HTP-07-empty", get("http://pkg.test/", "Host:"), {400}),
    ("HTP-07-list", get("http://pkg.test/", "Host: pkg.test, evil.test"), {400}),
    ("HTP-08-user", get("http://user:pw@pkg.test/", "Host: pkg.test"), {400}),
    ("HTP-08-at", get("http://pkg.test@evil.test/", "Host: evil.test"), {400}),
    ("HTP-08-connect", connect_to("a@pkg.test:443"), {400}),
    ("HTP-09-ports", get("http://pkg.test:80:443/", "Host: pkg.test"), {400}),
    ("HTP-09-fragment", get("http://pkg.test#@evil.test/", "Host: pkg.test"), {400}),
    ("HTP-09-backslash", get("http://pkg.test\\@evil.test/", "Host: pkg.test"), {400}),
    ("HTP-10-brackets", get("http://[pkg.test]/", "Host: [pkg.test]"), {400}),
    ("HTP-10-double", connect_to("[[pkg.test]]:443"), {400}),
    ("HTP-11-both", get("http://pkg.test/", "Host: pkg.test", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST"), {400}),
    ("HTP-11-comma", get("http://pkg.test/", "Host: pkg.test", "Transfer-Encoding: chunked,", method="POST"), {400}),
    ("HTP-11-gzip", get("http://pkg.test/", "Host: pkg.test", "Transfer-Encoding: chunked, gzip", method="POST"), {400, 501}),
    ("HTP-11-identity", get("http://pkg.test/", "Host: pkg.test", "Transfer-Encoding: identity", method="POST"), {400, 501}),
    ("HTP-11-two", get("http://pkg.test/", "Host: pkg.test", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", method="POST"), {400}),
    *[(f"HTP-12-{n}", get("http://pkg.test/", "Host: pkg.test", f"Content-Length: {v}", method="POST"), {400})
      for n, v in enumerate(("+5", "5,5", "5, 6", "", "0x5", str(2**64)))],
    ("HTP-12-two", get("http://pkg.test/", "Host: pkg.test", "Content-Length: 5", "Content-Length: 6", method="POST"), {400}),
    ("HTP-13-space-colon", get("http://pkg.test/", "Host : pkg.test"), {400}),
    ("HTP-13-leading", b"GET http://pkg.test/ HTTP/1.1\r\n Host: pkg.test\r\n\r\n", {400}),
    ("HTP-13-fold", b"GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nX: a\r\n b\r\n\r\n", {400}),
    ("HTP-13-bare-lf", b"GET http://pkg.test/ HTTP/1.1\nHost: pkg.test\n\n", {400}),
    ("HTP-13-bare-cr", b"GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\rX: y\r\n\r\n", {400}),
    ("HTP-13-nul", b"GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nX: a\0b\r\n\r\n", {400}),
    ("HTP-13-empty-name", b"GET http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n: x\r\n\r\n", {400}),
    ("HTP-29-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    ("HTP-29-0.9", b"GET http://pkg.test/\r\n\r\n", {400, 505}),
    ("HTP-29-1.32", get("http://pkg.test/", "Host: pkg.test", version="HTTP/1.32"), {400, 505}),
    ("HTP-29-3.0", get("http://pkg.test/", "Host: pkg.test", version="HTTP/3.0"), {400, 505}),
    ("HTP-29-tls", records(hello(b"api.example.test")), {0, 400}),
    ("HTP-30-trace", get("http://pkg.test/", "Host: pkg.test", method="TRACE"), {403, 405, 501}),
    ("HTP-30-lower", get("pkg.test:443", "Host: pkg.test:443", method="connect"), {400, 405, 501}),
    ("HTP-30-long", get("http://pkg.test/", "Host: pkg.test", method="A" * 10240), {400, 405, 414, 501}),
    *[(f"HTP-30-{s}", get(f"{s}://pkg.test/", "Host: pkg.test"), {400}) for s in ("ftp", "gopher", "urn", "file", "ws", "https")],
    ("HTP-31-head", get("http://pkg.test/", "Host: pkg.test", "X: " + "a" * 65536), {431}),
    ("HTP-31-fields", get("http://pkg.test/", "Host: pkg.test", *[f"X{i}: a" for i in range(1001)]), {431}),
    ("HTP-31-uri", get("http://pkg.test/" + "a" * 16384, "Host: pkg.test"), {414}),
    ("literal", connect_to(f"{world.GOOD4}:443"), {403}),
    ("literal-v6", connect_to(f"[{world.GOOD6}]:443"), {403}),
    ("ADR-01-decimal", connect_to("2130706433:443"), {400, 403}),
    ("ADR-01-octal", connect_to("017700000001:443"), {400, 403}),
    ("ADR-01-short", get("http://127.1/", "Host: 127.1"), {400, 403}),
    ("ADR-02-mapped", connect_to("[::ffff:169.254.169.254]:443"), {400, 403}),
    ("ADR-02-zone", connect_to("[fe80::1%25eth0]:443"), {400, 403}),
    ("NAM-07", get("http://pkg.test%00.evil.test/", "Host: pkg.test%00.evil.test"), {400, 403}),
    ("CTL-01", connect_to(f"{GATE4}:3128"), {403}),
    ("DOH-01", connect_to("dns.google:443"), {403}),
    ("DOH-01-address", connect_to("8.8.8.8:443"), {403}),
]  # fmt: skip


@pytest.mark.parametrize("octets, statuses", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_and_nothing_leaves(gate, send, witness, octets, statuses):
    with witness.expect_zero():
        status, answer = send(octets)
    assert status in statuses, answer[:500]
    if status == 403:
        assert b"Proxy-Status: sallyport; error=http_request_denied; details=" in answer and b"ref=" in answer, answer
        assert b"onnection: close" in answer


def test_a_refusal_can_be_found_by_its_ref(gate, send):
    _, answer = send(connect_to("evil.test:443"))
    reference = re.search(rb"ref=([0-9a-z]{5})", answer)[1].decode()
    found = [r for r in gate.wait_audit(name="evil.test", verdict="deny") if r["id"].endswith(reference)]
    assert found and found[0]["client"]["addr"] == "172.20.0.7" and found[0]["reason"] in ("no_rule", "name_not_allowed")


def test_octets_after_a_refused_connect_are_dropped(gate, send, witness):
    """HTP-16."""
    with witness.expect_zero():
        status, answer = send(connect_to("evil.test:443") + get("http://pkg.test/", "Host: pkg.test"))
    assert status == 403 and answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("octets", [
    b"GET / HTTP/1.1\r\nHost: api.example.test\r\n\r\n",
    records(hello(b"evil.test")),
    records(hello(None)),
    b"SSH-2.0-client\r\n",
], ids=["not-tls", "other-sni", "no-sni", "ssh"])  # fmt: skip
def test_what_is_not_that_name_in_tls_is_closed(gate, connect, lab, octets):
    """HTP-18 to -20: the origin accepts, and receives no octet."""
    before = len(lab.servers.connections(world.RAW4, 443))
    gate.set_policy(POLICY.replace("domains: [api.example.test]", "domains: [api.example.test, raw.example.test]"))
    with connect() as s:
        s.sendall(connect_to("raw.example.test:443"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(1)
        assert head.startswith(b"HTTP/1.1 200 "), head
        s.sendall(octets)
        everything(s)
    time.sleep(0.2)
    received = [c.data for c in lab.servers.connections()[before:] if c.server in (world.RAW4, world.RAW6) and c.port == 443]
    assert not any(received), received
    gate.set_policy(POLICY)


def test_guarded_addresses(gate, send, witness):
    """HTP-21, HTP-22: one lookup, checked; private, loopback, metadata are no destinations, allowed name or not."""
    for name in ("private.guard.test", "loopback.guard.test", "metadata.guard.test"):
        with witness.expect_only(name):
            status, answer = send(connect_to(f"{name}:443"))
        assert status == 403 and (b"addr_forbidden" in answer or b"guard_metadata" in answer), answer


def test_hop_by_hop_fields(gate, connect, lab):
    """HTP-24, HTP-25, HTP-27: what the origin sees."""
    request = get("http://raw.example.test/", "Host: raw.example.test", "Connection: host, content-length, x-a, connection, upgrade, http2-settings", "X-A: 1", "X-B: 2",
                  "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic " + base64.b64encode(b"a:b").decode(), "X-Forwarded-For: 10.0.0.1",
                  "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")  # fmt: skip
    before = len(lab.servers.connections())
    with connect(timeout=3) as s:
        s.sendall(request)
        try:
            s.recv(65536)
        except TimeoutError:
            pass
    received = b"".join(c.data for c in lab.servers.connections()[before:] if c.port == 80).lower()
    assert b"host: raw.example.test" in received and b"x-b: 2" in received, received
    for gone in (b"x-a:", b"proxy-", b"10.0.0.1", b"h2c", b"http2-settings"):
        assert gone not in received, received


def test_keep_alive_and_different_hosts_on_one_connection(gate, connect, witness):
    """Each request is decided by itself: allowed, then denied, on one connection."""
    with witness.expect_only("pkg.test", "www.cdn.test", ports=[(world.PKG4, 80), (world.PKG6, 80), (world.CDN4, 80), (world.CDN6, 80)]), connect() as s:
        for name in ("pkg.test", "www.cdn.test", "pkg.test"):
            s.sendall(get(f"http://{name}/whoami", f"Host: {name}"))
            data = b""
            while b"\r\n\r\n" not in data or f"host={name}".encode() not in data:
                chunk = s.recv(65536)
                assert chunk, data
                data += chunk
            assert data.startswith(b"HTTP/1.1 200 ")
        s.sendall(get("http://evil.test/", "Host: evil.test"))
        assert everything(s).startswith(b"HTTP/1.1 403 ")


def test_redirect_to_a_denied_host(gate, work):
    """HTP-34: the client that follows gets 403 for the second request."""
    run = work.run("curl", "-sS", "-x", f"http://{GATE4}:3128", "-o", "/dev/null", "-w", "%{http_code}", "http://evil.test/", resolver=GATE4)
    assert run.text == "403", run


@pytest.mark.parametrize("name, port, status, bound", [
    ("db.example.test", 9999, {502}, 4), ("gone.example.test", 80, {502, 504}, 14), ("nxdomain.scripted.test", 80, {502}, 4), ("servfail.scripted.test", 80, {502}, 8),
])  # fmt: skip
def test_upstream_trouble(gate, send, name, port, status, bound):
    """HTP-37: refused, timeout, no such name, failure of the resolver; each says so, none is remembered as allowed."""
    began = time.monotonic()
    got, answer = send(get(f"http://{name}:{port}/", f"Host: {name}:{port}", "Connection: close"), timeout=20)
    assert got in status and time.monotonic() - began < bound, answer
    assert gate.wait_audit(name=name, reason="upstream_failed")


def test_slow_heads_are_closed(gate, lab, agents, work):
    """HTP-32: 500 clients that never finish their head cost others nothing; they are closed in time."""
    base = lab.workspace()
    slow = work.start("slowhttptest", "-H", "-c", "500", "-r", "500", "-i", "2", "-l", "8", "-u", f"http://{GATE4}:3128/", "-x", "10", base=base)
    time.sleep(3)
    times = []
    for _ in range(20):
        run = work.curl("-x", f"http://{GATE4}:3128", "-o", "/dev/null", "-w", "%{time_total}", "http://pkg.test/whoami")
        assert run.status == 0, run
        times.append(float(run.text))
    lab.finish(slow, 60)
    assert sorted(times)[-1] < 2, times


def test_an_idle_tunnel_is_counted_and_freed(gate, connect):
    """HTP-33: when the client vanishes the slot is free again."""
    def flows():
        return gate.health("http-proxy")["tunnels"]

    before = flows()
    held = []
    for _ in range(5):
        s = connect()
        s.sendall(connect_to("api.example.test:443"))
        assert s.recv(64).startswith(b"HTTP/1.1 200 ")
        held.append(s)
    for s in held:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    end = time.monotonic() + 5
    while flows() > before:
        assert time.monotonic() < end, gate.status()
        time.sleep(0.1)


def test_credentials(lab, agents, connect, send, witness):
    """HTP-26: missing, wrong, from another client's address."""
    hashed = subprocess.run(["openssl", "passwd", "-6", "-salt", "abcdefgh", "right"], capture_output=True, text=True, check=True).stdout.strip()
    policy = """
version: 1
clients:
  bot: { credentials: [bot], addresses: [172.20.0.7/32] }
rules:
  - { name: pkg, action: allow, clients: [bot], domains: [pkg.test] }
"""
    gateway = gateway_yaml("real", plugins=[
        "{ name: nftables, config: {} }", f"{{ name: dns, config: {{ listen: [dns], answers: real, {UPSTREAMS} }} }}",
        f"{{ name: http-proxy, config: {{ listen: [proxy], auth: required, {UPSTREAMS} }} }}"], listeners=DNS_LISTENER + PROXY_LISTENER,
        extra="credentials: { file: users }\n")  # fmt: skip
    made = Gate(lab, gateway, policy)
    made.write(f"{made.directory}/users", f"bot:{hashed}\n")
    made.start()
    try:
        def request(word):
            fields = ["Host: pkg.test", "Connection: close"]
            if word:
                fields.append("Proxy-Authorization: Basic " + base64.b64encode(word.encode()).decode())
            return get("http://pkg.test/whoami", *fields)

        for word, agent in ((None, "a"), ("bot:wrong", "a"), ("other:right", "a"), ("bot:right", "b")):
            with witness.expect_zero():
                status, answer = send(request(word), agent=agent)
            assert status in (407, 403), (word, answer)
            assert status == 407 or agent == "b"
        status, answer = send(request("bot:right"))
        assert status == 200 and b"host=pkg.test" in answer, answer
        assert made.wait_audit(name="pkg.test", verdict="allow")[0]["client"]["user"] == "bot"
    finally:
        made.stop()
