"""A Docker engine in the lab, for suites that need one. Needs root; the engine is Debian's docker.io."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lab"), HERE]

from engine import DOCKERD, Engine  # noqa: E402
from small_internet.fixtures import lab, require, witness  # noqa: E402, F401
from small_internet.runner import SALLYPORT  # noqa: E402


def pytest_sessionstart(session):
    require((SALLYPORT, "./dev build"), (DOCKERD, "./dev deps"))


@pytest.fixture(scope="session")
def engine(lab):
    made = Engine(lab)
    try:
        made.agent_image()
        made.sallyport_image()
        yield made
    finally:
        made.close()
