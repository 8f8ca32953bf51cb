"""The small internet, an agent on a bridge, and programs started as a user without rights."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lab"), HERE]

from small_internet.gate import GATE4, Agents  # noqa: E402
from small_internet.lab import Lab  # noqa: E402
from thin import Thin  # noqa: E402


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the lab makes network namespaces: run it as root", returncode=77)


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
    made = Agents(lab, names=("a",))
    yield made
    made.close()


class Workload:
    """Runs programs as the agent: in its namespace, as a user without capabilities, asking `resolver`."""

    def __init__(self, lab, agents):
        self._lab, self._agents = lab, agents

    def run(self, *command, resolver=GATE4, **options):
        return self._lab.bare(*command, namespace_fd=self._agents.fds["a"], resolver=resolver, **options)

    def curl(self, *arguments, **options):
        return self.run("curl", "-sS", "--max-time", "10", *arguments, **options)

    def dig(self, *arguments, **options):
        return self.run("dig", f"@{GATE4}", "+tries=1", "+time=3", *arguments, **options)


@pytest.fixture
def work(lab, agents):
    return Workload(lab, agents)


@pytest.fixture
def thin(lab, agents):
    """A function that starts thin programs: thin("dns", policy, "--listen", …); all end with the test."""
    made = []

    def start(name, policy, *arguments, wait=True, **options):
        made.append(Thin(lab, name, policy, arguments, **options))
        return made[-1].start() if wait else made[-1]

    yield start
    for program in made:
        program.stop()
