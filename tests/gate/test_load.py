"""REL-01, -04, -06, -07: reloads under load, few descriptors, little memory, a clock that jumps, a resolver that flaps."""

import contextlib
import json
import os
import random
import re
import selectors
import socket
import threading
import time

import pytest

from small_internet import world
from small_internet.gate import GATE4, P0, Gate, gateway_yaml
from small_internet.runner import BUILD

PROXYLOAD = f"{BUILD}/bench-support/proxyload"
PORT = 8555
POLICY = P0 + f"""
  - {{ name: load, action: allow, clients: [agents], domains: [load.example.test], ports: [{PORT}] }}
  - {{ name: scripted, action: allow, clients: [agents], domains: ["*.scripted.test"] }}
"""


@pytest.fixture(scope="module")
def origin(lab):
    process = lab.namespaces.spawn(lab.namespaces.net_fd, [PROXYLOAD, "origin", world.LOAD4, str(PORT)])
    time.sleep(0.2)
    yield process
    process.kill()


def load(work, base, mode, seconds, target=f"load.example.test:{PORT}", connections=8):
    """Starts a closed loop of tunnels; lab.finish() gives its JSON."""
    with open(f"{base}/targets", "w") as file:
        file.write(f"{target}\n")
    address, port = (GATE4, 3128) if mode != "direct" else (world.LOAD4, PORT)
    return work.start(PROXYLOAD, "load", address, str(port), f"{base}/targets", mode, str(connections), str(seconds), base=base)


def dnsperf(work, base, seconds, name="api.example.test", qps=500):
    with open(f"{base}/queries", "w") as file:
        file.write(f"{name} A\n")
    return work.start("dnsperf", "-s", GATE4, "-d", f"{base}/queries", "-l", str(seconds), "-Q", str(qps), "-c", "4", "-q", "50", base=base)


def lost(run):
    return int(re.search(r"Queries lost:\s+(\d+)", run.text)[1])


def test_a_hundred_reloads_refuse_and_reset_nobody(lab, agents, work, witness, origin):
    """REL-01: tunnels, refusals and queries at once; every second reload also changes the plugin list, so that workers are replaced."""
    gate = Gate(lab, gateway_yaml("real"), POLICY).start()
    try:
        assert work.dig("+short", "load.example.test").text.strip() == world.LOAD4
        bases = [lab.workspace() for _ in range(3)]
        running = [load(work, bases[0], "connect", 22), load(work, bases[1], "refused", 22, "evil.test:443"), dnsperf(work, bases[2], 22)]
        with witness.expect_only("api.example.test", "load.example.test", ports=[(world.LOAD4, PORT)]):
            for i in range(100):
                if i % 10 == 9:  # a changed plugin: a new worker beside the old one
                    gate.write(gate.config, gateway_yaml("real").replace("listen: [proxy]", f"listen: [proxy], connect_timeout: {10 + i % 20}s"))
                gate.write(gate.policy_file, f"{POLICY}\n# {i}\n")
                gate.hang_up()
                time.sleep(0.2)
            tunnels, refusals, queries = [lab.finish(r, 60) for r in running]
        for run in (tunnels, refusals):
            counted = json.loads(run.text)
            assert counted["errors"] == 0 and counted["done"] > 1000, f"{run}\n{gate.log()[-3000:]}"
        assert lost(queries) == 0 and "NOERROR" in queries.text and "(100.00%)" in queries.text, queries
        assert gate.status()["generation"] > 50
    finally:
        gate.stop()


