"""policyctl as a process: exit statuses, what is printed for programs, and files beside other people's checkers."""

import glob
import json
import os
import re
import subprocess
import sys

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
    ):
        assert ctl("check", "-", stdin=text).returncode == 0, ctl("check", "-", stdin=text).stderr
        assert faults(text) == [], text


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
