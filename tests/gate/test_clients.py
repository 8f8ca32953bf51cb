"""Real programs behind the gate: transparently with true answers, transparently with the gateway's own address, and by the explicit
proxy. Issue: curl, wget, git, npm, pip, apt, Node, Python requests, headless Chromium; each fails at once for another name.

The gate has `allow_grease_ech`, as one for browsers must: Chromium sends an ECH extension of random octets with every ClientHello.
"""

import base64
import hashlib
import os
import shutil
import subprocess

import pytest

from small_internet import world
from small_internet.gate import GATE4, Gate, gateway_yaml

PY = "/usr/bin/python3"
SITE = "https://api.example.test"
REQUESTS = "import requests,sys; r = requests.get(sys.argv[1], timeout=10); r.raise_for_status(); print(r.text)"
NODE = (
    "require('https').get(process.argv[1], r => { r.on('data', d => process.stdout.write(d)); r.on('end', () => process.exit(0)) })"
    ".on('error', e => { console.error(e.message); process.exit(1) })"
)
# Node's own https knows no proxy variable: a tunnel of a few lines, as https-proxy-agent makes it. Without `headers` Node would name
# the proxy as Host, which is a 400 (`host_mismatch: rewrite` lets it pass).
NODE_PROXY = (
    "const http = require('http'), tls = require('tls'), u = new URL(process.argv[1]), p = new URL(process.env.https_proxy);"
    "http.request({host: p.hostname, port: p.port, method: 'CONNECT', path: u.hostname + ':443', headers: {Host: u.hostname + ':443'}}).on('connect', (r, s) => {"
    " if (r.statusCode != 200) { console.error(r.statusCode, r.headers['proxy-status']); process.exit(1) }"
    " const c = tls.connect({socket: s, servername: u.hostname}, () => c.write(`GET ${u.pathname} HTTP/1.1\\r\\nHost: ${u.hostname}\\r\\nConnection: close\\r\\n\\r\\n`));"
    " c.on('data', d => process.stdout.write(d)); c.on('end', () => process.exit(0)) }).on('error', e => { console.error(e.message); process.exit(1) }).end()"
)
CHROMIUM = (
    "chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    " --disable-dev-shm-usage --ignore-certificate-errors --user-data-dir=$PWD/profile $PROXY --dump-dom"
)

POLICY = """
version: 1
clients:
  agents: { addresses: [172.20.0.0/16, "fd00:20::/64"] }
rules:
  - name: everyday
    action: allow
    clients: [agents]
    domains: [api.example.test, npm.pkg.test, pypi.pkg.test, pkg.test, git.example.test]
    ports: [80, 443, 22]
"""

# (id, the name it needs, its command, what is in its output or its working directory then)
CLIENTS = [
    ("curl-h1", "api.example.test", ["curl", "-sSf", "--http1.1", f"{SITE}/whoami"], "proto=HTTP/1.1"),
    ("curl-h2", "api.example.test", ["curl", "-sSf", "--http2", f"{SITE}/whoami"], "proto=HTTP/2.0"),
    ("curl-clear", "api.example.test", ["curl", "-sSf", "http://api.example.test/whoami"], "host=api.example.test"),
    ("curl-upload", "api.example.test", ["sh", "-c", f"head -c 8388608 /dev/zero | curl -sSf -T - {SITE}/upload/f -o /dev/null -w '%{{size_upload}}'"], "8388608"),
    ("wget", "api.example.test", ["wget", "-q", "-O-", "--tries=1", f"{SITE}/whoami", "--ca-certificate=$CA"], "sni=api.example.test"),
    ("requests", "api.example.test", [PY, "-c", REQUESTS, f"{SITE}/whoami"], "sni=api.example.test"),
    ("node", "api.example.test", ["node", "-e", NODE, f"{SITE}/whoami"], "sni=api.example.test"),
    ("git", "git.example.test", ["git", "clone", "-q", "https://git.example.test/git/repo.git", "got"], "file:got/README"),
    ("npm", "npm.pkg.test", ["npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries", "0", "--registry",
                             "https://npm.pkg.test/", "lab-pad"], "file:node_modules/lab-pad/index.js"),
    ("pip", "pypi.pkg.test", [PY, "-m", "pip", "download", "-q", "--no-deps", "--retries", "0", "--disable-pip-version-check", "-i",
                              "https://pypi.pkg.test/simple", "lab-wheel"], "file:lab_wheel-1.0-py3-none-any.whl"),
    ("apt", "pkg.test", ["sh", "-c", "echo 'deb [trusted=yes] http://pkg.test/apt ./' >sources && mkdir -p state/lists/partial cache/archives/partial &&"
                         " A='-o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=- -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache"
                         " -o Dir::State::status=/var/lib/dpkg/status -o Acquire::Languages=none -o Acquire::Retries=0' &&"
                         " eval apt-get -qq \"$A\" update && eval apt-get -qq \"$A\" download lab-deb"], "file:lab-deb_1.0_all.deb"),
    ("chromium", "api.example.test", ["sh", "-c", f"{CHROMIUM} {SITE}/whoami.html"], "sni=api.example.test"),
    ("ssh", "git.example.test", ["sh", "-c", "$GIT_SSH_COMMAND ${SSH_PROXY:+-o} ${SSH_PROXY:+\"$SSH_PROXY\"} root@git.example.test echo over-ssh"], "over-ssh"),
]  # fmt: skip
MODES = ["real", "gateway", "proxy"]
PROXY = {name: f"http://{GATE4}:3128" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "npm_config_proxy", "npm_config_https_proxy")}
# Every program in every mode, but for ssh where the gateway's own address stands for every name: its server speaks first, and nothing
# in what the client sends says which one was meant.
ROWS = [pytest.param(mode, client, id=f"{mode}-{client[0]}") for mode in MODES for client in CLIENTS if (mode, client[0]) != ("gateway", "ssh")]