def test_a_bad_policy_among_good_ones_keeps_the_old(lab, agents, work, witness):
    """CTL-04's class: a reload is all or nothing, and says why."""
    gate = Gate(lab, gateway_yaml("real"), POLICY).start()
    try:
        before = gate.status()["generation"]
        gate.write(gate.policy_file, POLICY + "  - { name: broken, action: allow, domains: ['*.co.uk'] }\n")
        time.sleep(1)
        assert gate.status()["generation"] == before and "co.uk" in gate.log()
        with witness.expect_zero():
            assert "NXDOMAIN" in work.dig("evil.test").text
        assert work.curl("https://api.example.test/whoami").status == 0
        gate.write(gate.config, gateway_yaml("real").replace("listen: [proxy]", "listen: [proxy], no_such_key: 1"))
        time.sleep(1)
        assert "no_such_key" in gate.log()
        assert work.curl("-x", f"http://{GATE4}:3128", "https://api.example.test/whoami").status == 0
        os.unlink(gate.policy_file)
        gate.hang_up()
        time.sleep(0.5)
        assert work.curl("https://api.example.test/whoami").status == 0
        gate.write(gate.config, gateway_yaml("real"))
        gate.set_policy(POLICY + "# better\n")
    finally:
        gate.stop()


def test_a_plugin_added_and_removed_while_others_serve(lab, agents, work, witness, origin):
    """An entry of the list comes and goes with a reload."""
    without = "\n".join(line for line in gateway_yaml("real").splitlines() if "http-proxy" not in line) + "\n"
    gate = Gate(lab, without, POLICY).start()
    try:
        base = lab.workspace()
        queries = dnsperf(work, base, 6)
        assert work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status != 0
        gate.write(gate.config, gateway_yaml("real"))
        end = time.monotonic() + 3
        while work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status != 0:
            assert time.monotonic() < end, gate.log()[-2000:]
        gate.write(gate.config, without)
        end = time.monotonic() + 3
        while work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status == 0:
            assert time.monotonic() < end, gate.log()[-2000:]
        finished = lab.finish(queries, 30)
        assert lost(finished) == 0, finished
    finally:
        gate.stop()


def test_few_descriptors(lab, agents, work, witness, origin):
    """REL-04: 256 descriptors: what is too much is refused in words; afterwards all is well within 5 s."""
    gate = Gate(lab, gateway_yaml("real"), POLICY)
    gate.start(prefix=["prlimit", "--nofile=256:256"])
    try:
        held = []
        with lab.namespaces.inside(agents.fds["b"]):
            for _ in range(400):
                s = socket.socket()
                s.settimeout(2)
                with contextlib.suppress(OSError):
                    s.connect((GATE4, 3128))
                    s.sendall(f"CONNECT load.example.test:{PORT} HTTP/1.1\r\nHost: load.example.test:{PORT}\r\n\r\n".encode())
                    held.append(s)
        with witness.expect_only("evil.test.", "load.example.test", ports=[(world.LOAD4, PORT)]):
            assert "NXDOMAIN" in work.dig("evil.test").text, "names are answered meanwhile"
        for s in held:
            s.close()
        end = time.monotonic() + 5
        while work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status != 0 or work.curl("https://api.example.test/whoami").status != 0:
            assert time.monotonic() < end, gate.log()[-2000:]
        assert gate.process.poll() is None
    finally:
        gate.stop()


MEMORY = "/sys/fs/cgroup/memory"


