"""`sallyport attach`: a running container without a network becomes a cell, and is given back as it was (CEL-23).

A stand-in for a container: namespaces of its own, a resolv.conf that is bound over the host's as Docker does it, and Docker's
capabilities or fewer. The engine is a small server that answers what Docker's does; the real one is in tests/docker.
"""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time

import pytest

from cell_support import gone
from small_internet import world
from small_internet.namespaces import die_with_parent, setns, sh
from small_internet.runner import PYTHON, SALLYPORT, USER

ALLOW = ["api.example.test:443", "db.example.test:5432"]
# What Docker gives by default.
DOCKER = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod,audit_write,setfcap"


class Container:
    """A process in namespaces of its own that sleeps; run() and probe() start others beside it."""

    def __init__(self, lab, capabilities=None, lo=True, before=""):
        self._lab = lab
        self.base = lab.workspace()
        self._user = capabilities is None
        bounding = "-all" if capabilities is None else ",".join(["-all", *(f"+{c}" for c in capabilities.split(","))])
        ids = f"--reuid {USER.pw_uid} --regid {USER.pw_gid} --clear-groups" if self._user else ""
        self._drop = f"setpriv {ids} --no-new-privs --bounding-set {bounding} --inh-caps -all".split()
        with open(f"{self.base}/resolv.conf", "w") as file:
            file.write("search corp.example\nnameserver 192.0.2.53\nnameserver 127.0.0.11\noptions timeout:2 attempts:1\n")
        script = f"""
            mount --bind {self.base}/resolv.conf $(realpath /etc/resolv.conf)
            mount -t proc proc /proc
            {"ip link set lo up" if lo else ":"}
            {before}
            exec {" ".join(self._drop)} sleep 1000
        """
        self._outer = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-ec", script],
            preexec_fn=die_with_parent,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 5
        self.pid = 0
        while not self.pid:
            assert time.monotonic() < end and self._outer.poll() is None, "the container did not start"
            with contextlib.suppress(OSError, IndexError):
                with open(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children") as file:
                    child = int(file.read().split()[0])
                with open(f"/proc/{child}/comm") as file:
                    self.pid = child if file.read() == "sleep\n" else 0
            time.sleep(0.01)
        self.network_fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def _command(self, command):
        return ["nsenter", "-t", str(self.pid), "--net", "--mount", "--pid", *self._drop, *command]

    def run(self, *command, input=None, timeout=30):
        return subprocess.run(
            self._command(command),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self._lab.environment(self.base),
            preexec_fn=die_with_parent,
        )

    def start(self, *command):
        return subprocess.Popen(
            self._command(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._lab.environment(self.base),
            preexec_fn=die_with_parent,
        )

    def probe(self, steps, threads=1):
        run = self.run(PYTHON, f"{self._lab.share}/probe.py", str(threads), input=json.dumps(steps))
        assert run.stdout, run
        return json.loads(run.stdout)

    def state(self):
        """Everything that attach could have changed."""
        text = ""
        for command in (
            "ip -o -details link",
            "ip -o addr",
            "ip route show table all",
            "ip -6 route show table all",
            "ip rule",
            "nft list ruleset",
            "ss -lntu",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range",
        ):
            done = subprocess.run(
                ["sh", "-c", command],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                preexec_fn=lambda: setns(self.network_fd),
            )
            # The queue length and the state word of lo say how often it was up.
            text += f"# {command}\n{re.sub(r'qdisc [a-z]+', '', done.stdout)}"
        with open(f"/proc/{self.pid}/root/etc/resolv.conf") as file:
            text += file.read()
        return text

    def close(self):
        if self.network_fd >= 0:
            os.close(self.network_fd)
            self.network_fd = -1
        self._outer.kill()
        self._outer.wait()


class Attachment:
    def __init__(self, lab, target, allow=ALLOW, options=(), env=None, wait=True, namespace_fd=None):
        self.base = lab.workspace(0)
        line = [SALLYPORT, "attach", *target, "--resolver", world.RESOLVER, "--audit", f"{self.base}/audit.jsonl"]
        for entry in allow:
            line += ["--allow", entry]
        self._lab, self._log = lab, open(f"{self.base}/err", "wb")
        fd = lab.namespaces.host_fd if namespace_fd is None else namespace_fd

        def enter():
            die_with_parent()
            setns(fd)

        self.process = subprocess.Popen(
            line + list(options),
            preexec_fn=enter,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **(env or {})},
            start_new_session=True,
        )
        end = time.monotonic() + 10
        while wait and "attached to" not in self.errors:
            assert self.process.poll() is None and time.monotonic() < end, self.errors
            time.sleep(0.01)

    @property
    def errors(self):
        with open(f"{self.base}/err") as file:
            return file.read()

    def workers(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def audit(self, **fields):
        return [r for r in self._lab.audit(self.base) if all(r.get(k) == v for k, v in fields.items())]

    def end(self, number=signal.SIGTERM, timeout=10):
        """The exit status after a signal; None: waits only."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        self._log.close()
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@pytest.fixture
def make(lab):
    made = []

    def container(*arguments, **options):
        made.append(Container(lab, *arguments, **options))
        return made[-1]

    yield container
    for one in made:
        one.close()


@pytest.fixture
def attach(lab):
    made = []

    def attachment(target, *arguments, **options):
        given = ["--pid", str(target.pid)] if isinstance(target, Container) else target
        made.append(Attachment(lab, given, *arguments, **options))
        return made[-1]

    yield attachment
    for one in made:
        one.close()


# --- the same properties as run ---


def test_allowed_name_works_and_another_does_not(lab, witness, make, attach):
    container = make()
    bare = container.run("curl", "-sS", "-m", "3", "https://api.example.test/")
    assert bare.returncode != 0  # no network at all
    attachment = attach(container)
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        good = container.run("curl", "-sS", "-m", "8", "https://api.example.test/")
        assert good.returncode == 0 and good.stdout, good
        six = container.run("curl", "-6", "-sS", "-m", "8", "https://api.example.test/")
        assert six.returncode == 0 and six.stdout == good.stdout, six
    with witness.expect_zero():
        for url in ("https://evil.test/", "http://evil.test/", "http://api.example.test/", "https://api.example.test:8443/"):
            bad = container.run("curl", "-sS", "-m", "8", url)
            assert bad.returncode != 0 and not bad.stdout.startswith("hello"), bad
    assert attachment.end() == 0, attachment.errors
    assert attachment.audit(verdict="deny", name="evil.test", reason="no_rule"), attachment.audit()
    assert attachment.audit(verdict="allow", name="api.example.test")
    assert "1 destination" in attachment.errors or "destinations denied" in attachment.errors, attachment.errors


def test_sni_of_another_name_is_refused(lab, witness, make, attach):
    container = make()
    attach(container, ["www.example.test:443"])
    with witness.expect_only("www.example.test"):
        run = container.run("curl", "-sS", "-m", "8", "--connect-to", "other.example.test:443:www.example.test:443",
                            "https://other.example.test/")
    assert run.returncode != 0, run


@pytest.mark.parametrize("address", [world.EVIL4, world.GOOD4, world.HOST4, world.METADATA, "10.0.0.1", world.EVIL6, world.HOST6, "fd00::1"])
def test_literal_addresses_are_reset(lab, witness, make, attach, address):
    """CEL-02."""
    container = make()
    attachment = attach(container)
    with witness.expect_zero():
        results = container.probe([{"do": "tcp", "to": [address, port], "timeout": 5} for port in (22, 80, 443, 5432)], 4)
    assert [r for r in results if not gone(r)] == []
    attachment.end()
    assert attachment.audit(addr=address, reason="ip_literal_denied"), attachment.audit()


def test_other_resolvers_are_us(lab, witness, make, attach):
    """CEL-03: whatever the container's resolv.conf says, and whom a program asks by itself."""
    container = make()
    attach(container)
    with witness.expect_zero():
        for command in (
            ["dig", "+short", "+tries=1", "+time=2", "@8.8.8.8", "evil.test"],
            ["dig", "+short", "+tcp", "+tries=1", "+time=2", "@8.8.8.8", "evil.test"],
            ["dig", "+short", "+tries=1", "+time=2", "@127.0.0.11", "evil.test"],
            ["dig", "+short", "+tries=1", "+time=2", f"@{world.OTHER_RESOLVER6}", "evil.test"],
            ["getent", "hosts", "evil.test"],
            ["getent", "hosts", "evil"],  # with the search list
        ):
            run = container.run(*command)
            assert not run.stdout, (command, run)
    with witness.expect_only("api.example.test"):
        for server in ("@8.8.8.8", "@127.0.0.11"):
            run = container.run("dig", "+short", "+tries=1", "+time=2", server, "api.example.test")
            assert run.stdout.startswith("198.1"), run
    assert container.run("getent", "ahostsv4", "api.example.test").stdout.startswith("198.1")


def test_udp_and_ping_are_refused(lab, witness, make, attach):
    """CEL-04; as root with Docker's capabilities, NET_RAW among them."""
    container = make(capabilities=DOCKER)
    attach(container)
    with witness.expect_zero():
        results = container.probe(
            [{"do": "udp", "to": [a, p], "send": "00" * 32, "timeout": 1, "connect": True} for a in (world.EVIL4, world.EVIL6) for p in (123, 443, 784)],
            6,
        )
        assert all(r.get("error") for r in results), results
        for address in (world.EVIL4, world.EVIL6):
            ping = container.run("ping", "-c", "1", "-W", "1", address)
            assert ping.returncode != 0 and "1 received" not in ping.stdout, ping
        raw = container.run(
            PYTHON,
            "-c",
            f"""
import socket
for family, proto, address in ((socket.AF_INET, 1, {world.EVIL4!r}), (socket.AF_INET, 6, {world.EVIL4!r}), (socket.AF_INET, 255, {world.EVIL4!r}), (socket.AF_INET6, 58, {world.EVIL6!r})):
  s = socket.socket(family, socket.SOCK_RAW, proto)
  try: s.sendto(b'\\x45' + bytes(39), (address, 0)); print('sent')
  except OSError as e: print(e.errno)
p = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300); p.bind(('lo', 0)); p.send(bytes(12) + b'\\x08\\x00' + b'\\x45' + bytes(39))
""",
        )
        assert raw.returncode == 0, raw  # it may send; it arrives nowhere


def test_own_servers_work(lab, make, attach):
    """CEL-21."""
    container = make()
    attachment = attach(container)
    results = container.probe([{"do": "serve_loopback", "family": 4, "address": "127.0.0.1"}, {"do": "serve_loopback", "family": 6, "address": "::1"}])
    assert [r.get("data") for r in results] == ["gnip", "gnip"], results
    attachment.end()
    assert not attachment.audit(verdict="deny")


def test_a_policy_knows_it_by_name(lab, make, attach):
    container = make()
    base = lab.workspace(0)
    with open(f"{base}/policy.yaml", "w") as file:
        file.write(
            'version: 1\nclients:\n  agents: { cells: ["agent-*"] }\nrules:\n'
            "  - { name: api, action: allow, clients: [agents], domains: [api.example.test], ports: [443] }\n"
        )
    os.chmod(f"{base}/policy.yaml", 0o644)
    other = attach(container, [], options=["-p", f"{base}/policy.yaml", "--name", "other"])
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode != 0
    assert other.end() == 0
    agent = attach(container, [], options=["-p", f"{base}/policy.yaml", "--name", "agent-7"])
    assert "policy.yaml, 1 rule" in agent.errors, agent.errors
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    assert agent.end() == 0
    allowed = agent.audit(verdict="allow", name="api.example.test")
    assert allowed and allowed[0]["client"]["group"] == "agents" and allowed[0]["gateway"] == "agent-7", allowed


def test_an_edited_policy_is_live_within_a_second(lab, witness, make, attach):
    """Nothing is restarted; a mistake changes nothing; open connections that a later policy denies end."""
    container, base = make(), lab.workspace(0)

    def write(text, rename=True):
        path = f"{base}/policy.yaml"
        with open(f"{path}.new" if rename else path, "w") as file:
            file.write(f"version: 1\nrules:\n{text}")
        if rename:
            os.chmod(f"{path}.new", 0o644)
            os.rename(f"{path}.new", path)

    api = "  - { name: api, action: allow, domains: [api.example.test], ports: [443, 5432] }\n"
    www = "  - { name: www, action: allow, domains: [www.example.test], ports: [443] }\n"
    write(api)
    attachment = attach(container, [], options=["-p", f"{base}/policy.yaml"])

    def live(words):
        end = time.monotonic() + 1
        while words not in attachment.errors:
            assert time.monotonic() < end, attachment.errors
            time.sleep(0.01)

    def curl(name):
        return container.run("curl", "-sS", "-m", "8", f"https://{name}/").returncode

    with witness.expect_zero():
        assert curl("www.example.test") != 0
    worker = attachment.workers()
    write(api + www)
    live("generation 2 live")
    assert curl("www.example.test") == 0 and curl("api.example.test") == 0
    write(api + "  - { name: bad, action: allow, domains: [\"*.co.uk\"] }\n", rename=False)
    live("generation 2 stays live; nothing was changed")
    assert curl("www.example.test") == 0
    write(www)
    live("generation 3 live")
    with witness.expect_zero():
        assert curl("api.example.test") != 0
    assert attachment.workers() == worker, "no worker was replaced"
    records = attachment.audit(name="api.example.test", verdict="deny")
    assert records and records[-1]["generation"] == 3, records
    # A worker that dies is followed by one with the policy of now.
    for pid in worker:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while curl("www.example.test") != 0:
        assert time.monotonic() < end, attachment.errors
    with witness.expect_zero():
        assert curl("api.example.test") != 0
    assert attachment.end() == 0


def test_an_address_that_the_host_gains_is_guarded(lab, witness, make, attach):
    """HTP-22 in a cell that lasts: what the host is given later is its own all the same."""
    container = make()
    attachment = attach(container, ["api.example.test"])
    assert container.run("curl", "-sS", "-m", "8", "-4", "https://api.example.test/").returncode == 0
    address = ("ip", "-n", lab.namespaces.host, "addr")
    sh(*address, "add", f"{world.GOOD4}/32", "dev", "lo")
    try:
        end = time.monotonic() + 2
        while not [r for r in attachment.audit(name="evil.test") if r["generation"] == 2]:
            assert time.monotonic() < end, attachment.errors
            container.run("curl", "-sS", "-m", "8", "https://evil.test/")
        with witness.expect_only("api.example.test"):
            assert container.run("curl", "-sS", "-m", "8", "-4", "https://api.example.test/").returncode != 0
    finally:
        sh(*address, "del", f"{world.GOOD4}/32", "dev", "lo")
    assert attachment.end() == 0
    assert [r for r in attachment.audit(name="api.example.test", verdict="deny") if r["reason"] in ("addr_forbidden", "answer_forbidden_addr")]


# --- detach ---


@pytest.mark.parametrize("lo", [True, False], ids=["lo-up", "lo-down"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_detach_leaves_nothing(lab, make, attach, lo, number):
    container = make(lo=lo)
    before = container.state()
    attachment = attach(container)
    assert container.state() != before
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    assert attachment.end(number) == 0, attachment.errors
    assert container.state() == before
    assert container.run("curl", "-sS", "-m", "3", "https://api.example.test/").returncode != 0


def test_attach_after_detach(lab, make, attach):
    container = make()
    before = container.state()
    for _ in range(3):
        attachment = attach(container)
        assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
        assert attachment.end() == 0
    assert container.state() == before


def test_detach_ends_open_connections(lab, make, attach):
    """By a packet that still arrives: not by a silence that the program waits out."""
    container = make()
    attachment = attach(container)
    flow = container.start(
        PYTHON,
        "-u",
        "-c",
        "import socket; s = socket.create_connection(('db.example.test', 5432), 5); s.settimeout(10)\n"
        "s.sendall(bytes(8)); print(len(s.recv(9)))\n"
        "try: print('end', s.recv(9))\nexcept ConnectionError: print('end')",
    )
    assert flow.stdout.readline() == b"8\n", attachment.errors
    began = time.monotonic()
    assert attachment.end() == 0, attachment.errors
    out = flow.stdout.read()
    assert out.startswith(b"end") and time.monotonic() - began < 2, (out, flow.stderr.read())
    flow.wait(5)


def test_the_end_of_the_container_ends_it(lab, make, attach):
    container = make()
    attachment = attach(container)
    began = time.monotonic()
    os.kill(container.pid, signal.SIGKILL)
    assert attachment.end(None) == 0, attachment.errors
    assert time.monotonic() - began < 2
    assert "has ended" in attachment.errors


def test_a_namespace_that_outlives_the_process_is_given_back(lab, make, attach):
    container = make()  # network_fd keeps its namespace
    os.kill(container.pid, 0)
    attachment = attach(container)
    os.kill(container.pid, signal.SIGKILL)
    assert attachment.end(None) == 0, attachment.errors
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, preexec_fn=lambda: setns(container.network_fd))
    routes = subprocess.run(["ip", "route", "show", "table", "local"], capture_output=True, text=True, preexec_fn=lambda: setns(container.network_fd))
    assert "sallyport" not in rules.stdout and "default" not in routes.stdout


def test_killed_gateway_leaves_no_way_out(lab, witness, make, attach):
    """Closed is the resting state; a later attachment takes over what was left, and gives back all of it."""
    container = make(lo=False)
    before = container.state()
    attachment = attach(container)
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    attachment.end(signal.SIGKILL)
    time.sleep(0.3)  # the worker follows by itself
    with witness.expect_zero():
        results = container.probe(
            [{"do": "tcp", "to": [a, p], "timeout": 3} for a in (world.EVIL4, world.GOOD4, world.GOOD6) for p in (80, 443)]
            + [{"do": "udp", "to": [world.EVIL4, 53], "send": "00" * 20, "timeout": 1, "connect": True}],
            7,
        )
        assert all(r.get("error") for r in results), results
        assert container.run("curl", "-sS", "-m", "3", "https://api.example.test/").returncode != 0
        assert not container.run("dig", "+short", "+tries=1", "+time=1", "@8.8.8.8", "api.example.test").stdout.startswith("198.")
    assert container.state() != before
    again = attach(container)
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    assert again.end() == 0, again.errors
    assert container.state() == before


def test_killed_worker_comes_back(lab, make, attach):
    container = make()
    attachment = attach(container)
    children = attachment.workers()
    assert children
    for child in children:
        os.kill(child, signal.SIGKILL)
    end = time.monotonic() + 2
    while container.run("curl", "-sS", "-m", "1", "https://api.example.test/").returncode != 0:
        assert time.monotonic() < end, attachment.errors
    assert attachment.end() == 0


# --- what a container may do about it ---


def test_net_admin_breaks_itself_alone(lab, witness, make, attach):
    container = make(capabilities=f"{DOCKER},net_admin")
    attachment = attach(container)
    assert "NET_ADMIN" in attachment.errors, attachment.errors
    with witness.expect_zero():
        assert container.run("nft", "flush", "ruleset").returncode == 0
        container.run("ip", "tuntap", "add", "t0", "mode", "tun")
        container.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "1")
        container.run("ip", "link", "set", "v0", "up")
        results = container.probe([{"do": "tcp", "to": [a, 80], "timeout": 3} for a in (world.EVIL4, world.EVIL6)], 2)
        assert all(not r.get("data") for r in results), results
        container.run("ip", "route", "flush", "table", "local")
        container.run("ip", "link", "set", "lo", "down")
        results = container.probe([{"do": "tcp", "to": [a, 80], "timeout": 3} for a in (world.EVIL4, world.EVIL6)], 2)
        assert all(r.get("error") for r in results), results
    assert attachment.end() == 0, attachment.errors  # what is gone already is no failure


def test_what_is_not_held_is_said(lab, make, attach):
    path = f"{lab.workspace(0)}/engine.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        container = make(before=f"touch {path}.in && mount --bind {path} {path}.in", capabilities=f"{DOCKER},sys_admin")
        attachment = attach(container)
        assert f"not held: {path}.in is a Unix socket from outside" in attachment.errors, attachment.errors
        assert "not held: it may have SYS_ADMIN" in attachment.errors
        plain = attach(make(capabilities=DOCKER))
        assert "not held" not in plain.errors, plain.errors


# --- refused ---


def refused(attachment, *words):
    assert attachment.end(None) == 125, attachment.errors
    for word in words:
        assert word in attachment.errors, attachment.errors


@pytest.mark.parametrize("kind", ["bridge", "veth", "tun"])
def test_more_than_loopback_is_refused(lab, make, attach, kind):
    setup = {
        "bridge": "ip link add eth0 type bridge",
        "veth": "ip link add eth0 type veth peer name eth1 && ip link set eth0 up",
        "tun": "ip tuntap add eth0 mode tun",
    }[kind]
    container = make(before=setup)
    before = container.state()
    refused(attach(container, wait=False), "more than loopback", "--network none")
    assert container.state() == before


def test_the_hosts_network_is_refused(lab, attach):
    with subprocess.Popen(["sleep", "60"], preexec_fn=lambda: (die_with_parent(), setns(lab.namespaces.host_fd))) as sleeper:
        refused(attach(["--pid", str(sleeper.pid)], wait=False), "has the host's network")
        sleeper.kill()
    refused(attach(["--pid", str(sleeper.pid)], wait=False), f"there is no process {sleeper.pid}")


def test_a_second_attachment_is_refused_and_the_first_stays(lab, make, attach):
    container = make()
    before = container.state()
    first = attach(container)
    refused(attach(container, wait=False), "another sallyport is attached")
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    assert first.end() == 0
    assert container.state() == before


def test_a_resolver_of_its_own_is_refused_and_untouched(lab, make, attach):
    container = make(capabilities=DOCKER)
    server = container.start(
        PYTHON, "-u", "-c", "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 53)); print('up'); time.sleep(60)"
    )
    assert server.stdout.readline() == b"up\n"
    before = container.state()
    refused(attach(container, wait=False), "listen on UDP 53", "in use")
    assert container.state() == before


def test_a_table_of_somebody_else_is_refused(lab, make, attach):
    container = make(before="nft add table inet sallyport && nft add chain inet sallyport held")
    before = container.state()
    refused(attach(container, wait=False), "not of an attachment")
    assert container.state() == before


def test_a_bad_policy_attaches_nothing(lab, make, attach):
    container = make()
    before = container.state()
    refused(attach(container, ["*.co.uk"], wait=False), "the policy is refused; nothing was attached")
    assert container.state() == before


def test_not_as_a_user(lab, make):
    container = make()
    run = subprocess.run(
        ["setpriv", "--reuid", str(USER.pw_uid), "--clear-groups", SALLYPORT, "attach", "--pid", str(container.pid)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 125 and "needs root" in run.stderr, run


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "--pid or --container"),
        (["--pid", "7", "--container", "x"], "--pid or --container"),
        (["--pid", "0"], "--pid: expected"),
        (["--pid", "x"], "pid"),
        (["--container", ""], "--container is empty"),
        (["--pid", "7", "--name", "a b"], "--name: expected"),
        (["--pid", "7", "--alow", "x"], "did you mean --allow?"),
        (["--pid", "7", "x"], "named by --pid or --container"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_command_line(arguments, words):
    run = subprocess.run([SALLYPORT, "attach", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 125 and words in run.stderr and "usage: sallyport attach" in run.stderr, run


# --- the Docker engine ---


class Engine:
    """Answers GET /containers/NAME/json as Docker does."""

    def __init__(self, path):
        self.path, self.containers, self.asked = path, {}, []
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                engine.asked.append(self.path)
                name = self.path.split("/")[2]
                found = engine.containers.get(name)
                body = json.dumps(found() if callable(found) else found or {"message": f"No such container: {name}"}).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self._server = Server(path, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def add(self, name, pid, network="none", running=True, started="2026-01-01T00:00:00Z"):
        self.containers[name] = self.containers["f" * 64] = {
            "Id": "f" * 64,
            "Name": f"/{name}",
            "State": {"Status": "running" if running else "exited", "Running": running, "Pid": pid if running else 0, "StartedAt": started},
            "HostConfig": {"NetworkMode": network},
        }

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def engine(lab):
    made = Engine(f"{lab.workspace(0)}/docker.sock")
    yield made
    made.close()


def by_engine(engine):
    return {"env": {"DOCKER_HOST": f"unix://{engine.path}"}}


def test_a_container_by_its_name(lab, make, attach, engine):
    container = make()
    engine.add("agent-1", container.pid)
    attachment = attach(["--container", "agent-1"], **by_engine(engine))
    assert f"attached to container agent-1, process {container.pid}" in attachment.errors and "as `agent-1`" in attachment.errors
    assert container.run("curl", "-sS", "-m", "8", "https://api.example.test/").returncode == 0
    assert engine.asked == ["/containers/agent-1/json", f"/containers/{'f' * 64}/json"]
    assert attachment.end() == 0


def test_containers_that_are_refused(lab, make, attach, engine):
    container = make()
    before = container.state()
    engine.add("bridged", container.pid, network="bridge")
    refused(attach(["--container", "bridged"], wait=False, **by_engine(engine)), "--network bridge", "--network none")
    engine.add("stopped", 0, running=False)
    refused(attach(["--container", "stopped"], wait=False, **by_engine(engine)), "is not running")
    refused(attach(["--container", "unknown"], wait=False, **by_engine(engine)), "knows no container `unknown`")
    refused(attach(["--container", "../x"], wait=False, **by_engine(engine)), "no container name")
    # Restarted between the two questions: the number may mean another process by now.
    lives = iter(range(9))

    def life():
        state = {"Running": True, "Pid": container.pid, "StartedAt": f"2026-01-01T00:00:0{next(lives)}Z"}
        return {"Id": "e" * 64, "Name": "/again", "State": state, "HostConfig": {"NetworkMode": "none"}}

    engine.containers["again"] = engine.containers["e" * 64] = life
    refused(attach(["--container", "again"], wait=False, **by_engine(engine)), "was restarted meanwhile")
    assert container.state() == before


def test_engines_that_are_not_there(lab, attach):
    nowhere = {"env": {"DOCKER_HOST": f"unix://{lab.workspace(0)}/nothing.sock"}}
    refused(attach(["--container", "x"], wait=False, **nowhere), "the Docker engine at", "is it running?")
    far = {"env": {"DOCKER_HOST": "tcp://10.0.0.1:2375"}}
    refused(attach(["--container", "x"], wait=False, **far), "needs an engine on this host")
