"""UX 2: somebody's own compose file, and `sallyport init compose --network` over it; the file itself is not touched."""

import json
import os
import subprocess

import pytest

from shape import ALLOWED, DENIED
from small_internet import world
from small_internet.runner import SALLYPORT

OWN = """version: "3.8"
services:
  web:
    image: agent
    command: ["sleep", "1000000"]
    networks: [bots]
    depends_on: [db]
  db:
    image: agent
    command: ["/bin/sh", "-c", "while true; do echo database here | nc -l -p 5432; done"]
    networks: { bots: { aliases: [data] } }
networks:
  bots:
    ipam: { config: [{ subnet: 10.77.0.0/24 }] }
"""
FILES = ("-f", "docker-compose.yml", "-f", "compose.sallyport.yaml")


class Project:
    def __init__(self, engine, lab):
        self.engine, self._host, self._ids = engine, lab.namespaces.host, {}
        self.directory = f"{lab.namespaces.state}/own"
        self.environment = {"SALLYPORT_IMAGE": "sallyport", "COMPOSE_PROJECT_NAME": "own"}
        os.mkdir(self.directory, 0o755)
        with open(f"{self.directory}/docker-compose.yml", "w") as file:
            file.write(OWN)
        made = subprocess.run([SALLYPORT, "init", "compose", "--network", "bots"], cwd=self.directory, capture_output=True, text=True)
        assert made.returncode == 0, made
        self.compose("up", "-d")

    def compose(self, *arguments, **options):
        return self.engine.compose(self.directory, *FILES, *arguments, environment=self.environment, **options)

    def run(self, service, *command):
        if service not in self._ids:
            self._ids[service] = self.compose("ps", "-q", service).stdout.strip()
        return self.engine.docker("exec", self._ids[service], *command, check=False, timeout=30)

    def close(self):
        self.compose("down", "-t", "1", check=False)
        subprocess.run(["nsenter", f"--net=/run/netns/{self._host}", SALLYPORT, "release", "-c", f"{self.directory}/sallyport/gateway.yaml"], capture_output=True)


@pytest.fixture(scope="module")
def own(engine, lab):
    made = Project(engine, lab)
    yield made
    made.close()


def curl(own, *arguments):
    return own.run("web", "/usr/bin/curl", "-sS", "--max-time", "8", "--cacert", "/etc/ca.pem", *arguments)


def test_names(own, witness):
    run = curl(own, f"https://{ALLOWED}/")
    assert run.returncode == 0 and "small internet" in run.stdout, f"{run}\n{own.compose('logs', '--no-color', 'sallyport').stdout[-3000:]}"
    with witness.expect_zero():
        assert own.run("web", "nslookup", DENIED).returncode != 0
        assert curl(own, f"https://{DENIED}/").returncode != 0
        assert curl(own, "--fail", f"https://{world.EVIL4}/").returncode != 0
    records = [json.loads(line) for line in own.compose("logs", "--no-color", "--no-log-prefix", "sallyport").stdout.splitlines() if line.startswith("{")]
    assert {r["reason"] for r in records if r["name"] == DENIED and r["verdict"] == "deny"} == {"no_rule"}, records[-5:]


def test_services_are_apart_until_internal_says_otherwise(own):
    def database():
        return own.run("web", "/bin/sh", "-c", "nc -w 2 data 5432 </dev/null").stdout

    assert "database" not in database()
    path = f"{own.directory}/sallyport/gateway.yaml"
    with open(path) as file:
        text = file.read()
    with open(f"{path}.new", "w") as file:
        file.write(text.replace("internal: []", "internal: [[agents, agents]]"))
    os.rename(f"{path}.new", path)
    for _ in range(5):
        if "database" in database():
            return
    raise AssertionError(own.compose("logs", "--no-color", "sallyport").stdout[-3000:])
