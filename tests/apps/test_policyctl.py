"""policyctl as a process: exit statuses, what is printed for programs, and files beside other people's checkers."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import jsonschema
import pytest
import yaml

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICYCTL = os.path.join(os.environ["SALLYPORT_BUILD"], "bin", "policyctl")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def ctl(*arguments, stdin="", **more):
    return subprocess.run(
        [POLICYCTL, *arguments], input=stdin, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, cwd=TREE, **more
    )


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, which editors have: dates and yes are texts."""


Core.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(true|false)$", "tf"),
    ("null", r"^(~|null|)$", "~n" + "\0"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?[0-9]+\.[0-9]+$", "-+0123456789"),
):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
Core.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])


def schema(which="policy"):
    return json.loads(ctl("schema", which).stdout)


def faults(text, which="policy"):
    return [error.message for error in jsonschema.Draft7Validator(schema(which)).iter_errors(yaml.load(text, Core))]


def shipped(kind):
    """Templates are not YAML until they are filled in."""
    found = [p for folder in ("examples", "deploy") for p in glob.glob(f"{TREE}/{folder}/**/*{kind}*.yaml", recursive=True)]
    return sorted(p for p in found if "/templates/" not in p)


def policies():
    return sorted({*glob.glob(f"{TREE}/examples/policies/*.yaml"), *shipped("policy")})


def gateways():
    return shipped("gateway")


def test_the_schemas_are_schemas():
    for which in ("policy", "gateway"):
        jsonschema.Draft7Validator.check_schema(schema(which))
    assert ctl("schema").stdout == ctl("schema", "policy").stdout
    assert ctl("schema", "plugin").returncode == 2


@pytest.mark.parametrize("path", policies(), ids=lambda p: os.path.relpath(p, TREE))
def test_every_shipped_policy_holds_by_the_schema(path):
    text = open(path, encoding="utf-8").read()
    assert faults(text) == []
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named, "an editor is not told which schema is meant"
    if not named[1].startswith("/usr/share/sallyport/"):
        assert os.path.exists(os.path.join(os.path.dirname(path), named[1]))


@pytest.mark.parametrize("path", gateways(), ids=lambda p: os.path.relpath(p, TREE))
def test_every_shipped_gateway_holds_by_the_schema(path):
    assert faults(open(path, encoding="utf-8").read(), "gateway") == []


GOOD = "version: 1\nrules:\n  - name: r\n    action: allow\n    domains: [a.example]\n"