@pytest.mark.skipif(not os.path.isdir(MEMORY), reason="needs the memory controller of cgroup v1")
def test_little_memory(lab, agents, work, witness, origin):
    """REL-04: 128 MiB for the whole gate, 2,000 tunnels wanted: it sheds, and nothing is killed."""
    group = f"{MEMORY}/sallyport-test-{os.getpid()}"
    os.mkdir(group)
    with open(f"{group}/memory.limit_in_bytes", "w") as file:
        file.write(str(128 << 20))
    gate = Gate(lab, gateway_yaml("real"), POLICY)
    gate.start(prefix=["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "-"])
    try:
        pids = set(gate.workers())
        held = []
        with lab.namespaces.inside(agents.fds["b"]):
            for _ in range(2000):
                s = socket.socket()
                s.settimeout(1)
                with contextlib.suppress(OSError):
                    s.connect((GATE4, 3128))
                    s.sendall(f"CONNECT load.example.test:{PORT} HTTP/1.1\r\nHost: load.example.test:{PORT}\r\n\r\n".encode())
                    held.append(s)
        assert "NXDOMAIN" in work.dig("evil.test").text
        for s in held:
            s.close()
        end = time.monotonic() + 5
        while work.curl("-x", f"http://{GATE4}:3128", "http://pkg.test/whoami").status != 0:
            assert time.monotonic() < end, gate.log()[-2000:]
        assert set(gate.workers()) == pids, gate.log()[-2000:]
    finally:
        gate.stop()
        for _ in range(50):
            with contextlib.suppress(OSError):
                os.rmdir(group)
                break
            time.sleep(0.1)


def test_the_clock_jumps(lab, agents, work, witness):
    """REL-06: a day forward and a day back: timers and bindings go by the boot clock."""
    offset = f"{lab.namespaces.state}/clock"
    with open(offset, "w") as file:
        file.write("+0\n")
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    gate = Gate(lab, gateway_yaml("real"), POLICY + "  - { name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5353/udp] }\n")
    gate.start(environment={"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": offset, "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})

    def udp():
        results, _ = work.probe([{"do": "udp", "to": ["52.1.2.3", 5353], "send": "beef", "timeout": 1}])
        return results[0].get("data") == "beef"

    try:
        assert not udp()
        work.dig("+short", "db.example.test")
        assert udp()
        for jump in ("+1d\n", "-1d\n", "+0\n"):
            with open(offset, "w") as file:
                file.write(jump)
            time.sleep(1.2)
            assert udp(), jump
            assert work.curl("https://api.example.test/whoami").status == 0
            gate.set_policy(gate_text(gate) + "# again\n")
            with witness.expect_zero():
                assert "NXDOMAIN" in work.dig("evil.test").text
    finally:
        gate.stop()


def gate_text(gate):
    with open(gate.policy_file) as file:
        return file.read()


class Relay:
    """A resolver in between: 1 s up, 1 s down; 5 % of datagrams lost, 300 ms late."""

    def __init__(self, lab, port):
        with lab.namespaces.inside(lab.namespaces.host_fd):
            self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._front.bind(("127.0.0.1", port))
            self._back = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
        for s in self._back:
            s.connect((world.RESOLVER, 53))
        self._clients, self._over = {}, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        selector, draw, number = selectors.DefaultSelector(), random.Random(7), 0
        for s in (self._front, *self._back):
            selector.register(s, selectors.EVENT_READ)
        while not self._over:
            for key, _ in selector.select(0.1):
                data, client = key.fileobj.recvfrom(65535)
                down = int(time.monotonic()) % 2 == 1
                if down or draw.random() < 0.05:
                    continue
                if key.fileobj is self._front:
                    number = (number + 1) % len(self._back)
                    self._clients[number] = client
                    threading.Timer(0.15, self._back[number].send, [data]).start()
                else:
                    where = self._clients.get(self._back.index(key.fileobj))
                    if where:
                        threading.Timer(0.15, self._front.sendto, [data, where]).start()

    def close(self):
        self._over = True
        self._thread.join()


def test_a_resolver_that_flaps(lab, agents, work):
    """REL-07: cached names are answered, others honestly."""
    relay = Relay(lab, 5399)
    gate = Gate(lab, gateway_yaml("real").replace(f'upstreams: ["{world.RESOLVER}"]', 'upstreams: ["127.0.0.1:5399"]'), POLICY).start()
    try:
        end = time.monotonic() + 10
        while world.GOOD4 not in work.dig("+short", "api.example.test").text:
            assert time.monotonic() < end
        base = lab.workspace()
        cached = lab.finish(dnsperf(work, base, 8, qps=100), 30)
        codes = dict(re.findall(r"(\w+) (\d+) \(", re.search(r"Response codes:\s+(.*)", cached.text)[1]))
        good = int(codes.get("NOERROR", 0))
        assert good >= 0.99 * (sum(map(int, codes.values())) + lost(cached)), cached
        answers = [work.dig(f"n{i}.scripted.test", "+time=7").text for i in range(6)]
        assert all("status: NOERROR" in a or "status: SERVFAIL" in a for a in answers), answers
    finally:
        gate.stop()
        relay.close()
