"""An agent that asks the gate by raw messages."""

import ipaddress
import socket
import struct

from small_internet.gate import GATE4
from small_internet.messages import Answer
from small_internet.messages import query as hex_query

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
EDNS = (0, 1232, b"")


def query(*arguments, **options):
    return bytes.fromhex(hex_query(*arguments, **options))


def framed(message):
    return struct.pack("!H", len(message)) + message


def receive(s):
    """One message of a TCP connection, as octets; empty where it ended."""
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack_from("!H", data)[0]:
        chunk = s.recv(2 - len(data) if len(data) < 2 else 2 + struct.unpack_from("!H", data)[0] - len(data))
        if not chunk:
            return b""
        data += chunk
    return data[2:]


def addresses(answer):
    return {str(ipaddress.ip_address(data)) for kind, _, data in answer.answers if kind in (1, 28)}


class DnsClient:
    def __init__(self, lab, agents):
        self._lab, self._agents = lab, agents

    def ask(self, *messages, tcp=False, agent="a", server=GATE4, timeout=6):
        """An Answer, or in a word what came instead, for each message; one alone is no list."""
        answers = [self._one(m, tcp, agent, server, timeout) for m in messages]
        return answers[0] if len(answers) == 1 else answers

    def _one(self, message, tcp, agent, server, timeout):
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with self._lab.namespaces.inside(self._agents.fds[agent]):
            s = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        with s:
            s.settimeout(timeout)
            try:
                s.connect((server, 53))
                if not tcp:
                    s.send(message)
                    return Answer(s.recv(65535))
                s.sendall(framed(message))
                data = receive(s)
                return Answer(data) if data else "closed"
            except OSError as error:
                return "silence" if isinstance(error, TimeoutError) else error.strerror
