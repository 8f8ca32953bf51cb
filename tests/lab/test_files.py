"""What a cell sees of the file system: sockets of the outside are out of reach, writes outside the working directory are thrown away.

CEL-05, CEL-06b.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading

import pytest

from small_internet.runner import USER

AF_UNIX, STREAM, DGRAM, SEQPACKET = 1, 1, 2, 5


@contextlib.contextmanager
def outside_socket(lab, path, kind=STREAM, owner=USER.pw_uid):
    """A Unix server of the lab's host, open to all; yields the list of what it received."""
    received = []
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with lab.namespaces.inside(lab.namespaces.host_fd):
        server = socket.socket(AF_UNIX, kind)
    server.bind(path)
    if not path.startswith("\0"):
        os.chmod(path, 0o777)
        os.chown(path, owner, -1)
    if kind != DGRAM:
        server.listen(8)
    stop = threading.Event()

    def serve():
        server.settimeout(0.1)
        while not stop.is_set():
            try:
                if kind == DGRAM:
                    received.append(server.recv(100))
                else:
                    accepted, _ = server.accept()
                    with accepted:
                        received.append(b"connected")
                        accepted.settimeout(1)
                        accepted.recv(100)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        stop.set()
        thread.join()
        server.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


def attempt(lab, path, kind, **options):
    step = {"do": "make_socket", "family": AF_UNIX, "type": kind, "to": path, "send": "6869"}
    results, run = lab.probe([step], **options)
    return results[0], run


PLACES = {
    "run": "/run/sp-lab-{pid}.sock",
    "run-docker": "/run/sp-lab-{pid}/docker.sock",
    "run-user": "/run/user/5/sp-lab-{pid}/bus",
    "tmp": "/tmp/sp-lab-{pid}.sock",
    "tmp-x11": "/tmp/.X11-unix/X{pid}",
    "var-tmp": "/var/tmp/sp-lab-{pid}.sock",
    "var-lib": "/var/lib/sp-lab-{pid}/pg.sock",
    "home": "{base}/home/agent.sock",
    "dev-shm": "/dev/shm/sp-lab-{pid}.sock",
    "project": "{base}/project/dir.sock",
    "project-sub": "{base}/project/sub/deeper/dir.sock",
    "mnt": "/mnt/sp-lab-{pid}.sock",
    "opt": "/opt/sp-lab-{pid}.sock",
}


@pytest.mark.parametrize("kind", [STREAM, DGRAM, SEQPACKET], ids=["stream", "dgram", "seqpacket"])
@pytest.mark.parametrize("place", PLACES)
def test_socket_of_the_outside(lab, place, kind):
    """CEL-05: reached from the bare host, not from the cell."""
    base = lab.workspace()
    path = PLACES[place].format(base=base, pid=os.getpid())
    with outside_socket(lab, path, kind) as received:
        control, _ = attempt(lab, path, kind, confined=False, base=base)
        assert control.get("made"), control
        count = len(received)
        result, run = attempt(
            lab,
            path,
            kind,
            base=base,
            env={
                "SSH_AUTH_SOCK": path,
                "DBUS_SESSION_BUS_ADDRESS": f"unix:path={path}",
                "DOCKER_HOST": f"unix://{path}",
            },
        )
        assert "error" in result, (result, run)
    assert len([r for r in received]) == max(count, 1), received


@pytest.mark.parametrize("kind", [STREAM, DGRAM], ids=["stream", "dgram"])
def test_abstract_socket_of_the_outside(lab, kind):
    """CEL-05: the abstract name space is the network namespace's."""
    name = f"\0sp-lab-{os.getpid()}"
    with lab.namespaces.inside(lab.namespaces.host_fd):
        server = socket.socket(AF_UNIX, kind)
    with server:
        server.bind(name)
        if kind == STREAM:
            server.listen(4)
        assert attempt(lab, name, kind, confined=False)[0].get("made")
        assert "error" in attempt(lab, name, kind)[0]


@pytest.mark.parametrize("uid", [None, 0], ids=["user", "root"])
def test_bind_opens_one_knowingly(lab, uid):
    """CEL-05: --bind PATH, and the banner says so."""
    path = f"/run/sp-lab-{os.getpid()}-bound.sock"
    with outside_socket(lab, path):
        assert "error" in attempt(lab, path, STREAM, uid=uid)[0]
        result, run = attempt(lab, path, STREAM, uid=uid, options=["--bind", path])
    assert result.get("made") and path in run.errors, (result, run)


@pytest.mark.parametrize("place", ["run", "tmp", "home", "project"])
def test_socket_of_the_outside_as_root(lab, place):
    """CEL-05: docker.sock is root on the host; root in the cell does not reach it."""
    base = lab.workspace(0)
    path = PLACES[place].format(base=base, pid=os.getpid())
    with outside_socket(lab, path, owner=0) as received:
        result, run = attempt(lab, path, STREAM, base=base, uid=0)
        assert "error" in result and not received, (result, run)


