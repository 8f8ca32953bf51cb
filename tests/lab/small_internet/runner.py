"""Runs programs on the lab's host: bare, or confined by `sallyport run`; as a user without any capability."""

import contextlib
import ctypes
import json
import os
import pwd
import shutil
import signal
import subprocess
import time

from .namespaces import setns

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("SALLYPORT_BUILD", f"{TREE}/build")
SALLYPORT = f"{BUILD}/bin/sallyport"
POLICYCTL = f"{BUILD}/bin/policyctl"
PYTHON = "/usr/bin/python3"

# ssh asks for a passwd entry, so the user is one that every Debian has. OTHER_UID needs none.
USER = pwd.getpwnam("games")
OTHER_UID = 20000
_PR_CAPBSET_DROP = 24
_libc = ctypes.CDLL(None, use_errno=True)


class Run:
    """A finished command: status, out, err (bytes), seconds, audit (the records of its --audit file)."""

    def __init__(self, status, out, err, seconds, audit):
        self.status, self.out, self.err, self.seconds, self.audit = status, out, err, seconds, audit

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    @property
    def errors(self):
        return self.err.decode("utf-8", "replace")

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"no JSON on standard output: {self!r}") from None

    def denials(self, **fields):
        """The audit's decisions to deny that have these fields."""
        return [
            r
            for r in self.audit
            if r.get("verdict") == "deny"
            and r.get("kind") == "decision"
            and all(r.get(k) == v for k, v in fields.items())
        ]

    def __repr__(self):
        return f"Run(status={self.status}, seconds={self.seconds:.2f}, out={self.text[-2000:]!r}, err={self.errors[-3000:]!r}, audit={self.audit[-6:]})"


def drop_to(namespace_fd, uid, gid):
    """A function for a child before exec: into the namespace, then a user without any capability."""

    def enter():
        setns(namespace_fd)
        if uid:
            for capability in range(64):
                _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)

    return enter


