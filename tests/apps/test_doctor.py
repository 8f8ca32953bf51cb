"""`sallyport doctor`: each line is a probe, so each is shown both ways: as it is, and with what it probes for taken away."""

import errno
import ctypes
import json
import os
import socket
import subprocess
import threading

import pytest

from filters import LANDLOCK_CREATE_RULESET, SECCOMP, SOCKET, refuse
from small_internet import world
from small_internet.gate import BRIDGE, GATE4, Gate, gateway_yaml
from small_internet.namespaces import setns, sh
from small_internet.runner import SALLYPORT
from thin import NOBODY

PACKET, NETLINK, NETFILTER = 17, 16, 12


class Doctor:
    def __init__(self, lab):
        self._lab = lab

    def run(self, *arguments, prefix=(), preexec=None, environment=None):
        def enter():
            setns(self._lab.namespaces.host_fd)
            if preexec:
                preexec()

        return subprocess.run(
            [*prefix, SALLYPORT, "doctor", *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_HOST": "unix:///nowhere/docker.sock", **(environment or {})},
            preexec_fn=enter,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def __call__(self, *arguments, **options):
        run = self.run("--json", *arguments, **options)
        report = json.loads(run.stdout)
        assert report["schema"] == "sallyport.doctor/1" and not run.stderr, run
        failing = [c for c in report["checks"] if c["level"] == "fail"]
        assert run.returncode == (1 if failing else 0) and report["ok"] is not bool(failing), run
        for check in report["checks"]:
            assert bool(check["remedy"]) is (check["level"] != "ok"), check
        return report["checks"]


@pytest.fixture
def doctor(lab, agents):
    return Doctor(lab)


def find(checks, name, text=""):
    found = [c for c in checks if c["check"] == name and text in c["text"]]
    assert found, f"no {name} with `{text}`: {json.dumps(checks, indent=1)}"
    return found[0]


def levels(checks, name):
    return {c["level"] for c in checks if c["check"] == name}


@pytest.fixture
def config(lab, agents):
    """A gateway that does not run: its file, and what doctor says of it."""
    gate = Gate(lab)
    yield gate
    gate.stop()


def test_what_is_there(doctor):
    checks = doctor()
    for name in ("user-namespaces", "cell", "seccomp", "landlock", "programs", "kernel-tables", "net-admin", "packet-sockets", "port", "privilege"):
        assert levels(checks, name) == {"ok"}, (name, checks)


def test_text_has_a_line_for_each_and_a_remedy_below(doctor):
    run = doctor.run()
    lines = run.stdout.splitlines()
    for command in ("run", "serve", "attach"):
        assert command in lines
    assert any(line.startswith("  ok    cell ") for line in lines), run
    warned = next(i for i, line in enumerate(lines) if line.startswith("  warn  "))
    assert lines[warned + 1].strip().startswith("= "), run
    assert lines[-1].endswith("0 fail") and "\x1b" not in run.stdout


def test_nothing_is_left_behind(doctor, lab, config, witness):
    def state():
        host = ("ip", "netns", "exec", lab.namespaces.host)
        commands = ("nft list ruleset", "ip rule", "ip -6 rule", "ip -br link", "ip -4 route show table all")
        found = {command: sh(*host, *command.split()) for command in commands}
        found["ip -br link"] = [line.split()[0] for line in found["ip -br link"].splitlines()]  # their state is the lab's
        return {**found, "/tmp": [n for n in os.listdir("/tmp") if n.startswith("sallyport-doctor")]}

    before = state()
    with witness.expect_zero():
        doctor()
        doctor("-c", config.config)
    assert state() == before


class TestRun:
    def test_no_user_namespaces(self, doctor):
        checks = doctor(prefix=["unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"'])
        found = find(checks, "user-namespaces")
        assert found["level"] == "fail" and "max_user_namespaces" in found["remedy"], found

    def test_a_cell_that_cannot_be_made(self, doctor):
        """Namespaces are to be had, and the netlink socket that its routes need is not."""
        found = find(doctor(preexec=refuse((SOCKET, NETLINK), error=errno.EACCES)), "cell")
        assert found["level"] == "fail" and "cannot be confined" in found["text"], found


class TestServe:
    def test_no_seccomp(self, doctor):
        assert find(doctor(preexec=refuse(SECCOMP)), "seccomp")["level"] == "fail"

    def test_no_landlock(self, doctor):
        found = find(doctor(preexec=refuse(LANDLOCK_CREATE_RULESET)), "landlock")
        assert found["level"] == "warn" and "Function not implemented" in found["text"], found

    def test_no_nftables(self, doctor, config):
        without = refuse((SOCKET, NETLINK, NETFILTER), error=errno.EPROTONOSUPPORT)
        assert find(doctor(preexec=without), "kernel-tables")["level"] == "warn"
        assert find(doctor("-c", config.config, preexec=without), "kernel-tables")["level"] == "fail"

    def test_no_packet_sockets(self, doctor):
        found = find(doctor(preexec=refuse((SOCKET, PACKET), error=errno.EAFNOSUPPORT)), "packet-sockets")
        assert found["level"] == "warn" and "Address family not supported" in found["text"], found

    def test_a_gateway_without_the_kernel_needs_no_privilege(self, doctor, lab):
        plugins = ['{ name: http-proxy, config: { listen: [proxy], upstreams: ["9.9.9.9"] } }']
        gate = Gate(lab, f'version: 1\npolicy: policy.yaml\nlisteners:\n  proxy: {{ tcp: "{GATE4}:3128" }}\nplugins:\n  - {plugins[0]}\n')
        checks = doctor("-c", gate.config, prefix=NOBODY)
        assert not [c for c in checks if c["level"] == "fail"], checks
        assert "no rules in the kernel" in find(checks, "kernel-tables")["text"]

    def test_without_privilege(self, doctor, config):
        checks = doctor(prefix=NOBODY)
        for name in ("net-admin", "packet-sockets", "privilege"):
            assert levels(checks, name) == {"warn"}, (name, checks)
        assert "init compose --unprivileged" in find(checks, "net-admin")["remedy"]
        assert find(doctor("-c", config.config, prefix=NOBODY), "net-admin")["level"] == "fail"

    def test_a_configuration_that_is_not_good(self, doctor, config):
        config.write(config.config, gateway_yaml().replace("policy:", "polcy:"))
        found = find(doctor("-c", config.config), "configuration")
        assert found["level"] == "fail" and "`policy` is missing" in found["text"].replace('"', "`") and "sallyport check" in found["remedy"], found

    def test_an_interface_that_is_not_there(self, doctor, config):
        config.write(config.config, gateway_yaml().replace("[br-agents]", "[br-others]"))
        found = find(doctor("-c", config.config), "interface")
        assert found["level"] == "warn" and "br-others" in found["text"], found


class TestPorts:
    @pytest.fixture
    def taken(self, lab, agents):
        made = []

        def take(address, port, kind=socket.SOCK_DGRAM):
            with lab.namespaces.inside(lab.namespaces.host_fd):
                made.append(socket.socket(socket.AF_INET, kind))
            if kind == socket.SOCK_STREAM:
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before are no listeners
            made[-1].bind((address, port))
            if kind == socket.SOCK_STREAM:
                made[-1].listen()

        yield take
        for one in made:
            one.close()

    def test_free(self, doctor):
        assert find(doctor(), "port", "53/udp")["text"] == "53/udp is free"

    def test_taken_everywhere_by_whom(self, doctor, taken):
        taken("0.0.0.0", 53)
        found = find(doctor(), "port", "53/udp")
        with open("/proc/self/comm") as comm:
            me = comm.read().strip()
        assert found["level"] == "warn" and f"{me} (pid {os.getpid()}) on 53/udp" in found["text"], found
        assert find(doctor(), "port", "53/tcp")["level"] == "ok"

    def test_taken_on_another_address(self, doctor, taken):
        """As systemd-resolved has it on 127.0.0.53: no obstacle for an address beside it."""
        taken("127.0.0.53", 53)
        found = find(doctor(), "port", "53/udp")
        assert found["level"] == "ok" and "127.0.0.53" in found["text"] and f"(pid {os.getpid()})" in found["text"], found

    def test_a_listener_of_this_gateway(self, doctor, taken, config):
        assert levels(doctor("-c", config.config), "port") == {"ok"}
        taken("0.0.0.0", 3128, socket.SOCK_STREAM)
        found = find(doctor("-c", config.config), "port")
        assert found["level"] == "fail" and f"{GATE4}:3128" in found["text"] and f"(pid {os.getpid()})" in found["text"], found

    def test_the_gateway_itself_is_nobody_in_the_way(self, doctor, config):
        config.start()
        found = find(doctor("-c", config.config, "--state-dir", config.directory), "port")
        assert found["level"] == "ok" and "the gateway runs" in found["text"], found


def test_forwarding(doctor, lab, config):
    def turn(value):
        sh("ip", "netns", "exec", lab.namespaces.host, "sysctl", "-qw", f"net.ipv4.ip_forward={value}", f"net.ipv6.conf.all.forwarding={value}")

    turn(0)
    assert find(doctor(), "forwarding")["text"].startswith("off")
    turn(1)
    found = find(doctor(), "forwarding")
    assert found["level"] == "warn" and "IPv4 and IPv6" in found["text"], found
    config.start()
    assert find(doctor(), "forwarding")["level"] == "ok"


class Docker:
    """A Docker engine's answers to what doctor asks, at a socket."""

    def __init__(self, path, networks):
        self.path, self._networks = path, networks
        self.containers = {}  # id: (the resolvers it was given, its networks)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client:
                path = client.recv(65536).decode().split()[1]
                body = [{**n, "Containers": {}} for n in self._networks]
                if path.startswith("/containers/"):
                    name = path.split("/")[2]
                    dns, networks = self.containers.get(name, (["172.20.0.1"], []))
                    body = {"Name": f"/{name}", "HostConfig": {"Dns": dns}, "NetworkSettings": {"Networks": {n: {} for n in networks}}}
                elif path != "/networks":
                    body = next(n for n in self._networks if n["Id"] == path.rsplit("/", 1)[1])
                text = json.dumps(body).encode()
                client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    def close(self):
        self._server.close()


def network(name, internal, containers=2, bridge=BRIDGE, driver="bridge"):
    options = {"com.docker.network.bridge.name": bridge} if bridge else {}
    return {"Name": name, "Id": f"{name}-0123456789abcdef", "Driver": driver, "Internal": internal, "Options": options, "Containers": {str(i): {} for i in range(containers)}}


class TestDocker:
    @pytest.fixture
    def engine(self, lab):
        made = []

        def start(*networks):
            made.append(Docker(f"{lab.namespaces.state}/engine-{os.urandom(4).hex()}", networks))
            return {"DOCKER_HOST": f"unix://{made[-1].path}"}

        yield start
        for one in made:
            one.close()

    def test_no_engine(self, doctor):
        assert "no Docker engine here" in find(doctor(), "docker")["text"]

    def test_an_engine_that_hangs_up(self, doctor, lab):
        path = f"{lab.namespaces.state}/dead-engine"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)  # and does not listen
            found = find(doctor(environment={"DOCKER_HOST": f"unix://{path}"}), "docker")
        assert found["level"] == "warn" and "Connection refused" in found["text"], found

    def test_networks_that_are_not_internal(self, doctor, engine):
        checks = doctor(environment=engine(network("agents", True), network("open", False, 3, "br-open"), network("bridge", False, 0, "docker0"), network("host", False, driver="host")))
        assert find(checks, "docker", "network agents is internal")["level"] == "ok"
        found = find(checks, "docker", "network open is not internal")
        assert found["level"] == "warn" and "containers (3)" in found["text"] and "internal: true" in found["remedy"], found
        assert find(checks, "docker", "default network")["level"] == "ok"
        assert not [c for c in checks if "network host" in c["text"]]

    @pytest.mark.parametrize("nameserver", ["127.0.1.1", "9.9.9.9"])
    def test_containers_that_were_given_no_resolver(self, doctor, lab, nameserver):
        """NFT-09: the engine asks the host's resolver for them; on loopback that is past every network."""
        docker = Docker(f"{lab.namespaces.state}/engine-{os.urandom(4).hex()}", [network("agents", True, 0), network("outside", False, 0, "br-outside")])
        docker.containers = {"one": ([], ["agents"]), "two": (None, ["agents"]), "told": (["172.20.0.1"], ["agents"]), "gateway": ([], ["agents", "outside"])}
        docker._networks[0]["Containers"] = {name: {} for name in docker.containers}
        path = f"{lab.namespaces.state}/resolv-{nameserver}"
        with open(path, "w") as file:
            file.write(f"nameserver {nameserver}\n")

        def bind():
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 16384 | 1 << 18, None) == 0
            assert libc.mount(path.encode(), os.path.realpath("/etc/resolv.conf").encode(), None, 4096, None) == 0

        checks = doctor(environment={"DOCKER_HOST": f"unix://{docker.path}"}, preexec=bind)
        docker.close()
        found = [c for c in checks if c["check"] == "docker-dns"]
        if nameserver == "9.9.9.9":  # its answers pass the network, and the gateway
            assert not found, found
        else:
            assert [c["level"] for c in found] == ["warn"] and "network agents: of one, two the engine" in found[0]["text"] and "127.0.1.1" in found[0]["text"], found

    def test_the_bridge_address_stays_reachable_until_a_gateway_closes_it(self, doctor, engine, lab, config, work):
        """What doctor names is what an agent reaches, and once it says closed an agent does not."""
        environment = engine(network("agents", True))
        with lab.namespaces.inside(lab.namespaces.host_fd):
            server = socket.create_server(("0.0.0.0", 9999))
        with server:
            connect = ("nc", "-z", "-w", "2", GATE4, "9999")
            found = find(doctor(environment=environment), "bridge-address")
            assert found["level"] == "warn" and f"{GATE4} stays reachable" in found["text"], found
            assert f"(pid {os.getpid()}) on 9999/tcp" in found["text"], found
            assert work.run(*connect).status == 0
            server.accept()[0].close()
            server.setblocking(False)
            unprivileged = find(doctor(environment=environment, prefix=NOBODY), "docker")
            assert unprivileged["level"] == "warn", unprivileged  # the socket is root's
            config.start()
            found = find(doctor(environment=environment), "bridge-address")
            assert found["level"] == "ok" and f"close {BRIDGE}" in found["text"], found
            work.run(*connect)  # the kernel leads it to the gate
            with pytest.raises(BlockingIOError):
                server.accept()

    def test_without_privilege_it_is_said_too(self, doctor, engine):
        environment = engine(network("agents", True))
        os.chmod(environment["DOCKER_HOST"][7:], 0o666)
        found = find(doctor(environment=environment, prefix=NOBODY), "bridge-address")
        assert found["level"] == "warn" and f"{GATE4} stays reachable" in found["text"] and "CAP_NET_ADMIN" in found["remedy"], found


@pytest.mark.parametrize("arguments, status", [(("--help",), 0), (("--jsn",), 2), (("-c", ""), 2), (("-c", "/nowhere.yaml"), 1), (("extra",), 2)])
def test_command_line(doctor, arguments, status):
    assert doctor.run(*arguments).returncode == status


def test_it_asks_nothing_of_the_outside(doctor, config, witness):
    assert world.RESOLVER in gateway_yaml()
    with witness.expect_zero():
        doctor("-c", config.config)
