"""REL-01, -04, -07 through a whole gate: reloads under load; few descriptors, little memory, a full ledger, an audit that nobody takes; a
resolver that flaps."""

import contextlib
import json
import os
import random
import selectors
import signal
import socket
import threading
import time

import pytest

from load_support import DB4, PORT, PROXYLOAD, Counted, MemoryLimit, by_proxy, descriptors, dnsperf, load, transparently, udp, until
from small_internet import world
from small_internet.gate import GATE4, P0, Gate, gateway_yaml, without_budgets

POLICY = P0 + f"""
  - {{ name: load, action: allow, clients: [agents], domains: [load.example.test], ports: [{PORT}] }}
  - {{ name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5353/udp] }}
  - {{ name: scripted, action: allow, clients: [agents], domains: ["*.scripted.test"], ports: [443, 5353/udp] }}
"""
PER_CLIENT = 4096  # bindings that one client may hold: BindingTable::kDefaultPerClient


@pytest.fixture(scope="module")
def origin(lab):
    process = lab.namespaces.spawn(lab.namespaces.net_fd, [PROXYLOAD, "origin", world.LOAD4, str(PORT)])
    time.sleep(0.2)
    yield process
    process.kill()


# What a client does in a second of REL-01: 600 connections and more. Each says its first octets 30 ms after it has been made, as over a
# long way, so that at any moment some 18 are known to the gate and have asked for nothing; and each must end as without a reload.
MIX = {"connect": 200, "direct": 200, "refused": 150, "get": 60, "site": 60, "dns": 60}


class Mixed:
    """A load of these kinds for so many seconds, and what came of it."""

    def __init__(self, lab, work, seconds, kinds=MIX):
        self._lab, self._seconds, base = lab, seconds, lab.workspace()
        self._running = {}
        for kind in kinds:
            target = "evil.test:443" if kind == "refused" else f"load.example.test:{PORT}"
            # So few kept connections that each is used several times a second: one that rests for longer may end while a page is asked for.
            connections = 16 if kind in ("get", "site") else 64
            self._running[kind] = load(work, base, kind, seconds, target, connections, MIX[kind], pause=30)
        self._queries = dnsperf(work, lab.workspace(), seconds, qps=300)
        self._denied = dnsperf(work, lab.workspace(), seconds, ["evil.test"], qps=100)

    def finish(self):
        self.counted = {kind: json.loads(self._lab.finish(run, 60).text) for kind, run in self._running.items()}
        self.queries, self.denied = Counted(self._lab.finish(self._queries, 60)), Counted(self._lab.finish(self._denied, 60))
        self.per_second = sum(one["connections"] for one in self.counted.values()) / self._seconds
        print(f"\n{self.per_second:.0f} connections/s; {self.counted} {self.queries.codes} {self.denied.codes}")
        return self

    def sum(self, what):
        return sum(one[what] for one in self.counted.values())

    def all_is_well(self):
        """Nothing was refused, reset, cut off or answered wrongly, and nothing was left out."""
        for kind, one in self.counted.items():
            assert one["errors"] == one["again"] == 0, f"{kind}: {one}"
            assert one["done"] >= 0.9 * MIX[kind] * self._seconds, f"{kind}: {one}"
        assert self.queries.lost == 0 and set(self.queries.codes) == {"NOERROR"}, self.queries.run
        assert self.denied.lost == 0 and set(self.denied.codes) == {"NXDOMAIN"}, self.denied.run


@pytest.fixture
def gate(lab, agents, work, origin):
    gate = Gate(lab, gateway_yaml("real"), POLICY).start()
    assert work.dig("+short", "load.example.test").text.strip() == world.LOAD4
    yield gate
    gate.stop()


def process_of(gate, plugin="http-proxy"):
    return next((p["pid"] for p in gate.status()["plugins"] if p["name"] == plugin), None)


