"""The name servers of the small internet: nsd behind a front that notes every question.

The front listens on port 53 of every address, answers names below scripted.test by itself (each wrong in its own way) and
passes the rest to nsd, whose answers it turns into a resolver's (RA set, AA clear).
"""

import collections
import itertools
import os
import selectors
import socket
import struct
import threading
import time

from . import world

Question = collections.namedtuple("Question", "name type transport server raw port", defaults=(0,))
TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    10: "NULL",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    65: "HTTPS",
    255: "ANY",
}
NUMBERS = {text: number for number, text in TYPES.items()}
_NSD = ("127.0.0.1", 5300)
_IPV6_PKTINFO = 50
_IP_PKTINFO = 8


def encode_name(name):
    return (
        b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.rstrip(".").split(".") if label)
        + b"\0"
    )


def read_question(message):
    """(name as sent, type, end of the question section); raises on anything that is not one plain question."""
    offset, labels = 12, []
    while (length := message[offset]) != 0:
        if length > 63:
            raise ValueError("a pointer in a question")
        labels.append(message[offset + 1 : offset + 1 + length].decode("latin-1"))
        offset += 1 + length
    qtype = struct.unpack_from("!H", message, offset + 1)[0]
    return ".".join(labels), qtype, offset + 5


def record(owner, rtype, data, ttl=60):
    """owner: bytes in wire form, or a name."""
    wire = owner if isinstance(owner, bytes) else encode_name(owner)
    if rtype == "A":
        rdata = socket.inet_pton(socket.AF_INET, data)
    elif rtype == "AAAA":
        rdata = socket.inet_pton(socket.AF_INET6, data)
    elif rtype in ("CNAME", "NS"):
        rdata = encode_name(data)
    elif rtype == "SOA":
        rdata = (
            encode_name("ns.scripted.test")
            + encode_name("root.scripted.test")
            + struct.pack("!5I", 1, 600, 600, 600, 5)
        )
    else:
        raise ValueError(rtype)
    return wire + struct.pack("!HHIH", NUMBERS[rtype], 1, ttl, len(rdata)) + rdata


def reply(query, answers=(), authority=(), additional=(), rcode=0, flags=0x8180, ident=None, question=None):
    _, _, end = read_question(query)
    ident = struct.unpack_from("!H", query)[0] if ident is None else ident
    header = struct.pack("!6H", ident, flags | rcode, 1, len(answers), len(authority), len(additional))
    return (
        header
        + (query[12:end] if question is None else question)
        + b"".join(answers)
        + b"".join(authority)
        + b"".join(additional)
    )


def svcb(owner, kind, qtype=65):
    """An HTTPS or SVCB record (RFC 9460) with everything in it that leads around a gateway, and what is harmless."""
    if kind == "svcbalias":
        return owner + struct.pack("!HHIH", qtype, 1, 60, 2 + len(encode_name("x.evil.test"))) + b"\0\0" + encode_name("x.evil.test")
    target = encode_name("x.evil.test") if kind == "svcbaway" else b"\0"
    parameters = [
        (0, b"\0\1"),  # mandatory: alpn
        (1, b"\x02h2\x02h3"),
        (3, struct.pack("!H", 443)),
        (4, socket.inet_pton(socket.AF_INET, world.EVIL4)),
        (5, b"\0\x10" + b"ECHCONFIGOCTETS!"),
        (6, socket.inet_pton(socket.AF_INET6, world.EVIL6)),
        (65280, b"of my own"),
    ]
    data = b"\0\1" + target + b"".join(struct.pack("!HH", key, len(value)) + value for key, value in parameters)
    return owner + struct.pack("!HHIH", qtype, 1, 60, len(data)) + data


