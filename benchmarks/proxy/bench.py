#!/usr/bin/python3
"""CPU per CONNECT, per refused CONNECT and per GB: sallyport's http-proxy beside Squid, tinyproxy and HAProxy, whole processes,
one run.

An allowlist of 10,000 names. Each tunnel carries a ClientHello and a short answer. HAProxy runs in tcp mode: a relay
that decides nothing, the floor. Each proxy has one CPU, the load and the origin have the other; rounds are interleaved; the
ratio is of medians. Needs root (a network namespace of its own).
"""

import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "dns"))
from bench import NSD, names  # noqa: E402
from bench_support import ROUNDS, SALLYPORT, SUPPORT, Place, cpu_seconds, ratio, spread, wait_port  # noqa: E402

NAMES, SECONDS, CONCURRENT = 10_000, 2, 32
ORIGIN, BULK_ORIGIN, UPSTREAM = "93.184.216.34", "93.184.216.35", 5303
BULK = 1 << 30
PORTS = {"squid": 13128, "tinyproxy": 13130, "sallyport": 13131, "haproxy": 13129}
HAPROXY_BULK = 13132

SQUID = """
http_port 127.0.0.1:{port}
workers 1
access_log none
cache_log /dev/null
cache deny all
cache_mem 8 MB
dns_nameservers 127.0.0.1
pid_filename none
coredump_dir {directory}
shutdown_lifetime 1 seconds
acl allowed dstdomain "{names}"
acl CONNECT method CONNECT
http_access allow CONNECT allowed
http_access deny all
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
User root
Group root
Timeout 30
MaxClients 2000
LogLevel Critical
ConnectPort 443
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen relay
    bind 127.0.0.1:{port}
    server origin {origin}:443
listen bulk
    bind 127.0.0.1:{bulk_port}
    server origin {bulk_origin}:443
"""

GATEWAY = """
version: 1
name: bench
policy: policy.yaml
networks: {{ load: {{ addresses: [127.0.0.0/8] }} }}
listeners:
  proxy: {{ tcp: "127.0.0.1:{port}" }}
plugins:
  - {{ name: http-proxy, config: {{ listen: [proxy], workers: 1, upstreams: ["127.0.0.1:53"] }} }}
audit: {{ sinks: ["file:/dev/null"] }}
"""


def start(place, allowed):
    bulk_name = "bulk.test"
    listed = place.write("names", "".join(f"{n}\n" for n in [*allowed, bulk_name]))
    zone = f"$ORIGIN .\n$TTL 3600\n@ SOA ns. host. 1 3600 900 86400 60\n@ NS ns.\nns A 127.0.0.1\n{bulk_name}. A {BULK_ORIGIN}\n* A {ORIGIN}\n"
    place.write("root.zone", zone + "".join(f"*.{t}. A {ORIGIN}\n" for t in ("com", "net", "org", "io", "dev")))
    place.spawn("/usr/sbin/nsd", "-d", "-c", place.write("nsd.conf", NSD.format(port=53, directory=place.directory)), cpu=1)
    wait_port("127.0.0.1", 53, proto="udp")
    place.spawn(f"{SUPPORT}/proxyload", "origin", ORIGIN, "443", cpu=1, ready="up")
    place.spawn(f"{SUPPORT}/proxyload", "origin", BULK_ORIGIN, "443", str(BULK), cpu=1, ready="up")
    servers = {}
    config = place.write("squid.conf", SQUID.format(port=PORTS["squid"], directory=place.directory, names=listed))
    os.chmod(place.directory, 0o777)
    servers["squid"] = place.spawn("/usr/sbin/squid", "-n", f"bench{os.getpid()}", "-N", "-f", config)
    servers["tinyproxy"] = place.spawn("/usr/bin/tinyproxy", "-d", "-c", place.write("tinyproxy.conf", TINYPROXY.format(port=PORTS["tinyproxy"])))
    config = place.write("haproxy.cfg", HAPROXY.format(port=PORTS["haproxy"], bulk_port=HAPROXY_BULK, origin=ORIGIN, bulk_origin=BULK_ORIGIN))
    servers["haproxy"] = place.spawn("/usr/sbin/haproxy", "-f", config, "-q", "-db")
    os.chmod(place.directory, 0o755)
    rules = "".join(f"      - {n}\n" for n in [*allowed, bulk_name])
    # The origins share the gateway's namespace, so theirs are its own addresses, which are guarded.
    lifted = "    resolves_to: [93.184.216.0/24]\n"  # a network: single addresses would be taken without asking the resolver
    place.write("policy.yaml", f"version: 1\nrules:\n  - name: allowed\n    action: allow\n    ports: [443]\n{lifted}    domains:\n{rules}")
    config = place.write("gateway.yaml", GATEWAY.format(port=PORTS["sallyport"]))
    servers["sallyport"] = place.spawn(SALLYPORT, "serve", "-c", config, "--state-dir", place.directory)
    for port in PORTS.values():
        wait_port("127.0.0.1", port)
    return servers