def gateway_of(mode, browsers=True):
    text = gateway_yaml("gateway" if mode == "gateway" else "real")
    if browsers:
        text = text.replace("listen: [proxy],", "listen: [proxy], allow_grease_ech: true,").replace("listen: [catch],", "listen: [catch], allow_grease_ech: true,")
    return text


@pytest.fixture(scope="module")
def mode(request, lab, agents):
    gate = Gate(lab, gateway_of(request.param), POLICY).start()
    gate.mode = request.param
    yield gate
    gate.stop()


def adapted(mode, lab, name, command):
    """The command, its environment and resolver in that mode."""
    environment = {"PROXY": "", "SSH_PROXY": ""}
    resolver = GATE4
    if mode == "proxy":
        environment = {**PROXY, "PROXY": f"--proxy-server=http://{GATE4}:3128", "SSH_PROXY": f"ProxyCommand nc -X connect -x {GATE4}:3128 %h %p"}
        resolver = world.BLACKHOLE4  # names are the proxy's to look up
        if name == "node":
            command = ["node", "-e", NODE_PROXY, command[-1]]
    return [w.replace("$CA", lab.servers.ca) for w in command], environment, resolver


@pytest.mark.parametrize("mode, client", ROWS, indirect=["mode"])
def test_works(mode, lab, work, client):
    name, host, command, proof = client
    line, environment, resolver = adapted(mode.mode, lab, name, command)
    base = lab.workspace()
    run = work.run(*line, base=base, env=environment, resolver=resolver, timeout=60)
    assert run.status == 0, f"{run}\n{mode.audit()[-6:]}\n{mode.log()[-2000:]}"
    if proof.startswith("file:"):
        assert os.path.getsize(f"{base}/project/{proof[5:]}") > 0
    else:
        assert proof in run.text, f"{run}\n{mode.audit()[-6:]}"
    shutil.rmtree(base, ignore_errors=True)
    assert [r for r in mode.wait_audit(name=host, client_group="agents") if r["effective"] == "allow"]


@pytest.mark.parametrize("mode, client", ROWS, indirect=["mode"])
def test_fails_at_once_for_a_name_outside_the_policy(mode, lab, work, witness, client):
    name, host, command, proof = client
    line, environment, resolver = adapted(mode.mode, lab, name, command)
    outside = "www.evil.test"
    base = lab.workspace()
    # With a proxy nobody has to ask for the name. The black hole is the lab's: a packet to it would be a leak too.
    with witness.expect_zero():
        run = work.run(*[w.replace(host, outside) for w in line], base=base, env=environment, resolver=resolver, timeout=30)
    assert proof not in run.text and (run.status != 0 or name == "chromium"), run
    assert run.seconds < 15, run
    shutil.rmtree(base, ignore_errors=True)
    mode.wait_audit(name=outside, verdict="deny")


@pytest.mark.parametrize("mode", MODES)
def test_a_browser_needs_the_option(lab, work, witness, gates, mode):
    """Decision 8 of ACCEPTANCE: a ClientHello with ECH is refused unless the operator has opted in, and the audit says why."""
    gate = gates(gateway_of(mode, browsers=False), POLICY)
    name, host, command, proof = next(c for c in CLIENTS if c[0] == "chromium")
    line, environment, resolver = adapted(mode, lab, name, command)
    base = lab.workspace()
    before = len(lab.servers.requests())
    run = work.run(*line, base=base, env=environment, resolver=resolver, timeout=60)
    assert proof not in run.text, run
    shutil.rmtree(base, ignore_errors=True)
    refusal = gate.wait_audit(reason="ech_denied", verdict="deny")[0]
    assert refusal["tls"]["ech"] is True and refusal["tls"]["sni"] == host, refusal
    assert len(lab.servers.requests()) == before, "the server saw a request"


@pytest.mark.parametrize("mode", ["real", "gateway"])
def test_a_browser_that_is_told_of_http3_falls_back(lab, work, witness, gates, mode):
    """QUI-01: the server says that it speaks HTTP/3; Chromium tries it, is refused at once, and has everything by TCP, hardly later than
    without. (By way of a proxy it does not try.)"""
    gate = gates(gateway_of(mode), POLICY)
    key = subprocess.run(["openssl", "x509", "-in", lab.servers.certificates.certificate, "-pubkey", "-noout"], capture_output=True, check=True).stdout
    key = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True).stdout
    # It believes no such word of a server whose certificate is just ignored.
    trusted = "--ignore-certificate-errors-spki-list=" + base64.b64encode(hashlib.sha256(key).digest()).decode()
    browser = CHROMIUM.replace("--ignore-certificate-errors", trusted) + " --virtual-time-budget=5000"

    def took(flag):
        base = lab.workspace()
        run = work.run("sh", "-c", f"{browser} {flag} {SITE}/http3.html", base=base, env={"PROXY": ""}, timeout=60)
        assert run.text.count("sni=api.example.test") == 5 and "proto=HTTP/2.0" in run.text, run
        shutil.rmtree(base, ignore_errors=True)
        return run.seconds

    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]) as seen:
        without = took("--disable-quic")
        assert not gate.audit(plugin="nftables", reason="quic_denied")
        assert took("--enable-quic") < without + 1
        gate.wait_audit(plugin="nftables", reason="quic_denied", port=443)
    assert not [k for k in seen.arrived if k[0] == "udp" and k[2] == 443], seen.arrived