@pytest.mark.parametrize(
    "text, said",
    [
        ("rules: []\n", "'version' is a required property"),
        ("version: 2\n", "2 is greater than the maximum of 1"),
        ("version: 1\nrulse: []\n", "'rulse' was unexpected"),
        ("version: 1\ndefault: block\n", "'block' is not one of"),
        ("version: 1\ndefault: yes\n", "'yes' is not one of"),
        ("version: 1\nrules: {}\n", "{} is not of type 'array', 'null'"),
        ("version: 1\nrules:\n  - action: allow\n", "'name' is a required property"),
        (GOOD + "    domain: [b.example]\n", "'domain' was unexpected"),
        (GOOD + "    ports: [0]\n", "0 is less than the minimum of 1"),
        (GOOD + "    ports: [https]\n", "'https' does not match"),
        (GOOD + "    ports: 443\n", "443 is not of type 'array'"),
        (GOOD + "    clients: []\n", "[] is too short"),
        (GOOD + "    limits: { bandwidth: 10Mbit/s }\n", "does not match"),
        (GOOD + "    limits: { upload: 100mb/day }\n", "does not match"),
        (GOOD + "    methods: [get]\n    ports: [80]\n", "does not match"),
        (GOOD + "    allow_metadata: yes\n", "'yes' is not of type 'boolean'"),
        (GOOD + "    resolves_to: [cache]\n", "'cache' does not match"),
        (GOOD.replace("a.example", '"https://a.example/"'), "does not match"),
        (GOOD.replace("a.example", '"*"'), "does not match"),
        (GOOD.replace("name: r", "name: my rule"), "does not match"),
        ("version: 1\nclients: { a: {} , b: 3 }\n", "3 is not of type 'object'"),
        ("version: 1\ntests:\n  - { client: a }\n", "is not valid under any of the given schemas"),
        ("version: 1\ntests:\n  - { allow: a, deny: a }\n", "is valid under each of"),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses_too(text, said):
    assert any(said in fault for fault in faults(text)), faults(text)
    assert ctl("check", "-", stdin=text).returncode == 3


# The other way round the schema may know less, never more: what loads holds by it.
def test_the_schema_refuses_nothing_that_loads():
    good = []
    for path in glob.glob(f"{TREE}/tests/**/*.yaml", recursive=True) + glob.glob(f"{TREE}/tests/fuzz/corpus/*policy*/*", recursive=True):
        text = open(path, encoding="utf-8", errors="replace").read()
        if ctl("check", "-", stdin=text).returncode == 0:
            good.append(path)
            assert faults(text) == [], path
    for text in (
        GOOD.replace("a.example", 'a.example., "**.b.example", .c.example, bücher.example, 1.example'),
        GOOD.replace("name: r", "name: 443"),
        GOOD + '    ports: ["443", 22/tcp, 123/udp, 8000-8010, 8000-8010/udp]\n',
        'version: 1\nclients:\n  a: { addresses: [10.0.0.0/8, "2001:db8::/32", "::1"], cells: ["*", a-*.b], credentials: ["a b"] }\nrules:\n',
        "version: 1\nclients:\nrules:\n",
        GOOD + "    limits: { requests: 600/m, connections: 32, bandwidth: 10MB/s, upload: 100MB/day, download: 5GiB/h }\n",
        GOOD + "    limits: { requests: 1/s, bandwidth: 64KiB/s, upload: 1TB/day, download: 1000B/m }\n",
        GOOD + "    ports: [80]\n    methods: [GET, PROPFIND]\n    paths: [/v1/*, '*.json', '*']\n",
        GOOD + "    mode: observe\n",
        "version: 1\nmode: observe\nuntil: 2999-01-01\nclients:\n  a: { cells: [x], mode: observe, until: 2999-01-01T12:00:00+02:00 }\n",
        GOOD + "    preset: [pypi]\ntests:\n  - { allow: a.example, cell: x, method: PUT, resolved: 9.9.9.9 }\n  - { deny: 10.0.0.1 }\n",
    ):
        assert ctl("check", "-", stdin=text).returncode == 0, ctl("check", "-", stdin=text).stderr
        assert faults(text) == [], text


BAD = 'version: 1\nclients:\n  idle: { cells: [x] }\nrules:\n  - { name: r, action: allow, domains: ["*.com", bücher.example, "https://x/"] }\n'


def sarif(*files):
    ran = ctl("check", "-o", "sarif", *files)
    return ran.returncode, json.loads(ran.stdout)


def test_sarif_names_every_finding_with_its_region_and_rule(tmp_path):
    bad, odd, good = tmp_path / "bad.yaml", tmp_path / "an odd näme.yaml", tmp_path / "good.yaml"
    bad.write_text(BAD)
    odd.write_text("version: 1\nrules:\n  - { name: r, action: allow, domains: [bücher.example, x y] }")
    good.write_text(GOOD)
    status, log = sarif(str(bad), str(odd), str(good))
    assert status == 3 and log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "policyctl" and len({r["id"] for r in rules}) == len(rules)
    assert all(r["help"]["text"] and r["shortDescription"]["text"] for r in rules)
    found = []
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["level"] in ("error", "warning")
        assert result["message"]["text"]
        (place,) = result["locations"]
        region = place["physicalLocation"]["region"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        found.append((result["ruleId"], uri.rsplit("/", 1)[1], region["startLine"], region["startColumn"], region["endColumn"]))
    # Columns are characters, also behind an umlaut of two octets.
    assert ("P014", "bad.yaml", 5, 42, 47) in found, found
    assert ("P007", "bad.yaml", 5, BAD.split("\n")[4].index("https") + 1, BAD.split("\n")[4].index("https") + 9) in found, found
    assert any(f[0] == "P008" and f[1] == "an%20odd%20n%C3%A4me.yaml" for f in found), found
    assert len(found) == 3


def test_sarif_holds_by_the_required_parts_of_its_schema(tmp_path):
    (tmp_path / "bad.yaml").write_text(BAD)
    _, log = sarif(str(tmp_path / "bad.yaml"), str(tmp_path / "none.yaml"))
    text = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}
    region = {"type": "object", "properties": {k: {"type": "integer", "minimum": 1} for k in ("startLine", "startColumn", "endColumn")}}
    location = {
        "type": "object",
        "properties": {
            "physicalLocation": {
                "type": "object",
                "required": ["artifactLocation"],
                "properties": {
                    "artifactLocation": {"type": "object", "properties": {"uri": {"type": "string", "pattern": "^[^ ]+$"}}},
                    "region": region,
                },
            }
        },
    }
    result = {
        "type": "object",
        "required": ["message"],
        "additionalProperties": False,
        "properties": {
            "ruleId": {"type": "string"},
            "ruleIndex": {"type": "integer", "minimum": -1},
            "level": {"enum": ["none", "note", "warning", "error"]},
            "message": text,
            "locations": {"type": "array", "items": location},
            "relatedLocations": {"type": "array", "items": location},
            "properties": {"type": "object"},
        },
    }
    rule = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "help": text, "shortDescription": text, "fullDescription": text}}
    driver = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "version": {"type": "string"}, "rules": {"type": "array", "uniqueItems": True, "items": rule}},
    }
    run = {
        "type": "object",
        "required": ["tool"],
        "additionalProperties": False,
        "properties": {
            "tool": {"type": "object", "required": ["driver"], "properties": {"driver": driver}},
            "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            "results": {"type": "array", "items": result},
        },
    }
    jsonschema.validate(
        log,
        {
            "type": "object",
            "required": ["version", "runs"],
            "properties": {"version": {"enum": ["2.1.0"]}, "runs": {"type": "array", "items": run}},
        },
    )


