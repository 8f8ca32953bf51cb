"""downloader.py SECONDS GATE4 GOOD4 NAME: what an honest agent does all the time, four ways at once; for test_chaos.

A line for each success: kind, when it began, when it ended (the monotonic clock, which all processes share). `stream` is one download
that goes on for as long as its worker lives, and its successes are its pieces of 64 kB.
"""

import random
import socket
import ssl
import struct
import sys
import threading
import time

SECONDS, GATE4, GOOD4, NAME = float(sys.argv[1]), *sys.argv[2:5]
END = time.monotonic() + SECONDS
TIMEOUT, PAUSE = 0.7, 0.03
lock = threading.Lock()
tls = ssl.create_default_context()


def dns():
    wire = b"".join(bytes([len(part)]) + part for part in NAME.encode().split(b".")) + b"\0"
    query = struct.pack("!6H", random.getrandbits(16), 0x0100, 1, 0, 0, 0) + wire + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(TIMEOUT)
        s.connect((GATE4, 53))
        s.send(query)
        answer = s.recv(2048)
    return answer[3] & 15 == 0 and socket.inet_aton(GOOD4) in answer


def whoami(s):
    with tls.wrap_socket(s, server_hostname=NAME) as channel:
        channel.sendall(f"GET /whoami HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        return channel.recv(4096).startswith(b"HTTP/1.1 200")


def proxy():
    with socket.create_connection((GATE4, 3128), TIMEOUT) as s:
        s.sendall(f"CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n".encode())
        return b" 200 " in s.recv(4096) and whoami(s)


def transparent():
    with socket.create_connection((GOOD4, 443), TIMEOUT) as s:
        return whoami(s)


def stream():
    with socket.create_connection((GOOD4, 443), TIMEOUT) as s, tls.wrap_socket(s, server_hostname=NAME) as channel:
        channel.sendall(f"GET /big HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        while time.monotonic() < END:
            began, size = time.monotonic(), 0
            while size < 65536:
                data = channel.recv(65536)
                if not data:
                    return False
                size += len(data)
            say("stream", began)
            time.sleep(PAUSE)
    return False


def say(kind, began):
    with lock:
        print(kind, f"{began:.3f} {time.monotonic():.3f}", flush=True)


def forever(kind):
    while (began := time.monotonic()) < END:
        try:
            if kind():
                say(kind.__name__, began)
        except OSError:
            pass
        time.sleep(PAUSE)


threads = [threading.Thread(target=forever, args=(kind,)) for kind in (dns, proxy, transparent, stream)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