def test_a_hundred_reloads_refuse_and_reset_nobody(lab, work, witness, gate):
    """REL-01: tunnels, transparent flows, pages, refusals and queries at once; every tenth reload also changes a plugin's entry, so that
    the worker is replaced and the one before drains."""
    changes = ["listen: [proxy], connect_timeout: {}s", "listen: [dns], apply_timeout: {}00ms", "destination: original, idle_timeout: {}m"]
    flips = "  - {{ name: flips, action: {}, clients: [agents], domains: [flips.cdn.test], ports: [443] }}\n"
    seconds, processes = 30, set()
    # The witness looks before the load begins: it waits for a quiet moment.
    with witness.expect_only("api.example.test", "load.example.test", ports=[(world.LOAD4, PORT)]):
        began = time.monotonic()
        mixed = Mixed(lab, work, seconds)
        for i in range(100):
            processes.add(process_of(gate))
            if i % 10 == 9:
                change = changes[i // 10 % len(changes)]
                gate.write(gate.config, gateway_yaml("real").replace(change[: change.index(",")], change.format(20 + i // 10)))
            gate.write(gate.policy_file, POLICY.replace("rules:\n", "rules:\n" + flips.format("deny" if i % 2 else "allow"), 1))
            gate.hang_up()
            time.sleep(max(0.0, began + (i + 1) * 0.25 - time.monotonic()))
        assert time.monotonic() - began < seconds, "all of them while the load lasts"
        mixed.finish()
    mixed.all_is_well()
    assert mixed.per_second >= 500, mixed.counted
    assert gate.status()["generation"] > 100 and len(processes) >= 10, (gate.status()["generation"], processes)
    assert not [r for r in gate.audit(verdict="deny") if r["name"] == "load.example.test"], "no wrong verdict"
    assert not [r for r in gate.audit(verdict="allow") if r["name"] == "evil.test"], "no wrong verdict"
    assert "killed" not in gate.log(), gate.log()[-3000:]


def test_a_plugin_that_comes_and_goes_disturbs_no_other(lab, work, gate):
    """REL-01's class: with its listener the kernel's tables and whoever looks at the topology are replaced too."""
    without = "\n".join(line for line in gateway_yaml("real").splitlines() if "http-proxy" not in line) + "\n"
    mixed = Mixed(lab, work, 8, ["direct", "site", "dns"])
    for _ in range(3):
        for text, there in ((without, False), (gateway_yaml("real"), True)):
            before = gate.status()["generation"]
            time.sleep(0.6)
            gate.write(gate.config, text)
            until(lambda before=before: gate.status()["generation"] > before and gate.status()["state"] == "serving")
            assert bool(process_of(gate)) == there
    mixed.finish().all_is_well()


def test_a_killed_worker_refuses_nobody(lab, work, gate):
    """REL-01's class: its open connections are lost, and the datagrams that it had taken; whoever comes while there is no worker waits for
    the next one."""
    mixed = Mixed(lab, work, 9)
    for _ in range(3):
        time.sleep(2.5)
        os.kill(process_of(gate), signal.SIGKILL)
    mixed.finish()
    assert mixed.sum("refused") == mixed.sum("wrong") == mixed.sum("stuck") == 0, mixed.counted
    open_at_once = sum(MIX.values()) * 0.1  # 30 ms of pause, and some more
    assert 0 < mixed.sum("errors") <= 3 * open_at_once, mixed.counted
    assert mixed.queries.lost + mixed.denied.lost <= 3 * 8, (mixed.queries.run, mixed.denied.run)
    assert set(mixed.queries.codes) == {"NOERROR"} and set(mixed.denied.codes) == {"NXDOMAIN"}, (mixed.queries.run, mixed.denied.run)


def test_a_stop_resets_nobody(lab, work, gate):
    """REL-01's class: who was connected when SIGTERM came is served to the end, who comes later is refused, and it ends when they have."""
    mixed = Mixed(lab, work, 4)
    time.sleep(2)
    began = time.monotonic()
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(20) == 0
    assert time.monotonic() - began < 4, "it waits for them, not for the deadline"
    mixed.finish()
    assert mixed.sum("refused") == mixed.sum("errors") > 500, mixed.counted


def flood(lab, agents, address, port, count, first=b""):
    """So many connections of agent b at once, held open: [socket]. Those that are refused are left out."""
    held = []
    with lab.namespaces.inside(agents.fds["b"]):
        for _ in range(count):
            s = socket.socket()
            s.settimeout(1)
            try:
                s.connect((address, port))
                s.sendall(first)
                held.append(s)
            except OSError:
                s.close()
    return held


def replies(held):
    """What each got so far: the status of a proxy's answer, 0 for an end without one, None for nothing yet."""
    found = []
    for s in held:
        s.settimeout(0.01)
        try:
            data = s.recv(4096)
            found.append(int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0)
        except TimeoutError:
            found.append(None)
        except OSError:
            found.append(0)
    return found


CONNECT = f"CONNECT load.example.test:{PORT} HTTP/1.1\r\nHost: load.example.test:{PORT}\r\n\r\n".encode()


def test_few_descriptors(lab, agents, work, other, witness, origin):
    """REL-04: 256 descriptors for each process: what is too much is shed in words; afterwards all is well within 5 s; nothing stays open."""
    gate = Gate(lab, gateway_yaml("real"), POLICY)
    gate.start(prefix=["prlimit", "--nofile=256:256"])
    try:
        assert by_proxy(work) and transparently(work)
        assert other.dig("+short", "load.example.test").text.strip() == world.LOAD4
        pids = set(gate.workers())
        before = {}
        for round_ in range(3):
            held = flood(lab, agents, GATE4, 3128, 300, CONNECT)
            held += flood(lab, agents, world.LOAD4, PORT, 200)
            got = replies(held[:300])
            with witness.expect_only("pkg.test", "load.example.test", "n1.cdn.test", ports=[(world.LOAD4, PORT)]):
                assert "NXDOMAIN" in work.dig("evil.test").text, "names are answered meanwhile"
                answer = work.dig("n1.cdn.test").text
                assert "status: SERVFAIL" in answer or "status: NXDOMAIN" in answer or "status: NOERROR" in answer, answer
            assert 200 in got and (503 in got or 0 in got), got
            assert set(got) <= {200, 503, 0, None}, got
            for s in held:
                s.close()
            began = time.monotonic()
            until(lambda: by_proxy(work) and transparently(work), 15)
            assert time.monotonic() - began < 5, gate.log()[-2000:]
            until(lambda: all(descriptors(pid) < 200 for pid in pids), 5)
            time.sleep(1)
            after = {pid: descriptors(pid) for pid in pids}
            before = before or after
            assert all(abs(after[pid] - before[pid]) <= 16 for pid in pids), (before, after)
        assert set(gate.workers()) == pids, gate.log()[-2000:]
        assert gate.status()["healthy"]
    finally:
        gate.stop()


def test_little_memory(lab, agents, work, witness, origin):
    """REL-04: 128 MiB for the whole gate, and 2,000 tunnels and 20,000 names wanted: it sheds, and nothing is killed."""
    limit = MemoryLimit.make(128 << 20)
    if limit is None:
        pytest.skip("no control group with a memory controller can be made here")
    gate = Gate(lab, without_budgets(gateway_yaml("real")), POLICY)
    gate.start(prefix=limit.prefix)
    try:
        assert by_proxy(work) and transparently(work)
        pids = set(gate.workers())
        for _ in range(2):
            names = dnsperf(work, lab.workspace(), 0, [f"n{i}.cdn.test" for i in range(20000)], qps=100000)
            held = flood(lab, agents, GATE4, 3128, 2000, CONNECT)
            assert "NXDOMAIN" in work.dig("evil.test").text
            got = replies(held)
            assert 200 in got and set(got) <= {200, 503, 0, None}, set(got)
            lab.finish(names, 60)
            for s in held:
                s.close()
            began = time.monotonic()
            until(lambda: by_proxy(work) and transparently(work), 15)
            assert time.monotonic() - began < 5, gate.log()[-2000:]
        assert set(gate.workers()) == pids, gate.log()[-2000:]
        assert limit.killed() == 0
    finally:
        gate.stop()
        limit.close()


def test_a_full_ledger(lab, agents, work, other, witness):
    """REL-04's class: a client that asks for more names than it may hold takes nothing from another: its own that end first go."""
    gate = Gate(lab, without_budgets(gateway_yaml("real")), POLICY).start()
    try:
        assert DB4 in other.dig("+short", "db.example.test").text
        assert DB4 in work.dig("+short", "db.example.test").text
        assert udp(work) and udp(other)
        counted = Counted(lab.finish(dnsperf(work, lab.workspace(), 0, [f"n{i}.scripted.test" for i in range(6000)], qps=100000, extra=["-t", "10"]), 120))
        entries, evictions = gauge(gate, "sallyport_ledger_entries"), gauge(gate, "sallyport_ledger_evictions_total")
        print(f"\n{counted.codes}, lost {counted.lost}, {entries} bindings, {evictions} went before their time")
        assert set(counted.codes) <= {"NOERROR", "SERVFAIL"} and counted.codes["NOERROR"] > PER_CLIENT and counted.lost == 0, counted.run
        assert entries <= PER_CLIENT + 8 and evictions >= 6000 - PER_CLIENT, "its share, and the few of the other one"
        assert udp(other), "another client keeps what it has"
        with witness.expect_only("n6001.scripted.test", "api.example.test", "db.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443), (DB4, 5353)]):
            assert world.GOOD4 in work.dig("+short", "n6001.scripted.test").text, "new names go on"
            assert transparently(work)
            assert DB4 in work.dig("+short", "db.example.test").text
            assert udp(work), "asked again, open again"
        assert gate.status()["healthy"]
    finally:
        gate.stop()


def metric(gate, name, label):
    text = gate_text(gate, "metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{") and label in line)


def gauge(gate, name):
    return next(float(line.rsplit(" ", 1)[1]) for line in gate_text(gate, "metrics").splitlines() if line.startswith(f"{name} "))


def gate_text(gate, request):
    path = next(os.path.join(gate.directory, n) for n in os.listdir(gate.directory) if n.endswith(".sock"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(f"{request}\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_a_full_audit_ring(lab, agents, work):
    """Decisions while nobody takes their records: none waits, none changes, and how many are lost is said by number."""
    gate = Gate(lab, gateway_yaml("real"), POLICY).start()
    try:
        os.kill(gate.process.pid, signal.SIGSTOP)
        try:
            names = [f"n{i}.evil.test" for i in range(8000)]
            counted = Counted(lab.finish(dnsperf(work, lab.workspace(), 0, names, qps=100000), 60))
        finally:
            os.kill(gate.process.pid, signal.SIGCONT)
        assert counted.lost == 0 and counted.codes == {"NXDOMAIN": 8000}, counted.run
        lost = until(lambda: gate.status()["audit"]["lost"])
        work.dig("one-more.evil.test")
        until(lambda: gate.audit(name="one-more.evil.test"))
        records = gate.audit()
        denials = sum(r["count"] for r in records if r["name"] and r["name"].startswith("n") and r["name"].endswith("evil.test"))
        assert denials + lost == 8000, (denials, lost)
        assert sum(r["lost_before"] for r in records) == lost
        assert metric(gate, "sallyport_audit_lost_total", 'cause="ring"') == lost
        assert gate.status()["healthy"]
    finally:
        gate.stop()


def test_an_audit_that_nobody_reads(lab, agents, work, witness):
    """stdout is a pipe whose reader has stopped: the data plane goes on as before, and the loss is counted."""
    reader, writer = os.pipe()
    gate = Gate(lab, gateway_yaml("real"), POLICY)
    gate.start(stdout=writer)
    os.close(writer)
    try:
        sent, began = 0, time.monotonic()
        while gate.status()["audit"]["lost"] == 0:
            names = [f"m{sent + i}.evil.test" for i in range(4000)]
            counted = Counted(lab.finish(dnsperf(work, lab.workspace(), 0, names, qps=100000), 60))
            assert counted.lost == 0 and counted.codes == {"NXDOMAIN": 4000}, counted.run
            sent += 4000
            assert time.monotonic() - began < 60, "the pipe takes everything"
        assert by_proxy(work) and transparently(work)
        with witness.expect_zero():
            assert "NXDOMAIN" in work.dig("evil.test").text
        gate.set_policy(POLICY + "# again\n")
        lost = gate.status()["audit"]["lost"]
        assert metric(gate, "sallyport_audit_lost_total", 'cause="sink"') + metric(gate, "sallyport_audit_lost_total", 'cause="ring"') == lost
        # It is read again: whole lines, and the first new one says how many are missing.
        got = bytearray()
        thread = threading.Thread(target=lambda: [got.extend(data) for data in iter(lambda: os.read(reader, 1 << 16), b"")], daemon=True)
        thread.start()
        until(lambda: (work.dig("back.evil.test"), b"back.evil.test" in got)[1])
        records = [json.loads(line) for line in bytes(got[: got.rfind(b"\n") + 1]).splitlines()]
        assert sum(r["lost_before"] for r in records) >= lost, (lost, sum(r["lost_before"] for r in records))
        assert gate.stop() == 0
        thread.join(5)
    finally:
        gate.stop()
        os.close(reader)


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
                with contextlib.suppress(OSError):
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
    """REL-07: cached names are answered, others honestly: with their address, or with SERVFAIL; and it is well again at once."""
    relay = Relay(lab, 5399)
    gate = Gate(lab, gateway_yaml("real").replace(f'upstreams: ["{world.RESOLVER}"]', 'upstreams: ["127.0.0.1:5399"]'), POLICY).start()
    try:
        until(lambda: world.GOOD4 in work.dig("+short", "api.example.test").text, 20)
        cached = Counted(lab.finish(dnsperf(work, lab.workspace(), 8, qps=100), 30))
        assert cached.codes.get("NOERROR", 0) >= 0.99 * cached.sent, cached.run
        others = Counted(lab.finish(dnsperf(work, lab.workspace(), 0, [f"n{i}.scripted.test" for i in range(200)], qps=40, extra=["-t", "10"]), 60))
        print(f"\ncached {cached.codes}, others {others.codes}, lost {others.lost}")
        assert set(others.codes) <= {"NOERROR", "SERVFAIL"} and others.lost == 0, others.run
        assert others.codes.get("NOERROR", 0) > 100, others.run  # half of the time it is there, and questions are asked again
    finally:
        gate.stop()
        relay.close()
