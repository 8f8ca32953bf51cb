"""What suites of the kernel's part share: a policy with rules for UDP by name, rules put in by hand, and waiting for what is to come true."""

import subprocess
import time

from small_internet.gate import P0

# UDP by name: an echo server's port, and the time's.
POLICY = P0 + """
  - { name: clock, action: allow, clients: [agents], domains: [db.example.test], ports: [123/udp, 5353/udp, 5432] }
"""
DB4, DB6 = "52.1.2.3", "2600:1f18::3"


def wait_until(what, timeout=5.0):
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, "still not so"
        time.sleep(0.01)


def nft(lab, text):
    subprocess.run(["ip", "netns", "exec", lab.namespaces.host, "nft", "-f", "-"], text=True, check=True, input=text)


def flush(lab):
    """Another firewall's flush, and the lab's masquerading again."""
    nft(lab, "flush ruleset\ntable inet foreign_nat { chain post { type nat hook postrouting priority 100; oifname uplink masquerade; }; }\n")
