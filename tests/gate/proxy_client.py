"""An agent that speaks to the explicit proxy in octets of its own choice."""

import re
import socket

from small_internet.gate import GATE4


class ProxyClient:
    def __init__(self, lab, agents):
        self._lab, self._agents = lab, agents

    def connect(self, port=3128, agent="a", timeout=8):
        with self._lab.namespaces.inside(self._agents.fds[agent]):
            s = socket.socket()
        s.settimeout(timeout)
        s.connect((GATE4, port))
        return s

    def send(self, *pieces, end=False, **options):
        """(status or 0, whole answer); the connection must end. end: nothing more is said, and so is that."""
        with self.connect(**options) as s:
            try:
                for piece in pieces:
                    s.sendall(piece)
                if end:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            data = everything(s)
        match = re.match(rb"HTTP/1\.1 (\d{3}) ", data)
        return int(match[1]) if match else 0, data


def everything(s):
    """What comes until the end; a reset is an end too."""
    data = b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def exactly(s, octets):
    data = b""
    while len(data) < octets:
        chunk = s.recv(octets - len(data))
        assert chunk, data
        data += chunk
    return data


def head_of(s):
    """One head, octet by octet, so that nothing behind it is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        octet = s.recv(1)
        assert octet, head
        head += octet
    return head


def get(target, *fields, version="HTTP/1.1", method="GET"):
    return "\r\n".join([f"{method} {target} {version}", *fields, "", ""]).encode("latin-1")


def connect_to(authority, host=None):
    return get(authority, f"Host: {host or authority}", method="CONNECT")
