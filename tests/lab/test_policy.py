"""Policy files, names and addresses as the user meets them: policyctl check, explain, and what a cell then does.

CFG-01 to -03, NAM-01 to -07, ADR-01 to -04.
"""

import os
import re

import pytest

from small_internet import world
from small_internet.messages import Answer, query
from small_internet.runner import OTHER_UID, USER

RULE = "version: 1\nrules:\n  - name: r\n    action: allow\n"
API = RULE + "    domains: [api.example.test]\n    ports: [443]\n"

TOO_BROAD_OR_WRONG = {
    "star": '"*"',
    "dot": '"."',
    "empty": '""',
    "tld": "com",
    "star-tld": '"*.com"',
    "star-public-suffix": '"*.co.uk"',
    "public-suffix": "co.uk",
    "private-suffix": '"*.github.io"',
    "partial-star": '"a*.b.test"',
    "inner-star": '"a.*.test"',
    "star-of-tld": '"**.com"',
    "dot-tld": '".com"',
    "url": '"http://api.example.test"',
    "url-path": '"https://api.example.test/v1"',
    "port": '"api.example.test:443"',
    "port-too-large": '"x:99999"',
    "space": '"x y"',
    "nul": '"a\\0.example.test"',
    "long": '"' + ".".join(["a" * 63] * 4) + '.test"',
    "label-64": '"' + "a" * 64 + '.test"',
    "double-dot": '"a..b.test"',
    "two-trailing-dots": '"api.example.test.."',
    "address": '"185.199.108.66"',
    "address6": '"[::1]"',
    "decimal": '"2130706433"',
    "hex": '"0x7f.1"',
    "at": '"a@api.example.test"',
    "percent": '"api.example.test%00.evil.test"',
    "bad-punycode": '"xn--a.example.test"',
    "bad-punycode-2": '"xn--999999999.test"',
    "crlf": '"a\\r\\nb.test"',
    "number": "12",
    "list": "[a.test]",
    "null": "null",
    "slash": '"api.example.test/"',
    "comma": '"a.test, b.test"',
    "control": '"a\\x1b[31m.test"',
}


@pytest.mark.parametrize("kind", TOO_BROAD_OR_WRONG)
def test_domain_entries_that_are_refused(lab, witness, kind):
    """CFG-01, NAM-02, NAM-06: exit 3, file and line; `run` starts nothing: 125."""
    policy = RULE + f"    domains:\n      - www.example.test\n      - {TOO_BROAD_OR_WRONG[kind]}\n"
    base = lab.workspace()
    check = lab.policyctl("check", "policy.yaml", policy=policy, cwd=f"{base}/project")
    assert check.status == 3, check
    assert re.search(r"^error\[P\d{3}\]: ", check.errors, re.M) and "policy.yaml:7:" in check.errors, check
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f]", re.sub(r"\x1b\[[0-9;]*m", "", check.errors)
    ), "control octets of the input are printed raw"
    with witness.expect_zero():
        run = lab.run("touch", "started", policy=policy, base=base)
    assert run.status == 125 and not os.path.exists(f"{base}/project/started") and "policy.yaml:7:" in run.errors, run


