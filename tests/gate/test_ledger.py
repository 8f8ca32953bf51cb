"""The ledger and the flows that stand on it: a binding stays while a flow uses it, whoever dies meanwhile, and admits nothing new.

Records and their numbers are in tests/ledger; that an answer waits for its binding is in test_dns.py.
"""

import os
import signal
import socket
import time

import pytest

from dns_client import addresses, query
from small_internet import world
from small_internet.gate import Gate, gateway_yaml

POLICY = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: scripted, action: allow, clients: [agents], domains: [ttl0.scripted.test, api.example.test], ports: [443, 4433/udp] }
"""


@pytest.fixture(scope="module")
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


class Flow:
    """One UDP flow of the agent; says() is whether what is sent comes back."""

    def __init__(self, lab, agents, address):
        with lab.namespaces.inside(agents.fds["a"]):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((address, 4433))
        self._count = 0

    def says(self, patience=1.0):
        self._count += 1
        word = f"word {self._count}".encode()
        self._socket.settimeout(patience)
        try:
            self._socket.send(word)
            while self._socket.recv(1500) != word:  # an answer that came late
                pass
        except OSError:
            return False
        return True


def kill_worker(gate, plugin):
    pid = next(pid for pid, names in gate.workers().items() if plugin in names)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while pid in gate.workers() or not gate.status()["healthy"]:
        assert time.monotonic() < end, gate.log()
        time.sleep(0.02)


def test_a_binding_lives_as_long_as_its_flow(gate, lab, agents, ask):
    """A flow that is longer than its answer's TTL outlives a reload, the deaths of dns and of nftables; a new one needs a new answer; what
    policy denies ends."""
    address = "52.31.0.1"
    assert addresses(ask(query("ttl0.scripted.test"))) == {address}
    flow = Flow(lab, agents, address)
    assert flow.says()
    end = time.monotonic() + 33  # the least TTL that a binding has is 30 s
    while time.monotonic() < end:
        assert flow.says(), "the kernel goes on with what is established"
        time.sleep(1)
    assert not Flow(lab, agents, address).says(0.5), "the binding has ended: it lets nothing new in"
    assert flow.says()

    gate.set_policy(POLICY + "# a new generation\n" + "  - { name: more, action: allow, domains: [more.example.test] }\n")
    time.sleep(0.5)
    assert flow.says(), "a reload that still allows it"
    kill_worker(gate, "dns")
    assert flow.says()
    kill_worker(gate, "nftables")
    time.sleep(0.5)
    assert flow.says(), "a new enforcer reads from the ledger that a flow holds it"
    gate.set_policy(POLICY)
    time.sleep(0.5)
    assert flow.says()
    assert not Flow(lab, agents, address).says(0.5)
    assert addresses(ask(query("ttl0.scripted.test"))) == {address}
    assert Flow(lab, agents, address).says(), "a new answer lets in again"

    began = time.monotonic()
    gate.set_policy(POLICY.replace("ttl0.scripted.test, ", ""))
    while flow.says(0.3):
        assert time.monotonic() - began < 2
    assert not Flow(lab, agents, address).says(0.5)


def test_what_was_told_outlives_the_worker_that_told_it(gate, lab, agents, ask):
    """Numbers go on after the death of dns, and the enforcers wait for nobody: each answer is in force when it comes."""
    gate.set_policy(POLICY + "# all again\n")
    assert addresses(ask(query("api.example.test"))) == {world.GOOD4}
    assert Flow(lab, agents, world.GOOD4).says()
    kill_worker(gate, "dns")
    assert Flow(lab, agents, world.GOOD4).says(), "a binding is the warden's memory, not the worker's"
    assert addresses(ask(query("ttl0.scripted.test"))) == {"52.31.0.1"}
    assert Flow(lab, agents, "52.31.0.1").says()
