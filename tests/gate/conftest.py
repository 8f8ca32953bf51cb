"""The small internet with agents on a bridge, for suites of a gate. One lab and one bridge for each suite."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lab"))

from dns_client import DnsClient  # noqa: E402
from proxy_client import ProxyClient  # noqa: E402
from small_internet.gate import AGENTS, GATE4, Agents, Gate  # noqa: E402
from small_internet.lab import Lab  # noqa: E402
from small_internet.runner import SALLYPORT  # noqa: E402


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the lab makes network namespaces: run it as root", returncode=77)
    if not os.access(SALLYPORT, os.X_OK):
        pytest.exit(f"{SALLYPORT} is not built: ./dev build", returncode=3)


@pytest.fixture(scope="session")
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def witness(lab):
    return lab.witness


@pytest.fixture(scope="session")
def agents(lab):
    made = Agents(lab)
    yield made
    made.close()


class Workload:
    """Runs programs as an agent: in its namespace, as a user without capabilities, asking `resolver`."""

    def __init__(self, lab, agents, name="a"):
        self.lab, self.agents, self.name = lab, agents, name
        self.address4, self.address6 = AGENTS[name]

    def run(self, *command, resolver=GATE4, **options):
        return self.lab.bare(*command, namespace_fd=self.agents.fds[self.name], resolver=resolver, **options)

    def start(self, *command, resolver=GATE4, **options):
        return self.lab.start(*command, confined=False, namespace_fd=self.agents.fds[self.name], resolver=resolver, **options)

    def root(self, *command, **options):
        """As root of the agent's namespace, with every capability: what Docker would take away too."""
        return self.run(*command, uid=0, **options)

    def curl(self, *arguments, **options):
        return self.run("curl", "-sS", "--max-time", "10", *arguments, **options)

    def probe(self, steps, threads=1, timeout=60, **options):
        """The steps of the lab's probe.py as this agent: (results, run)."""
        run = self.run("/usr/bin/python3", f"{self.lab.share}/probe.py", str(threads), input=json.dumps(steps), timeout=timeout, **options)
        assert run.out, run
        results = run.json()
        assert len(results) == len(steps), run
        return results, run

    def dig(self, *arguments, server=GATE4, **options):
        return self.run("dig", f"@{server}", "+tries=1", "+time=3", *arguments, **options)


@pytest.fixture
def work(lab, agents):
    return Workload(lab, agents)


@pytest.fixture
def other(lab, agents):
    return Workload(lab, agents, "b")


@pytest.fixture
def ask(lab, agents):
    return DnsClient(lab, agents).ask


@pytest.fixture
def connect(lab, agents):
    return ProxyClient(lab, agents).connect


@pytest.fixture
def send(lab, agents):
    return ProxyClient(lab, agents).send


@pytest.fixture
def gates(lab, agents):
    """A function that starts gates: gates(gateway=…, policy=…); all end with the test."""
    made = []

    def start(gateway=None, policy=None, **options):
        made.append(Gate(lab, gateway, **({"policy": policy} if policy else {})))
        return made[-1].start(**options)

    yield start
    for gate in made:
        gate.stop()