def test_unix_sockets_inside_work(lab):
    code = "import os,socket,sys\nfor p in sys.argv[1:]:\n  s=socket.socket(socket.AF_UNIX); s.bind(p); s.listen(1); c=socket.socket(socket.AF_UNIX); c.connect(p); a,_=s.accept(); c.send(b'x'); print(a.recv(1).decode(), end='')"
    base = lab.workspace()
    run = lab.run(
        "/usr/bin/python3",
        "-c",
        code,
        "/tmp/mine.sock",
        f"{base}/home/mine.sock",
        "./mine.sock",
        "\0mine".replace("\0", "abs"),
        base=base,
    )
    assert run.text == "xxxx", run


def snapshot(directory):
    found = {}
    for place, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(place, name)
            if not os.path.islink(path) and os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = file.read()
    return found


@pytest.fixture
def repository(lab):
    """A working directory that is a git repository with hooks, editor tasks and the policy in it."""
    base = lab.workspace()
    project = f"{base}/project"

    def git(*words):
        subprocess.run(
            ["git", "-C", project, "-c", "safe.directory=*", *words],
            check=True,
            capture_output=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": base,
                "GIT_AUTHOR_NAME": "a",
                "GIT_AUTHOR_EMAIL": "a@a",
                "GIT_COMMITTER_NAME": "a",
                "GIT_COMMITTER_EMAIL": "a@a",
            },
        )

    git("init", "-q")
    files = {
        "policy.yaml": "version: 1\nrules: []\n",
        ".vscode/tasks.json": "{}\n",
        "source.txt": "old\n",
        ".git/hooks/pre-commit": "#!/bin/sh\nexit 0\n",
        "outer/inner/policy.yaml": "version: 1\nrules: []\n",
    }
    for name, text in files.items():
        os.makedirs(os.path.dirname(f"{project}/{name}"), exist_ok=True)
        with open(f"{project}/{name}", "w") as file:
            file.write(text)
    git("add", "source.txt")
    git("commit", "-qm", "first")
    with open(f"{base}/home/.bashrc", "w") as file:
        file.write("# mine\n")
    subprocess.run(["chown", "-R", f"{USER.pw_uid}:{USER.pw_gid}", base], check=True)
    return base


GUARDED = [".git/hooks/pre-commit", ".git/hooks/post-checkout", ".git/config", ".vscode/tasks.json", "policy.yaml"]


@pytest.mark.parametrize("path", GUARDED)
def test_guarded_files_of_the_working_directory(lab, repository, path):
    """CEL-06b: refused, and unchanged afterwards: by writing, replacing, linking or removing."""
    before = snapshot(repository)
    script = f"""
echo evil >> {path}; echo evil > {path}; rm -f {path}; mv {path} gone; cp /bin/true new && mv new {path}; ln -sf /bin/true {path}
chmod 777 {path}; truncate -s 0 {path}; true"""
    lab.run("sh", "-c", script, base=repository, policy=f"{repository}/project/policy.yaml")
    after = snapshot(repository)
    assert after.get(f"{repository}/project/{path}") == before.get(f"{repository}/project/{path}")
    assert not os.path.islink(f"{repository}/project/{path}")


@pytest.mark.parametrize(
    "command",
    [
        "mv .git moved; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit",
        "mv .git/hooks moved; mkdir .git/hooks; echo evil > .git/hooks/pre-commit",
        "rm -rf .git",
        "mv .vscode moved; mkdir .vscode; echo evil > .vscode/tasks.json",
        "mv outer moved; mkdir -p outer/inner; echo evil > outer/inner/policy.yaml",
        "mv outer/inner moved; mkdir -p outer/inner; echo evil > outer/inner/policy.yaml",
    ],
)
def test_directories_above_guarded_files_cannot_be_moved(lab, repository, command):
    """CEL-06b: `mv` of a directory above."""
    before = snapshot(f"{repository}/project")
    lab.run("sh", "-c", command, base=repository, policy=f"{repository}/project/outer/inner/policy.yaml")
    after = snapshot(f"{repository}/project")
    for name in (".git/hooks/pre-commit", ".git/config", ".vscode/tasks.json", "outer/inner/policy.yaml"):
        path = f"{repository}/project/{name}"
        assert after.get(path) == before[path], name


def test_other_files_of_the_working_directory_are_real(lab, repository):
    run = lab.run(
        "sh",
        "-c",
        "echo new > source.txt; echo made > made.txt; mkdir d && echo x > d/x; git -c user.name=a -c user.email=a@a commit -qam second && git log --oneline | wc -l",
        base=repository,
    )
    with open(f"{repository}/project/source.txt") as file:
        assert file.read() == "new\n", run
    assert os.path.exists(f"{repository}/project/d/x") and run.text.strip() == "2", run
    assert os.stat(f"{repository}/project/made.txt").st_uid == USER.pw_uid