def test_strict_fails_on_warnings(tmp_path):
    unused = tmp_path / "unused.yaml"
    unused.write_text("version: 1\nclients:\n  idle: { cells: [x] }\n")
    assert ctl("check", str(unused)).returncode == 0
    ran = ctl("check", "--strict", str(unused))
    assert ran.returncode == 3 and "warning[P040]" in ran.stdout
    (tmp_path / "good.yaml").write_text(GOOD)
    assert ctl("check", "--strict", str(tmp_path / "good.yaml")).returncode == 0
    assert ctl("check", "--strict=yes", str(unused)).returncode == 2


UGLY = "rules:\n- {action: allow, name: 'r', domains: [a.example]} # why\nversion: 1\n"
PRETTY = "version: 1\nrules:\n  # why\n  - name: r\n    action: allow\n    domains: [a.example]\n"


def test_fmt_prints_checks_and_writes(tmp_path):
    ugly, pretty, broken = tmp_path / "ugly.yaml", tmp_path / "pretty.yaml", tmp_path / "broken.yaml"
    ugly.write_text(UGLY), pretty.write_text(PRETTY), broken.write_text("version: [1\n")
    ugly.chmod(0o640)
    assert ctl("fmt", str(ugly)).stdout == PRETTY and ugly.read_text() == UGLY
    ran = ctl("fmt", "--check", str(ugly), str(pretty))
    assert (ran.returncode, ran.stdout) == (1, f"{ugly}\n")
    ran = ctl("fmt", "-w", str(ugly), str(pretty), str(broken))
    assert (ran.returncode, ran.stdout) == (3, f"{ugly}\n") and "error[P002]" in ran.stderr and "left as it is" in ran.stderr
    assert ugly.read_text() == PRETTY and broken.read_text() == "version: [1\n"
    assert ugly.stat().st_mode & 0o7777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.yaml", "pretty.yaml", "ugly.yaml"]
    assert ctl("fmt", "--check", str(ugly)).returncode == 0
    assert ctl("fmt", "-", stdin=UGLY).stdout == PRETTY
    for wrong in (["-w", "-"], ["-w", "--check", str(ugly)], [str(ugly), str(pretty)], []):
        assert ctl("fmt", *wrong, stdin=UGLY).returncode == 2, wrong


def test_fmt_writes_the_file_or_nothing(tmp_path):
    ugly, link = tmp_path / "ugly.yaml", tmp_path / "link.yaml"
    ugly.write_text(UGLY)
    link.symlink_to(ugly)
    ran = ctl("fmt", "-w", str(link))
    assert ran.returncode == 3 and "symbolic link" in ran.stderr and ugly.read_text() == UGLY and link.is_symlink()
    assert ctl("fmt", str(tmp_path)).returncode == 3 and ctl("fmt", str(tmp_path / "none")).returncode == 3
    if os.geteuid() == 0:
        os.chown(ugly, 12345, 23456)
        ugly.chmod(0o2664)
        assert ctl("fmt", "-w", str(ugly)).returncode == 0
        status = ugly.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12345, 23456, 0o2664)


@pytest.mark.parametrize("path", policies(), ids=lambda p: os.path.relpath(p, TREE))
def test_shipped_policies_are_in_canonical_form(path):
    ran = ctl("fmt", path)
    assert ran.returncode == 0 and ran.stdout == open(path, encoding="utf-8").read()


