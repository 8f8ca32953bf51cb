"""Load for a gate, and what bounds it: programs of the benchmarks, dnsperf, a memory limit, a clock that jumps."""

import contextlib
import mmap
import os
import re
import shutil
import struct
import subprocess
import time

from small_internet import world
from small_internet.gate import GATE4
from small_internet.runner import BUILD, SALLYPORT

PROXYLOAD = f"{BUILD}/bench-support/proxyload"
PORT = 8555
DB4 = "52.1.2.3"


def load(work, base, mode, seconds, target=f"load.example.test:{PORT}", connections=8, rate=0, pause=0):
    """Starts a load of tunnels, by the proxy or (direct) transparently, of pages (get, site), or of queries over TCP (dns): so many a second, or
    as fast as they end; with so many ms between a connection and its first octets; lab.finish() gives its JSON."""
    os.makedirs(f"{base}/{mode}", exist_ok=True)
    with open(f"{base}/{mode}/targets", "w") as file:
        file.write(f"{target}\n")
    address, port = {"direct": (world.LOAD4, PORT), "site": (world.LOAD4, PORT), "dns": (GATE4, 53)}.get(mode, (GATE4, 3128))
    numbers = [str(n) for n in (connections, seconds, rate, pause)]
    return work.start(PROXYLOAD, "load", address, str(port), f"{base}/{mode}/targets", mode, *numbers, base=base)


def dnsperf(work, base, seconds, names=("api.example.test",), qps=500, extra=(), outstanding=50):
    with open(f"{base}/queries", "w") as file:
        file.writelines(f"{name} A\n" for name in names)
    limit = ["-l", str(seconds)] if seconds else ["-n", "1"]
    return work.start("dnsperf", "-s", GATE4, "-d", f"{base}/queries", *limit, "-Q", str(qps), "-c", "4", "-q", str(outstanding), *extra, base=base)


class Counted:
    """What dnsperf says of its run."""

    def __init__(self, run):
        self.run = run
        sent, lost = re.search(r"Queries sent:\s+(\d+)", run.text), re.search(r"Queries lost:\s+(\d+)", run.text)
        assert sent and lost, run
        self.sent, self.lost = int(sent[1]), int(lost[1])
        codes = re.search(r"Response codes:\s+(.*)", run.text)
        self.codes = {code: int(n) for code, n in re.findall(r"(\w+) (\d+) \(", codes[1] if codes else "")}


def until(what, timeout=8):
    """Waits until what() is true, and says what it was at the end."""
    end = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < end, f"after {timeout} s: {value}"
        time.sleep(0.05)
    return value


def by_proxy(work):
    return work.curl("-x", f"http://{GATE4}:3128", "--max-time", "3", "http://pkg.test/whoami").status == 0


def transparently(work):
    return work.curl("--max-time", "3", "https://api.example.test/whoami").status == 0


def udp(work):
    results, _ = work.probe([{"do": "udp", "to": [DB4, 5353], "send": "beef", "timeout": 1}])
    return results[0].get("data") == "beef"


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class MemoryLimit:
    """A control group with a limit, of version 1 or 2; None if neither can be had. `prefix` starts a program in it."""

    @classmethod
    def make(cls, octets):
        name = f"sallyport-test-{os.getpid()}"
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            path = f"{root}/{name}"
            with contextlib.suppress(OSError):
                os.mkdir(path)
                if os.path.exists(f"{path}/{limit}"):
                    with open(f"{path}/{limit}", "w") as file:
                        file.write(str(octets))
                    return cls(path)
                os.rmdir(path)
        return None

    def __init__(self, path):
        self._path = path
        self.prefix = ["sh", "-c", f'echo $$ >{path}/cgroup.procs; exec "$@"', "-"]

    def killed(self):
        """How many processes the kernel ended for want of memory."""
        for name in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError), open(f"{self._path}/{name}") as file:
                return int(re.search(r"^oom_kill (\d+)$", file.read(), re.M)[1])
        raise AssertionError("the group does not count")

    def used(self):
        """Octets that are its own: what the kernel keeps of files can be given back at any time."""
        with open(f"{self._path}/memory.stat") as file:
            values = dict(line.split() for line in file)
        return int(values.get("rss", values.get("anon"))) + int(values.get("mapped_file", values.get("shmem", 0)))

    def close(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                os.rmdir(self._path)
                return
            time.sleep(0.1)


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long* offset;
__attribute__((constructor)) static void open_offset(void) {  /* before a worker gives up its files */
  const int fd = open(OFFSET_FILE, O_RDONLY);
  void* mapped = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
  offset = mapped == MAP_FAILED ? 0 : mapped;
  close(fd);
}
int clock_gettime(clockid_t id, struct timespec* out) {
  const int status = (int)syscall(SYS_clock_gettime, id, out);
  if (status == 0 && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) out->tv_sec += *offset;
  return status;
}
time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
int gettimeofday(struct timeval* out, void* zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}
"""
WRAPPER = """
#include <unistd.h>
int main(int argc, char** argv) {
  char* environment[] = {"LD_PRELOAD=" SHIM_FILE, 0};
  (void)argc;
  execve(WORKER, argv, environment);
  return 127;
}
"""


class Clock:
    """A wall clock for one gate, warden and workers, that can be set; the boot clock goes on as ever.

    Workers get no environment, so theirs is loaded by a program that stands where the worker stands.
    """

    def __init__(self, directory):
        os.makedirs(f"{directory}/bin")
        self._file = f"{directory}/offset"
        with open(self._file, "wb") as file:
            file.write(bytes(8))
        with open(self._file, "r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        shim = f"{directory}/shim.so"
        self._compile(SHIM, shim, "-shared", "-fPIC", f'-DOFFSET_FILE="{self._file}"')
        self._compile(WRAPPER, f"{directory}/bin/sallyport-worker", f'-DSHIM_FILE="{shim}"', f'-DWORKER="{BUILD}/bin/sallyport-worker"')
        shutil.copy(SALLYPORT, f"{directory}/bin/sallyport")
        # Gate.start() puts the program of the build behind this: it is left out.
        self.prefix = ["sh", "-c", f'shift; exec "{directory}/bin/sallyport" "$@"', "-"]
        self.environment = {"LD_PRELOAD": shim}

    @staticmethod
    def _compile(source, target, *flags):
        subprocess.run(["cc", "-O1", "-x", "c", "-", "-o", target, *flags], input=source, text=True, check=True, timeout=60)

    def set(self, seconds):
        """That much ahead of the real one."""
        self._offset[:] = struct.pack("=q", seconds)
