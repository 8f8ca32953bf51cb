"""Options of http-proxy, each with a gate of its own: HTP-05 (rewrite), HTP-26, HTP-33 (limits)."""

import base64
import subprocess
import time

import pytest

from origin import Origin, read_requests
from proxy_client import connect_to, everything, get, head_of
from small_internet import world
from small_internet.gate import DNS_LISTENER, GATE4, P0, PROXY_LISTENER, UPSTREAMS, Gate, gateway_yaml

NAME = "load.example.test"


def gateway(options="", extra="", listeners=DNS_LISTENER + PROXY_LISTENER):
    return gateway_yaml("real", listeners=listeners, extra=extra, plugins=[
        "{ name: nftables, config: {} }", f"{{ name: dns, config: {{ listen: [dns], answers: real, {UPSTREAMS} }} }}",
        f"{{ name: http-proxy, config: {{ listen: [proxy], {UPSTREAMS}{options} }} }}"])  # fmt: skip


def obliging(conversation):
    while conversation.head():
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
def origin(lab):
    made = Origin(lab, obliging)
    yield made
    made.close()


def test_the_target_decides_where_host_is_rewritten(gates, send, origin, witness):
    """HTP-05: `host_mismatch: rewrite`; also for CONNECT, whose Host is the proxy's own name with some clients."""
    gate = gates(gateway(", host_mismatch: rewrite"), P0 + "  - { name: o, action: allow, clients: [agents], domains: [load.example.test] }\n")
    with witness.expect_only(NAME, ports=[(world.LOAD4, 80)]):
        status, answer = send(get(f"http://{NAME}/", "Host: evil.test", "Connection: close"))
    (line, fields, _), = read_requests(origin.received[0])
    assert status == 200 and fields[b"host"] == NAME.encode() and b"evil" not in origin.received[0], answer
    gate.wait_audit(name=NAME, effective="allow")
    with witness.expect_zero():
        assert send(get("http://evil.test/", f"Host: {NAME}"))[0] == 403
        assert send(connect_to("evil.test:443", host=f"{GATE4}:3128"))[0] == 403


def hashed(word, salt="abcdefgh"):
    return subprocess.run(["openssl", "passwd", "-6", "-salt", salt, word], capture_output=True, text=True, check=True).stdout.strip()


def with_user(word, *fields):
    given = ["Proxy-Authorization: Basic " + base64.b64encode(word.encode()).decode()] if word else []
    return get("http://pkg.test/whoami", "Host: pkg.test", "Connection: close", *given, *fields)


def test_credentials(lab, agents, send, witness):
    """HTP-26: missing, wrong, another's, from another client's address; 407 or 403, and nothing leaves."""
    policy = """
version: 1
clients:
  bot: { credentials: [bot], addresses: [172.20.0.7/32] }
  tool: { credentials: [tool], addresses: [172.20.0.8/32] }
rules:
  - { name: pkg, action: allow, clients: [bot], domains: [pkg.test] }
"""
    gate = Gate(lab, gateway(", auth: required", "credentials: { file: users }\n"), policy)
    gate.write(f"{gate.directory}/users", f"bot:{hashed('right')}\ntool:{hashed('left')}\n")
    gate.start()
    try:
        rows = [(None, "a", 407, "auth_required"), ("bot:wrong", "a", 407, "auth_mismatch"), ("other:right", "a", 407, "auth_mismatch"), ("bot:", "a", 407, "auth_mismatch"),
                ("bot:right", "b", 407, "auth_mismatch"), ("tool:left", "a", 407, "auth_mismatch"), ("tool:left", "b", 403, "no_rule")]  # fmt: skip
        for word, agent, expected, reason in rows:
            with witness.expect_zero():
                status, answer = send(with_user(word), agent=agent)
            assert status == expected and reason.encode() in answer, (word, agent, answer)
            assert (b"\r\nProxy-Authenticate: Basic " in answer) == (expected == 407), answer
        with witness.expect_zero():
            assert send(connect_to("pkg.test:443"))[0] == 407
            twice = "Proxy-Authorization: Basic " + base64.b64encode(b"bot:wrong").decode()
            assert send(with_user("bot:right", twice))[0] in (400, 407)
        status, answer = send(with_user("bot:right"))
        assert status == 200 and b"host=pkg.test" in answer, answer
        assert gate.wait_audit(name="pkg.test", verdict="allow")[0]["client"]["user"] == "bot"
        assert b"right" not in open(f"{gate.directory}/audit.jsonl", "rb").read()
        # Taken out of the file, they end: the next request is refused, with nothing restarted.
        gate.write(f"{gate.directory}/users", f"tool:{hashed('left')}\n")
        end = time.monotonic() + 5
        while send(with_user("bot:right"))[0] != 407:
            assert time.monotonic() < end, gate.log()
    finally:
        gate.stop()


