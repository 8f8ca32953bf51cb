"""`sallyport init compose --unprivileged` on a real Docker engine: what it writes comes up as it is, and holds without any privilege."""

import json
import os
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docker"))

from engine import COMPOSE, DOCKERD, Engine  # noqa: E402
from small_internet import world  # noqa: E402
from small_internet.runner import SALLYPORT  # noqa: E402

pytestmark = pytest.mark.skipif(not (os.path.exists(DOCKERD) and os.path.exists(COMPOSE)), reason="no Docker engine: ./dev deps")
ALLOWED, OTHER, DENIED = "api.anthropic.com", "api.example.test", "evil.com"


@pytest.fixture(scope="module")
def engine(lab):
    made = Engine(lab)
    try:
        made.agent_image()
        made.sallyport_image()
        yield made
    finally:
        made.close()


class Stack:
    def __init__(self, engine, lab, shape):
        self.engine, self.shape = engine, shape
        self.directory = f"{lab.namespaces.state}/apart-{shape}"
        written = subprocess.run([SALLYPORT, "init", "compose", "--shape", shape, "--unprivileged", "--agents", "one,two", "--dir", self.directory], capture_output=True, text=True)
        assert written.returncode == 0, written
        self.environment = {"AGENT_IMAGE": "agent", "SUPERVISOR_IMAGE": "agent", "SALLYPORT_IMAGE": "sallyport", "COMPOSE_PROJECT_NAME": f"apart{shape}"}
        up = self.compose("up", "-d", check=False)
        if up.returncode != 0:
            logs = self.compose("logs", "--no-color", check=False).stdout[-4000:]
            self.down()
            raise AssertionError(f"{up.stdout}{up.stderr}\n{logs}")

    def compose(self, *arguments, check=True):
        return self.engine.compose(self.directory, *arguments, check=check, environment=self.environment)

    def container(self, service):
        return self.compose("ps", "-q", service).stdout.strip()

    def shell(self, *command, service="one", options=()):
        return self.engine.docker("exec", *options, self.container(service), *command, check=False, timeout=30)

    def curl(self, *arguments, service="one"):
        return self.shell("/usr/bin/curl", "-sS", "--max-time", "8", "--cacert", "/etc/ca.pem", *arguments, service=service)

    def logs(self):
        return self.compose("logs", "--no-color", "gateway", check=False).stdout[-4000:]

    def audit(self):
        text = self.engine.docker("logs", self.container("gateway")).stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def edit(self, old, new):
        path = f"{self.directory}/sallyport/policy.yaml"
        with open(path) as file:
            text = file.read()
        assert old in text
        with open(f"{path}.new", "w") as file:
            file.write(text.replace(old, new))
        os.rename(f"{path}.new", path)

    def down(self):
        self.compose("down", "-t", "5", "--remove-orphans", check=False)


@pytest.fixture(scope="module", params=["transparent", "proxy"])
def stack(request, engine, lab):
    made = Stack(engine, lab, request.param)
    yield made
    made.down()


@pytest.mark.parametrize("service", ["one", "two"])
def test_each_agent_reaches_what_the_policy_allows(stack, service):
    run = stack.shell("nslookup", ALLOWED, service=service)
    assert run.returncode == 0, f"{run}\n{stack.logs()}"
    run = stack.curl(f"https://{ALLOWED}/", service=service)
    assert run.returncode == 0 and "small internet" in run.stdout, f"{run}\n{stack.logs()}"
    # Who it was is known, by the network it came from.
    assert [r for r in stack.audit() if r["name"] == ALLOWED and r["client"]["group"] == service]


def test_nothing_else(stack, witness):
    with witness.expect_zero():
        assert stack.shell("nslookup", DENIED).returncode != 0
        run = stack.curl(f"https://{DENIED}/")
        assert run.returncode != 0 and (stack.shape != "proxy" or "403" in run.stderr), run
        # The engine drops these without a word: to refuse them at once would take NET_ADMIN.
        for url in ("https://1.1.1.1/", f"http://{world.EVIL4}:8080/"):
            assert stack.curl("--noproxy", "*", "--max-time", "2", url).returncode != 0
    assert any(r["name"] == DENIED and r["reason"] == "no_rule" for r in stack.audit())


def test_agents_do_not_reach_each_other(stack):
    stack.shell("/bin/sh", "-c", "while true; do echo other agent | nc -l -p 9999; done", service="two", options=("-d",))
    for address in ("172.20.2.10", "172.20.2.2", "172.20.2.5"):
        run = stack.shell("/bin/sh", "-c", f"echo hello | nc -w 1 {address} 9999")
        assert "other agent" not in run.stdout, (address, run)
        assert stack.shell("ping", "-c", "1", "-W", "1", address).returncode != 0
    assert stack.shell("nslookup", "two").returncode != 0


def test_the_supervisor_is_reachable(stack):
    run = stack.curl("--noproxy", "*", "http://supervisor:8080/")
    assert run.returncode == 0 and "supervisor here" in run.stdout, run


def test_the_gateway_has_no_privilege(stack, engine):
    state = json.loads(engine.docker("inspect", stack.container("gateway")).stdout)[0]
    assert state["Config"]["User"] == "999:999" and state["HostConfig"]["CapDrop"] == ["ALL"] and not state["HostConfig"]["CapAdd"]
    assert not state["HostConfig"]["Privileged"] and state["HostConfig"]["NetworkMode"] != "host" and state["HostConfig"]["ReadonlyRootfs"]
    with open(f"/proc/{state['State']['Pid']}/status") as file:
        status = dict(line.split(":", 1) for line in file.read().splitlines())
    assert int(status["CapEff"], 16) == 0 and status["Uid"].split()[0] == "999"


def test_an_edit_is_live(stack, witness):
    with witness.expect_zero():
        assert stack.curl(f"https://{OTHER}/").returncode != 0
    stack.edit("api.openai.com]", f"api.openai.com, {OTHER}]")
    end = time.monotonic() + 5
    while stack.curl(f"https://{OTHER}/").returncode != 0:
        assert time.monotonic() < end, stack.logs()


def test_doctor_says_what_it_cannot_do(stack, engine, lab):
    """On the real engine: each agent's network is internal, and the host's address on its bridge is reachable."""
    run = subprocess.run(
        ["nsenter", f"--net=/run/netns/{lab.namespaces.host}", SALLYPORT, "doctor", "--json"], env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": f"unix://{engine.socket}"}, capture_output=True, text=True
    )
    checks = json.loads(run.stdout)["checks"]
    for n, agent in ((1, "one"), (2, "two")):
        network = f"network apart{stack.shape}_{agent}"
        assert any(c["check"] == "docker" and c["text"].startswith(f"{network} is internal") for c in checks), checks
        assert any(c["check"] == "bridge-address" and f"172.20.{n}.1 stays reachable" in c["text"] for c in checks), checks
    assert any(c["check"] == "docker" and f"apart{stack.shape}_outside is not internal" in c["text"] for c in checks), checks
