#!/usr/bin/python3
"""CEL-19: what confinement adds to the start of a command: `sallyport run -- true` against bare `true`, interleaved, and the memory it takes.

Runs as the caller; as root it drops to the user "games", as the lab does. Prints milliseconds and one RATIO line a target.
"""

import os
import pwd
import statistics
import subprocess
import sys
import tempfile
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SALLYPORT = f"{os.environ.get('SALLYPORT_BUILD', TREE + '/build')}/bin/sallyport"
ROUNDS = 20
TARGET_MS, TARGET_MB = 30, 40


def as_user():
    if os.geteuid() == 0:
        user = pwd.getpwnam("games")
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def timed(command, cwd):
    began = time.perf_counter()
    subprocess.run(command, cwd=cwd, preexec_fn=as_user, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={"PATH": "/usr/bin:/bin", "HOME": cwd})
    return (time.perf_counter() - began) * 1000


def resident_kb(pid):
    """Private memory and this process's share of the rest."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def memory_mb(cwd):
    """Warden, worker and the cell's first process while a command runs; the command itself is not counted."""
    process = subprocess.Popen([SALLYPORT, "run", "--resolver", "127.0.0.1", "--", "sh", "-c", "echo up; exec cat"], cwd=cwd, preexec_fn=as_user,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "HOME": cwd})
    process.stdout.readline()
    total = sum(resident_kb(pid) for pid in [process.pid, *children(process.pid)])
    process.stdin.close()
    process.wait()
    return total / 1024


def main():
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as cwd:
        os.chmod(cwd, 0o777)
        confined = [SALLYPORT, "run", "--resolver", "127.0.0.1", "--", "true"]
        for command in (["true"], confined):
            timed(command, cwd)
        bare, inside = [], []
        for _ in range(ROUNDS):
            bare.append(timed(["true"], cwd))
            inside.append(timed(confined, cwd))
        added = statistics.median(inside) - statistics.median(bare)
        quartiles = statistics.quantiles(inside, n=4)
        print(f"bare {statistics.median(bare):.1f} ms, confined {statistics.median(inside):.1f} ms (quartiles {quartiles[0]:.1f} to {quartiles[2]:.1f}, {ROUNDS} rounds)")
        print(f"RATIO startup_added_ms {added:.1f} target <={TARGET_MS} {'ok' if added <= TARGET_MS else 'short'}")
        if os.geteuid() == 0:  # reading the memory of an undumpable process needs root
            used = memory_mb(cwd)
            print(f"RATIO resident_mb {used:.1f} target <={TARGET_MB} {'ok' if used <= TARGET_MB else 'short'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
