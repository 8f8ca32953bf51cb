"""One small internet for each suite."""

import os

import pytest

from small_internet.lab import Lab
from small_internet.runner import SALLYPORT


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the lab makes network namespaces: run it as root (what it confines runs as a user)", returncode=77)


@pytest.fixture(scope="session")
def lab():
    made = Lab()
    yield made
    made.close()


@pytest.fixture(scope="session")
def witness(lab):
    return lab.witness


@pytest.fixture(scope="session", autouse=True)
def built(request):
    if not os.access(SALLYPORT, os.X_OK) and not os.environ.get("SALLYPORT_LAB_ONLY"):
        pytest.exit(f"{SALLYPORT} is not built: ./dev build", returncode=3)
