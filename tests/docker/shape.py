"""A shape of deploy/compose, up on the lab's engine as a user brings it up."""

import json
import os
import shutil
import subprocess
import time

from small_internet.runner import SALLYPORT, TREE

ALLOWED, OTHER, DENIED = "api.anthropic.com", "api.example.test", "evil.com"


class Stack:
    """One shape, up. `change(directory)` edits its files before."""

    def __init__(self, engine, lab, shape, name=None, change=None):
        self.engine, self.shape, self.project = engine, shape, name or shape
        self._host = lab.namespaces.host
        self.gateway = "cell" if shape == "cells" else "gateway"
        self._containers = {}
        self.directory = f"{lab.namespaces.state}/{self.project}"
        shutil.copytree(f"{TREE}/deploy/compose/{shape}", self.directory)
        if change:
            change(self.directory)
        for root, directories, files in os.walk(self.directory):
            for name in directories + files:
                os.chown(os.path.join(root, name), 0, 0)
                os.chmod(os.path.join(root, name), 0o755 if name in directories else 0o644)
        self.environment = {"AGENT_IMAGE": "agent", "SUPERVISOR_IMAGE": "agent", "SALLYPORT_IMAGE": "sallyport", "DOCKER_SOCKET": engine.socket, "COMPOSE_PROJECT_NAME": self.project}
        try:
            engine.compose(self.directory, "up", "-d", environment=self.environment)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None
        if shape == "cells":
            self.await_attached()

    def await_attached(self):
        end = time.monotonic() + 20
        while self.shell("nslookup", ALLOWED, check=False).returncode != 0:
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    def logs(self):
        return self.engine.compose(self.directory, "logs", "--no-color", self.gateway, check=False, environment=self.environment).stdout[-4000:]

    def container(self, service):
        if service not in self._containers:
            self._containers[service] = self.engine.compose(self.directory, "ps", "-q", service, environment=self.environment).stdout.strip()
        return self._containers[service]

    def inspect(self, service):
        return json.loads(self.engine.docker("inspect", self.container(service)).stdout)[0]

    def started(self):
        """When each container of the stack started."""
        listed = self.engine.compose(self.directory, "ps", "-q", environment=self.environment).stdout.split()
        found = self.engine.docker("inspect", "-f", "{{.Name}} {{.State.StartedAt}} {{.RestartCount}}", *listed).stdout.splitlines()
        return {line.split()[0].lstrip("/"): line.split()[1:] for line in found}

    def shell(self, *command, service="agent", check=False, timeout=30, options=()):
        return self.engine.docker("exec", *options, self.container(service), *command, check=check, timeout=timeout)

    def curl(self, *arguments, service="agent"):
        return self.shell("/usr/bin/curl", "-sS", "--max-time", "8", "--cacert", "/etc/ca.pem", *arguments, service=service)

    def audit(self):
        text = self.engine.docker("logs", self.container(self.gateway)).stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def edit(self, old, new):
        """One edit of one file, as an editor makes it."""
        path = f"{self.directory}/sallyport/policy.yaml"
        with open(path) as file:
            text = file.read()
        assert old in text
        with open(f"{path}.new", "w") as file:
            file.write(text.replace(old, new))
        os.rename(f"{path}.new", path)

    def close(self):
        self.engine.compose(self.directory, "down", "-t", "5", "--remove-orphans", check=False, environment=self.environment)
        # Closed is the resting state: what the kernel holds is let go by a word of its own.
        subprocess.run(["nsenter", f"--net=/run/netns/{self._host}", SALLYPORT, "release", "-c", f"{self.directory}/sallyport/gateway.yaml"], capture_output=True)
