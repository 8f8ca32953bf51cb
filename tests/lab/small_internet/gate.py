"""A gate: `sallyport serve` on the lab's host, between agents on a bridge and the small internet.

    agent a (172.20.0.7) ─┐
                          br-agents ── host: sallyport serve ── uplink ── net (witness, servers)
    agent b (172.20.0.8) ─┘ 172.20.0.1

The host forwards and masquerades like any Docker host, so that whatever the gate lets slip arrives at the witness.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

from . import world
from .namespaces import remove, sh
from .runner import SALLYPORT

BRIDGE = "br-agents"
GATE4, GATE6 = "172.20.0.1", "fd00:20::1"
AGENTS = {"a": ("172.20.0.7", "fd00:20::7"), "b": ("172.20.0.8", "fd00:20::8"), "supervisor": ("172.20.0.5", "fd00:20::5")}

# ACCEPTANCE 5, "Policy P0", with the clients it is for.
P0 = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: api, action: allow, clients: [agents], domains: [api.example.test], ports: [443] }
  - { name: cdn, action: allow, clients: [agents], domains: ["*.cdn.test"], ports: [80, 443] }
  - { name: pkg, action: allow, clients: [agents], domains: [pkg.test], ports: [80, 443] }
"""

NETWORKS = """
networks:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"], interfaces: [br-agents] }
"""
DNS_LISTENER = f'  dns: {{ udp: ["{GATE4}:53", "[{GATE6}]:53"], tcp: ["{GATE4}:53", "[{GATE6}]:53"] }}\n'
PROXY_LISTENER = f'  proxy: {{ tcp: ["{GATE4}:3128", "[{GATE6}]:3128"] }}\n'
CATCH_LISTENER = '  catch: { tcp: ["0.0.0.0:15001", "[::]:15001"], transparent: redirect }\n'
UPSTREAMS = f'upstreams: ["{world.RESOLVER}"]'


def gateway_yaml(answers="real", listeners="", plugins=None, extra="", name="lab"):
    """The usual gateway of a shape: every enforcer, the agents' bridge held."""
    if plugins is None:
        gateway_addresses = f', gateway_addresses: ["{GATE4}", "{GATE6}"]' if answers == "gateway" else ""
        destination = "name" if answers == "gateway" else "original"
        plugins = [
            "{ name: nftables, config: {} }",
            f"{{ name: dns, config: {{ listen: [dns], answers: {answers}, {UPSTREAMS}{gateway_addresses} }} }}",
            f"{{ name: http-proxy, config: {{ listen: [proxy], {UPSTREAMS} }} }}",
            f"{{ name: sni-filter, config: {{ listen: [catch], destination: {destination}, {UPSTREAMS} }} }}",
        ]
    return (
        f"version: 1\nname: {name}\npolicy: policy.yaml\n{NETWORKS}listeners:\n"
        + (listeners or DNS_LISTENER + PROXY_LISTENER + CATCH_LISTENER)
        + "plugins:\n"
        + "".join(f"  - {p}\n" for p in plugins)
        + extra
    )


def without_budgets(gateway):
    """For tests that ask for names below a wildcard by the thousand."""
    none = "budgets: { names: 0, long_names: 0, octets: 0, absent: 0, answers: 0 }, "
    return gateway.replace("config: { listen: ", f"config: {{ {none}listen: ")


