"""The small internet, an agent on a bridge, and programs started as a user without rights."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lab"), HERE]

from small_internet.fixtures import lab, require, witness, work  # noqa: E402, F401
from small_internet.gate import Agents  # noqa: E402
from thin import Thin  # noqa: E402


def pytest_sessionstart(session):
    require()


@pytest.fixture(scope="session")
def agents(lab):
    made = Agents(lab, names=("a",))
    yield made
    made.close()


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