class Script:
    """Answers for names below scripted.test: [(delay in seconds, message)], none for silence.

    A third item says where a datagram comes from instead: "port", another port of that address; "source", another address.
    """

    def __init__(self):
        self._seen = collections.Counter()

    def __call__(self, query, name, qtype, transport):
        first = name.split(".")[0].lower()
        self._seen[(first, qtype)] += 1
        nth = self._seen[(first, qtype)]
        owner = b"\xc0\x0c"
        soa = [record(world.SCRIPTED, "SOA", None)]
        good = [record(owner, "A", world.GOOD4)] if qtype == 1 else []
        evil = [record(owner, "A", world.EVIL4)] if qtype == 1 else []
        plain = reply(query, good, () if good else soa)
        ident = struct.unpack_from("!H", query)[0]
        if first == "silent" or (first == "flaky" and nth == 1):
            return []
        if first == "tc":
            return [(0, plain if transport == "tcp" else reply(query, flags=0x8380))]
        if first == "wrongid":
            return [(0, reply(query, evil, ident=ident ^ 0x5555)), (0.1, plain)]
        if first == "wrongname":
            return [
                (0, reply(query, evil, question=encode_name("evil.test") + struct.pack("!HH", qtype, 1))),
                (0.1, plain),
            ]
        if first == "wrongtype":
            return [(0, reply(query, evil, question=encode_name(name) + struct.pack("!HH", 16, 1))), (0.1, plain)]
        if first == "wrongcase":
            turned = encode_name(name.swapcase()) + struct.pack("!HH", qtype, 1)
            return [(0, plain)] if transport == "tcp" else [(0, reply(query, evil, question=turned)), (0.05, plain)]
        if first in ("wrongport", "wrongsource"):
            return [(0, reply(query, evil), first[5:]), (0.1, plain)]
        if first == "notreply":
            return [(0, reply(query, evil, flags=0x0100)), (0.1, plain)]
        if first == "extra":
            return [
                (
                    0,
                    reply(
                        query,
                        good + [record("pkg.test", "A", world.EVIL4)] if good else [],
                        [record("pkg.test", "NS", "ns.evil.test")],
                        [record("ns.evil.test", "A", world.EVIL4), record("pkg.test", "A", world.EVIL4)],
                    ),
                )
            ]
        if first == "foreign":  # an answer for another owner alone: not an answer to this question
            return [(0, reply(query, [record("pkg.test", "A", world.EVIL4)]))]
        if first in ("servfail", "nxdomain", "refused"):
            rcode = {"servfail": 2, "nxdomain": 3, "refused": 5}[first]
            return [(0, reply(query, (), soa if rcode == 3 else (), rcode=rcode))]
        if first == "short":
            return [(0, query[:7])]
        if first == "pointerloop":
            return [
                (
                    0,
                    reply(
                        query,
                        [b"\xc0" + bytes([len(query[: read_question(query)[2]])]) + record(b"", "A", world.EVIL4)],
                    ),
                )
            ]
        if first == "counts":  # promises records that are not there
            return [(0, plain[:6] + struct.pack("!H", 900) + plain[8:])]
        if first in ("ttl0", "ttlhuge", "ttlyear"):
            ttl, address = world.TTLS[first]
            return [(0, reply(query, [record(owner, "A", address, ttl)] if good else [], () if good else soa))]
        if first in world.GATEWAYS:  # a name of somebody else's that leads to the gateway itself
            kind, *found = world.GATEWAYS[first]
            own = [record(owner, kind, address) for address in found] if TYPES.get(qtype) == kind else []
            return [(0, reply(query, own, () if own else soa))]
        if qtype == 65 and first in ("svcb", "svcbaway", "svcbalias"):
            return [(0, reply(query, [svcb(owner, first)]))]
        if qtype == 64 and ".svcb." in name.lower():
            return [(0, reply(query, [svcb(owner, "svcb", qtype)]))]
        if first == "rebind":
            return [
                (
                    0,
                    reply(
                        query,
                        [record(owner, "A", world.GOOD4 if nth == 1 else "10.0.0.5", 0)] if good else [],
                        () if good else soa,
                    ),
                )
            ]
        if first == "slow":
            return [(1.0, plain)]
        return [(0, plain)]