class Runner:
    """Directories of a run: `project` is the working directory, `home` is $HOME; both belong to the user."""

    def __init__(self, namespaces, servers, resolver):
        self._namespaces, self._servers, self._resolver = namespaces, servers, resolver
        self._number = 0
        self.share = servers.share
        shutil.copy(f"{TREE}/tests/lab/probe.py", self.share)

    def workspace(self, uid=None):
        """A new directory with project/ and home/, owned by the user."""
        uid = USER.pw_uid if uid is None else uid
        gid = USER.pw_gid if uid == USER.pw_uid else uid
        self._number += 1
        base = f"{self._namespaces.state}/runs/{self._number}"
        for directory in (base, f"{base}/project", f"{base}/home", f"{base}/home/.ssh"):
            os.makedirs(directory, mode=0o755)
            os.chown(directory, uid, gid)
        shutil.copy(self._servers.ssh_key, f"{base}/home/.ssh/key")
        os.chmod(f"{base}/home/.ssh/key", 0o600)
        os.chown(f"{base}/home/.ssh/key", uid, gid)
        return base

    def environment(self, base, extra=None):
        """What a user's shell would have; the lab's authority is trusted by each client's own variable."""
        ca = self._servers.ca
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": f"{base}/home",
            "SHELL": "/bin/sh",
            "USER": "games",
            "LOGNAME": "games",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "CURL_CA_BUNDLE": ca,
            "SSL_CERT_FILE": ca,
            "GIT_SSL_CAINFO": ca,
            "NODE_EXTRA_CA_CERTS": ca,
            "npm_config_cafile": ca,
            "PIP_CERT": ca,
            "REQUESTS_CA_BUNDLE": ca,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": f"ssh -i {base}/home/.ssh/key -o UserKnownHostsFile={self.share}/known_hosts -o GlobalKnownHostsFile=/dev/null"
            " -o BatchMode=yes -o ConnectTimeout=5 -F /dev/null",
        }
        environment.update(extra or {})
        return environment

    def bare(self, *command, timeout=30, **options):
        """The command on the lab's host without Sallyport: the positive control. The host's resolver is the lab's."""
        return self._finish(*self.start(*command, confined=False, **options), timeout=timeout)

    def run(self, *command, timeout=30, **options):
        """`sallyport run … -- command`; see start() for the options."""
        return self._finish(*self.start(*command, **options), timeout=timeout)

    def start(
        self,
        *command,
        confined=True,
        allow=(),
        policy=None,
        options=(),
        uid=None,
        env=None,
        input=None,
        base=None,
        cwd=None,
        resolver=True,
        audit=True,
        quiet=False,
        sallyport=None,
        stdin=None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(),
        namespace_fd=None,
        preexec=None,
    ):
        """Starts it and returns (process, base directory, input, start time). uid=0 is root; policy is YAML text or a path."""
        uid = USER.pw_uid if uid is None else uid
        gid = USER.pw_gid if uid == USER.pw_uid else uid
        base = base or self.workspace(uid)
        line = list(command)
        if confined:
            line = [sallyport or SALLYPORT, "run"]
            for entry in [allow] if isinstance(allow, str) else allow:
                line += ["--allow", entry]
            if policy is not None:
                path = policy
                if "\n" in policy:
                    path = f"{base}/policy.yaml"
                    with open(path, "w") as file:
                        file.write(policy)
                line += ["-p", path]
            if resolver:
                line += ["--resolver", self._resolver if resolver is True else resolver]
            if audit:
                line += ["--audit", f"{base}/audit.jsonl"]
            line += (["-q"] if quiet else []) + list(options) + ["--", *command]
        else:
            asked = self._resolver if resolver is True else resolver or self._resolver
            line = [PYTHON, f"{TREE}/tests/lab/small_internet/bare.py", asked, *command]
        enter = drop_to(self._namespaces.host_fd if namespace_fd is None else namespace_fd, uid if confined else 0, gid)

        def prepare():
            enter()
            if preexec:
                preexec()

        environment = self.environment(base, env)
        if not confined:
            environment["LAB_UID"], environment["LAB_GID"] = str(uid), str(gid)
        process = subprocess.Popen(
            line,
            cwd=cwd or f"{base}/project",
            env=environment,
            preexec_fn=prepare,
            stdin=stdin if stdin is not None else (subprocess.PIPE if input is not None else subprocess.DEVNULL),
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        return process, base, input, time.monotonic()

    def finish(self, started, timeout=30):
        return self._finish(*started, timeout=timeout)

    def _finish(self, process, base, given, began, timeout):
        try:
            out, err = process.communicate(given.encode() if isinstance(given, str) else given, timeout=timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(
                f"still running after {timeout} s: {process.args}\nout {out[-2000:]!r}\nerr {err[-3000:]!r}"
            ) from None
        seconds = time.monotonic() - began
        return Run(process.returncode, out or b"", err or b"", seconds, self.audit(base))

    @staticmethod
    def audit(base):
        """Every line is one valid JSON object (LOG-01 holds for all runs)."""
        path = f"{base}/audit.jsonl"
        if not os.path.exists(path):
            return []
        with open(path, "rb") as file:
            data = file.read()
        return [json.loads(line) for line in data.splitlines() if line]

    @staticmethod
    def audit_so_far(base):
        """Of a run that is not over: its last line may be half written."""
        try:
            with open(f"{base}/audit.jsonl", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]

    def policyctl(self, *arguments, policy=None, cwd=None):
        """policyctl as the user, offline; `policy` is written to policy.yaml in the working directory."""
        cwd = cwd or self.workspace() + "/project"
        if policy is not None:
            with open(f"{cwd}/policy.yaml", "w" if isinstance(policy, str) else "wb") as file:
                file.write(policy)
        began = time.monotonic()
        result = subprocess.run(
            [POLICYCTL, *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            preexec_fn=drop_to(self._namespaces.host_fd, USER.pw_uid, USER.pw_gid),
            env={"PATH": "/usr/bin:/bin", "HOME": cwd, "LANG": "C.UTF-8"},
        )
        return Run(result.returncode, result.stdout, result.stderr, time.monotonic() - began, [])

    def probe(self, steps, threads=1, confined=True, timeout=60, python=PYTHON, **options):
        """Runs the steps of probe.py in one cell; (results, run)."""
        start = {"confined": confined, **options}
        run = self._finish(
            *self.start(python, f"{self.share}/probe.py", str(threads), input=json.dumps(steps), **start),
            timeout=timeout,
        )
        assert run.out, run
        results = run.json()
        assert len(results) == len(steps), run
        return results, run
