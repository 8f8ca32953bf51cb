#!/usr/bin/python3
"""check.py PROGRAM BUILD_TYPE: instructions per lookup of 100,000 names under callgrind, against PERF's bounds.

The difference between many lookups and few is taken, so that what surrounds them does not count. Builds that are not optimised
print their count and are held to no bound."""

import re
import subprocess
import sys
import tempfile

BOUNDS = {"hit": 450, "miss": 300}
FEW, MANY = 1_000, 21_000


def instructions(program, kind, count):
    with tempfile.TemporaryDirectory() as directory:
        result = subprocess.run(
            ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured*", f"--callgrind-out-file={directory}/out", program, kind, str(count)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )
    assert result.returncode == 0, f"{kind}: exit {result.returncode}\n{result.stdout}{result.stderr[-2000:]}"
    return int(re.search(r"Collected : (\d+)", result.stderr).group(1))


def main():
    program, build_type = sys.argv[1], sys.argv[2]
    failed = False
    for kind, bound in BOUNDS.items():
        each = (instructions(program, kind, MANY) - instructions(program, kind, FEW)) / (MANY - FEW)
        assert each > 50, f"{each} instructions a {kind}: nothing was counted"
        within = each <= bound
        print(f"RATIO instructions-per-{kind} {each:.1f} target <={bound} {'ok' if within else 'short'}")
        failed = failed or (build_type == "Release" and not within)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