class NameServers:
    """Every question that arrived, in order; nsd and the front that asks it."""

    def __init__(self, namespaces):
        self._lock = threading.Lock()
        self._questions = []
        self._script = Script()
        self._namespaces = namespaces
        self._start_nsd()
        with namespaces.inside(namespaces.net_fd):
            self._sockets = self._listen()
        for loop in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=loop, daemon=True).start()

    def questions(self):
        with self._lock:
            return list(self._questions)

    def _start_nsd(self):
        directory = f"{self._namespaces.state}/nsd"
        os.makedirs(directory)
        config = [
            "server:",
            f"  ip-address: {_NSD[0]}@{_NSD[1]}",
            '  username: ""',
            '  pidfile: ""',
            '  database: ""',
            f'  zonesdir: "{directory}"',
            f'  zonelistfile: "{directory}/zone.list"',
            f'  xfrdfile: "{directory}/xfrd.state"',
            f'  xfrdir: "{directory}"',
            f'  logfile: "{directory}/log"',
            "  rrl-ratelimit: 0",
            "  server-count: 1",
            "  hide-version: yes",
            "remote-control:",
            "  control-enable: no",
        ]
        for zone in world.ZONES:
            config += ["zone:", f"  name: {zone}", f"  zonefile: {zone}"]
            with open(f"{directory}/{zone}", "w") as file:
                file.write(f"$ORIGIN {zone}.\n$TTL 60\n@ SOA ns root 1 600 600 600 5\n@ NS ns\nns A {world.RESOLVER}\n")
                for name, records in world.RECORDS.items():
                    if world.zone_of(name) == zone:
                        file.writelines(f"{name}. {rtype} {data}\n" for rtype, data in records)
        with open(f"{directory}/nsd.conf", "w") as file:
            file.write("\n".join(config) + "\n")
        self._namespaces.spawn(self._namespaces.net_fd, ["/usr/sbin/nsd", "-d", "-c", f"{directory}/nsd.conf"])

    def _listen(self):
        sockets = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            udp = socket.socket(family, socket.SOCK_DGRAM)
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET:
                udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                for s in (udp, tcp):
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            elsewhere = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                elsewhere.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for s, port in ((udp, 53), (tcp, 53), (elsewhere, 5355)):
                s.bind(("::" if family == socket.AF_INET6 else "", port))
            tcp.listen(256)
            sockets[("udp", family)], sockets[("tcp", family)], sockets[("elsewhere", family)] = udp, tcp, elsewhere
        backend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        backend.connect(_NSD)
        backend.settimeout(1)
        sockets["nsd"] = backend
        return sockets

    def _note(self, message, transport, server, port):
        try:
            name, qtype, _ = read_question(message)
        except (IndexError, ValueError, struct.error):
            name, qtype = "<malformed>", 0
        with self._lock:
            self._questions.append(
                Question(name.lower(), TYPES.get(qtype, str(qtype)), transport, server, bytes(message), port)
            )
        return name, qtype

    def _answers(self, message, transport, server, port):
        name, qtype = self._note(message, transport, server, port)
        if name == "<malformed>":
            return []
        if name.lower().endswith("." + world.SCRIPTED):
            return self._script(message, name, qtype, transport)
        return [(0, self._ask_nsd(message, transport))]

    def _ask_nsd(self, message, transport):
        if transport == "tcp":
            with self._namespaces_socket() as backend:
                backend.sendall(struct.pack("!H", len(message)) + message)
                answer = _read_framed(backend)
        else:
            backend = self._sockets["nsd"]
            for _ in range(50):  # nsd may still be starting
                try:
                    backend.send(message)
                    answer = backend.recv(65535)
                    break
                except (ConnectionRefusedError, TimeoutError):
                    time.sleep(0.02)
            else:
                raise RuntimeError("nsd does not answer")
        flags = struct.unpack_from("!H", answer, 2)[0]
        rcode = 3 if flags & 15 == 5 else flags & 15  # a zone that is not there: NXDOMAIN, as the root would say
        flags = (flags & ~0x040F) | 0x0080 | rcode
        return answer[:2] + struct.pack("!H", flags) + answer[4:]

    def _namespaces_socket(self):
        with self._namespaces.inside(self._namespaces.net_fd):
            backend = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        backend.settimeout(2)
        backend.connect(_NSD)
        return backend

    def _serve_udp(self):
        selector = selectors.DefaultSelector()
        for family in (socket.AF_INET, socket.AF_INET6):
            selector.register(self._sockets[("udp", family)], selectors.EVENT_READ, family)
        while True:
            for key, _ in selector.select():
                message, ancillary, _, client = key.fileobj.recvmsg(65535, 256)
                server, source = _destination(key.data, ancillary)
                for delay, answer, *elsewhere in self._answers(message, "udp", server, client[1]):
                    out, origin = key.fileobj, source
                    if elsewhere == ["port"]:
                        out = self._sockets[("elsewhere", key.data)]
                    elif elsewhere == ["source"]:
                        origin = _source_item(key.data, world.OTHER_RESOLVER if key.data == socket.AF_INET else world.OTHER_RESOLVER6)
                    send = lambda a=answer, s=out, src=origin, c=client: s.sendmsg([a], [src], 0, c)  # noqa: E731
                    if delay:
                        threading.Timer(delay, send).start()
                    else:
                        send()

    def _serve_tcp(self):
        for family, number in zip((socket.AF_INET, socket.AF_INET6), itertools.count()):
            listener = self._sockets[("tcp", family)]
            if number == 0:
                threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            else:
                self._accept(listener)

    def _accept(self, listener):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection):
        with connection:
            connection.settimeout(5)
            try:
                while message := _read_framed(connection):
                    for delay, answer, *_ in self._answers(message, "tcp", connection.getsockname()[0], connection.getpeername()[1]):
                        time.sleep(delay)
                        connection.sendall(struct.pack("!H", len(answer)) + answer)
            except OSError:
                pass


def _read_framed(connection):
    def exactly(n):
        data = b""
        while len(data) < n:
            if not (piece := connection.recv(n - len(data))):
                return b""
            data += piece
        return data

    head = exactly(2)
    return exactly(struct.unpack("!H", head)[0]) if head else b""


def _destination(family, ancillary):
    """The address a datagram was sent to, and the ancillary item that makes the reply come from it."""
    for level, kind, data in ancillary:
        if family == socket.AF_INET and (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            address = socket.inet_ntop(family, data[8:12])
            return address, _source_item(family, address)
        if family == socket.AF_INET6 and (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            address = socket.inet_ntop(family, data[:16])
            return address, _source_item(family, address)
    raise RuntimeError("no packet information")


def _source_item(family, address):
    """The ancillary item that makes a datagram come from that address."""
    octets = socket.inet_pton(family, address)
    if family == socket.AF_INET:
        return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, octets, b"\0" * 4)
    return socket.IPPROTO_IPV6, _IPV6_PKTINFO, octets + b"\0" * 4