TESTED = GOOD + """tests:
  - { allow: "https://a.example/x" }
  - { deny: "https://b.example/" }
"""


def test_compile_and_explain_by_the_snapshot(tmp_path):
    policy, snapshot = tmp_path / "p.yaml", tmp_path / "p.snap"
    policy.write_text(TESTED)
    ran = ctl("compile", str(policy), "-o", str(snapshot), "--generation", "7")
    size = snapshot.stat().st_size
    assert (ran.returncode, ran.stdout) == (0, f"{snapshot}: generation 7, 1 rule, 1 name, {size} octets\n")
    first = snapshot.read_bytes()
    assert ctl("compile", str(policy), "-o", str(snapshot), "--generation", "7").returncode == 0
    assert snapshot.read_bytes() == first, "the same policy compiles to the same octets"
    by_policy = ctl("explain", "-p", str(policy), "a.example")
    by_snapshot = ctl("explain", "--compiled", str(snapshot), "a.example")
    assert by_snapshot.returncode == by_policy.returncode == 0 and by_snapshot.stdout == by_policy.stdout
    assert ctl("explain", "--compiled", str(snapshot), "b.example").returncode == 1
    # What cannot be used is refused by name: cut off, foreign, altered; and nothing is asked of it.
    for content, said in ((first[:-64], "length"), (b"version: 1\n" * 100, "not a policy snapshot"), (first[:900] + b"\xff" + first[901:], "checksum"), (b"", "shorter")):
        snapshot.write_bytes(content)
        ran = ctl("explain", "--compiled", str(snapshot), "a.example")
        assert ran.returncode == 3 and said in ran.stderr and ran.stdout == "", ran
    # An invalid policy leaves the old file.
    policy.write_text(TESTED.replace("deny:", "allow:"))
    assert ctl("compile", str(policy), "-o", str(snapshot)).returncode == 3 and snapshot.read_bytes() == b""
    assert ctl("compile", str(policy), "-o", str(policy)).returncode == 2
    assert ctl("compile", str(policy), "-o", str(snapshot), "--generation", "0").returncode == 2
    assert ctl("compile", str(policy)).returncode == 2


