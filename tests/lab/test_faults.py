"""Crash, kill, missing parts: less reachability, never more. CEL-10, and DESIGN's promise of 2 s after a worker's death."""

import json
import os
import re
import signal
import time

import pytest

from small_internet import world
from small_internet.namespaces import sh

PYTHON = "/usr/bin/python3"


def processes_of(root):
    """{pid: (parent, command line, comm)} of all descendants of a process, in their outer pids."""
    table = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                stat = file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                table[int(pid)] = (
                    int(stat.rsplit(")", 1)[1].split()[1]),
                    file.read().decode("utf-8", "replace").replace("\0", " "),
                    stat.split("(")[1].split(")")[0],
                )
        except OSError:
            continue
    found, grew = {root: table[root]} if root in table else {}, True
    while grew:
        grew = False
        for pid, entry in table.items():
            if pid not in found and entry[0] in found:
                found[pid], grew = entry, True
    return found


def worker_of(warden, seconds=5):
    """The pid of the process that runs the plugins; where it has a parent of the same name, the child."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {pid: entry for pid, entry in processes_of(warden).items() if entry[2].startswith("sallyport-worke")}
        for pid in found:
            if not any(parent == pid for parent, _, _ in found.values()):
                return pid
        time.sleep(0.02)
    raise AssertionError(f"no worker below {warden}: {[e[2] for e in processes_of(warden).values()]}")


LOOP = """
import socket, sys, time
# One download that must break, then new connections until one works; each line says when.
began = time.monotonic()
def note(*words):
    print(f"{time.monotonic():.3f}", *words, flush=True)
s = socket.create_connection(("api.example.test", 80), 5)
s.settimeout(10)
s.sendall(b"GET /slow HTTP/1.1\\r\\nHost: api.example.test\\r\\n\\r\\n")
got = 0
note("started")
try:
    while data := s.recv(65536):
        if not got:
            note("flowing")
        got += len(data)
    note("broken", "eof")
except OSError as error:
    note("broken", type(error).__name__)
while time.monotonic() - began < 20:
    try:
        c = socket.create_connection(("api.example.test", 80), 2)
        c.sendall(b"GET /whoami HTTP/1.0\\r\\nHost: api.example.test\\r\\n\\r\\n")
        c.settimeout(2)
        if b"host=api.example.test" in c.recv(4096):
            note("works")
            break
    except OSError as error:
        note("retry", type(error).__name__)
    time.sleep(0.05)
try:
    socket.getaddrinfo("evil.test", 80)
    note("LEAK")
except OSError:
    note("still-denied")
"""


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT], ids=lambda n: n.name)
def test_worker_dies_in_the_middle_of_a_download(lab, witness, number):
    """The flow breaks, nothing leaks, a new connection works within 2 s."""
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 80), (world.GOOD6, 80)]):
        started = lab.start(PYTHON, "-c", LOOP, allow=["api.example.test:80"])
        process = started[0]
        lines = []
        while not lines or "flowing" not in lines[-1]:
            lines.append(process.stdout.readline().decode())
            assert lines[-1], (lines, process.stderr.read())
        killed = time.monotonic()
        os.kill(worker_of(process.pid), number)
        rest = process.stdout.read().decode()
        assert process.wait(10) == 0, rest
        process.stderr.close()
    events = [line.split() for line in rest.strip().split("\n")]
    words = {e[1]: float(e[0]) for e in events}
    assert "broken" in words and words["broken"] - killed < 2, rest
    assert "works" in words and words["works"] - killed < 2, rest
    assert "still-denied" in words and "LEAK" not in words, rest


TRIES = """
import os, socket, time
print("ready", flush=True)
while True:
    for address in ("%s", "api.example.test"):
        try:
            socket.create_connection((address, 80), 1)
        except OSError:
            pass
    time.sleep(0.02)