def connections(place, server, name, targets, mode):
    """CPU seconds a connection."""
    port = PORTS[name]
    before = cpu_seconds(server.pid)
    result = json.loads(place.load(f"{SUPPORT}/proxyload", "load", "127.0.0.1", str(port), targets, mode, str(CONCURRENT), str(SECONDS)))
    used = cpu_seconds(server.pid) - before
    assert result["errors"] <= result["done"] / 1000, f"{name} {mode}: {result}"
    return used / result["done"]


def bulk(place, server, name):
    """CPU seconds a GB (1e9 octets) through one tunnel."""
    port, mode = (HAPROXY_BULK, "direct") if name == "haproxy" else (PORTS[name], "connect")
    before = cpu_seconds(server.pid)
    place.load(f"{SUPPORT}/proxyload", "bulk", "127.0.0.1", str(port), "bulk.test:443", mode, str(BULK))
    return (cpu_seconds(server.pid) - before) / BULK * 1e9


def main():
    place = Place([ORIGIN, BULK_ORIGIN])
    allowed = names(NAMES, 1)
    servers = start(place, allowed)
    # A few hundred names in turn: every proxy has them in its DNS cache after the first round, which is not counted.
    good = place.write("targets", "".join(f"{n}:443\n" for n in random.Random(2).sample(allowed, 300)))
    refused = place.write("refused", "".join(f"x.{n}:443\n" for n in names(1000, 3)))
    cost = {}
    for number in range(ROUNDS + 1):
        for name, server in servers.items():
            runs = [("connect", lambda: connections(place, server, name, good, "direct" if name == "haproxy" else "connect"))]
            if name in ("squid", "sallyport"):
                runs.append(("refused", lambda: connections(place, server, name, refused, "refused")))
            runs.append(("bulk", lambda: bulk(place, server, name)))
            for kind, run in runs:
                value = run()
                if number > 0:
                    cost.setdefault((kind, name), []).append(value)
    for (kind, name), values in sorted(cost.items()):
        print(f"{kind:8} {name:10} {spread(values, 'CPU s per GB') if kind == 'bulk' else spread(values, 'us CPU per connection', 1e6)}")
    ratio("proxy_connect_to_squid", cost["connect", "sallyport"], cost["connect", "squid"], 0.6)
    ratio("proxy_refused_to_squid", cost["refused", "sallyport"], cost["refused", "squid"], 0.5)
    ratio("proxy_bulk_to_squid", cost["bulk", "sallyport"], cost["bulk", "squid"], 0.7)
    ratio("proxy_connect_to_haproxy", cost["connect", "sallyport"], cost["connect", "haproxy"], 1.3)
    ratio("proxy_bulk_to_haproxy", cost["bulk", "sallyport"], cost["bulk", "haproxy"], 0.7)
    return 0


if __name__ == "__main__":
    sys.exit(main())
