"""`limits:` through a whole gate, on real traffic: what an origin outside counts is what the policy allows, by each plugin. docs/limits.md.

Rules are told apart by port, all at load.example.test, where a test's own origin listens. A bucket is one for each rule and client, so
each test has a gate of its own.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from small_internet import world
from small_internet.gate import GATE4, P0, Gate, gateway_yaml
from small_internet.messages import hello, records
from small_internet.runner import SALLYPORT

from dns_client import EDNS, NOERROR, REFUSED, query
from origin import Origin
from proxy_client import connect_to, everything, get, head_of

BANDWIDTH, CONNECTIONS, REQUESTS, UPLOAD, DOWNLOAD, FREE = 8101, 8102, 8103, 8104, 8105, 8106
POLICY = P0.replace(", domains: [pkg.test]", ', domains: ["*.pkg.test"]') + f"""
  - {{ name: bandwidth, action: allow, domains: [load.example.test], ports: [{BANDWIDTH}], limits: {{ bandwidth: 2MB/s }} }}
  - {{ name: connections, action: allow, domains: [load.example.test], ports: [{CONNECTIONS}], limits: {{ connections: 2 }} }}
  - {{ name: requests, action: allow, domains: [load.example.test], ports: [{REQUESTS}], limits: {{ requests: 3/h }} }}
  - {{ name: upload, action: allow, domains: [load.example.test], ports: [{UPLOAD}], limits: {{ upload: 200kB/day }} }}
  - {{ name: download, action: allow, domains: [load.example.test], ports: [{DOWNLOAD}], limits: {{ download: 1MB/day }} }}
  - {{ name: free, action: allow, domains: [load.example.test], ports: [{FREE}] }}
