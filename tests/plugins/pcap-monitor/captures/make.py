#!/usr/bin/python3
"""Writes the captures beside it. QUIC is sealed with python3-cryptography, so that ours does not check itself.

Addresses are made up; nothing is sent. Run again only to change a capture: /usr/bin/python3 make.py
"""
import os
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from scapy.all import (DNS, DNSQR, DNSRR, GRE, ICMP, IP, TCP, UDP, Dot1Q, Ether, IPv6, IPv6ExtHdrFragment, Raw,
                       fragment, fragment6, wrpcap)

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT, CLIENT6, GATEWAY = "10.50.0.7", "2a00:1450::7", "10.50.0.1"
GOOD, EVIL = "93.184.216.34", "45.33.32.156"
ETHER = Ether(src="02:00:00:00:00:07", dst="02:00:00:00:00:01")


def vector(size, data):
    return len(data).to_bytes(size, "big") + data


def hello(name, pad=0):
    """A ClientHello handshake message."""
    sni = b"" if name is None else struct.pack(">H", 0) + vector(2, vector(2, b"\0" + vector(2, name.encode())))
    versions = struct.pack(">H", 43) + vector(2, vector(1, b"\x03\x04"))
    padding = struct.pack(">H", 21) + vector(2, bytes(pad)) if pad else b""
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    body += vector(2, padding + sni + versions)
    return b"\x01" + vector(3, body)


def record(message):
    return b"\x16\x03\x01" + vector(2, message)


SERVER_HELLO = b"\x16\x03\x03\x00\x30\x02\x00\x00\x2c" + bytes(44)


class Capture:
    def __init__(self):
        self.packets, self.now, self.port = [], 1_800_000_000.0, 40000

    def add(self, ip, at=None):
        packet = ip if isinstance(ip, Ether) else ETHER / ip
        self.now = self.now + 0.01 if at is None else at
        packet.time = self.now
        self.packets.append(packet)

    def tcp(self, dest, port, pieces, reply=SERVER_HELLO, source=CLIENT, wrap=lambda ip: ip, order=None, layer=IP):
        self.port += 1
        up = dict(sport=self.port, dport=port)
        down = dict(sport=port, dport=self.port)
        self.add(wrap(layer(src=source, dst=dest) / TCP(flags="S", seq=1000, **up)))
        if reply is not None:
            self.add(wrap(layer(src=dest, dst=source) / TCP(flags="SA", seq=5000, ack=1001, **down)))
        sequence, segments = 1001, []
        for piece in pieces:
            segments.append(layer(src=source, dst=dest) / TCP(flags="PA", seq=sequence, ack=5001, **up) / Raw(piece))
            sequence += len(piece)
        for index in order or range(len(segments)):
            self.add(wrap(segments[index]))
        if reply:
            self.add(wrap(layer(src=dest, dst=source) / TCP(flags="PA", seq=5001, ack=sequence, **down) / Raw(reply)))

    def dns(self, name, address, server=GATEWAY, ident=None, kind="A", rcode=0, answer_from=None, ask=True, source=CLIENT):
        self.port += 1
        ident = self.port & 0xffff if ident is None else ident
        question = DNSQR(qname=name, qtype=kind)
        if ask:
            self.add(IP(src=source, dst=server) / UDP(sport=self.port, dport=53) / DNS(id=ident, rd=1, qd=question))
        answer = DNSRR(rrname=name, type=kind, ttl=60, rdata=address) if address else None
        for sender in [answer_from or server]:
            self.add(IP(src=sender, dst=source) / UDP(sport=53, dport=self.port) /
                     DNS(id=ident, qr=1, rd=1, ra=1, rcode=rcode, qd=question, an=answer))

    def udp(self, dest, port, payload, sport=None, source=CLIENT):
        if sport is None:
            self.port += 1
            sport = self.port
        self.add(IP(src=source, dst=dest) / UDP(sport=sport, dport=port) / Raw(payload))

    def write(self, name, **options):
        wrpcap(os.path.join(HERE, name + ".pcap"), self.packets, **options)
        return self


# QUIC

