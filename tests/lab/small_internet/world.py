"""Names and addresses of the small internet: plain data.

The addresses look public, because the address guard refuses documentation and private ranges; they exist in the namespaces
alone.
"""

HOST4, HOST4_GATEWAY = "5.9.10.2", "5.9.10.1"
HOST6, HOST6_GATEWAY = "2a01:4f8:10::2", "2a01:4f8:10::1"

RESOLVER = "9.9.9.9"
RESOLVER6 = "2620:fe::fe"
OTHER_RESOLVER = "8.8.8.8"
OTHER_RESOLVER6 = "2001:4860:4860::8888"

GOOD4, GOOD6 = "93.184.216.34", "2606:2800:220:1::34"
CDN4, CDN6 = "151.101.1.10", "2a04:4e42::10"
PKG4, PKG6 = "104.16.20.30", "2606:4700::20:30"
SHARED4, SHARED6 = "104.18.5.5", "2606:4700::5:5"  # two names, one address
GIT4, GIT6 = "140.82.112.3", "2a0c:2740::3"
EVIL4, EVIL6 = "185.199.108.66", "2a0a:e5c0::66"
RAW4, RAW6 = "52.5.5.5", "2600:1f18::5"  # echoes and records raw bytes on 80 and 443, where the others have nginx
BLACKHOLE4, BLACKHOLE6 = "52.9.9.9", "2600:9999::9"  # swallows every packet
LOAD4 = "52.40.0.1"
METADATA = "169.254.169.254"

# name: (type, data) records. A relative owner is never used; the last labels say the zone.
RECORDS = {
    "api.example.test": [("A", GOOD4), ("AAAA", GOOD6)],
    "www.example.test": [("A", GOOD4), ("AAAA", GOOD6)],
    "other.example.test": [("A", GOOD4), ("AAAA", GOOD6)],
    "v4only.example.test": [("A", GOOD4)],
    "v6only.example.test": [("AAAA", GOOD6)],
    "git.example.test": [("A", GIT4), ("AAAA", GIT6)],
    "db.example.test": [("A", "52.1.2.3"), ("AAAA", "2600:1f18::3")],
    "mail.example.test": [("MX", "10 api.example.test."), ("TXT", '"v=spf1 -all"')],
    "long.example.test": [("A", f"52.30.0.{i}") for i in range(1, 61)],  # more than one UDP datagram of 512
    "alias.example.test": [("CNAME", "x.evil.test.")],
    "load.example.test": [("A", LOAD4)],  # an address of its own, for servers that a test starts
    "raw.example.test": [("A", RAW4), ("AAAA", RAW6)],
    "half.example.test": [("A", GOOD4), ("AAAA", BLACKHOLE6)],  # a client has to fall back to IPv4
    "gone.example.test": [("A", BLACKHOLE4)],
    "cdn.test": [("A", CDN4), ("AAAA", CDN6)],
    "www.cdn.test": [("A", CDN4), ("AAAA", CDN6)],
    "a.b.cdn.test": [("A", CDN4), ("AAAA", CDN6)],
    "_dns.cdn.test": [("A", CDN4)],
    "a_b.cdn.test": [("A", CDN4)],
    "pkg.test": [("A", PKG4), ("AAAA", PKG6)],
    "npm.pkg.test": [("A", PKG4), ("AAAA", PKG6)],
    "pypi.pkg.test": [("A", PKG4), ("AAAA", PKG6)],
    "one.shared.test": [("A", SHARED4), ("AAAA", SHARED6)],
    "two.shared.test": [("A", SHARED4), ("AAAA", SHARED6)],
    # What the shipped example policies allow, and what their users try first.
    "api.anthropic.com": [("A", GOOD4), ("AAAA", GOOD6)],
    "api.openai.com": [("A", GOOD4), ("AAAA", GOOD6)],
    "evil.com": [("A", EVIL4), ("AAAA", EVIL6)],
    "evil.test": [("A", EVIL4), ("AAAA", EVIL6)],
    "*.evil.test": [("A", EVIL4), ("AAAA", EVIL6)],
    "x.evil.test": [("A", EVIL4), ("AAAA", EVIL6)],
    "xapi.example.test": [("A", EVIL4)],
    "api.example.test.evil.test": [("A", EVIL4)],
    # Guarded final addresses (DNS-11, DNS-12), one name each, and one name with a good and a bad one.
    "private.guard.test": [("A", "10.0.0.5")],
    "loopback.guard.test": [("A", "127.0.0.1")],
    "metadata.guard.test": [("A", METADATA)],
    "cgnat.guard.test": [("A", "100.64.0.1")],
    "zero.guard.test": [("A", "0.0.0.0")],
    "multicast.guard.test": [("A", "224.0.0.1")],
    "loopback6.guard.test": [("AAAA", "::1")],
    "linklocal6.guard.test": [("AAAA", "fe80::1")],
    "ula6.guard.test": [("AAAA", "fc00::1")],
    "mapped6.guard.test": [("AAAA", "::ffff:10.0.0.1")],
    "nat64.guard.test": [("AAAA", "64:ff9b::a9fe:a9fe")],
    "sixtofour.guard.test": [("AAAA", "2002:a00:1::1")],
    "teredo.guard.test": [("AAAA", "2001:0:1::1")],
    "mixed.guard.test": [("A", "10.0.0.5"), ("A", GOOD4)],
}
GUARDED4 = [n for n, r in RECORDS.items() if n.endswith(".guard.test") and r[0][0] == "A" and not n.startswith("mixed")]
GUARDED6 = [n for n, r in RECORDS.items() if n.endswith(".guard.test") and r[0][0] == "AAAA"]

