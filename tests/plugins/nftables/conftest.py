"""The nftables plugin alone, on a fake gateway (driver.cpp), between the lab's agents and the small internet."""

import json
import os
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lab"))

from small_internet.fixtures import lab, require, witness  # noqa: E402, F401
from small_internet.gate import AGENTS, BRIDGE, GATE4, GATE6, Agents  # noqa: E402
from small_internet.namespaces import sh  # noqa: E402
from small_internet.runner import BUILD  # noqa: E402

DRIVER = f"{BUILD}/tests/nft_driver"


def pytest_sessionstart(session):
    require((DRIVER, "ninja nft_driver"))


def topology(catch=False, internal=()):
    listeners = [
        {"name": "dns", "proto": proto, "address": address, "port": 53, "transparent": "no"}
        for proto in ("udp", "tcp")
        for address in (GATE4, GATE6)
    ]
    if catch:
        listeners += [
            {"name": "catch", "proto": "tcp", "address": address, "port": 15001, "transparent": "redirect"}
            for address in ("0.0.0.0", "::")
        ]
    return {
        "name": "lab",
        "networks": [{"name": "agents", "interfaces": [BRIDGE], "addresses": ["172.20.0.0/16", "fd00:20::/64"]}],
        "listeners": listeners,
        "internal": [{"from": a, "to": b} for a, b in internal],
        "own": [GATE4, "172.20.0.2", "172.20.0.3", GATE6],
    }


class Plane:
    """One driver in the lab's host namespace."""

    def __init__(self, lab, shape=None):
        self._lab = lab
        path = f"{lab.namespaces.state}/topology.json"
        with open(path, "w") as file:
            json.dump(shape or topology(), file)
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{lab.namespaces.host}", DRIVER, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started = json.loads(self.process.stdout.readline())

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the driver ended at {command}: {self.process.wait()}"
        return json.loads(line)

    def nft(self, *command, text=None):
        return subprocess.run(
            ["ip", "netns", "exec", self._lab.namespaces.host, "nft", *command],
            input=text,
            text=True,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.write("stop\n")
            self.process.stdin.close()
            try:
                self.process.wait(10)
            finally:
                self.process.kill()
        for family in ("inet", "bridge"):
            subprocess.run(
                ["ip", "netns", "exec", self._lab.namespaces.host, "nft", "delete", "table", family, "sallyport"],
                stderr=subprocess.DEVNULL,
            )
        assert self.process.returncode in (0, -9), self.process.returncode


def wait_until(what, timeout=3.0):
    """Seconds until it was true."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < timeout, "still not so"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def agents(lab):
    made = Agents(lab)
    # The kernel sends an address few refusals a second; a test that follows an attack would see none.
    sh("ip", "netns", "exec", lab.namespaces.host, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    yield made
    made.close()


@pytest.fixture
def plane(lab, agents):
    made = Plane(lab)
    assert made.started == {"started": True}, made.started
    yield made
    made.close()


class Workload:
    def __init__(self, lab, agents, name):
        self.lab, self.agents, self.name = lab, agents, name
        self.address4, self.address6 = AGENTS.get(name, (None, None))

    @property
    def space(self):
        return self.agents.namespaces[self.name]

    def python(self, text, *arguments, timeout=60):
        """Runs it as root of the agent's namespace; its standard output."""
        return sh("ip", "netns", "exec", self.space, "/usr/bin/python3", "-c", text, *map(str, arguments), timeout=timeout)

    def socket(self, *arguments):
        import socket

        with self.lab.namespaces.inside(self.agents.fds[self.name]):
            made = socket.socket(*arguments)
        made.settimeout(2)
        return made


@pytest.fixture
def work(lab, agents):
    return Workload(lab, agents, "a")


@pytest.fixture
def other(lab, agents):
    return Workload(lab, agents, "b")