SALT = {1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")}
VERSION = {1: 1, 2: 0x6B3343CF}


def hmac(key, data):
    mac = HMAC(key, hashes.SHA256())
    mac.update(data)
    return mac.finalize()


def expand(secret, label, size):
    return hmac(secret, struct.pack(">H", size) + vector(1, b"tls13 " + label) + b"\0\x01")[:size]


def integer(value, size):
    return (value | {1: 0, 2: 1, 4: 2, 8: 3}[size] << (8 * size - 2)).to_bytes(size, "big")


def crypto(offset, data):
    return b"\x06" + integer(offset, 4) + integer(len(data), 2) + data


def initial(frames, number, dcid, version=1, key_id=None, token=b"", size=1200):
    client = expand(hmac(SALT[version], key_id or dcid), b"client in", 32)
    prefix = b"quicv2 " if version == 2 else b"quic "
    key, iv, hp = (expand(client, prefix + label, n) for label, n in ((b"key", 16), (b"iv", 12), (b"hp", 16)))
    first = 0xC3 if version == 1 else 0xD3
    header = struct.pack(">BI", first, VERSION[version]) + vector(1, dcid) + vector(1, b"\x11\x22\x33\x44")
    header += integer(len(token), 2) + token
    frames += bytes(max(0, size - len(header) - 2 - 4 - 16 - len(frames)))
    header += integer(4 + len(frames) + 16, 2) + number.to_bytes(4, "big")
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(key).encrypt(nonce, frames, header)
    encryptor = Cipher(algorithms.AES(hp), modes.ECB()).encryptor()
    mask = encryptor.update(sealed[:16])
    out = bytearray(header + sealed)
    out[0] ^= mask[0] & 0x0F
    for i in range(4):
        out[len(header) - 4 + i] ^= mask[1 + i]
    return bytes(out)


DCID = bytes.fromhex("8394c8f03e515708")


def quic_cases():
    small, large = hello("quic.example.test"), hello("quic.example.test", pad=2000)
    half = 1000
    yield "single", [initial(crypto(0, small), 0, DCID)]
    yield "multi", [initial(crypto(0, large[:half]), 0, DCID), initial(crypto(half, large[half:2 * half]), 1, DCID),
                    initial(crypto(2 * half, large[2 * half:]), 2, DCID)]
    yield "out_of_order", [initial(crypto(2 * half, large[2 * half:]), 2, DCID),
                           initial(crypto(half, large[half:2 * half]), 1, DCID), initial(crypto(0, large[:half]), 0, DCID)]
    shuffled = b"".join(crypto(at, small[at:at + 7]) + b"\x01\0" for at in reversed(range(0, len(small), 7)))
    yield "shuffled", [initial(shuffled, 0, DCID)]
    yield "v2", [initial(crypto(0, small), 0, DCID, version=2)]
    yield "v2_multi", [initial(crypto(half, large[half:]), 1, DCID, version=2, size=1300),
                       initial(crypto(0, large[:half]), 0, DCID, version=2)]
    other = bytes.fromhex("0102030405060708090a")
    yield "retry", [initial(crypto(0, large[:half]), 0, DCID), initial(crypto(0, small), 1, other, token=b"t" * 40)]
    yield "server_id", [initial(crypto(0, large[:half]), 0, DCID),
                        initial(crypto(half, large[half:]), 1, other, key_id=DCID, size=1300)]
    yield "coalesced", [initial(crypto(0, large[:half]), 0, DCID, size=0) + initial(crypto(half, large[half:]), 1, DCID, size=0)]


def quic_bad():
    good = initial(crypto(0, hello("quic.example.test")), 0, DCID)
    yield "tag", good[:-1] + bytes([good[-1] ^ 1])
    yield "cut", good[:600]
    yield "length", good[:26] + b"\xff\xff" + good[28:]
    yield "frame", initial(b"\x30" + crypto(0, hello("quic.example.test")), 0, DCID)
    yield "lies", initial(b"\x06" + integer(0, 4) + integer(9000, 2) + b"x", 0, DCID)
    yield "version", b"\xc3" + struct.pack(">I", 0xFF00001D) + good[5:]
    yield "no_hello", initial(crypto(0, b"\x02" + vector(3, bytes(60))), 0, DCID)


def main():
    api = record(hello("api.example.test"))
    one = Capture()
    one.dns("api.example.test", GOOD)
    one.tcp(GOOD, 443, [api])                                         # the allowed one
    one.tcp(EVIL, 443, [record(hello("evil.test"))])                  # no_rule
    one.tcp("45.33.32.157", 443, [api])                               # dst_not_bound
    one.tcp(GOOD, 8443, [api])                                        # port_denied
    one.tcp("169.254.169.254", 80, [b"GET /latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"], reply=None)  # guard_metadata
    one.udp(GOOD, 443, initial(crypto(0, hello("api.example.test")), 0, DCID))  # quic_denied
    one.write("mon01")

    for name, datagrams in quic_cases():
        capture = Capture()
        for datagram in datagrams:
            capture.udp(GOOD, 443, datagram, sport=50000)
        capture.write("quic_" + name)
    for name, datagram in quic_bad():
        capture = Capture()
        capture.udp(GOOD, 443, datagram)
        capture.write("quic_bad_" + name)

    evil = record(hello("evil.test"))
    cases = {
        "vlan": lambda ip: ETHER / Dot1Q(vlan=5) / ip,
        "qinq": lambda ip: Ether(type=0x88A8) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / ip,
        "gre": lambda ip: IP(src="10.51.0.1", dst="10.52.0.1") / GRE() / ip,
        "gre_key": lambda ip: IP(src="10.51.0.1", dst="10.52.0.1") / GRE(key_present=1, key=7) / ip,
        "4in6": lambda ip: IPv6(src="2001:db8::1", dst="2001:db8::2") / ip,
        "4in4": lambda ip: IP(src="10.51.0.1", dst="10.52.0.1") / ip,
    }
    for name, wrap in cases.items():
        capture = Capture()
        capture.tcp(EVIL, 443, [evil], wrap=wrap)
        capture.write("tunnel_" + name)
    for name, wrap in {"6in4": lambda ip: IP(src="10.51.0.1", dst="10.52.0.1") / ip,
                       "6in6": lambda ip: IPv6(src="2001:db8::1", dst="2001:db8::2") / ip}.items():
        capture = Capture()
        capture.tcp("2606:4700::1", 443, [evil], source=CLIENT6, wrap=wrap, layer=IPv6)
        capture.write("tunnel_" + name)

    # A ClientHello in 1-octet segments backwards, twice, overlapping.
    capture = Capture()
    pieces = [evil[i:i + 40] for i in range(0, len(evil), 40)]
    capture.tcp(EVIL, 443, pieces, order=list(reversed(range(len(pieces)))) + [0])
    capture.write("tcp_backwards")

    capture = Capture()
    capture.tcp(EVIL, 443, [evil])
    cut = []
    for packet in capture.packets:
        octets = bytes(packet)
        short = Ether(octets[:64])
        short.time, short.wirelen = packet.time, len(octets)
        cut.append(short)
    wrpcap(os.path.join(HERE, "snaplen64.pcap"), cut, snaplen=64)

    capture = Capture()
    whole = IP(src=CLIENT, dst=EVIL, id=7) / UDP(sport=50001, dport=443) / Raw(
        initial(crypto(0, hello("evil.test")), 0, DCID))
    for piece in reversed(fragment(whole, fragsize=400)):
        capture.add(piece)
    whole6 = IPv6(src=CLIENT6, dst="2606:4700::1") / IPv6ExtHdrFragment(id=9) / UDP(sport=50001, dport=443) / Raw(
        initial(crypto(0, hello("evil.test")), 0, DCID))
    for piece in fragment6(whole6, 600):
        capture.add(piece)
    capture.write("fragments")
    capture = Capture()
    for i in range(3000):
        capture.add(IP(src=CLIENT, dst=EVIL, id=i, flags="MF", proto=17) / Raw(b"flood---"), at=1_800_000_000 + i / 1e4)
    capture.write("fragment_flood")

    capture = Capture()
    for i in range(40):
        capture.dns(f"{i:04x}{'deadbeef' * 5}.t.example.test", None, rcode=3)
    capture.write("dns_tunnel")
    capture = Capture()
    for i in range(70):
        capture.dns(f"nope{i}.example.test", None, rcode=3)
    capture.write("dns_absent")
    capture = Capture()
    for i in range(50):
        capture.dns("q.example.test", None, kind="TXT")
    capture.write("dns_txt")
    capture = Capture()
    for i in range(300):
        capture.add(IP(src=CLIENT, dst=GATEWAY) / ICMP(type=8, id=1, seq=i) / Raw(b"x" * 120))
    capture.write("icmp_tunnel")
    capture = Capture()
    capture.dns("api.example.test", EVIL, answer_from="6.6.6.6")
    capture.tcp(EVIL, 443, [api])
    capture.write("dns_spoofed")
    capture = Capture()
    capture.dns("evil.test", EVIL)
    capture.write("dns_gateway_answers_denied")
    capture = Capture()
    capture.dns("evil.test", None, rcode=3)
    capture.tcp(GATEWAY, 443, [evil], reply=b"")
    capture.write("refused_by_gateway")
    capture = Capture()
    capture.dns("evil.test", None, rcode=3, server="9.9.9.9")
    capture.write("dns_elsewhere")
    capture = Capture()
    capture.dns("api.example.test", GOOD)
    capture.tcp(GOOD, 443, [b"SSH-2.0-OpenSSH_9.2\r\n"], reply=b"SSH-2.0-x\r\n")
    capture.write("ssh_on_443")
    capture = Capture()
    capture.dns("api.example.test", GOOD)
    capture.tcp(GOOD, 443, [api] + [b"\x17\x03\x03\x04\x00" + b"x" * 1024] * 20)
    capture.write("upload")
    # The gateway's own, and the workload's link-local chatter: nothing of it is reported.
    capture = Capture()
    capture.tcp(EVIL, 443, [evil], source=GATEWAY)
    capture.udp("224.0.0.251", 5353, b"mdns")
    capture.udp("10.50.255.255", 137, b"nbns")
    capture.write("gateway_own")


if __name__ == "__main__":
    sys.exit(main())
