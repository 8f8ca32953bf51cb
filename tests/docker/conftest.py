"""A Docker engine in the lab, for suites that need one. Needs root; the engine is Debian's docker.io."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lab"), HERE]

from engine import DOCKERD, Engine  # noqa: E402
from small_internet.lab import Lab  # noqa: E402


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("a Docker engine needs root", returncode=77)
    if not os.path.exists(DOCKERD):
        pytest.exit("no Docker engine: ./dev deps", returncode=3)


@pytest.fixture(scope="session")
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def witness(lab):
    return lab.witness


@pytest.fixture(scope="session")
def engine(lab):
    made = Engine(lab)
    try:
        made.agent_image()
        made.sallyport_image()
        yield made
    finally:
        made.close()
