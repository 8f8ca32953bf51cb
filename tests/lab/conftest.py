"""One small internet for each suite."""

import os

from small_internet.fixtures import lab, require, witness  # noqa: F401


def pytest_sessionstart(session):
    require(*[("/usr/bin/python3", "")] if os.environ.get("SALLYPORT_LAB_ONLY") else [])