"""
WAYS = ["plain", "connect", "transparent"]
MB = 1_000_000


@pytest.fixture
def gate(gates):
    return gates(gateway_yaml("real"), POLICY)


@pytest.fixture
def origins(lab):
    made = []

    def start(script, port):
        made.append(Origin(lab, script, port=port))
        return made[-1]

    yield start
    for origin in made:
        origin.close()


def sends(octets):
    """An origin that answers each request with so many octets."""

    def script(c):
        last = b""
        while b"Connection: close" not in last and (last := c.head()):
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % octets)
            piece = b"x" * 65536
            for at in range(0, octets, len(piece)):
                c.send(piece[: octets - at])

    return script


def takes(c):
    """An origin that reads a body of any length and says how long it was."""
    head = c.head()
    match = re.search(rb"(?i)content-length: (\d+)", head)
    if match:
        body = c.body(int(match[1]))
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n%08d" % len(body))


class Agent:
    """Reaches load.example.test in one of the three ways."""

    def __init__(self, lab, agents, connect, ask, name="a"):
        self._lab, self._agents, self._connect, self._ask, self.name = lab, agents, connect, ask, name

    def open(self, way, port, timeout=20):
        """A socket on which a request to the origin can be sent."""
        if way == "transparent":
            assert self._ask(query("load.example.test", 1), agent=self.name).answers, "no address"
            with self._lab.namespaces.inside(self._agents.fds[self.name]):
                s = socket.socket()
            s.settimeout(timeout)
            try:
                s.connect((world.LOAD4, port))
            except ConnectionResetError:  # the reset may be here before connect() has returned
                s.close()
                raise Refused(b"") from None
            return s
        s = self._connect(agent=self.name, timeout=timeout)
        if way == "connect":
            s.sendall(connect_to(f"load.example.test:{port}"))
            head = head_of(s)
            if not head.startswith(b"HTTP/1.1 200 "):
                data = head + everything(s)
                s.close()
                raise Refused(data)
        return s

    def request(self, way, port, *fields, method="GET", body=b"", timeout=20):
        """The whole answer."""
        try:
            s = self.open(way, port, timeout)
        except Refused as refused:
            return refused.data
        with s:
            target = f"http://load.example.test:{port}/" if way == "plain" else "/"
            length = (f"Content-Length: {len(body)}",) if body else ()
            try:
                s.sendall(get(target, f"Host: load.example.test:{port}", "Connection: close", *length, *fields, method=method))
                s.sendall(body)
            except OSError:
                pass
            return everything(s)


class Refused(Exception):
    def __init__(self, data):
        super().__init__(data)
        self.data = data


@pytest.fixture
def agent(lab, agents, connect, ask):
    return Agent(lab, agents, connect, ask)


@pytest.fixture
def neighbour(lab, agents, connect, ask):
    return Agent(lab, agents, connect, ask, "b")


def body_of(answer):
    return answer.partition(b"\r\n\r\n")[2]


def is_limited(answer):
    return answer.startswith(b"HTTP/1.1 429 ") and b"limit_exceeded" in answer and re.search(rb"\r\nRetry-After: [1-9]\d*\r\n", answer)


def count(gate, rule, kind):
    """sallyport_limit_exceeded_total{rule,kind}."""
    path = next(os.path.join(gate.directory, n) for n in os.listdir(gate.directory) if n.endswith(".sock"))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b"metrics\n")
        text = everything(s).decode()
    match = re.search(rf'^sallyport_limit_exceeded_total{{rule="{rule}",kind="{kind}"}} (\d+)', text, re.M)
    return int(match[1]) if match else 0


@pytest.mark.parametrize("way", WAYS)
def test_a_download_keeps_to_the_bandwidth(gate, agent, neighbour, origins, way):
    """6 MB at 2 MB/s, of which half a MB may come at once; another client and another rule at the same time are as fast as before."""
    origins(sends(6 * MB), BANDWIDTH)
    origins(sends(6 * MB), FREE)
    took = {}

    def fetch(who, port, word):
        began = time.monotonic()
        data = who.request(way, port)
        took[word] = time.monotonic() - began
        assert len(body_of(data)) == 6 * MB, (word, data[:200])

    jobs = [(agent, BANDWIDTH, "bound"), (neighbour, BANDWIDTH, "its own"), (agent, FREE, "free")]
    threads = [threading.Thread(target=fetch, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(took) == {"bound", "its own", "free"}
    for word in ("bound", "its own"):
        assert 2.7 <= took[word] <= 5.5, took
    assert took["free"] < 2.4, took
    assert count(gate, "bandwidth", "bandwidth") > 0


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_keeps_to_the_bandwidth(gate, agent, origins, way):
    origins(takes, BANDWIDTH)
    began = time.monotonic()
    data = agent.request(way, BANDWIDTH, method="POST", body=b"u" * (5 * MB))
    took = time.monotonic() - began
    assert body_of(data) == b"%08d" % (5 * MB), data[:300]
    assert 2.2 <= took <= 5, took


def test_flows_of_one_client_share_its_bandwidth(gate, agent, origins):
    origins(sends(2 * MB), BANDWIDTH)
    began = time.monotonic()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(agent.request("connect", BANDWIDTH))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    assert [len(body_of(a)) for a in answers] == [2 * MB] * 3
    assert 2.7 <= took <= 5.5, took


@pytest.mark.parametrize("way", WAYS)
def test_a_download_quota_ends_a_transfer_and_refuses_the_next(gate, agent, neighbour, origins, way):
    origin = origins(sends(3 * MB), DOWNLOAD)
    got = agent.request(way, DOWNLOAD)
    assert 0 < len(got) <= MB, len(got)  # a cut-off transfer ends with a reset, which drops what is on its way
    gate.wait_audit(reason="limit_exceeded", verdict="deny", rule="download", cause="limit: download")
    gate.wait_audit(reason="limit_exceeded", kind="close", rule="download")
    # Nothing of the next one goes out.
    before = len(origin.received)
    again = agent.request(way, DOWNLOAD)
    assert is_limited(again) if way != "transparent" else again == b"", again[:300]
    assert len(origin.received) == before
    assert count(gate, "download", "download") >= 2
    assert 0 < len(neighbour.request(way, DOWNLOAD)) <= MB


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_quota_is_what_leaves(gate, agent, origins, way):
    origin = origins(takes, UPLOAD)
    answer = agent.request(way, UPLOAD, method="POST", body=b"u" * MB)
    assert not answer.startswith(b"HTTP/1.1 200"), answer[:200]
    # However it is tried: the sum is the quota.
    for _ in range(3):
        agent.request(way, UPLOAD, method="POST", body=b"u" * 50_000)
    assert 0 < sum(map(len, origin.received)) <= 200_000, list(map(len, origin.received))
    gate.wait_audit(reason="limit_exceeded", rule="upload", cause="limit: upload")


@pytest.mark.parametrize("way", ["connect", "transparent"])
def test_connections_are_counted_while_they_are_open(gate, agent, neighbour, origins, way):
    origin = origins(lambda c: [c.send(d) for d in iter(c.receive, b"")], CONNECTIONS)

    def opens(who):
        """Whether octets come back."""
        try:
            s = who.open(way, CONNECTIONS, 5)
        except Refused as refused:
            assert is_limited(refused.data) if way != "transparent" else refused.data == b"", refused.data
            return None
        try:
            s.sendall(b"\0hello")
            if s.recv(6) == b"\0hello":
                return s
        except OSError:
            pass
        s.close()
        return None

    held = [opens(agent), opens(agent)]
    assert all(held)
    assert opens(agent) is None
    assert len(origin.received) == 2
    other = opens(neighbour)
    assert other
    held.pop().close()
    end = time.monotonic() + 5
    while not (again := opens(agent)) and time.monotonic() < end:
        time.sleep(0.05)
    assert again
    assert opens(agent) is None
    for s in [*held, other, again]:
        s.close()
    assert count(gate, "connections", "connections") >= 2


@pytest.mark.parametrize("way", WAYS)
def test_requests_beyond_the_rate_are_refused(gate, agent, neighbour, origins, way):
    origin = origins(sends(10), REQUESTS)
    for _ in range(3):
        assert body_of(agent.request(way, REQUESTS)) == b"x" * 10
    for _ in range(3):
        over = agent.request(way, REQUESTS)
        assert is_limited(over) if way != "transparent" else over == b"", over
    assert b"".join(origin.received).count(b"GET / HTTP/1.1") == 3
    assert body_of(neighbour.request(way, REQUESTS)) == b"x" * 10
    gate.wait_audit(reason="limit_exceeded", rule="requests", cause="limit: requests")


def test_requests_within_one_connection_count_each(gate, agent, origins):
    """Through the proxy, in a tunnel and behind the redirect: the first is the connection's, the fourth is refused and never leaves."""
    origin = origins(sends(10), REQUESTS)
    for way in ("connect", "transparent"):
        gate.set_policy(POLICY.replace("name: requests", f"name: requests-{way}"))
        before = sum(map(len, origin.received))
        with agent.open(way, REQUESTS) as s:
            for _ in range(3):
                s.sendall(get("/", f"Host: load.example.test:{REQUESTS}"))
                assert head_of(s).startswith(b"HTTP/1.1 200 ")
                assert s.recv(10) == b"x" * 10
            sent = sum(map(len, origin.received)) - before
            s.sendall(get("/", f"Host: load.example.test:{REQUESTS}"))
            assert is_limited(everything(s)), way
        assert sum(map(len, origin.received)) - before == sent


