"""The small internet with agents on a bridge, for suites of a gate. One lab and one bridge for each suite."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lab"))

from dns_client import DnsClient  # noqa: E402
from proxy_client import ProxyClient  # noqa: E402
from small_internet.fixtures import agents, lab, other, require, witness, work  # noqa: E402, F401
from small_internet.gate import Gate  # noqa: E402


def pytest_sessionstart(session):
    require()


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
