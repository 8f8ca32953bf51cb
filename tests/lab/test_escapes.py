"""Ways out of a cell's file view and process tree that were found by trying: each is shut, as a user and as root."""

import os
import pty
import select
import subprocess
import time

import pytest

from small_internet.runner import PYTHON, SALLYPORT, USER

IDS = {"user": (USER.pw_uid, USER.pw_gid), "root": (0, 0)}

# A mount point keeps its name only in mount namespaces that have the mount. In another one unlink and rename would succeed on the
# real files, so none may be made: by no call, and in no user namespace.
UNPIN = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWCGROUP, SIGCHLD = 0x20000, 0x10000000, 0x2000000, 17
def call(function, *arguments):
    return errno.errorcode.get(ctypes.get_errno(), "?") if function(*arguments) == -1 else "done"
git = os.open(".git", os.O_RDONLY | os.O_DIRECTORY)
print("clone3", call(libc.syscall, 435, 0, 0))
for flags in (NEWNS, NEWCGROUP, NEWUSER | NEWNS, NEWUSER | NEWCGROUP):
    print("clone", call(libc.syscall, 56, flags | SIGCHLD, 0, 0, 0, 0))
    print("unshare", call(libc.unshare, flags))
print("setns", call(libc.setns, os.open("/proc/self/ns/mnt", os.O_RDONLY), NEWNS))
print("user namespace", call(libc.unshare, NEWUSER))
for number in (165, 166, 155, 428, 429, 430, 431, 432, 433, 442):
    print("mounting", call(libc.syscall, number, 0, 0, 0, 0, 0))
for name, step in (("unlink", lambda: os.unlink("config", dir_fd=git)), ("rename", lambda: os.rename("hooks", "h2", src_dir_fd=git, dst_dir_fd=git)),
                   ("write", lambda: os.open("config", os.O_WRONLY, dir_fd=git)), ("policy", lambda: os.unlink("policy.yaml"))):
    try: step(); print(name, "done")
    except OSError as error: print(name, errno.errorcode[error.errno])
"""


def start(who, directory, *command, options=(), **more):
    uid, gid = IDS[who]
    if uid:
        for path, _, files in os.walk(directory):
            os.chown(path, uid, gid)
            for name in files:
                os.chown(os.path.join(path, name), uid, gid)
    credentials = {"user": uid, "group": gid, "extra_groups": []} if uid else {}
    return subprocess.Popen([SALLYPORT, "run", "-q", "--resolver", "127.0.0.1", *options, "--", *command], cwd=directory, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
                            **credentials, **more)


@pytest.fixture
def project(tmp_path):
    """A directory that both may enter, with a repository and a policy."""
    directory = tmp_path / "project"
    directory.mkdir()
    for path in (tmp_path, *tmp_path.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(0o755)
    subprocess.run(["git", "init", "-q", "."], cwd=directory, check=True, stdin=subprocess.DEVNULL)
    (directory / "policy.yaml").write_text("version: 1\nrules: []\n")
    return directory


@pytest.mark.parametrize("who", IDS)
def test_no_other_mount_namespace(project, who):
    """CEL-06b, CEL-08."""
    before = (project / ".git/config").read_bytes()
    options = ("-p", "policy.yaml")
    run = start(who, project, PYTHON, "-c", UNPIN, options=options)
    out, err = run.communicate(timeout=30)
    lines = [line.rsplit(" ", 1) for line in out.splitlines()]
    allowed = [step for step, result in lines if result == "done"]
    assert allowed in (["user namespace"], []), (out, err)
    assert {"unlink", "rename", "write", "policy"} <= {step for step, _ in lines}, (out, err)
    assert (project / ".git/config").read_bytes() == before and (project / "policy.yaml").exists()


def test_root_reaches_no_cgroup_of_the_host(project):
    run = start("root", project, "unshare", "-UrmC", "sh", "-c", "mkdir -p /tmp/c && mount -t cgroup2 none /tmp/c && ls /tmp/c/cgroup.procs")
    out, err = run.communicate(timeout=30)
    assert run.returncode != 0 and "cgroup.procs" not in out, (out, err)


@pytest.mark.parametrize("send", ["kill -s KILL 0", "kill -s STOP 0", "kill -s TERM -- -0"])
def test_signals_to_the_own_group_stay_inside(project, send):
    """CEL-07: on a terminal the command's process group is the caller's shell's, which must survive."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        script = f"'{SALLYPORT}' run -q --resolver 127.0.0.1 -- sh -c '{send}'; echo SURVIVED"
        os.execv("/bin/sh", ["sh", "-c", script])
    seen, end = b"", time.monotonic() + 10
    while b"SURVIVED" not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:
                break
            if not data:
                break
            seen += data
        elif "STOP" in send:
            break
    try:
        assert b"SURVIVED" in seen or "STOP" in send, seen
        with open(f"/proc/{pid}/stat") as file:
            assert file.read().rsplit(")", 1)[1].split()[0] != "T" or "SURVIVED" in seen.decode(), "the caller's shell was stopped"
    except FileNotFoundError:
        assert b"SURVIVED" in seen
    finally:
        for signal_name in ("-CONT", "-KILL"):
            subprocess.run(["kill", signal_name, "--", f"-{pid}"], stderr=subprocess.DEVNULL)
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("who", IDS)
def test_stopped_worker_is_replaced(project, who):
    """A worker that is stopped would let connections hang; it is ended and another one serves."""
    run = start(who, project, "sh", "-c", "echo up; exec sleep 20")
    try:
        assert run.stdout.readline() == "up\n"  # it serves
        first = worker_of(run.pid)
        os.kill(first, 19)
        end = time.monotonic() + 10
        while time.monotonic() < end and worker_of(run.pid) == first:
            time.sleep(0.05)
        assert worker_of(run.pid) != first
    finally:
        run.terminate()
        run.communicate(timeout=10)


def worker_of(warden):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with open(f"/proc/{warden}/task/{warden}/children") as file:
            children = [int(child) for child in file.read().split()]
        for child in children:
            try:
                with open(f"/proc/{child}/comm") as file:
                    if file.read().startswith("sallyport-worke"):
                        return child
            except OSError:
                continue
        time.sleep(0.02)
    raise AssertionError("no worker")


@pytest.mark.parametrize("home", [None, "/root", "/nonexistent"], ids=str)
def test_home_is_home_whatever_the_variable_says(home):
    """CEL-06b: env -u HOME and sudo's HOME do not make the user's start-up files real."""
    environment = {"PATH": "/usr/bin:/bin", **({"HOME": home} if home else {})}
    probe = "/root/.sallyport-home-probe"
    done = subprocess.run([SALLYPORT, "run", "--resolver", "127.0.0.1", "--", "sh", "-c", f"echo x >{probe}; cat {probe}"], cwd="/root", env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.stdout == "x\n" and "thrown away" in done.stderr and not os.path.exists(probe), done


def test_audit_file_behind_a_link_is_the_one_protected(project):
    """The path is resolved as the kernel does: "link/../a" is beside what the link names."""
    (project / "deep/er").mkdir(parents=True)
    (project / "link").symlink_to("deep/er")
    run = start("user", project, "sh", "-c", "echo x >deep/audit.jsonl", options=("--audit", "link/../audit.jsonl"))
    _, err = run.communicate(timeout=30)
    assert run.returncode != 0 and "Read-only" in err, err
    assert (project / "deep/audit.jsonl").exists() and "x" not in (project / "deep/audit.jsonl").read_text().split()
