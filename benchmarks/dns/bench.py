#!/usr/bin/python3
"""CPU per DNS query: sallyport's dns plugin beside dnsmasq, dnsdist, unbound and an echo, whole processes, one run.

An allowlist of 100,000 names. `hit`: 1,000 of them, answered from the cache. `refused`: names that are not on it. Each server
has one CPU, dnsperf has the other; rounds are interleaved; the ratio is of medians. Needs root (a network namespace of its own).
"""

import os
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from bench_support import ROUNDS, SALLYPORT, SUPPORT, Place, cpu_seconds, ratio, spread, wait_port  # noqa: E402

NAMES, ASKED, SECONDS = 100_000, 1_000, 2
ANSWER, UPSTREAM = "93.184.216.34", 5303
PORTS = {"echo": 5301, "dnsmasq": 5302, "dnsdist": 5304, "unbound": 5305, "sallyport": 5306}

NSD = """
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  rrl-ratelimit: 0
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd"
  zonelistfile: "{directory}/zones"
remote-control:
  control-enable: no
zone:
  name: .
  zonefile: root.zone
"""

DNSDIST = """
setLocal('127.0.0.1:{port}')
setUDPMultipleMessagesVectorSize(32)
newServer{{address='127.0.0.1:{upstream}', healthCheckMode='up'}}
getPool(''):setCache(newPacketCache(200000))
s = newSuffixMatchNode()
for l in io.lines('{names}') do s:add(newDNSName(l)) end
addAction(NotRule(SuffixMatchNodeRule(s)), RCodeAction(DNSRCode.REFUSED))
"""

UNBOUND = """
server:
  num-threads: 1
  so-reuseport: yes
  interface: 127.0.0.1
  port: {port}
  module-config: "iterator"
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  use-syslog: no
  msg-cache-size: 64m
  rrset-cache-size: 64m
  local-zone: "." refuse
{zones}
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
"""

GATEWAY = """
version: 1
name: bench
policy: policy.yaml
networks: {{ load: {{ addresses: [127.0.0.0/8] }} }}
listeners:
  dns: {{ udp: "127.0.0.1:{port}", tcp: "127.0.0.1:{port}" }}
plugins:
  - {{ name: dns, config: {{ listen: [dns], answers: real, workers: 1, cache_entries: 131072, blocked_answer: refused, upstreams: ["127.0.0.1:{upstream}"] }} }}
audit: {{ sinks: ["file:/dev/null"] }}
"""


def names(count, seed):
    """Registrable names of mixed length; the same for the same seed."""
    chosen, draw = set(), random.Random(seed)
    while len(chosen) < count:
        label = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(draw.randint(4, 16)))
        chosen.add(f"n{label}.{draw.choice(['com', 'net', 'org', 'io', 'dev'])}")
    return sorted(chosen)