def test_tls_over_the_rate_gets_an_alert_before_anything_is_dialled(gates, lab, agents, work, witness):
    policy = P0.replace("ports: [443] }", "ports: [443], limits: { requests: 1/h } }", 1)
    gate = gates(gateway_yaml("real"), policy)
    wire = records(hello(b"api.example.test")).hex()
    step = {"do": "tcp", "to": ["api.example.test", 443], "family": 4, "timeout": 5, "send": wire, "read": 5}
    first, _ = work.probe([step])
    assert bytes.fromhex(first[0]["data"])[0] == 22, first
    with witness.expect_only("api.example.test"):  # no connection
        second, _ = work.probe([{**step, "read": 7}])
    assert bytes.fromhex(second[0]["data"]) == b"\x15\x03\x03\x00\x02\x02\x31", second
    gate.wait_audit(plugin="sni-filter", reason="limit_exceeded", cause="limit: requests", name="api.example.test")


def test_dns_counts_questions_that_are_sent_on(gates, ask, witness):
    """Three to a request; what is kept already is answered all the same."""
    policy = P0.replace("domains: [pkg.test], ports: [80, 443] }", 'domains: ["*.pkg.test"], ports: [80, 443], limits: { requests: 1/h } }')
    gate = gates(gateway_yaml("real"), policy)
    for name, kind in [("npm.pkg.test", 1), ("npm.pkg.test", 28), ("pypi.pkg.test", 1)]:
        assert ask(query(name, kind)).rcode == NOERROR
    with witness.expect_zero():
        refused = ask(query("pypi.pkg.test", 28, edns=EDNS))
        assert refused.rcode == REFUSED
        assert ask(query("npm.pkg.test", 1)).rcode == NOERROR
    gate.wait_audit(plugin="dns", reason="limit_exceeded", name="pypi.pkg.test")
    assert ask(query("pypi.pkg.test", 28), agent="b").rcode == NOERROR


