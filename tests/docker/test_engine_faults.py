"""What the engine does to a network that a gate holds: it dies and comes back, and it gives an address to a new container.

The transparent shape as it is shipped; where a binding is needed, with real answers and `binding: strict`. NFT-03, NFT-09, NFT-10.
"""

import os
import subprocess
import sys
import time

import pytest

from shape import ALLOWED, DENIED, Stack
from small_internet import world
from small_internet.namespaces import sh

# As the agent, without an end: every way that a container has to an address. One line for each round that it made.
ATTACKER = """
import os, socket, sys, time
os.setgid(65534); os.setuid(65534)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setblocking(False)
while True:
    for target in sys.argv[1:]:
        for port in (53, 443, 853, 9000):
            try: udp.sendto(b"\\0" * 40, (target, port))
            except OSError: pass
        for port in (443, 8443):
            tcp = socket.socket()
            tcp.setblocking(False)
            try: tcp.connect((target, port))
            except OSError: pass
            time.sleep(0.005)
            tcp.close()
    print(flush=True)
"""


@pytest.fixture
def stack(engine, lab):
    made = Stack(engine, lab, "transparent", name="faults")
    yield made
    made.close()


def host(lab, *command):
    return sh("ip", "netns", "exec", lab.namespaces.host, *command)


def held(lab):
    """Whether both tables are there."""
    tables = host(lab, "nft", "list", "tables")
    return "inet sallyport" in tables and "bridge sallyport" in tables


