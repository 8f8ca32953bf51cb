"""Network namespaces of one run: their names carry the pid, and they are gone on every exit.

What a killed run left behind is swept by the next one.
"""

import atexit
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

from . import world

STATE = "/var/lib/sallyport-lab"  # not /tmp: a cell has a private one
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1


def sh(*command, **options):
    """Runs a command that must succeed; its output is in the error when it does not."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def setns(fd):
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"python" in file.read()
    except OSError:
        return False


def remove(name):
    """Ends what still runs in a namespace of a run, such as the children of a killed server, and removes it."""
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout
    for pid in map(int, listed.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def sweep():
    """Removes namespaces and state of runs that are dead."""
    left = set()
    for directory, pattern in (("/run/netns", r"sp-(\d+)-(host|net|work-\w+)$"), (STATE, r"(\d+)$")):
        for entry in os.listdir(directory) if os.path.isdir(directory) else []:
            match = re.match(pattern, entry)
            if match and int(match[1]) != os.getpid() and not _alive(match[1]):
                left.add((directory, entry))
    for directory, entry in left:
        if directory == STATE:
            shutil.rmtree(os.path.join(directory, entry), ignore_errors=True)
        else:
            remove(entry)


class Namespaces:
    """The pair `host` and `net`, joined by one veth; started processes belong to it and end with it."""

    def __init__(self):
        if os.geteuid() != 0:
            raise PermissionError("the lab makes network namespaces: run it as root (what it confines runs as a user)")
        sweep()
        pid = os.getpid()
        self.host, self.net = f"sp-{pid}-host", f"sp-{pid}-net"
        self.state = f"{STATE}/{pid}"
        self._processes = []
        self._closed = False
        os.makedirs(self.state, mode=0o755)
        os.chmod(STATE, 0o755)
        atexit.register(self.close)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
        self._build()
        self.host_fd = os.open(f"/run/netns/{self.host}", os.O_RDONLY | os.O_CLOEXEC)
        self.net_fd = os.open(f"/run/netns/{self.net}", os.O_RDONLY | os.O_CLOEXEC)

    def _build(self):
        host, net = self.host, self.net
        for name in (host, net):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "link", "add", "uplink", "netns", host, "type", "veth", "peer", "name", "world0", "netns", net)
        # Duplicate address detection would hold IPv6 back for a second.
        sh(
            "ip",
            "netns",
            "exec",
            host,
            "sysctl",
            "-qw",
            "net.ipv6.conf.uplink.accept_dad=0",
            "net.ipv6.conf.uplink.accept_ra=0",
            "net.ipv4.ping_group_range=0 65535",
        )
        sh(
            "ip",
            "netns",
            "exec",
            net,
            "sysctl",
            "-qw",
            "net.ipv6.conf.world0.accept_dad=0",
            "net.ipv6.ip_nonlocal_bind=1",
            "net.ipv4.ip_nonlocal_bind=1",
            "net.ipv4.icmp_ratelimit=0",
            "net.ipv4.conf.world0.rp_filter=0",
            "net.ipv4.conf.all.rp_filter=0",
            "net.core.somaxconn=4096",
        )
        for name, device, address4, address6 in (
            (host, "uplink", world.HOST4, world.HOST6),
            (net, "world0", world.HOST4_GATEWAY, world.HOST6_GATEWAY),
        ):
            sh("ip", "-n", name, "addr", "add", f"{address4}/24", "dev", device)
            sh("ip", "-n", name, "addr", "add", f"{address6}/64", "dev", device, "nodad")
            sh("ip", "-n", name, "link", "set", device, "up")
        sh("ip", "-n", host, "route", "add", "default", "via", world.HOST4_GATEWAY)
        sh("ip", "-n", host, "-6", "route", "add", "default", "via", world.HOST6_GATEWAY)
        # Every address there is lives in `net`. An IPv4 rule would split the merged tables and break this; IPv6 needs a table
        # of its own for what comes in, or it swallows the replies.
        sh("ip", "-n", net, "route", "add", "local", "default", "dev", "lo")
        sh("ip", "-n", net, "-6", "route", "add", "local", "default", "dev", "lo", "table", "100")
        sh("ip", "-n", net, "-6", "rule", "add", "iif", "world0", "lookup", "100")

    @contextlib.contextmanager
    def inside(self, fd):
        """The calling thread is in a namespace for the block: sockets made there stay there."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd)
            yield
        finally:
            setns(own)
            os.close(own)

    def spawn(self, fd, command, **options):
        """Starts a server in a namespace; it dies with this process, however that ends. Call on the main thread."""

        def enter():
            die_with_parent()
            setns(fd)

        process = subprocess.Popen(
            command, preexec_fn=enter, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        self._processes.append(process)
        return process

    def close(self):
        if self._closed:
            return
        self._closed = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for fd in (getattr(self, "host_fd", -1), getattr(self, "net_fd", -1)):
            if fd >= 0:
                os.close(fd)
        for name in (self.host, self.net):
            remove(name)
        shutil.rmtree(self.state, ignore_errors=True)