def test_one_connection_carries_one_client_at_a_time(lab, agents, connect, witness):
    """HTP-26, replay: credentials count for the request that carries them, not for the connection."""
    gate = Gate(lab, gateway(", auth: required", "credentials: { file: users }\n"), P0.replace("rules:", "  bot: { credentials: [bot] }\nrules:"))
    gate.write(f"{gate.directory}/users", f"bot:{hashed('right')}\n")
    policy = P0.replace("rules:", "  bot: { credentials: [bot] }\nrules:").replace("clients: [agents]", "clients: [bot]")
    gate.write(gate.policy_file, policy)
    gate.start()
    try:
        with connect() as s:
            s.sendall(get("http://pkg.test/whoami", "Host: pkg.test", "Proxy-Authorization: Basic " + base64.b64encode(b"bot:right").decode()))
            assert head_of(s).startswith(b"HTTP/1.1 200 ")
            data = b""
            while b"\n" not in data:
                data += s.recv(4096)
            with witness.expect_zero():
                s.sendall(get("http://pkg.test/whoami", "Host: pkg.test"))
                assert everything(s).startswith(b"HTTP/1.1 407 ")
    finally:
        gate.stop()


def test_idle_and_silent_ends(gates, connect, lab):
    """HTP-33: an idle tunnel is closed at its limit, at both ends; a tunnel whose client says nothing at all, too."""
    gate = gates(gateway(", idle_timeout: 1s, hello_timeout: 1s"), P0 + "  - { name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5432] }\n")
    with connect() as s, connect() as quiet:
        for one, authority in ((s, "db.example.test:5432"), (quiet, "api.example.test:443")):
            one.sendall(connect_to(authority))
            assert head_of(one).startswith(b"HTTP/1.1 200 ")
        s.sendall(b"\0ping")
        assert s.recv(5) == b"\0ping"
        began = time.monotonic()
        s.settimeout(5)
        assert everything(s) == b"" and 0.5 < time.monotonic() - began < 4
        everything(quiet)
    assert gate.wait_audit(name="api.example.test", reason="hello_timeout", verdict="deny")
    end = time.monotonic() + 5
    while gate.health("http-proxy")["tunnels"] or gate.health("http-proxy")["connections"]:
        assert time.monotonic() < end, gate.health("http-proxy")
        time.sleep(0.05)


def test_a_client_that_vanishes_without_a_word(gates, lab, agents, origin, connect):
    """HTP-33, half-open: no FIN, no RST, nothing any more; while the tunnel is idle, and while the origin keeps sending."""
    def script(conversation):
        if conversation.receive().startswith(b"\0more"):
            while True:
                conversation.send(bytes(65536))
        conversation.receive()

    origin.script = script
    gate = gates(gateway(", idle_timeout: 1s"), P0 + "  - { name: o, action: allow, clients: [agents], domains: [load.example.test], tunnel: any }\n")
    agents.add("c", ("172.20.0.9", "fd00:20::9"))
    held = []
    try:
        for word in (b"\0more", b"\0idle"):
            held.append(connect(agent="c"))
            held[-1].sendall(connect_to(f"{NAME}:80"))
            assert head_of(held[-1]).startswith(b"HTTP/1.1 200 ")
            held[-1].sendall(word)
        assert held[0].recv(1000)
        end = time.monotonic() + 0.5
        while origin.open() != 2:
            assert time.monotonic() < end, origin.open()
            time.sleep(0.01)
    finally:
        agents.remove("c")
    end = time.monotonic() + 6
    while gate.health("http-proxy")["tunnels"] or gate.health("http-proxy")["connections"]:
        assert time.monotonic() < end, gate.health("http-proxy")
        time.sleep(0.05)
    end = time.monotonic() + 3
    while origin.open():
        assert time.monotonic() < end, "the origin's side is left open"
        time.sleep(0.05)
    for one in held:
        one.close()


def test_more_connections_than_the_bound(gates, connect, send):
    """Bounds in all and per client, over all threads: 503, and room again when one has gone."""
    gates(gateway(", max_connections: 6, max_connections_per_client: 4"), P0)
    with connect(agent="b") as other:
        held = [connect() for _ in range(4)]
        for s in held:
            s.sendall(b"GET http://pkg.test/")
        time.sleep(0.2)
        assert send(get("http://pkg.test/", "Host: pkg.test"))[0] == 503
        other.sendall(get("http://pkg.test/whoami", "Host: pkg.test", "Connection: close"))
        assert everything(other).startswith(b"HTTP/1.1 200 ")
        held.pop().close()
        end = time.monotonic() + 5
        while send(get("http://pkg.test/whoami", "Host: pkg.test", "Connection: close"))[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        for s in held:
            s.close()
