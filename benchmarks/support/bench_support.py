"""What the whole-process benchmarks share: a network namespace of their own, servers on one CPU, load on the other, and the CPU
time of a process with its children, read from the scheduler."""

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SALLYPORT_BUILD", f"{TREE}/build")
SALLYPORT = f"{BUILD}/bin/sallyport"
SUPPORT = f"{BUILD}/bench-support"
ROUNDS = int(os.environ.get("SALLYPORT_BENCH_ROUNDS", "7"))
SERVER_CPU, LOAD_CPU = 0, 1
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET, _CLONE_NEWNS, _PR_SET_PDEATHSIG = 0x40000000, 0x20000, 1


class Place:
    """A network namespace with addresses on its loopback, a directory, and the processes started in it."""

    def __init__(self, addresses=()):
        if os.geteuid() != 0:
            sys.exit("this benchmark makes a network namespace: run it as root")
        self.directory = tempfile.mkdtemp(prefix=f"sallyport-bench-{os.getpid()}-")
        os.chmod(self.directory, 0o755)
        self._processes = []
        atexit.register(self.close)
        if _libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        # Programs that ask the system's resolver ask the one in here; the machine's own file is left alone.
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", self.write("resolv.conf", "nameserver 127.0.0.1\n"), os.path.realpath("/etc/resolv.conf")], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for address in addresses:
            subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
        for key, value in (("net.core.somaxconn", "4096"), ("net.ipv4.ip_local_port_range", "1024 65000"), ("net.ipv4.tcp_tw_reuse", "1")):
            subprocess.run(["sysctl", "-qw", f"{key}={value}"], check=False)

    def path(self, name):
        return f"{self.directory}/{name}"

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), 0o644)
        return self.path(name)

    def spawn(self, *command, cpu=SERVER_CPU, ready=None, **options):
        """Starts a server pinned to a CPU. ready: a line of its standard output to wait for."""

        def prepare():
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, {cpu})

        options.setdefault("stdout", subprocess.PIPE if ready else subprocess.DEVNULL)
        options.setdefault("stderr", open(self.path("log-" + os.path.basename(command[0])), "ab"))
        process = subprocess.Popen(command, preexec_fn=prepare, stdin=subprocess.DEVNULL, start_new_session=True, **options)
        self._processes.append(process)
        if ready:
            while ready not in (line := process.stdout.readline().decode()):
                assert line, f"{command[0]} ended with {process.wait()}; see {self.directory}"
        return process

    def load(self, *command, timeout=180):
        """Runs a load generator on the other CPU; its output."""
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU})
        )
        assert result.returncode == 0, f"{command}: exit {result.returncode}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
        return result.stdout

    def close(self):
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes = []
        shutil.rmtree(self.directory, ignore_errors=True)


def family(pid):
    """A process and everything below it."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{task}/children") as file:
                    waiting += [int(child) for child in file.read().split()]
    return found


def cpu_seconds(pid):
    """On the CPU so far, of the process and everything below it that lives: the kernel's process clock, threads that ended included."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~member << 3) | 2)  # what clock_getcpuclockid() makes of a pid
    return total


def wait_port(address, port, seconds=30, proto="tcp"):
    """Until something listens there."""
    wanted = f":{port:04X} "
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(f"/proc/net/{proto}") as file:
            state = " 0A " if proto == "tcp" else " 07 "
            if any(wanted in line and state in line for line in file):
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {address}:{port} after {seconds} s")


def spread(values, unit, scale=1.0):
    middle = statistics.median(values)
    return f"{middle * scale:8.2f} {unit} ({min(values) * scale:.2f} to {max(values) * scale:.2f}, {len(values)} rounds)"


def ratio(name, ours, theirs, target):
    """The line that ./dev bench is read for: the ratio of medians. True: within the target."""
    value = statistics.median(ours) / statistics.median(theirs)
    good = value <= target
    print(f"RATIO {name} {value:.2f} target <={target} {'ok' if good else 'short'}", flush=True)
    return good