"""


def alive(pids):
    return [
        p
        for p in pids
        if os.path.exists(f"/proc/{p}") and open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda n: n.name)
def test_warden_dies(lab, witness, number):
    """CEL-10: the workload has no network and ends, and so does the worker; no stray process."""
    started = lab.start(PYTHON, "-c", TRIES % world.EVIL4, allow=["api.example.test:80"])
    process = started[0]
    assert process.stdout.readline() == b"ready\n"
    worker_of(process.pid)
    time.sleep(0.2)
    family = processes_of(process.pid)
    assert len(family) >= 3, family
    os.kill(process.pid, number)
    process.wait()
    deadline = time.monotonic() + 3
    while alive(family) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = alive(family)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, [family[p] for p in left]
    with witness.expect_zero():
        time.sleep(0.3)
    process.stdout.close()
    process.stderr.close()


def test_terminating_the_gateway_ends_the_workload(lab):
    started = lab.start("sh", "-c", "echo ready; sleep 60")
    process = started[0]
    assert process.stdout.readline() == b"ready\n"
    family = processes_of(process.pid)
    process.terminate()
    run = lab.finish(started, 10)
    assert run.status in (128 + signal.SIGTERM, -signal.SIGTERM), run
    assert not alive(family)


def test_background_children_end_with_the_command(lab):
    """The command's end is the cell's end: nothing that it left behind goes on."""
    run = lab.run("sh", "-c", "(sleep 77.7 & ) ; (setsid sleep 77.7 & ); echo done")
    assert run.text == "done\n" and run.seconds < 5
    assert not [
        p
        for p in filter(str.isdigit, os.listdir("/proc"))
        if os.path.exists(f"/proc/{p}/cmdline") and b"77.7" in open(f"/proc/{p}/cmdline", "rb").read()
    ]


def test_worker_is_confined_too(lab):
    """The worker: host network, empty root, seccomp, no capability."""
    started = lab.start("sh", "-c", "echo ready; sleep 5", allow=["api.example.test:80"])
    process = started[0]
    assert process.stdout.readline() == b"ready\n"
    worker = worker_of(process.pid)
    with open(f"/proc/{worker}/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().strip().split("\n"))
    assert (
        status["Seccomp"].strip() == "2"
        and status["NoNewPrivs"].strip() == "1"
        and int(status["CapEff"], 16) == 0
        and int(status["CapPrm"], 16) == 0
    ), status
    left = [n for n in os.listdir(f"/proc/{worker}/root/") if not n.endswith(".so")]
    assert not left, f"its root holds more than the copies of the plugins: {left}"
    for space, same in (("net", True), ("mnt", False), ("pid", False), ("user", False), ("ipc", False)):
        ours = os.readlink(f"/proc/{process.pid}/ns/{space}")
        assert (os.readlink(f"/proc/{worker}/ns/{space}") == ours) == same, space
    process.terminate()
    lab.finish(started)


def test_audit_file_that_cannot_be_written(lab, witness):
    """No record, no run: 125 and the reason."""
    base = lab.workspace()
    with witness.expect_zero():
        run = lab.run("touch", "started", base=base, audit=False, options=["--audit", "/nowhere/audit.jsonl"])
    assert (
        run.status == 125 and "/nowhere/audit.jsonl" in run.errors and not os.path.exists(f"{base}/project/started")
    ), run


def test_report_formats(lab):
    """What the user sees: the summary, and --report json and md name each denied destination, with reason and ref."""
    command = [
        "sh",
        "-c",
        "dig +short +tries=1 +time=1 evil.test; dig +short +tries=1 +time=1 evil.test; nc -z -w 1 185.199.108.66 5432; true",
    ]
    run = lab.run(*command)
    assert re.search(r"^sallyport: 2 destinations denied$", run.errors, re.M), run
    assert re.search(
        r"^  evil\.test\s+dns A\s+no_rule\s+ref \w{4,}(\s+\d+x)?\s+allow: sallyport run --allow evil\.test",
        run.errors,
        re.M,
    ), run
    assert "185.199.108.66" in run.errors and "ip_literal_denied" in run.errors
    quiet = lab.run(*command, quiet=True)
    assert "destinations denied" not in quiet.errors, quiet
    markdown = lab.run(*command, options=["--report", "md"])
    assert re.search(r"^\|.*evil\.test.*no_rule.*\|$", markdown.errors + markdown.text, re.M), markdown
    report = lab.run(*command, options=["--report", "json"])
    texts = [t for t in (report.errors, report.text) if "{" in t]
    found = json.loads(texts[0][texts[0].index("{") : texts[0].rindex("}") + 1])
    assert "schema" in found and "evil.test" in json.dumps(found), found


def test_banner(lab):
    run = lab.run("true")
    assert re.search(r"^sallyport: confined .*no route out.*policy: none, everything is denied", run.errors, re.M), run


def test_the_workload_is_not_told_how_to_allow(lab):
    """How to allow it is told to the operator only."""
    run = lab.run(
        "sh", "-c", "curl -sS http://api.example.test/ -H 'Host: evil.test' 2>&1", allow=["api.example.test:80"]
    )
    assert "--allow" not in run.text, run


def test_an_address_that_the_host_gains_meanwhile(lab, witness):
    """HTP-22: what the host is given while the command runs is guarded like what it had: a name that leads there leads nowhere."""
    base = lab.workspace()
    command = (
        "curl -sS -4 -m 8 https://api.example.test/ -o /dev/null; echo $?;"
        " until test -e go; do curl -s -m 8 http://evil.test/ -o /dev/null; done; curl -sS -4 -m 8 https://api.example.test/ -o /dev/null; echo $?"
    )
    address = ("ip", "-n", lab.namespaces.host, "addr")
    started = lab.start("sh", "-c", command, base=base, allow="api.example.test")

    def told(generation):
        return [r for r in lab.audit_so_far(base) if r["name"] == "evil.test" and r["generation"] == generation]

    end = time.monotonic() + 10
    while not told(1):
        assert time.monotonic() < end
        time.sleep(0.01)
    sh(*address, "add", f"{world.GOOD4}/32", "dev", "lo")
    try:
        end = time.monotonic() + 2
        while not told(2):
            assert time.monotonic() < end, lab.audit_so_far(base)[-3:]
            time.sleep(0.01)
        with witness.expect_only("api.example.test"):
            with open(f"{base}/project/go", "w"):
                pass
            run = lab.finish(started)
    finally:
        sh(*address, "del", f"{world.GOOD4}/32", "dev", "lo")
    first, second = run.text.split()
    assert first == "0" and second != "0", run
    assert [r for r in run.audit if r["name"] == "api.example.test" and r["reason"] in ("addr_forbidden", "answer_forbidden_addr")], run