# Chains and loops of aliases (DNS-14): chain0 -> chain1 -> ... -> chain17, which has an address.
RECORDS.update({f"chain{i}.loop.test": [("CNAME", f"chain{i + 1}.loop.test.")] for i in range(17)})
RECORDS["chain17.loop.test"] = [("A", GOOD4)]
RECORDS["loop0.loop.test"] = [("CNAME", "loop1.loop.test.")]
RECORDS["loop1.loop.test"] = [("CNAME", "loop0.loop.test.")]

ZONES = ["example.test", "cdn.test", "pkg.test", "shared.test", "evil.test", "guard.test", "loop.test", "anthropic.com", "openai.com", "evil.com"]

# Names that dns.py answers by itself, each in its own wrong way.
SCRIPTED = "scripted.test"
# Names below it: those that lead to the gateway itself, and those with a TTL of their own, each with an address of its own.
GATEWAYS = {
    "gatewaylan": ("A", "172.20.0.1"),
    "gatewaywan": ("A", HOST4),
    "gatewaysix": ("AAAA", HOST6),
    "gatewaymixed": ("A", HOST4, GOOD4),
}
TTLS = {"ttl0": (0, "52.31.0.1"), "ttlhuge": (1 << 31, "52.31.0.2"), "ttlyear": (31_536_000, "52.31.0.3")}

# Names that web servers have certificates for; curl refuses a certificate for `*.test`, so all are listed.
WEB_NAMES = [
    "api.example.test",
    "www.example.test",
    "other.example.test",
    "v4only.example.test",
    "v6only.example.test",
    "git.example.test",
    "alias.example.test",
    "cdn.test",
    "www.cdn.test",
    "a.b.cdn.test",
    "pkg.test",
    "npm.pkg.test",
    "pypi.pkg.test",
    "one.shared.test",
    "two.shared.test",
    "api.anthropic.com",
    "api.openai.com",
    "evil.com",
    "evil.test",
    "www.evil.test",
    "x.evil.test",
    "xapi.example.test",
    "api.example.test.evil.test",
    "tc.scripted.test",
    "mixed.guard.test",
    "chain5.loop.test",
]

# TCP ports with an echo server on every address, besides 22 (ssh), 53 (DNS), 80 and 443 (web). On BANNER_PORT the server
# speaks first, as ssh, SMTP and MySQL servers do.
BANNER_PORT, BANNER = 2222, b"220 small internet\r\n"
ECHO_PORTS = [23, 853, 2222, 3128, 5353, 5432, 8080, 8443, 9418]
# UDP ports with an echo server, besides 53.
UDP_ECHO_PORTS = [123, 443, 5353, 4433]


def zone_of(name):
    return ".".join(name.split(".")[-2:])
