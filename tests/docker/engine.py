"""A Docker engine of the test's own: in the lab's host namespace, with its data below the lab's state, and two images made here.

    sallyport   deploy/Dockerfile over the installed tree, as `./dev image` makes it
    agent       busybox and curl, and what they load: nothing is fetched
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from small_internet import world
from small_internet.dns import read_question
from small_internet.namespaces import die_with_parent, setns
from small_internet.runner import BUILD, TREE

DOCKER, COMPOSE, DOCKERD = "/usr/bin/docker", "/usr/bin/docker-compose", "/usr/sbin/dockerd"
AGENT_PROGRAMS = ["/usr/bin/curl", "/usr/bin/openssl"]
APPLETS = ["sh", "nslookup", "wget", "ping", "ping6", "sleep", "ip", "ls", "cat", "nc", "httpd", "grep", "id", "timeout", "telnet", "arping", "hostname"]


def libraries(*programs):
    """Every shared object that the programs load, loader included."""
    found = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        found |= set(re.findall(r"(/\S+) \(0x", listed))
    return found


CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


class LoopbackResolver:
    """What many hosts have as their resolver: a server at 127.0.1.1 that asks outside. `asked` has the names (CVE-2024-29018)."""

    ADDRESS = "127.0.1.1"

    def __init__(self, lab):
        self.asked, self._lab = [], lab
        with lab.namespaces.inside(lab.namespaces.host_fd):
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((self.ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            message, client = self._udp.recvfrom(65535)
            with contextlib.suppress(OSError, ValueError, IndexError):
                self.asked.append(read_question(message)[0].lower())
                with self._lab.namespaces.inside(self._lab.namespaces.host_fd):
                    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                with out:
                    out.settimeout(3)
                    out.connect((world.RESOLVER, 53))
                    out.send(message)
                    self._udp.sendto(out.recv(65535), client)


class Engine:
    def __init__(self, lab):
        self._lab = lab
        self._base = f"{lab.namespaces.state}/docker"
        os.makedirs(self._base)
        self.loopback_resolver = LoopbackResolver(lab)
        self._mounts = self._own_resolv_conf()
        self.socket = f"{self._base}/docker.sock"
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self._base, "DOCKER_HOST": f"unix://{self.socket}", "COMPOSE_HTTP_TIMEOUT": "60"}
        self.start()

    def _own_resolv_conf(self):
        """A mount namespace in which /etc/resolv.conf has the loopback resolver; as long as the engine is there, so is it."""
        path = f"{self._base}/resolv.conf"
        with open(path, "w") as file:
            file.write(f"nameserver {LoopbackResolver.ADDRESS}\n")

        def make():
            must(_libc.unshare(CLONE_NEWNS), "unshare")
            must(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
            must(_libc.mount(path.encode(), os.path.realpath("/etc/resolv.conf").encode(), None, MS_BIND, None), "mount resolv.conf")

        holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=make)
        made = os.open(f"/proc/{holder.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        holder.stdin.close()
        holder.wait()
        return made

    def start(self):
        """The engine comes up in the lab's host namespace; cgroups are the machine's, mounts but for /etc/resolv.conf too."""

        def enter():
            die_with_parent()
            setns(self._lab.namespaces.host_fd)
            must(_libc.setns(self._mounts, CLONE_NEWNS), "setns")

        with open(f"{self._base}/log", "ab") as log:
            self._process = subprocess.Popen(
                [DOCKERD, "--storage-driver", "vfs", "--data-root", f"{self._base}/data", "--exec-root", f"{self._base}/exec", "--host", f"unix://{self.socket}",
                 "--pidfile", f"{self._base}/pid", "--bip", "172.17.0.1/16", "--ipv6", "--fixed-cidr-v6", "fd00:17::/64"],
                preexec_fn=enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True,
            )  # fmt: skip
        for _ in range(300):
            if self._process.poll() is not None:
                break
            if subprocess.run([DOCKER, "version"], env=self.environment, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        with open(f"{self._base}/log") as log:
            raise AssertionError(f"no Docker engine: {log.read()[-3000:]}")

    def docker(self, *arguments, check=True, timeout=120, **options):
        result = subprocess.run([DOCKER, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options)
        assert not check or result.returncode == 0, f"docker {' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
        return result

    def compose(self, directory, *arguments, check=True, timeout=180, environment=None):
        """docker-compose in a directory that has the compose file."""
        result = subprocess.run(
            [COMPOSE, "--no-ansi", *arguments], cwd=directory, env={**self.environment, **(environment or {})}, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        assert not check or result.returncode == 0, f"docker-compose {' '.join(arguments)}: exit {result.returncode}\n{result.stdout}{result.stderr}"
        return result

    def agent_image(self, name="agent"):
        """A root file system of a few programs, imported."""
        root = f"{self._base}/agent"
        for directory in ("bin", "etc", "tmp", "usr/bin", "srv"):
            os.makedirs(f"{root}/{directory}")
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for applet in APPLETS:
            os.symlink("busybox", f"{root}/bin/{applet}")
        # getaddrinfo() loads these by itself.
        plugins = [f"/lib/x86_64-linux-gnu/{n}" for n in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")]
        for path in {*AGENT_PROGRAMS, *libraries(*AGENT_PROGRAMS), *(p for p in plugins if os.path.exists(p))}:
            target = root + (path if path.startswith("/lib64") else os.path.join("/", path.lstrip("/")))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
        with open(f"{root}/etc/nsswitch.conf", "w") as file:
            file.write("hosts: files dns\n")
        with open(f"{root}/etc/passwd", "w") as file:
            file.write("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        shutil.copy(self._lab.servers.ca, f"{root}/etc/ca.pem")
        self._import(root, name)
        return name

    def _import(self, root, name):
        archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        imported = subprocess.run([DOCKER, "import", "-", name], stdin=archive.stdout, env=self.environment, capture_output=True, text=True)
        assert archive.wait() == 0 and imported.returncode == 0, imported.stderr

    def sallyport_image(self, name="sallyport"):
        """What `./dev image` builds, of the build that is tested."""
        context = f"{self._base}/image"
        made = subprocess.run([f"{TREE}/deploy/image", BUILD, context], capture_output=True, text=True)
        assert made.returncode == 0, f"{made.stdout}{made.stderr}"
        self.docker("build", "-t", name, "-f", f"{TREE}/deploy/Dockerfile", context)
        return name

    def kill(self):
        """The engine dies; its containers' processes may live on."""
        self._process.kill()
        self._process.wait()

    def close(self):
        listed = self.docker("ps", "-aq", check=False).stdout.split()
        if listed:
            self.docker("rm", "-f", *listed, check=False)
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        if self._process.poll() is None:
            self.kill()
        with open("/proc/mounts") as mounts:
            below = [line.split()[1] for line in mounts if line.split()[1].startswith(self._base)]
        for path in sorted(below, reverse=True):
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL)
