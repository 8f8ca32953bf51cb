"""policyctl explain agrees with what a cell does, for 500 generated pairs of policy and target; the witness sees only what is allowed.

A target is tried for real: names are looked up as any program would, then spoken to in the port's protocol.
"""

import concurrent.futures
import random

import pytest

from small_internet import world
from small_internet.messages import hello, records

POLICIES, TARGETS = 20, 25
NAMES = [
    "api.example.test",
    "www.example.test",
    "other.example.test",
    "v4only.example.test",
    "v6only.example.test",
    "cdn.test",
    "www.cdn.test",
    "a.b.cdn.test",
    "pkg.test",
    "npm.pkg.test",
    "one.shared.test",
    "two.shared.test",
    "evil.test",
    "x.evil.test",
    "xapi.example.test",
    "api.example.test.evil.test",
]
ADDRESSES = [
    world.EVIL4,
    world.GOOD4,
    world.CDN4,
    world.EVIL6,
    world.GOOD6,
    "10.0.0.5",
    "192.168.7.7",
    "169.254.169.254",
    "fd00::9",
]
# A deny rule by address holds for names that lead there, which explain can't foresee offline: these are no name's.
DENIABLE = ["1.2.3.4", "2a00:1::1", "10.0.0.5", "192.168.7.7"]
PORTS = [80, 443, 5432, 8080]


def pattern(random):
    name = random.choice(NAMES)
    above = name.split(".", random.randrange(1, 3))[-1] if name.count(".") > 1 else name
    if above.count(".") == 0:
        above = name
    return random.choice([name, name, f"*.{above}", f"**.{above}", f".{above}", name.upper()])


def block(random, action):
    address = random.choice(DENIABLE if action == "deny" else ADDRESSES)
    if ":" in address:
        return random.choice([f"{address}/128"] + ["2000::/3"] * (action == "allow"))
    return random.choice([f"{address}/32", f"{address.rsplit('.', 1)[0]}.0/24"] + ["0.0.0.0/0"] * (action == "allow"))


def make_policy(seed):
    """Rules of every shape; one that the language refuses as without effect is left out by the caller."""
    r = random.Random(seed)
    rules = []
    for i in range(r.randrange(1, 6)):
        rule = {"name": f"r{i}", "action": r.choice(["allow", "allow", "allow", "deny"])}
        if r.random() < 0.75:
            rule["domains"] = [pattern(r) for _ in range(r.randrange(1, 4))]
        if "domains" not in rule or r.random() < 0.15:
            rule["addresses"] = [block(r, rule["action"])]
        if r.random() < 0.7 or "domains" not in rule:
            rule["ports"] = r.sample(PORTS, r.randrange(1, 4))
        if r.random() < 0.15 and "domains" in rule:
            rule["tunnel"] = "any"
        rules.append(rule)
    default = r.choice(["deny"] * 4 + ["allow"])
    return f"version: 1\ndefault: {default}\n", rules


def text_of(head, rules):
    lines = [head + "rules:" + ("" if rules else " []")]
    for rule in rules:
        lines.append(
            "  - {"
            + ", ".join(
                f"{k}: {[str(x) for x in v] if isinstance(v, list) else v}".replace("'", '"')
                if k != "ports"
                else f"ports: {v}"
                for k, v in rule.items()
            )
            + "}"
        )
    return "\n".join(lines) + "\n"


def valid_policy(lab, seed):
    """The generated policy less the rules that the language refuses (shadowed, without effect)."""
    head, rules = make_policy(seed)
    kept = []
    for rule in rules:
        if lab.policyctl("check", "policy.yaml", policy=text_of(head, [*kept, rule])).status == 0:
            kept.append(rule)
    return text_of(head, kept)


def make_targets(seed):
    r = random.Random(seed + 1000)
    pairs = [(n, p) for n in NAMES for p in PORTS] + [(a, p) for a in ADDRESSES + DENIABLE[:2] for p in (5432, 8080)]
    return r.sample(pairs, TARGETS)


def step(host, port):
    name = host if not host[0].isdigit() and ":" not in host else None
    if port == 443:
        data = records(hello(name.encode()))
    elif port == 80:
        data = f"GET /whoami HTTP/1.0\r\nHost: {name}\r\n\r\n".encode()
    else:
        data = b"ping\r\n"
    return {"do": "tcp", "to": [host, port], "send": data.hex(), "read": 64 if port == 80 else 4, "timeout": 5}


def reached(port, result):
    data = bytes.fromhex(result.get("data", ""))
    return {443: data[:1] == b"\x16", 80: b"Server: nginx" in data}.get(port, data.startswith(b"ping"))


def brackets(host):
    return f"[{host}]" if ":" in host else host


@pytest.mark.parametrize("seed", range(POLICIES))
def test_agreement(lab, witness, seed):
    policy, targets = valid_policy(lab, seed), make_targets(seed)
    base = lab.workspace()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        explained = list(
            pool.map(
                lambda t: lab.policyctl(
                    "explain",
                    "-p",
                    "policy.yaml",
                    f"{brackets(t[0])}:{t[1]}",
                    policy=policy if t is targets[0] else None,
                    cwd=f"{base}/project",
                ),
                targets[:1],
            )
        )
        explained += pool.map(
            lambda t: lab.policyctl("explain", "-p", "policy.yaml", f"{brackets(t[0])}:{t[1]}", cwd=f"{base}/project"),
            targets[1:],
        )
    assert all(e.status in (0, 1) for e in explained), [e for e in explained if e.status not in (0, 1)][:1]
    with witness.watch() as seen:
        results, run = lab.probe([step(*t) for t in targets], policy=policy, threads=8)
    differ = [
        (t, f"explain {e.status}", e.text, r)
        for t, e, r in zip(targets, explained, results)
        if reached(t[1], r) != (e.status == 0)
    ]
    assert not differ, (seed, policy, differ, run)
    # What the witness saw is what was allowed: no other port was dialled, no other name asked for.
    allowed = [t for t, e in zip(targets, explained) if e.status == 0]
    assert {k[2] for k in seen.arrived} - {53} <= {p for _, p in allowed}, (policy, seen.arrived)
    if not allowed:
        assert not {k for k in seen.arrived if k[2] != 53}, seen.arrived


def test_loopback_is_the_workloads_own(lab, witness):
    """No rule makes 127.0.0.9 of a cell lead outside, and explain says so."""
    policy = "version: 1\nrules:\n  - {name: l, action: allow, addresses: [127.0.0.0/8], ports: [5432]}\n"
    if lab.policyctl("check", "policy.yaml", policy=policy).status == 3:
        return  # refused when it is read: there is nothing to disagree about
    with witness.expect_zero():
        results, _ = lab.probe([step("127.0.0.9", 5432)], policy=policy)
    assert not reached(5432, results[0])
    assert lab.policyctl("explain", "-p", "policy.yaml", "127.0.0.9:5432", policy=policy).status == 1
