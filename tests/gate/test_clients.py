"""Real programs behind the gate: transparently with true answers, transparently with the gateway's own address, and by the explicit
proxy. Issue: curl, wget, git, npm, pip, apt, Node, Python requests, headless Chromium; each fails at once for another name.
"""

import os
import shutil

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
# Node's own https knows no proxy variable: a tunnel of a few lines, as its users write it.
NODE_PROXY = (
    "const http = require('http'), tls = require('tls'), u = new URL(process.argv[1]), p = new URL(process.env.https_proxy);"
    "http.request({host: p.hostname, port: p.port, method: 'CONNECT', path: u.hostname + ':443'}).on('connect', (r, s) => {"
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
    ("curl-h1", "api.example.test", ["curl", "-sS", "--http1.1", f"{SITE}/whoami"], "proto=HTTP/1.1"),
    ("curl-h2", "api.example.test", ["curl", "-sS", "--http2", f"{SITE}/whoami"], "proto=HTTP/2.0"),
    ("curl-clear", "api.example.test", ["curl", "-sS", "http://api.example.test/whoami"], "host=api.example.test"),
    ("curl-upload", "api.example.test", ["sh", "-c", f"head -c 8388608 /dev/zero | curl -sS -T - {SITE}/upload/f -o /dev/null -w '%{{size_upload}}'"], "8388608"),
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
    ("chromium", "api.example.test", ["sh", "-c", f"{CHROMIUM} {SITE}/whoami"], "sni=api.example.test"),
    ("ssh", "git.example.test", ["sh", "-c", "$GIT_SSH_COMMAND root@git.example.test echo over-ssh"], "over-ssh"),
]  # fmt: skip
MODES = ["real", "gateway", "proxy"]
PROXY = {name: f"http://{GATE4}:3128" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


@pytest.fixture(scope="module", params=MODES)
def mode(request, lab, agents):
    answers = "gateway" if request.param == "gateway" else "real"
    gate = Gate(lab, gateway_yaml(answers), POLICY).start()
    gate.mode = request.param
    yield gate
    gate.stop()


def adapted(mode, lab, name, command):
    """The command, its environment and resolver in that mode; None where the program has no way to take part."""
    environment = {"PROXY": ""}
    resolver = GATE4
    if mode == "proxy":
        environment = {**PROXY, "PROXY": f"--proxy-server=http://{GATE4}:3128", "npm_config_proxy": f"http://{GATE4}:3128", "npm_config_https_proxy": f"http://{GATE4}:3128"}
        resolver = world.BLACKHOLE4  # names are the proxy's to look up
        if name == "ssh":
            return None
        if name == "node":
            command = ["node", "-e", NODE_PROXY, command[-1]]
    if mode == "gateway" and name == "ssh":
        return None  # the server speaks first, and the gateway's address stands for every name
    return [w.replace("$CA", lab.servers.ca) for w in command], environment, resolver


@pytest.mark.parametrize("client", CLIENTS, ids=[c[0] for c in CLIENTS])
def test_works(mode, lab, work, client):
    name, host, command, proof = client
    if (given := adapted(mode.mode, lab, name, command)) is None:
        pytest.skip(f"{name} has no part in {mode.mode}")
    base = lab.workspace()
    run = work.run(*given[0], base=base, env=given[1], resolver=given[2], timeout=60)
    assert run.status == 0, f"{run}\n{mode.audit()[-6:]}\n{mode.log()[-2000:]}"
    if proof.startswith("file:"):
        assert os.path.getsize(f"{base}/project/{proof[5:]}") > 0
    else:
        assert proof in run.text, run
    shutil.rmtree(base, ignore_errors=True)
    assert [r for r in mode.wait_audit(name=host, client_group="agents") if r["effective"] == "allow"]


@pytest.mark.parametrize("client", CLIENTS, ids=[c[0] for c in CLIENTS])
def test_fails_at_once_for_a_name_outside_the_policy(mode, lab, work, witness, client):
    name, host, command, proof = client
    if (given := adapted(mode.mode, lab, name, command)) is None:
        pytest.skip(f"{name} has no part in {mode.mode}")
    outside = "www.evil.test"
    base = lab.workspace()
    # A program with a proxy may ask for the name itself before: that packet is the lab's black hole's, not ours.
    quiet = witness.expect_zero() if mode.mode != "proxy" else witness.expect_only(ports=[(world.BLACKHOLE4, 53)])
    with quiet:
        run = work.run(*[w.replace(host, outside) for w in given[0]], base=base, env=given[1], resolver=given[2], timeout=30)
    assert proof not in run.text and (run.status != 0 or name == "chromium"), run
    assert run.seconds < 15, run
    shutil.rmtree(base, ignore_errors=True)
    mode.wait_audit(name=outside, verdict="deny")