def test_tests_are_run_one_a_line(tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text(TESTED)
    ran = ctl("test", str(policy))
    assert ran.returncode == 0
    assert ran.stdout == (
        f"ok    {policy}:7  allow https://a.example/x\nok    {policy}:8  deny https://b.example/\n{policy}: 2 tests, 0 failed\n"
    )
    policy.write_text(TESTED.replace("deny:", "allow:"))
    ran = ctl("test", str(policy))
    assert ran.returncode == 1 and f"FAIL  {policy}:8  allow https://b.example/  denied by the default" in ran.stdout
    report = json.loads(ctl("test", "-o", "json", str(policy)).stdout)
    assert report["failed"] == 1 and [t["passed"] for t in report["tests"]] == [True, False]
    suite = xml.etree.ElementTree.fromstring(ctl("test", "-o", "junit", str(policy)).stdout).find("testsuite")
    assert suite.get("failures") == "1" and len(suite.findall("testcase")) == 2 and len(suite.findall("testcase/failure")) == 1
    policy.write_text(GOOD)
    assert ctl("test", str(policy)).returncode == 1
    more = tmp_path / "more.yaml"
    more.write_text("version: 1\ntests:\n  - { allow: \"http://a.example/\" }\n  - { allow: a.example:22 }\n")
    policy.write_text(TESTED)
    ran = ctl("test", str(policy), str(more))
    assert ran.returncode == 1 and f"FAIL  {more}:4  allow a.example:22  denied by the default" in ran.stdout
    assert f"ok    {policy}:7" in ran.stdout and "4 tests, 1 failed" in ran.stdout
    more.write_text("version: 1\nrules: []\ntests:\n  - { deny: x.example }\n")
    ran = ctl("test", str(policy), str(more))
    assert ran.returncode == 3 and "error[P062]: a file of tests has no `rules`" in ran.stderr and f"{more}:2:1" in ran.stderr
    assert ctl("test", str(policy), str(tmp_path / "none")).returncode == 3
    policy.write_text("version: 1\ntests:\n  - { allow: \"*.x.example\" }\n")
    assert ctl("test", str(policy)).returncode == 3


def test_stats_count_and_name_what_does_nothing(tmp_path):
    policy = tmp_path / "p.yaml"
    policy.write_text(
        """version: 1
clients:
  idle: { cells: [x] }
  tried: { cells: [y], mode: observe, until: 2100-01-01 }
rules:
  - name: block
    action: allow
    addresses: [192.88.100.0/24]
    ports: [443, 123/udp]
  - name: open
    action: allow
    domains: [.a.example, b.example, "*.c.example"]
  - name: late
    action: deny
    domains: [www.a.example, d.example]
"""
    )
    ran = ctl("stats", str(policy))
    assert ran.returncode == 0
    for line in (
        "rules      3  (2 allow, 1 deny)",
        "names      5  (5 distinct)",
        "  written  5  3 exact, 1 wildcard, 1 both",
        "addresses  1 block",
        "ports      443/tcp  in 2 rules",
        f"largest    open  {policy}:10  3 names",
        "unused     client idle  no rule names it",
        f"shadowed   late  {policy}:13  an earlier rule takes some of its flows",
    ):
        assert line + "\n" in ran.stdout, ran.stdout
    report = json.loads(ctl("stats", "-o", "json", str(policy)).stdout)
    assert report["unused_clients"] == ["idle"] and report["shadowed_rules"][0]["rule"] == "late" and report["dead_rules"] == []
    assert report["compiled"] > 0 and report["names"]["distinct"] == 5
    assert ctl("stats", str(tmp_path / "none")).returncode == 3


def test_diff_names_flows_that_change(tmp_path):
    a, b, invalid = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    clients = "version: 1\nclients:\n  agents: { cells: [agent-*] }\nrules:\n  - name: ai\n    action: allow\n    clients: [agents]\n"
    a.write_text(clients + "    domains: [one.example, two.example]\n    ports: [443]\n")
    b.write_text(clients + "    domains: [one.example, .three.example]\n    ports: [443]\n")
    invalid.write_text("version: 2\n")
    ran = ctl("diff", str(a), str(b))
    assert ran.returncode == 1
    assert ran.stdout == (
        "would pass now:\n"
        f"  three.example:443  for agents  (rule ai, {b}:5; before: no_rule, default, {a}:1)\n"
        "would stop:\n"
        f"  two.example:443  for agents  (no_rule, default, {b}:1; before: rule ai, {a}:5)\n"
        "2 changes, 1 opens, 1 stops\n"
    )
    report = json.loads(ctl("diff", "-o", "json", str(a), str(b)).stdout)
    assert report["same"] is False and [c["change"] for c in report["changes"]] == ["opens", "stops"]
    assert report["changes"][0]["b"]["rule"] == "ai" and report["changes"][0]["asker"].startswith("cell agent-")
    for change in report["changes"]:  # what is told is what explain says
        for policy, side in ((a, "a"), (b, "b")):
            allowed = ctl("explain", "-p", str(policy), "--client", "agents", f"{change['name']}:{change['port']}").returncode == 0
            assert allowed == (change[side]["verdict"] == "allow")
    ran = ctl("diff", "-", str(a), stdin=a.read_text())
    assert (ran.returncode, ran.stdout) == (0, "no flow changes\n")
    assert ctl("diff", str(a), str(invalid)).returncode == 3
    assert ctl("diff", "-", "-").returncode == 2
    ran = ctl("diff", str(a))
    assert ran.returncode == 4 and "no gateway to ask" in ran.stderr


def test_the_manual_shows_what_is_printed(tmp_path):
    """Every transcript of docs/policyctl.md, run beside the files that it prints."""
    manual = open(f"{TREE}/docs/policyctl.md", encoding="utf-8").read()
    files = re.findall(r"^`(\S+\.yaml)`:\n\n```yaml\n(.*?)^```", manual, re.S | re.M)
    assert [name for name, _ in files] == ["policy.yaml", "new.yaml"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    environment = {**ENVIRONMENT, "PATH": os.path.dirname(POLICYCTL) + ":" + ENVIRONMENT["PATH"]}
    shown = 0
    for block in re.findall(r"^```\n(\$ .*?)^```", manual, re.S | re.M):
        for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M):
            ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=60)
            said = ran.stdout + ran.stderr
            if printed.endswith("\n...\n"):
                printed = printed[: -len("...\n")]
                said = said[: len(printed)]
            # How large a snapshot is, is the engine's affair.
            size = r"\d+ octets(, [0-9.]+ a name)?"
            assert re.sub(size, "N octets", said) == re.sub(size, "N octets", printed), command
            shown += 1
    assert shown >= 15
    assert {f"`{c}" for c in commands()} <= set(re.findall(r"^\|.*?(`[a-z]+)", manual, re.M)) | {"`completion", "`man"}