def start(place, allowed):
    names_file = place.write("names", "".join(f"{n}\n" for n in allowed))
    place.write("root.zone", f"$ORIGIN .\n$TTL 3600\n@ SOA ns. host. 1 3600 900 86400 60\n@ NS ns.\nns A 127.0.0.1\n* A {ANSWER}\n")
    place.spawn("/usr/sbin/nsd", "-d", "-c", place.write("nsd.conf", NSD.format(port=UPSTREAM, directory=place.directory)), cpu=1)
    wait_port("127.0.0.1", UPSTREAM, proto="udp")
    servers = {"echo": place.spawn(f"{SUPPORT}/udp_echo", "127.0.0.1", str(PORTS["echo"]))}
    lines = "".join(f"server=/{n}/127.0.0.1#{UPSTREAM}\n" for n in allowed)
    servers["dnsmasq"] = place.spawn(
        "/usr/sbin/dnsmasq", "-k", "-p", str(PORTS["dnsmasq"]), "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts",
        "--user=root", f"--conf-file={place.write('dnsmasq.conf', lines)}", "--cache-size=10000", "--pid-file=",
    )  # fmt: skip
    config = place.write("dnsdist.lua", DNSDIST.format(port=PORTS["dnsdist"], upstream=UPSTREAM, names=names_file))
    servers["dnsdist"] = place.spawn("/usr/bin/dnsdist", "-C", config, "--supervised", "--disable-syslog")
    zones = "".join(f'  local-zone: "{n}." transparent\n' for n in allowed)
    config = place.write("unbound.conf", UNBOUND.format(port=PORTS["unbound"], upstream=UPSTREAM, zones=zones, directory=place.directory))
    servers["unbound"] = place.spawn("/usr/sbin/unbound", "-d", "-c", config)
    rules = "".join(f"      - {n}\n" for n in allowed)
    place.write("policy.yaml", f"version: 1\nrules:\n  - name: allowed\n    action: allow\n    domains:\n{rules}")
    config = place.write("gateway.yaml", GATEWAY.format(port=PORTS["sallyport"], upstream=UPSTREAM))
    servers["sallyport"] = place.spawn(SALLYPORT, "serve", "-c", config, "--state-dir", place.directory)
    for name, port in PORTS.items():
        wait_port("127.0.0.1", port, proto="udp")
        # Bound is not ready: lists are read afterwards.
        for _ in range(150):
            asked = subprocess.run(["dig", "+short", "+time=1", "+tries=1", "-p", str(port), "@127.0.0.1", allowed[0]], capture_output=True, text=True)
            if ANSWER in asked.stdout or name == "echo":
                break
            time.sleep(0.2)
        else:
            raise AssertionError(f"{name} does not answer {allowed[0]}: {asked.stdout}")
    return servers


def measure(place, server, port, queries, expect):
    """CPU seconds a query over one run of dnsperf."""
    before = cpu_seconds(server.pid)
    text = place.load("dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", queries, "-l", str(SECONDS), "-c", "16", "-q", "100", "-T", "1")
    used = cpu_seconds(server.pid) - before
    done = int(re.search(r"Queries completed:\s+(\d+)", text)[1])
    if expect:
        codes = re.search(r"Response codes:\s+(.*)", text)[1]
        assert re.search(rf"{expect} \d+ \(100", codes) or re.search(rf"{expect} \d+ \(99\.9", codes), f"port {port}: {codes}"
    return used / done, done / SECONDS


def main():
    place = Place()  # the answer is nobody's here: an address of the gateway itself would be guarded
    allowed = names(NAMES, 1)
    servers = start(place, allowed)
    asked = random.Random(2).sample(allowed, ASKED)
    denied = names(10_000, 3)
    work = {
        "hit": (place.write("hit", "".join(f"{n} A\n" for n in asked)), dict.fromkeys(PORTS, "NOERROR")),
        "refused": (place.write("refused", "".join(f"x.{n} A\n" for n in denied)), dict.fromkeys(PORTS, "REFUSED")),
    }
    cost = {(kind, name): [] for kind in work for name in PORTS}
    for name, port in PORTS.items():
        measure(place, servers[name], port, work["hit"][0], None)  # fills the cache
    for _ in range(ROUNDS):
        for kind, (queries, codes) in work.items():
            for name, port in PORTS.items():
                cost[kind, name].append(measure(place, servers[name], port, queries, codes[name] if name != "echo" else None)[0])
    for (kind, name), values in cost.items():
        print(f"{kind:8} {name:10} {spread(values, 'us CPU per query', 1e6)}")
    good = True
    for kind in work:
        good &= ratio(f"dns_{kind}_to_dnsmasq", cost[kind, "sallyport"], cost[kind, "dnsmasq"], 0.5)
        good &= ratio(f"dns_{kind}_to_dnsdist", cost[kind, "sallyport"], cost[kind, "dnsdist"], 1.0)
        good &= ratio(f"dns_{kind}_to_echo", cost[kind, "sallyport"], cost[kind, "echo"], 1.4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