class Agents:
    """The bridge and its agents: namespaces of their own, with nothing but a route to the gate."""

    def __init__(self, lab, names=("a", "b")):
        self._lab, spaces = lab, lab.namespaces
        self.namespaces, self.fds = {}, {}
        host = spaces.host
        # An address of its own, as Docker gives one: else it is that of a port, changes with them, and neighbours look for the old one.
        sh("ip", "-n", host, "link", "add", BRIDGE, "address", "02:42:ac:14:00:01", "type", "bridge", "forward_delay", "0")
        in_host = ("ip", "netns", "exec", host)
        sh(*in_host, "sysctl", "-qw", f"net.ipv6.conf.{BRIDGE}.accept_dad=0", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for address in (f"{GATE4}/16", "172.20.0.2/16", "172.20.0.3/16"):
            sh("ip", "-n", host, "addr", "add", address, "dev", BRIDGE)
        sh("ip", "-n", host, "addr", "add", f"{GATE6}/64", "dev", BRIDGE, "nodad")
        sh("ip", "-n", host, "link", "set", BRIDGE, "up")
        # What Docker does for its networks, and Sallyport has to hold in spite of.
        subprocess.run(
            [*in_host, "nft", "-f", "-"],
            input="table inet foreign_nat { chain post { type nat hook postrouting priority 100; oifname uplink masquerade; }; }\n",
            text=True,
            check=True,
        )
        for name in names:
            self.add(name)

    def add(self, name, addresses=None):
        """One more agent; also under an address that another one had."""
        spaces = self._lab.namespaces
        address4, address6 = addresses or AGENTS[name]
        space = f"sp-{os.getpid()}-work-{name}"
        sh("ip", "netns", "add", space)
        self.namespaces[name] = space
        sh("ip", "-n", space, "link", "set", "lo", "up")
        sh("ip", "link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", f"v-{name[:10]}", "netns", spaces.host)
        in_space = ("ip", "netns", "exec", space)
        sh(*in_space, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0", "net.ipv4.ping_group_range=0 65535")
        sh("ip", "-n", spaces.host, "link", "set", f"v-{name[:10]}", "master", BRIDGE, "up")
        sh("ip", "-n", space, "addr", "add", f"{address4}/16", "dev", "eth0")
        sh("ip", "-n", space, "addr", "add", f"{address6}/64", "dev", "eth0", "nodad")
        sh("ip", "-n", space, "link", "set", "eth0", "up")
        sh("ip", "-n", space, "route", "add", "default", "via", GATE4)
        sh("ip", "-n", space, "-6", "route", "add", "default", "via", GATE6)
        self.fds[name] = os.open(f"/run/netns/{space}", os.O_RDONLY | os.O_CLOEXEC)

    def remove(self, name):
        if name in self.fds:
            os.close(self.fds.pop(name))
        # The port first: a namespace's own devices go some time after it has gone.
        subprocess.run(["ip", "-n", self._lab.namespaces.host, "link", "del", f"v-{name[:10]}"], stderr=subprocess.DEVNULL)
        remove(self.namespaces.pop(name))

    def pass_bridged_packets_to_iptables(self, on):
        """br_netfilter's switch, which Docker may turn on; TPROXY does not go with it."""
        values = [f"net.bridge.bridge-nf-call-{name}={int(on)}" for name in ("iptables", "ip6tables")]
        sh("ip", "netns", "exec", self._lab.namespaces.host, "sysctl", "-qw", *values)

    def close(self):
        for name in list(self.namespaces):
            self.remove(name)
        host = self._lab.namespaces.host
        subprocess.run(["ip", "-n", host, "link", "del", BRIDGE], stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "netns", "exec", host, "nft", "delete", "table", "inet", "foreign_nat"], stderr=subprocess.DEVNULL)


class Gate:
    """One `sallyport serve`. start() returns when it has said READY; a failed start raises with its words."""

    _number = 0

    def __init__(self, lab, gateway=None, policy=P0):
        self._lab = lab
        Gate._number += 1
        self.directory = f"{lab.namespaces.state}/gate-{Gate._number}"
        os.makedirs(self.directory, mode=0o755)
        self.config, self.policy_file = f"{self.directory}/gateway.yaml", f"{self.directory}/policy.yaml"
        self._audit, self._log = f"{self.directory}/audit.jsonl", f"{self.directory}/log"
        self._notify = f"{self.directory}/notify"
        self.process = None
        self.write(self.policy_file, policy)
        self.write(self.config, gateway or gateway_yaml())

    def write(self, path, text):
        """As an editor does: a new file, renamed over the old one."""
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.chmod(f"{path}.new", 0o644)
        os.rename(f"{path}.new", path)

    def start(self, timeout=20, wait=True, arguments=(), environment=None, prefix=(), stdout=None, **options):
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._notify)
        receiver.bind(self._notify)
        receiver.settimeout(0.1)
        self._receiver = receiver
        with open(self._audit, "ab") as out, open(self._log, "ab") as log:
            self.process = self._lab.namespaces.spawn(
                self._lab.namespaces.host_fd,
                [*prefix, SALLYPORT, "serve", "-c", self.config, "--state-dir", self.directory, *arguments],
                stdout=out if stdout is None else stdout,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": self._notify, **(environment or {})},
                **options,
            )
        if wait:
            self.await_notice("READY=1", timeout)
        return self

    def await_notice(self, word, timeout=20):
        """Waits for a word of sd_notify."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"sallyport serve ended with {self.process.returncode}: {self.log()}")
            with contextlib.suppress(socket.timeout):
                if word in self._receiver.recv(65536).decode():
                    return
        raise AssertionError(f"no {word} after {timeout} s: {self.log()}")

    def log(self):
        with open(self._log, errors="replace") as file:
            return file.read()

    def audit(self, **fields):
        """The audit's records so far that have these fields; `group` and `addr` of the client by client_group, client_addr."""
        with open(self._audit, "rb") as file:
            data = file.read()
        records = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line]

        def field(record, key):
            if key.startswith("client_"):
                return (record.get("client") or {}).get(key[7:])
            return record.get(key)

        return [r for r in records if all(field(r, k) == v for k, v in fields.items())]

    def wait_audit(self, timeout=5, **fields):
        end = time.monotonic() + timeout
        while True:
            found = self.audit(**fields)
            if found:
                return found
            assert time.monotonic() < end, f"no record with {fields}; the last are {self.audit()[-8:]}"
            time.sleep(0.02)

    def status(self):
        """The JSON of the status socket."""
        path = next(os.path.join(self.directory, n) for n in os.listdir(self.directory) if n.endswith(".sock"))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(path)
            client.sendall(b"status\n")
            data = b""
            while chunk := client.recv(65536):
                data += chunk
        return json.loads(data)

    def workers(self):
        """{pid: names of its plugins}."""
        found = {}
        for plugin in self.status()["plugins"]:
            found.setdefault(plugin["pid"], []).append(plugin["name"])
        return found

    def health(self, plugin):
        """What the plugin says of itself."""
        return next(p.get("health", {}) for p in self.status()["plugins"] if p["name"] == plugin)

    def set_policy(self, text, timeout=5):
        """Edits the policy file and waits until the next generation is live; seconds it took."""
        before = self.status()["generation"]
        began = time.monotonic()
        self.write(self.policy_file, text)
        while self.status()["generation"] == before:
            assert time.monotonic() - began < timeout, f"generation {before} stays: {self.log()[-2000:]}"
            time.sleep(0.005)
        return time.monotonic() - began

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self, timeout=20):
        """SIGTERM; the exit status. The kernel's tables are released too."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout)
        status = self.process.returncode if self.process else None
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._lab.namespaces.host}", SALLYPORT, "release", "-c", self.config],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
        return status

    def kill(self):
        """SIGKILL for the warden; its workers follow by themselves."""
        self.process.kill()
        self.process.wait()