def completed(*words):
    """What bash offers behind these words."""
    script = ctl("completion", "bash").stdout + 'COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _policyctl; printf "%s\\n" "${COMPREPLY[@]}"'
    ran = subprocess.run(["bash", "-uc", script, "bash", "policyctl", *words], capture_output=True, text=True, cwd=TREE, env=ENVIRONMENT, timeout=60)
    assert ran.returncode == 0 and ran.stderr == "", ran
    return ran.stdout.split()


def commands():
    return re.findall(r"^  policyctl (\S+)", ctl("help").stdout, re.M)


def test_bash_completes_what_the_table_has():
    assert set(commands()) <= set(completed(""))
    assert completed("exp") == ["explain"]
    assert completed("check", "-o", "s") == ["sarif"] and completed("check", "--output", "") == ["text", "line", "json", "github", "sarif"]
    assert "--policy" in completed("explain", "--") and "--strict" not in completed("explain", "--")
    assert "examples" in completed("fmt", "ex") and completed("schema", "g") == ["gateway"]
    assert completed("completion", "z") == ["zsh"] and "diff" in completed("help", "d")
    assert ctl("completion", "fish").returncode == 2


def test_zsh_and_the_manual_name_every_command_and_option():
    zsh, man = ctl("completion", "zsh").stdout, ctl("man").stdout
    assert zsh.startswith("#compdef policyctl\n")
    if shutil.which("groff"):
        ran = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=man, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0 and ran.stderr == "" and "EXIT STATUS" in re.sub(".\x08", "", ran.stdout)
    for command in commands():
        assert f"    '{command}:" in zsh and f'.SS "policyctl {command}' in man
        for option in re.findall(r"--([a-z-]+)", ctl("help", command).stdout.split("\n\n")[-1]):
            assert f"--{option}" in zsh and "\\-\\-" + option.replace("-", "\\-") in man, (command, option)


def test_presets_are_listed_and_shown():
    ran = ctl("preset")
    assert ran.returncode == 0 and "pypi" in ran.stdout
    ran = ctl("preset", "pypi")
    assert ran.returncode == 0 and "preset: pypi\n" in ran.stdout
    assert ctl("preset", "pypy").returncode == 2 and "did you mean `pypi`?" in ctl("preset", "pypy").stderr


@pytest.mark.parametrize("command", [["check", "-"], ["fmt", "-"], ["stats", "-"], ["test", "-"], ["diff", "-", f"{TREE}/examples/policies/agent.yaml"]])
def test_what_is_no_policy_is_refused_whatever_it_is(command):
    for text, said in (
        (b"", "the policy is empty"),
        (b"\0" * 100, "a NUL octet"),
        (b"\xff\xfe", "not UTF-8"),
        (b"version: 1\n" + b"# x\n" * (18 << 20), "larger than 64 MiB"),
        (b"[" * 100_000, "deeper than"),
        (b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (98 + i, 98 + i, *[97 + i] * 4) for i in range(20)), "unknown key"),
    ):
        ran = subprocess.run([POLICYCTL, *command], input=text, capture_output=True, env=ENVIRONMENT, timeout=60)
        assert ran.returncode == 3 and said in ran.stderr.decode(), (command, text[:20], ran.stderr[-300:])
        assert ran.stdout == b""


def test_what_was_not_written_is_no_success():
    with open("/dev/full", "w") as full:
        for words in (["schema"], ["preset"], ["fmt", f"{TREE}/examples/policies/agent.yaml"], ["stats", f"{TREE}/examples/policies/agent.yaml"]):
            ran = subprocess.run([POLICYCTL, *words], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=60)
            assert ran.returncode == 2 and ran.stderr.startswith("policyctl: standard output: "), words
    ran = subprocess.run(["sh", "-c", f"exec {POLICYCTL} schema >&-"], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert ran.returncode == 2 and "standard output" in ran.stderr


def test_standard_input_includes_from_the_working_directory(tmp_path):
    (tmp_path / "part.yaml").write_text("version: 1\nrules:\n  - { name: r, action: deny, domains: [a.example] }\n")
    part = os.path.relpath(tmp_path / "part.yaml", TREE)
    ran = ctl("check", "-", stdin=f"version: 1\ninclude: [{part}]\n")
    assert ran.returncode == 0 and "<stdin>: valid, 1 rule" in ran.stdout, ran


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
