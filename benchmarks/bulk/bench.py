#!/usr/bin/python3
"""A large download through a cell against the same download through HAProxy in tcp mode: same client, server, machine, one run.

Needs root (it makes the lab's namespaces). Rounds are interleaved; the ratio is of medians.
"""

import os
import statistics
import subprocess
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{TREE}/tests/lab")
from small_internet.lab import Lab  # noqa: E402
from small_internet import world  # noqa: E402

ROUNDS = 7
SIZE = 1 << 30
TARGET = 0.7
PORT, HAPROXY_PORT = 8000, 13129
NAME = "pkg.test"

SERVER = """
import os, socket, sys
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
size, block = int(sys.argv[2]), bytes(1 << 20)
head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {size}\\r\\nConnection: close\\r\\n\\r\\n".encode()
file = os.memfd_create("body")
for _ in range(size >> 20): os.write(file, block)
print("up", flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(head)
    offset = 0
    while offset < size: offset += os.sendfile(connection.fileno(), file, offset, size - offset)
    connection.close()
"""

HAPROXY = """
global
    nbthread 1
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen relay
    bind 127.0.0.1:{port}
    server origin {origin}:{origin_port}
"""


def rate(run):
    assert run.status == 0, run
    speed, size = run.text.split()
    assert int(size) == SIZE, run
    return float(speed) / 1e6


def main():
    lab = Lab()
    try:
        origin = next(data for kind, data in world.RECORDS[NAME] if kind == "A")
        server = lab.namespaces.spawn(lab.namespaces.net_fd, ["/usr/bin/python3", "-c", SERVER, str(PORT), str(SIZE)], stdout=subprocess.PIPE)
        server.stdout.readline()
        config = f"{lab.namespaces.state}/haproxy.cfg"
        with open(config, "w") as file:
            file.write(HAPROXY.format(port=HAPROXY_PORT, origin=origin, origin_port=PORT))
        lab.namespaces.spawn(lab.namespaces.host_fd, ["/usr/sbin/haproxy", "-f", config, "-q"])
        time.sleep(0.5)
        curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}"]
        ours, theirs, direct = [], [], []
        for _ in range(ROUNDS):
            direct.append(rate(lab.bare(*curl, f"http://{origin}:{PORT}/", timeout=120)))
            theirs.append(rate(lab.bare(*curl, f"http://127.0.0.1:{HAPROXY_PORT}/", timeout=120)))
            ours.append(rate(lab.run(*curl, f"http://{NAME}:{PORT}/", allow=f"{NAME}:{PORT}", timeout=120)))
        for label, values in (("direct", direct), ("haproxy", theirs), ("cell", ours)):
            print(f"{label:8} {statistics.median(values):7.0f} MB/s ({min(values):.0f} to {max(values):.0f}, {ROUNDS} rounds)")
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"RATIO bulk_cell_to_haproxy {ratio:.2f} target >={TARGET} {'ok' if ratio >= TARGET else 'short'}")
    finally:
        lab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
