"""Bytes that a hostile client sends: DNS messages and ClientHellos, right and wrong."""

import os
import struct

from .dns import NUMBERS, encode_name


def query(name, qtype="A", ident=0x1234, flags=0x0100, qclass=1, edns=None, counts=None, tail=b"", wire=None):
    """A DNS query as hex. edns: (version, size, options bytes), or a list of them; wire: the QNAME's bytes instead of name."""
    options = [] if edns is None else (edns if isinstance(edns, list) else [edns])
    additional = b"".join(
        b"\0" + struct.pack("!HHBBHH", 41, size, 0, version, 0, len(data)) + data for version, size, data in options
    )
    number = NUMBERS[qtype] if isinstance(qtype, str) else qtype
    qdcount, ancount, nscount, arcount = counts or (1, 0, 0, len(options))
    question = (encode_name(name) if wire is None else wire) + struct.pack("!HH", number, qclass)
    return (struct.pack("!6H", ident, flags, qdcount, ancount, nscount, arcount) + question + additional + tail).hex()


class Answer:
    """A DNS reply: id, rcode (extended), flags, question bytes, answers [(type, ttl, rdata)], ede codes, tc."""

    def __init__(self, data):
        message = bytes.fromhex(data) if isinstance(data, str) else data
        self.message = message
        self.ident, self.flags, questions, *counts = struct.unpack_from("!6H", message)
        self.rcode, self.tc, self.aa, self.ra = (
            self.flags & 15,
            bool(self.flags & 0x200),
            bool(self.flags & 0x400),
            bool(self.flags & 0x80),
        )
        offset, self.sections, self.ede, self.opt = 12, [], [], None
        for _ in range(questions):
            offset = self._skip(message, offset) + 4
        self.question = message[12:offset]
        for count in counts:
            section = []
            for _ in range(count):
                offset = self._skip(message, offset)
                kind, klass, ttl, length = struct.unpack_from("!HHIH", message, offset)
                data = message[offset + 10 : offset + 10 + length]
                offset += 10 + length
                if kind == 41:
                    self.opt = (klass, ttl, data)
                    self.rcode |= (ttl >> 24) << 4
                    self._options(data)
                else:
                    section.append((kind, ttl, data))
            self.sections.append(section)
        self.answers, self.authority = self.sections[0], self.sections[1]
        self.whole = offset == len(message)

    @staticmethod
    def _skip(message, offset):
        while message[offset]:
            if message[offset] >= 192:
                return offset + 2
            offset += 1 + message[offset]
        return offset + 1

    def _options(self, data):
        while data:
            code, length = struct.unpack_from("!HH", data)
            if code == 15:
                self.ede.append(struct.unpack_from("!H", data, 4)[0])
            data = data[4 + length :]


GREASE = 0x5A5A


def extension(kind, data):
    return struct.pack("!HH", kind, len(data)) + data


def sni(*names, kind=0):
    entries = b"".join(struct.pack("!BH", kind, len(n)) + n for n in names)
    return extension(0, struct.pack("!H", len(entries)) + entries)


def key_share(*shares):
    entries = b"".join(struct.pack("!HH", group, size) + os.urandom(size) for group, size in shares)
    return extension(51, struct.pack("!H", len(entries)) + entries)


def versions(*numbers):
    return extension(43, bytes([2 * len(numbers)]) + b"".join(struct.pack("!H", n) for n in numbers))


GROUPS = extension(10, struct.pack("!4H", 6, 29, 23, 24))
SIGNATURES = extension(13, struct.pack("!4H", 6, 0x0403, 0x0804, 0x0401))
POINTS = extension(11, b"\x01\x00")
ALPN = extension(16, struct.pack("!H", 12) + b"\x02h2\x08http/1.1")
X25519 = (29, 32)
X25519MLKEM768 = (0x11EC, 1216)


def hello(
    name=b"raw.example.test",
    extensions=None,
    before=(),
    after=(),
    version=0x0303,
    ciphers=(0x1301, 0x1302, 0xC02B, 0xC02F, 0xC013),
):
    """A ClientHello handshake message. extensions replaces the default list; None as name leaves the SNI out."""
    if extensions is None:
        first = [sni(name)] if name is not None else []
        extensions = [
            *before,
            *first,
            GROUPS,
            SIGNATURES,
            POINTS,
            ALPN,
            versions(0x0304, 0x0303),
            key_share(X25519),
            *after,
        ]
    body = struct.pack("!H", version) + os.urandom(32) + bytes([32]) + os.urandom(32)
    suites = b"".join(struct.pack("!H", c) for c in ciphers)
    body += struct.pack("!H", len(suites)) + suites + b"\x01\x00"
    packed = b"".join(extensions)
    if packed or extensions:
        body += struct.pack("!H", len(packed)) + packed
    return b"\x01" + struct.pack("!I", len(body))[1:] + body


def records(handshake, *cuts, version=0x0301, size=16384):
    """The handshake bytes as TLS records, cut at these offsets, or into records of `size` octets."""
    edges = [0, *cuts, len(handshake)] if cuts else [*range(0, len(handshake), size), len(handshake)]
    return b"".join(struct.pack("!BHH", 22, version, b - a) + handshake[a:b] for a, b in zip(edges, edges[1:]))