@pytest.mark.parametrize("uid", [None, 0], ids=["user", "root"])
def test_writes_elsewhere_are_thrown_away(lab, uid):
    """CEL-06b: $HOME, /etc, /tmp, /var and /usr; the real files are unchanged afterwards."""
    base = lab.workspace(uid)
    os.makedirs(f"{base}/beside", exist_ok=True)
    os.chown(f"{base}/beside", USER.pw_uid if uid is None else uid, -1)
    with open(f"{base}/home/.bashrc", "w") as file:
        file.write("# mine\n")
    shutil.chown(f"{base}/home/.bashrc", *((USER.pw_uid, USER.pw_gid) if uid is None else (uid, uid)))
    tag = f"sp-lab-{os.getpid()}-{uid}"
    places = [
        f"{base}/home/{tag}",
        f"{base}/beside/{tag}",
        f"/tmp/{tag}",
        f"/etc/{tag}",
        f"/usr/bin/{tag}",
        f"/var/tmp/{tag}",
        f"/dev/shm/{tag}",
        f"/run/{tag}",
        f"/{tag}",
        f"/boot/{tag}",
        f"/root/{tag}",
    ]
    run = lab.run(
        "sh",
        "-c",
        f"echo evil >> {base}/home/.bashrc && tail -1 {base}/home/.bashrc; "
        + "".join(f"echo evil > {p}; " for p in places)
        + "echo evil >> /etc/passwd; true",
        uid=uid,
        base=base,
    )
    left = [p for p in places if os.path.exists(p)]
    for path in left:
        os.unlink(path)
    assert not left, left
    assert run.text.startswith("evil"), run  # the workload sees its own write
    with open(f"{base}/home/.bashrc") as file:
        assert file.read() == "# mine\n"
    with open("/etc/passwd") as file:
        assert "evil" not in file.read()


def test_write_option_makes_a_directory_real(lab):
    base = lab.workspace()
    run = lab.run("sh", "-c", f"echo real > {base}/home/kept", base=base, options=["--write", f"{base}/home"])
    assert os.path.exists(f"{base}/home/kept"), run


def test_home_as_working_directory_is_thrown_away_and_the_banner_says_so(lab):
    base = lab.workspace()
    run = lab.run("sh", "-c", "echo x > here; cat here", base=base, cwd=f"{base}/home")
    assert run.text == "x\n" and not os.path.exists(f"{base}/home/here"), run
    assert "home" in run.errors.lower() and "thrown away" in run.errors, run


def test_command_and_directory_below_tmp(lab):
    """A private /tmp, bound back where the working directory or the command lies below it."""
    directory = f"/tmp/sp-lab-{os.getpid()}-work"
    os.makedirs(directory, exist_ok=True)
    os.chown(directory, USER.pw_uid, USER.pw_gid)
    try:
        with open(f"{directory}/tool", "w") as file:
            file.write("#!/bin/sh\necho tool-works\npwd\n")
        os.chmod(f"{directory}/tool", 0o755)
        assert lab.run(f"{directory}/tool", cwd=directory).text == f"tool-works\n{directory}\n"
        assert lab.run("ls", "/tmp").text.strip() == ""
    finally:
        subprocess.run(["rm", "-rf", directory], check=True)


def test_policy_and_audit_files_are_out_of_reach(lab):
    """The audit cannot be edited from inside, nor the plugins or the policy."""
    base = lab.workspace()
    run = lab.run(
        "sh",
        "-c",
        f"dig +short +tries=1 +time=1 evil.test; : > {base}/audit.jsonl; rm -f {base}/audit.jsonl; echo forged >> {base}/audit.jsonl; true",
        base=base,
    )
    assert run.denials(name="evil.test"), run


def test_devices_are_few(lab):
    run = lab.run("ls", "/dev")
    assert {"null", "zero", "urandom", "tty"} <= set(run.text.split()), run
    assert not set(run.text.split()) & {
        "kmsg",
        "mem",
        "kvm",
        "vda",
        "sda",
        "vsock",
        "vhost-vsock",
        "fuse",
        "net",
        "loop-control",
        "mapper",
        "uinput",
    }, run


def test_name_files(lab):
    """Own resolv.conf, hosts and nsswitch."""
    run = lab.run("sh", "-c", "cat /etc/resolv.conf; echo --; cat /etc/hosts; echo --; grep hosts /etc/nsswitch.conf")
    resolv, hosts, nss = run.text.split("--")
    assert resolv.count("nameserver") == 1 and "search" not in resolv and "domain" not in resolv
    assert "localhost" in hosts and nss.split() == ["hosts:", "files", "dns"], run
