"""The cell: the command is the command, and no packet of it gets out.

CEL-01 to -04, -20, -21; files and sockets are in test_files.py, kernel interfaces in test_kernel.py.
"""

import ctypes
import hashlib
import os
import socket
import subprocess

import pytest

from cell_support import AF, ALLOW, gone
from small_internet import world
from small_internet.runner import USER


# --- CEL-01: the command is the command ---


@pytest.mark.parametrize(
    "script, status",
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 125", 125),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
        ("kill -SEGV $$", 128 + 11),
    ],
)
def test_exit_status(lab, script, status):
    assert lab.run("sh", "-c", script).status == status


def test_not_found_and_not_executable(lab):
    base = lab.workspace()
    with open(f"{base}/project/data", "w") as file:
        file.write("not a program")
    assert lab.run("no-such-command-here", base=base).status == 127
    assert lab.run("./missing", base=base).status == 127
    assert lab.run("./data", base=base).status == 126
    assert lab.run("/etc", base=base).status == 126


def test_a_gigabyte_through_a_pipe(lab):
    """CEL-01: equal bytes."""
    stream = ["sh", "-c", "openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 1073741824"]
    with subprocess.Popen(stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        process, base, *_ = lab.start("cat", stdin=source.stdout)
        source.stdout.close()
        digest, size = hashlib.sha256(), 0
        while data := process.stdout.read(1 << 20):
            digest.update(data)
            size += len(data)
        assert process.wait(30) == 0 and size == 1 << 30
        process.stderr.close()
    expected = subprocess.run(
        ["sh", "-c", stream[2] + " | sha256sum"], capture_output=True, text=True, stderr=None
    ).stdout.split()[0]
    assert digest.hexdigest() == expected


def test_streams_are_untouched(lab):
    """CEL-01: nothing of ours on standard output; standard error has the command's lines as they are."""
    run = lab.run("sh", "-c", "cat; echo to-err >&2", input=b"\0\xff raw \r\n", quiet=True)
    assert run.out == b"\0\xff raw \r\n" and run.err == b"to-err\n", run


def test_user_and_directory(lab):
    base = lab.workspace()
    run = lab.run("sh", "-c", "id -u; id -g; pwd; echo $HOME", base=base)
    assert run.text.split() == [str(USER.pw_uid), str(USER.pw_gid), f"{base}/project", f"{base}/home"], run


def test_no_capability_outside_and_none_inside(lab):
    run = lab.run("sh", "-c", "grep -E 'Cap(Prm|Eff|Amb)|NoNewPrivs' /proc/self/status")
    assert run.text.split() == ["CapPrm:", "0" * 16, "CapEff:", "0" * 16, "CapAmb:", "0" * 16, "NoNewPrivs:", "1"], run


# --- CEL-02, -04: packets ---

LITERALS = [
    world.EVIL4,
    world.GOOD4,
    world.HOST4,
    world.HOST4_GATEWAY,
    "10.0.0.1",
    "192.168.1.1",
    world.METADATA,
    "100.64.0.1",
    "1.1.1.1",
    "0.0.0.1",
    "255.255.255.254",
    "224.0.0.5",
    world.EVIL6,
    world.GOOD6,
    world.HOST6,
    "fd00::1",
    "2001:4860:4860::8888",
    "::ffff:185.199.108.66",
    "64:ff9b::b9c7:6c42",
    "2002:b9c7:6c42::1",
]
PORTS = [1, 22, 25, 80, 443, 5432, 8080, 65535]


def test_literal_addresses(lab, witness):
    """CEL-02: every literal address and port is reset at once."""
    targets = [[a, p] for a in LITERALS for p in PORTS]
    with witness.expect_zero():
        results, run = lab.probe([{"do": "tcp", "to": t, "timeout": 5} for t in targets], allow=ALLOW, threads=4)
    assert [(t, r) for t, r in zip(targets, results) if not gone(r)] == []
    for address in (world.EVIL4, world.EVIL6):
        for port in PORTS:
            records = [d for d in run.denials(port=port) if d["addr"] == address]
            spellings = 2 if address == world.EVIL4 else 1  # ::ffff:185.199.108.66 is the same address
            assert sum(d["count"] for d in records) == spellings and records[0]["reason"] == "ip_literal_denied", (
                address,
                port,
                records,
            )


def test_literal_address_control(lab, witness):
    with witness.watch() as seen:
        results, _ = lab.probe(
            [{"do": "tcp", "to": [a, 5432], "send": "70", "read": 1} for a in (world.EVIL4, world.EVIL6)],
            confined=False,
        )
    assert [r["data"] for r in results] == ["70", "70"] and len(seen.arrived) == 2


@pytest.mark.parametrize(
    "address", [world.EVIL4, world.EVIL6, "10.1.2.3", "255.255.255.255", "224.0.0.251", "ff02::fb", "239.1.1.1"]
)
def test_udp(lab, witness, address):
    """CEL-04."""
    ports = (123, 443, 4433, 5353, 784, 65535)
    with witness.expect_zero():
        results, run = lab.probe(
            [
                {"do": "udp", "to": [address, p], "send": "00" * 32, "timeout": 1, "connect": c, "broadcast": True}
                for p in ports
                for c in (True, False)
            ],
            allow=ALLOW,
            threads=12,
        )
    assert all(r.get("error") for r in results), results
    if address in (world.EVIL4, world.EVIL6):
        assert all(
            r["error"] in ("ECONNREFUSED", "EPERM", "EACCES", "ENETUNREACH", "EHOSTUNREACH") for r in results[::2]
        ), results


def test_udp_control(lab, witness):
    results, _ = lab.probe(
        [
            {"do": "udp", "to": [world.EVIL4, 4433], "send": "0102"},
            {"do": "udp", "to": [world.EVIL6, 4433], "send": "0102"},
        ],
        confined=False,
    )
    assert [r.get("data") for r in results] == ["0102", "0102"]


@pytest.mark.parametrize(
    "kind, step",
    [
        ("raw-icmp", dict(family=AF["inet"], type=3, proto=1)),
        ("raw-tcp", dict(family=AF["inet"], type=3, proto=6)),
        ("raw-ip", dict(family=AF["inet"], type=3, proto=255)),
        ("raw6", dict(family=AF["inet6"], type=3, proto=58)),
        ("packet", dict(family=AF["packet"], type=3, proto=768)),
        ("sctp", dict(family=AF["inet"], type=1, proto=132)),
        ("sctp6", dict(family=AF["inet6"], type=5, proto=132)),
        ("dccp", dict(family=AF["inet"], type=6, proto=33)),
        ("udplite", dict(family=AF["inet"], type=2, proto=136, to=[world.EVIL4, 443], send="00")),
        ("mptcp-elsewhere", dict(family=AF["inet"], type=1, proto=262, to=[world.EVIL4, 5432], send="00")),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_other_protocols(lab, witness, kind, step):
    """CEL-04: no socket, or an immediate error."""
    with witness.expect_zero():
        results, run = lab.probe([{"do": "make_socket", **step}, {"do": "tcp", "to": [world.EVIL4, 5432]}], allow=ALLOW)
    if kind == "mptcp-elsewhere":  # a captured connect may succeed before the reset
        assert results[0]["seconds"] < 1
    else:
        assert results[0].get("error"), results


def test_ping(lab, witness):
    """CEL-04, CEL-06c: with every address local an echo would be answered; it is refused."""
    assert lab.bare("ping", "-c", "1", "-W", "1", world.EVIL4).status == 0
    with witness.expect_zero():
        for address in (world.EVIL4, world.EVIL6):
            run = lab.run("ping", "-c", "1", "-W", "1", address, allow=ALLOW)
            assert run.status != 0 and "1 received" not in run.text, run


# --- CEL-03: other resolvers ---


@pytest.mark.parametrize(
    "command",
    [
        ["dig", "+short", "+tries=1", "+time=1", "@8.8.8.8", "evil.test"],
        ["dig", "+short", "+tcp", "+tries=1", "+time=1", "@8.8.8.8", "evil.test"],
        ["dig", "+short", "+tries=1", "+time=1", f"@{world.OTHER_RESOLVER6}", "evil.test"],
        ["dig", "+short", "+tries=1", "+time=1", "-p", "5353", "@8.8.8.8", "evil.test"],
        ["kdig", "+tls", "+retry=0", "+timeout=2", "@8.8.8.8", "evil.test"],
        ["kdig", "+https", "+retry=0", "+timeout=2", "@8.8.8.8", "evil.test"],
        ["curl", "-sS", "--max-time", "4", "https://evil.test/dns-query"],
        ["curl", "-sSk", "--max-time", "4", f"https://{world.OTHER_RESOLVER}/dns-query"],
    ],
    ids=" ".join,
)
def test_other_resolvers(lab, witness, command):
    with witness.expect_zero():
        run = lab.run(*command, allow=ALLOW)
    assert world.EVIL4 not in run.text and "hello" not in run.text and run.seconds < 5, run
    if "5353" not in command:  # UDP but port 53 is refused by the kernel, which keeps no record
        assert run.denials(), run


def test_other_resolver_answers_allowed_names(lab, witness):
    with witness.expect_only("api.example.test"):
        run = lab.run(
            "dig", "+short", "+tries=1", "+time=2", f"@{world.OTHER_RESOLVER}", "api.example.test", allow=ALLOW
        )
    assert run.text.startswith("198.1"), run


# --- CEL-20, -21 ---


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.POINTER(Filter))]


def forbid_user_namespaces():
    """What Docker's default profile does: clone and unshare with CLONE_NEWUSER give EPERM, clone3 ENOSYS."""

    def statement(code, k, jt=0, jf=0):
        return Filter(code, jt, jf, k)

    load, equal, test, give = 0x20, 0x15, 0x45, 0x06
    filters = [
        statement(load, 0),
        statement(equal, 435, 0, 1),
        statement(give, 0x00050000 | 38),
        statement(equal, 56, 1, 0),
        statement(equal, 272, 0, 3),
        statement(load, 16),
        statement(test, 0x10000000, 0, 1),
        statement(give, 0x00050000 | 1),
        statement(give, 0x7FFF0000),
    ]
    array = (Filter * len(filters))(*filters)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, ctypes.byref(Program(len(filters), array)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def test_no_user_namespaces(lab, witness):
    """CEL-20: exit 125, the reason and the remedy; the command is never started."""
    base = lab.workspace()
    with witness.expect_zero():
        run = lab.finish(lab.start("touch", "started", base=base, preexec=forbid_user_namespaces))
    assert run.status == 125 and not os.path.exists(f"{base}/project/started"), run
    assert "user namespace" in run.errors and len(run.errors.strip().splitlines()) >= 2, run


@pytest.mark.parametrize(
    "step",
    [
        {"family": 4, "address": "127.0.0.1"},
        {"family": 4, "address": "127.5.5.5"},
        {"family": 6, "address": "::1"},
        {"family": 4, "address": "localhost"},
        {"family": 4, "address": "127.0.0.1", "port": 8080},
        {"family": 4, "address": "127.0.0.1", "port": 3128},
    ],
    ids=str,
)
def test_own_servers_on_loopback(lab, witness, step):
    """CEL-21."""
    with witness.expect_zero():
        results, run = lab.probe([{"do": "serve_loopback", **step}], allow=ALLOW)
    assert results[0].get("data") == "gnip", (results, run)
    assert not run.denials(), run


def test_loopback_of_the_host_is_another(lab):
    """A server on the host's 127.0.0.1 is not in the cell."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        server = socket.create_server(("127.0.0.1", 0))
    with server:
        port = server.getsockname()[1]
        bare, _ = lab.probe([{"do": "tcp", "to": ["127.0.0.1", port], "read": 0}], confined=False)
        results, _ = lab.probe([{"do": "tcp", "to": ["127.0.0.1", port]}], allow=ALLOW)
    assert bare[0].get("connected") and gone(results[0]), (bare, results)