class Attack:
    """The attacker in a container's network, whatever becomes of the container."""

    def __init__(self, lab, pid, *targets):
        self._log = open(f"{lab.namespaces.state}/attack-{pid}", "w+b")
        self._fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        self._process = subprocess.Popen(
            ["nsenter", f"--net=/proc/self/fd/{self._fd}", sys.executable, "-c", ATTACKER, *targets], pass_fds=[self._fd], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def rounds(self):
        assert self._process.poll() is None, self._log.name
        return os.fstat(self._log.fileno()).st_size

    def await_rounds(self, more=20):
        wanted, end = self.rounds() + more, time.monotonic() + 20
        while self.rounds() < wanted:
            assert time.monotonic() < end
            time.sleep(0.05)

    def end(self):
        self._process.kill()
        self._process.wait()
        os.close(self._fd)
        self._log.close()


def test_the_engine_dies_and_comes_back(stack, engine, lab, witness):
    """NFT-03, NFT-10 with a dead engine: agents live on in their network, the rules stay, nothing leaks; then all of it once more."""
    assert stack.curl(f"https://{ALLOWED}/").returncode == 0
    pid, began = stack.inspect("agent")["State"]["Pid"], stack.inspect("gateway")["State"]["StartedAt"]
    peer = stack.inspect("agent2")["NetworkSettings"]["Networks"][f"{stack.project}_agents"]["IPAddress"]
    attack = Attack(lab, pid, world.EVIL4, world.OTHER_RESOLVER, "1.1.1.1", world.HOST4, peer)
    try:
        with witness.expect_zero():
            attack.await_rounds()
            engine.kill()
            for _ in range(10):
                assert held(lab)
                time.sleep(0.1)
            attack.await_rounds()
            # The agent lives and is held; so is a resolver of its own choice (NFT-09).
            assert os.path.exists(f"/proc/{pid}")
            run = subprocess.run(["nsenter", "-t", str(pid), "-n", "/usr/bin/curl", "-sS", "--max-time", "4", "-k", "--resolve", f"{DENIED}:443:{world.EVIL4}", f"https://{DENIED}/"],
                                 capture_output=True, text=True, stdin=subprocess.DEVNULL)  # fmt: skip
            assert run.returncode != 0, run
            engine.start()
            assert held(lab)
            attack.await_rounds()
            # Its own containers it ends and starts again as their policy has it; the gateway's says `always`.
            end = time.monotonic() + 60
            while (state := stack.inspect("gateway")["State"])["StartedAt"] == began or state["Health"]["Status"] != "healthy":
                assert held(lab)
                assert time.monotonic() < end, f"{state}\n{stack.logs()}"
                time.sleep(0.2)
            attack.await_rounds()
            assert held(lab)
    finally:
        attack.end()
    for service in ("supervisor", "agent", "agent2"):
        engine.docker("start", stack.container(service))
    run = stack.curl(f"https://{ALLOWED}/")
    assert run.returncode == 0 and "small internet" in run.stdout, f"{run}\n{stack.logs()}"
    with witness.expect_zero():
        assert stack.curl(f"https://{DENIED}/").returncode != 0
        assert stack.curl("--noproxy", "*", f"https://{world.EVIL4}/").returncode != 0


def real_and_strict(directory):
    """Agents get real addresses, and reach those that they were given."""
    path = f"{directory}/sallyport/gateway.yaml"
    with open(path) as file:
        text = file.read()
    for old, new in (("answers: gateway, gateway_addresses: [172.20.0.1]", "answers: real"), ("destination: name", "binding: strict")):
        assert old in text
        text = text.replace(old, new)
    with open(path, "w") as file:
        file.write(text)


class Tenants:
    """Containers of one address, one after another, on a network with real answers and `binding: strict`."""

    ADDRESS = "172.20.1.50"

    def __init__(self, engine, lab):
        self._engine, self._names = engine, []
        self.stack = Stack(engine, lab, "transparent", name="again", change=real_and_strict)

    def next(self):
        """The one before is gone; its successor has its address."""
        if self._names:
            self._engine.docker("rm", "-f", self._names.pop())
        self._names.append("tenant")
        self._engine.docker("run", "-d", "--name", "tenant", "--network", "again_agents", "--ip", self.ADDRESS, "--dns", "172.20.0.1", "agent", "sleep", "1000")

    def curl(self, *options):
        return self._engine.docker("exec", "tenant", "/usr/bin/curl", "-sS", "--max-time", "8", "--cacert", "/etc/ca.pem", *options, f"https://{ALLOWED}/", check=False)

    def unasked(self, address=world.GOOD4):
        """An address that this container was given by nobody."""
        return self.curl("--resolve", f"{ALLOWED}:443:{address}")

    def close(self):
        self._engine.docker("rm", "-f", *self._names, check=False)
        self.stack.close()


@pytest.fixture(scope="module")
def tenants(engine, lab):
    made = Tenants(engine, lab)
    yield made
    made.close()


def test_a_new_container_of_an_old_address_has_what_its_policy_allows(tenants, witness):
    """What the old one was given is decided again for the new one: it is no way to anything that the policy does not allow it."""
    tenants.next()
    with witness.expect_zero():
        assert tenants.unasked().returncode != 0
    run = tenants.curl()
    assert run.returncode == 0, f"{run}\n{tenants.stack.logs()}"
    assert tenants.unasked().returncode == 0
    tenants.stack.edit("172.20.1.0/24", "172.20.1.0/27")
    time.sleep(1)
    tenants.next()
    with witness.expect_zero():
        assert tenants.unasked().returncode != 0
        assert tenants.unasked(world.EVIL4).returncode != 0
    tenants.stack.edit("172.20.1.0/27", "172.20.1.0/24")
    time.sleep(1)
    with witness.expect_zero():
        assert tenants.unasked(world.EVIL4).returncode != 0
    run = tenants.curl()
    assert run.returncode == 0, f"{run}\n{tenants.stack.logs()}"


def test_a_new_container_of_an_old_address_has_no_binding_of_the_old_one(tenants, witness):
    """Bindings, the kernel's sets and conntrack's entries end with the port that the address came from."""
    tenants.next()
    assert tenants.curl().returncode == 0
    tenants.next()
    with witness.expect_zero():
        assert tenants.unasked().returncode != 0
    run = tenants.curl()
    assert run.returncode == 0, f"{run}\n{tenants.stack.logs()}"
    assert tenants.unasked().returncode == 0


def test_the_attack_can_be_seen(engine, lab, witness):
    """The attacker itself, where nothing of ours is in the way: what was zero above is not by itself so."""
    name = "control"
    engine.docker("run", "-d", "--name", name, "agent", "sleep", "1000")
    pid = int(engine.docker("inspect", "-f", "{{.State.Pid}}", name).stdout)
    try:
        with witness.watch() as seen:
            attack = Attack(lab, pid, world.EVIL4)
            try:
                attack.await_rounds(3)
            finally:
                attack.end()
    finally:
        engine.docker("rm", "-f", name)
    assert ("udp", world.EVIL4, 9000) in seen.arrived and ("tcp", world.EVIL4, 443) in seen.arrived, seen.arrived