WRONG_FILES = {
    "unknown-key": (RULE + "    domain: [api.openai.com]\n", 5, "domains"),
    "unknown-top": ("version: 1\nrule: []\n", 2, "rules"),
    "version-2": ("version: 2\nrules: []\n", 1, "1"),
    "no-version": ("rules: []\n", 1, "version"),
    "action": ("version: 1\nrules:\n  - name: r\n    action: permit\n    domains: [api.example.test]\n", 4, "allow"),
    "default": ("version: 1\ndefault: maybe\n", 2, "deny"),
    "port-0": (RULE + "    domains: [api.example.test]\n    ports: [0]\n", 6, ""),
    "port-65536": (RULE + "    domains: [api.example.test]\n    ports: [65536]\n", 6, ""),
    "port-word": (RULE + "    domains: [api.example.test]\n    ports: [https]\n", 6, ""),
    "range-backwards": (RULE + "    domains: [api.example.test]\n    ports: [90-80]\n", 6, ""),
    "udp-in-a-cell": (
        RULE
        + '    domains: [api.example.test]\n    ports: [123/udp]\n    clients: [c]\nclients:\n  c: {cells: ["x*"]}\n',
        6,
        "UDP",
    ),
    "host-bits": (RULE + "    addresses: [172.20.0.5/16]\n", 5, "172.20.0.0/16"),
    "address-octal": (RULE + "    addresses: [0127.0.0.1]\n", 5, ""),
    "address-short": (RULE + "    addresses: [127.1]\n", 5, ""),
    "prefix-33": (RULE + "    addresses: [1.2.3.0/33]\n", 5, ""),
    "address-zone": (RULE + '    addresses: ["fe80::1%eth0"]\n', 5, ""),
    "unknown-client": (API + "    clients: [nobody]\n", 7, "nobody"),
    "duplicate-key": (API + "    ports: [80]\n", 7, ""),
    "duplicate-rule": (API + "  - name: r\n    action: deny\n    domains: [b.example.test]\n", 7, ""),
    "shadowed": (
        API + "  - name: later\n    action: allow\n    domains: [api.example.test]\n    ports: [443]\n",
        7,
        "",
    ),
    "matches-nothing": ("version: 1\nrules:\n  - name: r\n    action: allow\n", 3, ""),
    "tabs": ("version: 1\nrules:\n\t- name: r\n", 3, ""),
    "anchor-bomb": ("version: 1\nrules: &a [*a]\n", 2, ""),
    "metadata": (RULE + "    addresses: [169.254.169.254/32]\n    ports: [80]\n", 5, "allow_metadata"),
    "binary": ("version: 1\n\x00\x01\n", 2, ""),
    "not-a-map": ("- a\n- b\n", 1, ""),
    "two-documents": (API + "---\nversion: 1\n", "[78]", "document"),
    "inspect": (API + "    inspect: true\n", 7, ""),
    "paths": (API + "    paths: [/x]\n", 7, ""),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_files_that_are_refused(lab, kind):
    """CFG-01: line and remedy, all of the tool's kinds of error."""
    policy, line, word = WRONG_FILES[kind]
    check = lab.policyctl("check", "policy.yaml", policy=policy.encode())
    assert check.status == 3, check
    assert re.search(rf"policy\.yaml:{line}\b", check.errors) and word in check.errors, check
    assert lab.run("true", policy=policy).status == 125


def test_all_errors_at_once(lab):
    policy = (
        RULE
        + '    domain: [a.test]\n    domains: ["*.co.uk", "https://x.test/"]\n    ports: [0]\n    addresses: [172.20.0.5/16]\n'
    )
    check = lab.policyctl("check", "policy.yaml", policy=policy)
    assert {m for m in re.findall(r"policy\.yaml:(\d+)", check.errors)} >= {"5", "6", "7", "8"}, check


@pytest.mark.parametrize(
    "policy", ["version: 1\n", "version: 1\nrules: []\n", "version: 1\ndefault: deny\nrules: []\n"]
)
def test_empty_allowlist_denies_everything(lab, witness, policy):
    """CFG-02: and runs."""
    with witness.expect_zero():
        run = lab.run("sh", "-c", "curl -sS https://api.example.test/; echo status=$?", policy=policy)
    assert run.status == 0 and "status=6" in run.text, run


def spoil(kind, path):
    with open(path, "w") as file:
        file.write(API)
    os.chown(path, USER.pw_uid, USER.pw_gid)
    if kind == "missing":
        os.unlink(path)
    elif kind == "unreadable":
        os.chmod(path, 0)
    elif kind == "truncated":
        os.truncate(path, len(API) - 12)
    elif kind == "gigabyte":
        os.truncate(path, 1 << 30)
    elif kind == "symlink":
        os.rename(path, path + ".real")
        os.symlink(path + ".real", path)
    elif kind == "world-writable":
        os.chmod(path, 0o666)
    elif kind == "other-owner":
        os.chown(path, OTHER_UID, OTHER_UID)
    elif kind == "directory":
        os.unlink(path)
        os.mkdir(path)
    elif kind == "fifo":
        os.unlink(path)
        os.mkfifo(path)
        os.chown(path, USER.pw_uid, USER.pw_gid)
    elif kind == "world-writable-directory":
        os.chmod(os.path.dirname(path), 0o777)


SPOILT = [
    "missing",
    "unreadable",
    "truncated",
    "gigabyte",
    "symlink",
    "world-writable",
    "other-owner",
    "directory",
    "fifo",
    "world-writable-directory",
]


@pytest.mark.parametrize("kind", SPOILT)
def test_files_that_cannot_be_trusted(lab, witness, kind):
    """CFG-03: refused at start, nothing started."""
    base = lab.workspace()
    os.mkdir(f"{base}/policies")
    os.chown(f"{base}/policies", USER.pw_uid, USER.pw_gid)
    path = f"{base}/policies/policy.yaml"
    spoil(kind, path)
    with witness.expect_zero():
        run = lab.run("touch", "started", base=base, policy=path, timeout=10)
    assert run.status == 125 and not os.path.exists(f"{base}/project/started") and "policy.yaml" in run.errors, run
    assert run.seconds < 5


def test_control_a_sound_file_is_accepted(lab):
    base = lab.workspace()
    spoil("", f"{base}/policy.yaml")
    run = lab.run("curl", "-sS", "https://api.example.test/whoami", base=base, policy=f"{base}/policy.yaml")
    assert run.status == 0, run


@pytest.mark.parametrize(
    "allow",
    [
        "*",
        ".",
        "",
        "com",
        "*.com",
        "*.co.uk",
        "http://x.test",
        "x.test:0",
        "x.test:99999",
        "x.test:",
        "x y",
        "a..b",
        "x.test:443,",
        "x.test:-1",
        "127.1",
        "1.2.3.4/33",
        "x.test:80-70",
    ],
)
def test_allow_options_that_are_refused(lab, allow):
    base = lab.workspace()
    run = lab.run("touch", "started", allow=[allow], base=base)
    assert run.status == 125 and not os.path.exists(f"{base}/project/started"), run


NAMES = """version: 1
rules:
  - {name: api, action: allow, domains: [api.example.test], ports: [443]}
  - {name: cdn, action: allow, domains: ["*.cdn.test"], ports: [443]}
  - {name: idn, action: allow, domains: ["bücher.pkg.test", "xn--mnchen-3ya.pkg.test"], ports: [443]}
  - {name: apex, action: allow, domains: [.shared.test], ports: [443]}
"""
EXPLAINED = [
    ("api.example.test", 0),
    ("api.example.test.", 0),
    ("API.example.TEST", 0),
    ("api.example.test..", "name_malformed"),
    (".api.example.test", "name_malformed"),
    ("a..b", "name_malformed"),  # NAM-01, NAM-02
    ("xapi.example.test", 1),
    ("api.example.test.evil.test", 1),
    ("cdn.test", 1),
    ("example.test", 1),
    ("www.api.example.test", 1),
    ("xcdn.test", 1),  # NAM-03
    ("www.cdn.test", 0),
    ("a.b.cdn.test", 0),
    ("a.b.c.d.cdn.test", 0),
    ("shared.test", 0),
    ("one.shared.test", 0),  # NAM-04
    ("bücher.pkg.test", 0),
    ("xn--bcher-kva.pkg.test", 0),
    ("münchen.pkg.test", 0),
    ("ａｐｉ.example.test", None),
    ("api。example。test", None),
    ("аpi.example.test", 1),
    ("äpi.example.test", 1),  # NAM-05
    ("xn--a.example.test", "name_malformed"),
    ("xn--zzzzzzzzzz99999.test", "name_malformed"),  # NAM-06
    ("api.example.test%00.evil.test", "name_malformed"),
    ("api%2eexample.test", "name_malformed"),
    ("api.example.test\\.evil.test", "name_malformed"),  # NAM-07
    ("2130706433", None),
    ("017700000001", None),
    ("0x7f.1", None),
    ("127.1", None),
    ("1.2.3.4.5", None),
    ("1.2.3.4.", None),  # ADR-01
    ("[::ffff:169.254.169.254]", 1),
    ("[::1]", 1),
    ("[fe80::1%25eth0]", None),
    ("[v1.x]", None),
    ("169.254.169.254", 1),
    ("127.0.0.1", 1),
    ("10.0.0.1", 1),
    ("8.8.8.8", 1),  # ADR-02
]


@pytest.mark.parametrize("target, status", EXPLAINED, ids=[repr(t) for t, _ in EXPLAINED])
def test_explained_names_and_addresses(lab, target, status):
    """NAM-01 to -07, ADR-01, ADR-02: 0 allowed, 1 denied, or the reason of a denial; None: anything but allowed."""
    run = lab.policyctl("explain", "-p", "policy.yaml", f"{target}:443", policy=NAMES)
    if target.startswith("ａ") or "。" in target:  # mapped once by UTS 46, or refused; never matched raw
        assert run.status in (0, 1, 2) and (run.status != 0 or "api.example.test:443" in run.text), run
    elif status is None:
        assert run.status in (1, 2), run
    elif isinstance(status, str):
        assert run.status == 1 and status in run.text, run
    else:
        assert run.status == status, run


WIRE_NAMES = [
    ("api.example.test.evil.test", False),
    ("xapi.example.test", False),
    ("cdn.test", False),
    ("a.b.cdn.test", True),
    ("www.cdn.test", True),
    ("API.EXAMPLE.test", True),
]


def test_names_in_a_cell(lab, witness):
    """NAM-03, NAM-04: what the resolver says agrees with explain."""
    allowed = {n.lower() for n, ok in WIRE_NAMES if ok}
    with witness.expect_only(*allowed):
        results, _ = lab.probe([{"do": "dns", "send": query(n)} for n, _ in WIRE_NAMES], policy=NAMES)
    assert [bool(Answer(r["data"]).answers) for r in results] == [ok for _, ok in WIRE_NAMES]


def test_unicode_names_as_programs_write_them(lab, witness):
    """NAM-05: a program asks for the A-label, and the policy's U-label is the same name."""
    with witness.expect_only("xn--bcher-kva.pkg.test", "xn--mnchen-3ya.pkg.test"):
        results, _ = lab.probe(
            [
                {"do": "dns", "send": query(n)}
                for n in ("xn--bcher-kva.pkg.test", "xn--mnchen-3ya.pkg.test", "xn--pi-xka.example.test")
            ],
            policy=NAMES,
        )
    assert [r.rcode for r in map(lambda r: Answer(r["data"]), results)] == [3, 3, 3]


@pytest.mark.parametrize(
    "spelling",
    ["2130706433", "017700000001", "0x7f.1", "0xb9c76c42", "3116850242", "0271.0307.0154.0102", "185.13069378"],
)
def test_legacy_spellings_in_a_cell(lab, witness, spelling):
    """ADR-01: curl and getaddrinfo turn them into addresses; an address is what a cell then refuses."""
    with witness.expect_zero():
        run = lab.run("curl", "-sS", "--max-time", "4", f"http://{spelling}/", policy=NAMES)
    assert run.status != 0 and run.seconds < 4 and not run.text, run


BY_ADDRESS = """version: 1
rules:
  - {name: net, action: allow, addresses: [185.199.108.0/24, "2a0a:e5c0::/32"], ports: [5432]}
  - {name: not, action: deny, addresses: [52.0.0.0/8]}
  - {name: db, action: allow, domains: [db.example.test], ports: [5432]}
"""


def test_literal_addresses_by_rule(lab, witness):
    """ADR-04: an explicit rule with its port, and only so."""
    targets = [
        (world.EVIL4, 5432),
        (world.EVIL6, 5432),
        (world.EVIL4, 8080),
        (world.EVIL4, 443),
        ("185.199.109.1", 5432),
        ("93.184.216.34", 5432),
    ]
    with witness.expect_only(ports=[(world.EVIL4, 5432), (world.EVIL6, 5432)]):
        results, run = lab.probe(
            [{"do": "tcp", "to": t, "send": "70710d0a", "read": 2, "timeout": 4} for t in targets], policy=BY_ADDRESS
        )
    assert [r.get("data") == "70710d0a" for r in results] == [True, True, False, False, False, False], (results, run)
    for (address, port), expected in zip(targets, [0, 0, 1, 1, 1, 1]):
        host = f"[{address}]" if ":" in address else address
        assert (
            lab.policyctl("explain", "-p", "policy.yaml", f"{host}:{port}", policy=BY_ADDRESS).status == expected
        ), address


def test_deny_rule_by_address_holds_for_names(lab, witness):
    """An earlier deny by final address stops a name that leads there; nothing is dialled."""
    with witness.expect_only("db.example.test", ports=[("2600:1f18::3", 5432)]):
        results, run = lab.probe(
            [{"do": "tcp", "to": ["db.example.test", 5432], "family": 4, "send": "700d0a", "read": 1, "timeout": 4}],
            policy=BY_ADDRESS,
        )
    assert not [r for r in run.audit if r["verdict"] == "allow" and r.get("addr") == "52.1.2.3"], run


GUARDED = """version: 1
rules:
  - {name: inside, action: allow, domains: [private.guard.test], resolves_to: [10.0.0.5/32], ports: [5432]}
  - {name: other, action: allow, domains: [cgnat.guard.test, metadata.guard.test], ports: [5432, 80]}
  - {name: elsewhere, action: allow, domains: [api.example.test], resolves_to: [10.0.0.5/32], ports: [443]}
"""


def test_guard_is_lifted_by_resolves_to_alone(lab, witness):
    """The guard, before any rule: lifted for one name at one address; a name with resolves_to is allowed nowhere else."""
    with witness.expect_only(
        "private.guard.test", "cgnat.guard.test", "metadata.guard.test", "api.example.test", ports=[("10.0.0.5", 5432)]
    ):
        results, run = lab.probe(
            [
                {"do": "tcp", "to": [n, p], "send": "70710d0a", "read": 2, "timeout": 4}
                for n, p in (
                    ("private.guard.test", 5432),
                    ("cgnat.guard.test", 5432),
                    ("metadata.guard.test", 80),
                    ("api.example.test", 443),
                )
            ],
            policy=GUARDED,
        )
    assert [r.get("data") == "70710d0a" for r in results] == [True, False, False, False], (results, run)


def test_rebinding(lab, witness):
    """An allowed name that becomes private on a later lookup: the address dialled is the address checked."""
    policy = RULE + "    domains: [rebind.scripted.test]\n    ports: [80]\n"
    with witness.watch() as seen:
        lab.run(
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do curl -sS --max-time 3 http://rebind.scripted.test/whoami; sleep 0.3; done",
            policy=policy,
        )
    assert not [k for k in seen.arrived if k[1].startswith("10.")], seen.arrived


CLIENTS = """version: 1
clients:
  build: {cells: ["build-*"]}
rules:
  - {name: b, action: allow, clients: [build], domains: [pkg.test], ports: [443]}
"""


@pytest.mark.parametrize("cell, status", [("build-7", 0), ("other", 6), ("build", 6), ("xbuild-7", 6)])
def test_clients_by_cell(lab, cell, status):
    run = lab.run("curl", "-sS", "https://pkg.test/whoami", policy=CLIENTS, options=["--name", cell])
    assert run.status == status, run
    assert lab.policyctl(
        "explain", "-p", "policy.yaml", "--cell", cell, "https://pkg.test/", policy=CLIENTS
    ).status == (0 if status == 0 else 1)


def test_order_decides(lab, witness):
    policy = "version: 1\nrules:\n  - {name: no, action: deny, domains: [www.cdn.test]}\n  - {name: cdn, action: allow, domains: ['*.cdn.test'], ports: [443]}\n"
    with witness.expect_only("a.b.cdn.test", ports=[(world.CDN4, 443), (world.CDN6, 443)]):
        run = lab.run(
            "sh",
            "-c",
            "curl -sS https://a.b.cdn.test/whoami; curl -sS https://www.cdn.test/whoami; echo $?",
            policy=policy,
        )
    assert "sni=a.b.cdn.test" in run.text and run.text.endswith("6\n"), run
    assert run.denials(name="www.cdn.test", rule="no")[0]["reason"] == "name_not_allowed"


def test_limits_in_a_cell(lab, witness):
    """One table for the cell's life: the second connection is refused before anything is dialled, and the third too."""
    policy = RULE + "    domains: [api.example.test]\n    ports: [443]\n    limits: { requests: 1/h }\n"
    command = "for i in 1 2 3; do curl -sS -m 5 -o /dev/null -w '%{http_code} ' https://api.example.test/whoami; done; true"
    with witness.watch() as seen:
        run = lab.run("sh", "-c", command, policy=policy)
    assert re.findall(r"\b(200|000) ", run.text) == ["200", "000", "000"], run
    assert run.denials(name="api.example.test", rule="r")[0]["reason"] == "limit_exceeded"
    dialled = sum(n for (_, address, port), n in seen.arrived.items() if port == 443)
    assert 0 < dialled, seen.arrived
    with witness.watch() as once:
        lab.run("sh", "-c", command.replace("1 2 3", "1"), policy=policy)
    one = sum(n for (_, address, port), n in once.arrived.items() if port == 443)
    assert dialled <= one + 4, (dialled, one)  # packets of one connection
