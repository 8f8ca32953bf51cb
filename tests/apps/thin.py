"""A thin program in the lab's host namespace: one policy file and a command line, as nobody unless it is told otherwise."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

from small_internet.runner import BUILD

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]


class Thin:
    _number = 0

    def __init__(self, lab, name, policy, arguments, root=False):
        self._lab = lab
        Thin._number += 1
        self.program = f"{BUILD}/bin/sallyport-{name}"
        self.directory = f"{lab.namespaces.state}/thin-{Thin._number}"
        os.makedirs(self.directory, mode=0o755)
        self.state = f"{self.directory}/state"
        os.makedirs(self.state, mode=0o755)
        if not root:
            os.chown(self.state, 65534, 65534)
        self.policy_file = f"{self.directory}/policy.yaml"
        self.write(policy)
        self.line = [*([] if root else NOBODY), self.program, "-p", "policy.yaml", "--state-dir", self.state, *arguments]
        self._notify, self._audit, self._log = (f"{self.directory}/{n}" for n in ("notify", "audit.jsonl", "log"))
        self.process = None

    def write(self, policy):
        """As an editor does: a new file, renamed over the old one."""
        with open(f"{self.policy_file}.new", "w") as file:
            file.write(policy)
        os.chmod(f"{self.policy_file}.new", 0o644)
        os.rename(f"{self.policy_file}.new", self.policy_file)

    def start(self, timeout=20):
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._notify)
        self._receiver.bind(self._notify)
        os.chmod(self._notify, 0o666)
        self._receiver.settimeout(0.1)
        with open(self._audit, "ab") as out, open(self._log, "ab") as log:
            self.process = self._lab.namespaces.spawn(
                self._lab.namespaces.host_fd,
                self.line,
                stdout=out,
                stderr=log,
                cwd=self.directory,
                env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": self._notify},
            )
        self.await_live(1, timeout)
        return self

    def await_live(self, generation, timeout=10):
        """Waits until sd_notify says that this generation is live."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            assert self.process.poll() is None, f"{self.program} ended with {self.process.returncode}: {self.log()}"
            with contextlib.suppress(socket.timeout):
                if f"generation {generation} live" in self._receiver.recv(65536).decode():
                    return
        raise AssertionError(f"generation {generation} is not live after {timeout} s: {self.log()}")

    def run(self, *arguments):
        """The same command line once more, with these arguments, to its end."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._lab.namespaces.host}", *self.line, *arguments],
            cwd=self.directory,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )

    def log(self):
        with open(self._log, errors="replace") as file:
            return file.read()

    def wait_log(self, word, timeout=10):
        end = time.monotonic() + timeout
        while word not in self.log():
            assert time.monotonic() < end, f"no `{word}`: {self.log()}"
            time.sleep(0.02)

    def audit(self, **fields):
        with open(self._audit, "rb") as file:
            data = file.read()
        records = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]
        return [r for r in records if all(r.get(k) == v for k, v in fields.items())]

    def wait_audit(self, timeout=10, **fields):
        end = time.monotonic() + timeout
        while not (found := self.audit(**fields)):
            assert time.monotonic() < end, f"no record with {fields}; the last are {self.audit()[-8:]}; {self.log()}"
            time.sleep(0.02)
        return found

    def uids(self):
        """Of the program and its workers."""
        pids = [self.process.pid]
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            pids += [int(p) for p in file.read().split()]
        found = set()
        for pid in pids:
            with open(f"/proc/{pid}/status") as file:
                found |= {line.split()[1] for line in file if line.startswith("Uid:")}
        return found

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self, timeout=20):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode if self.process else None