def test_a_quota_survives_the_death_of_the_gate(gates, agent, origins):
    gate = gates(gateway_yaml("real"), POLICY)
    origin = origins(sends(3 * MB), DOWNLOAD)
    assert len(agent.request("plain", DOWNLOAD)) <= MB
    time.sleep(2.2)  # it is kept once a second
    gate.kill()
    gate.start()
    before = len(origin.received)
    assert is_limited(agent.request("plain", DOWNLOAD))
    gate.process.terminate()
    gate.process.wait(20)
    gate.start()
    assert is_limited(agent.request("plain", DOWNLOAD))
    assert len(origin.received) == before


def test_a_damaged_file_of_quotas_refills_nothing(gates, agent, origins):
    gate = gates(gateway_yaml("real"), POLICY)
    origins(sends(10), DOWNLOAD)
    assert body_of(agent.request("plain", DOWNLOAD)) == b"x" * 10
    gate.process.terminate()
    gate.process.wait(20)
    path = f"{gate.directory}/lab.quotas"
    with open(path, "r+b") as file:
        file.seek(60)
        octet = file.read(1)
        file.seek(60)
        file.write(bytes([octet[0] ^ 1]))
    for _ in range(2):  # and after one more restart
        gate.start()
        assert is_limited(agent.request("plain", DOWNLOAD))
        gate.process.terminate()
        gate.process.wait(20)
    assert "lab.quotas is damaged" in gate.log()
    os.unlink(path)
    gate.start()
    assert body_of(agent.request("plain", DOWNLOAD)) == b"x" * 10


def test_what_was_counted_survives_workers_and_reloads(gate, agent, origins):
    """A killed worker gives back its connections, and nothing else."""
    origins(sends(10), REQUESTS)
    origins(lambda c: [c.send(d) for d in iter(c.receive, b"")], CONNECTIONS)
    for _ in range(3):
        agent.request("plain", REQUESTS)
    held = [agent.open("connect", CONNECTIONS) for _ in range(2)]
    with pytest.raises(Refused):
        agent.open("connect", CONNECTIONS)
    gate.set_policy(POLICY + "# a reload\n" + "  - { name: last, action: deny }\n")
    assert is_limited(agent.request("plain", REQUESTS))
    with pytest.raises(Refused):
        agent.open("connect", CONNECTIONS)
    victim = next(pid for pid, plugins in gate.workers().items() if "http-proxy" in plugins)
    os.kill(victim, signal.SIGKILL)
    end = time.monotonic() + 8
    while time.monotonic() < end:
        try:
            again = agent.request("plain", REQUESTS, timeout=2)
            if again:
                break
        except OSError:
            pass
        time.sleep(0.1)
    assert is_limited(again), again
    fresh = [agent.open("connect", CONNECTIONS) for _ in range(2)]
    with pytest.raises(Refused):
        agent.open("connect", CONNECTIONS)
    for s in held + fresh:
        s.close()


def test_a_tighter_limit_reaches_a_transfer_that_is_under_way(gate, agent, origins):
    """FREE has no limits at first; 20 MB would be through in a moment, and are not once the rule says 1MB/s."""
    go = threading.Event()

    def script(c):
        c.head()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (3 * MB) + b"x" * 100_000)
        go.wait(20)
        c.send(b"x" * (3 * MB - 100_000))

    origins(script, FREE)
    with agent.open("connect", FREE) as s:
        s.sendall(get("/", f"Host: load.example.test:{FREE}", "Connection: close"))
        assert s.recv(1000)
        gate.set_policy(POLICY.replace(f"ports: [{FREE}] }}", f"ports: [{FREE}], limits: {{ bandwidth: 1MB/s }} }}"))
        began = time.monotonic()
        go.set()
        assert len(everything(s)) > 2.9 * MB
        took = time.monotonic() - began
    assert 2.3 <= took <= 5, took


def test_limits_that_nobody_would_keep_are_refused(gates, lab):
    """Without a transparent listener the kernel forwards what dns has opened."""
    listeners = f'  dns: {{ udp: ["{GATE4}:53"], tcp: ["{GATE4}:53"] }}\n'
    plugins = ["{ name: nftables, config: {} }", '{ name: dns, config: { listen: [dns], answers: real, upstreams: ["%s"] } }' % world.RESOLVER]
    gate = Gate(lab, gateway_yaml("real", listeners=listeners, plugins=plugins), POLICY)
    checked = subprocess.run([SALLYPORT, "check", "-c", gate.config], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 3, checked
    assert "error[P059]" in checked.stderr and "bandwidth" in checked.stderr, checked.stderr
