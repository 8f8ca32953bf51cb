"""What suites of the lab share: one small internet each, agents on a bridge, programs that run as such an agent."""

import json
import os

import pytest

from .gate import AGENTS, GATE4, Agents
from .lab import Lab
from .runner import SALLYPORT


def require(*programs):
    """For pytest_sessionstart: root, and what has to be built (the path, and the command that makes it)."""
    if os.geteuid() != 0:
        pytest.exit("the lab makes network namespaces: run it as root (what it confines runs as a user)", returncode=77)
    for program, remedy in programs or [(SALLYPORT, "./dev build")]:
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is not there: {remedy}", returncode=3)


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
        self.address4, self.address6 = AGENTS.get(name, (None, None))

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
