"""The main job: real programs reach the allowed names, with no proxy variable and no help, and fail at once elsewhere.

CEL-16, CEL-17, CEL-22, CEL-14, CEL-18.
"""

import os
import stat
import subprocess
import time

import pytest

from small_internet import world

PY = "/usr/bin/python3"
URLLIB = "import urllib.request,sys; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
NODE = "require('https').get(process.argv[1], r => { r.on('data', d => process.stdout.write(d)); r.on('end', () => process.exit(0)) }).on('error', e => { console.error(e.message); process.exit(1) })"
SITE = "https://api.example.test"

# (id, the names it needs, command, what its output or the working directory holds afterwards)
CLIENTS = [
    ("curl-h1", "api.example.test:443", ["curl", "-sS", "--http1.1", f"{SITE}/whoami"], "proto=HTTP/1.1"),
    ("curl-h2", "api.example.test:443", ["curl", "-sS", "--http2", f"{SITE}/whoami"], "proto=HTTP/2.0"),
    ("curl-http", "api.example.test:80", ["curl", "-sS", "http://api.example.test/whoami"], "host=api.example.test"),
    ("curl-v4", "api.example.test:443", ["curl", "-sS", "-4", f"{SITE}/whoami"], "sni=api.example.test"),
    ("curl-v6", "api.example.test:443", ["curl", "-sS", "-6", f"{SITE}/whoami"], "sni=api.example.test"),
    (
        "curl-tls12",
        "api.example.test:443",
        ["curl", "-sS", "--tls-max", "1.2", f"{SITE}/whoami"],
        "sni=api.example.test",
    ),
    (
        "wget",
        "api.example.test:443",
        ["wget", "-q", "-O-", "--tries=1", f"{SITE}/whoami", "--ca-certificate=$CA"],
        "sni=api.example.test",
    ),
    ("python", "api.example.test:443", [PY, "-c", URLLIB, f"{SITE}/whoami"], "sni=api.example.test"),
    ("node", "api.example.test:443", ["node", "-e", NODE, f"{SITE}/whoami"], "sni=api.example.test"),
    (
        "go",
        "api.example.test:80",
        ["hey", "-n", "2", "-c", "1", "-t", "5", "http://api.example.test/whoami"],
        "[200]\t2 responses",
    ),
    ("static-musl", "api.example.test:80", ["$STATIC", "api.example.test"], "host=api.example.test"),
    (
        "git-https",
        "git.example.test:443",
        ["git", "clone", "-q", "https://git.example.test/git/repo.git", "got"],
        "file:got/README",
    ),
    (
        "git-ssh",
        "git.example.test:22",
        ["git", "clone", "-q", "ssh://root@git.example.test$REPOSITORY", "got"],
        "file:got/README",
    ),
    ("ssh", "git.example.test:22", ["sh", "-c", "$GIT_SSH_COMMAND root@git.example.test echo over-ssh"], "over-ssh"),
    (
        "npm",
        "npm.pkg.test:443",
        [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--fetch-retries",
            "0",
            "--registry",
            "https://npm.pkg.test/",
            "lab-pad",
        ],
        "file:node_modules/lab-pad/index.js",
    ),
    (
        "pip",
        "pypi.pkg.test:443",
        [
            PY,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--retries",
            "0",
            "--disable-pip-version-check",
            "-i",
            "https://pypi.pkg.test/simple",
            "lab-wheel",
        ],
        "file:lab_wheel-1.0-py3-none-any.whl",
    ),
    ("banner-first", "db.example.test:2222", ["nc", "-d", "-w", "1", "db.example.test", "2222"], "220 small internet"),
    (
        "client-first",
        "db.example.test:5432",
        [
            PY,
            "-c",
            "import socket; s=socket.create_connection(('db.example.test',5432),5); s.sendall(b'\\0\\0\\0\\x08\\x04\\xd2\\x16/'); print('back', s.recv(8).hex())",
        ],
        "back 0000000804d2162f",
    ),
    (
        "client-first-text",
        "db.example.test:5432",
        [
            PY,
            "-c",
            "import socket; s=socket.create_connection(('db.example.test',5432),5); s.sendall(b'PING\\r\\n'); print(s.recv(6).decode())",
        ],
        "PING",
    ),
    (
        "openssl",
        "api.example.test:443",
        [
            "sh",
            "-c",
            "printf 'GET /whoami HTTP/1.0\\r\\nHost: api.example.test\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -CAfile $SSL_CERT_FILE -connect api.example.test:443 -servername api.example.test -alpn http/1.1 2>&1",
        ],
        "sni=api.example.test",
    ),
]


def filled(lab, command):
    known = {"$CA": lab.servers.ca, "$REPOSITORY": lab.servers.repository, "$STATIC": f"{lab.share}/static-client"}
    return [next((w.replace(k, v) for k, v in known.items() if k in w), w) for w in command]


STATIC_CLIENT = r"""
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  if (argc < 2 || getaddrinfo(argv[1], "80", &hints, &found) != 0) return 2;
  int s = socket(found->ai_family, found->ai_socktype, 0);
  if (connect(s, found->ai_addr, found->ai_addrlen) != 0) return 3;
  char text[512];
  int length = snprintf(text, sizeof text, "GET /whoami HTTP/1.0\r\nHost: %s\r\n\r\n", argv[1]);
  if (write(s, text, length) != length) return 4;
  while ((length = read(s, text, sizeof text)) > 0) fwrite(text, 1, length, stdout);
  return length;
}
"""


@pytest.fixture(scope="module", autouse=True)
def static_client(lab):
    """A static program with another C library and resolver than everybody else's."""
    subprocess.run(
        ["musl-gcc", "-static", "-O1", "-x", "c", "-", "-o", f"{lab.share}/static-client"],
        input=STATIC_CLIENT,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("allow, command, proof", [c[1:] for c in CLIENTS], ids=[c[0] for c in CLIENTS])
def test_allowed(lab, allow, command, proof):
    """CEL-16, without a proxy variable, by a user without any capability."""
    base = lab.workspace()
    run = lab.run(*filled(lab, command), allow=[allow], base=base)
    assert run.status == 0, run
    if proof.startswith("file:"):
        assert os.path.getsize(f"{base}/project/{proof[5:]}") > 0
    else:
        assert proof in run.text, run
    name, port = allow.split(":")
    assert [r for r in run.audit if r["verdict"] == "allow" and r["name"] == name and r["port"] == int(port)], run
    assert not run.denials(name=name), run


@pytest.mark.parametrize("allow, command, proof", [c[1:] for c in CLIENTS], ids=[c[0] for c in CLIENTS])
def test_denied_when_only_another_name_is_allowed(lab, witness, allow, command, proof):
    """CEL-16: the same programs fail at once, and nothing at all leaves."""
    name = allow.split(":")[0]
    bare_seconds = 6 if command[0] in ("npm", PY) or "-w" in command else 3
    with witness.expect_zero():
        run = lab.run(*filled(lab, command), allow=["www.example.test:443"])
    assert run.status != 0 or command[0] == "hey" and proof not in run.text, run  # hey reports errors and exits 0
    assert run.seconds < bare_seconds, run
    assert run.denials(name=name), run
    assert name in run.errors and "no_rule" in run.errors, run


APT = (
    "-o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=- -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache"
    " -o Dir::State::status=/var/lib/dpkg/status -o Acquire::Languages=none -o Acquire::Retries=0"
)
APT_SOURCE = "echo 'deb [trusted=yes] http://pkg.test/apt ./' >sources && mkdir -p state/lists/partial cache/archives/partial"


def test_apt_download_as_user(lab, witness):
    """CEL-16: apt without root."""
    script = f"{APT_SOURCE} && apt-get -qq {APT} update && apt-get -qq {APT} download lab-deb && ls lab-deb_1.0_all.deb"
    run = lab.run("sh", "-c", script, allow=["pkg.test:80"], timeout=60)
    assert run.status == 0 and "lab-deb_1.0_all.deb" in run.text, run
    with witness.expect_zero():
        denied = lab.run("sh", "-c", script, allow=["www.example.test:80"], timeout=60)
    assert denied.status != 0 and denied.denials(name="pkg.test"), denied


def test_apt_install_as_root(lab):
    """CEL-16: root installs a package in its cell, and the system is unchanged afterwards."""
    script = f"{APT_SOURCE} && apt-get -qq {APT} update && apt-get -qq -y {APT} install lab-deb && cat /usr/share/lab-deb/proof"
    run = lab.run("sh", "-c", script, allow=["pkg.test:80"], uid=0, timeout=60)
    assert run.status == 0 and "installed from the small internet" in run.text, run
    assert not os.path.exists("/usr/share/lab-deb")


def test_denied_port(lab, witness):
    """An allowed name on another port: reset at once, nothing dialled."""
    with witness.expect_only("api.example.test"):
        run = lab.run("curl", "-sS", "--max-time", "5", "http://api.example.test:8080/", allow=["api.example.test:443"])
    assert run.status in (7, 52, 56), run
    assert run.seconds < 3
    assert run.denials(name="api.example.test", port=8080)[0]["reason"] == "port_denied"


PROXIES = {
    k: "http://185.199.108.66:3128"
    for k in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
}
PROXIES["NO_PROXY"] = PROXIES["no_proxy"] = "nothing.test"


def test_inherited_proxies_are_dropped(lab, witness):
    """CEL-22."""
    with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
        run = lab.run(
            "sh",
            "-c",
            "env | grep -i proxy; curl -sS https://api.example.test/whoami",
            allow=["api.example.test:443"],
            env=PROXIES,
        )
    assert run.status == 0 and "sni=api.example.test" in run.text and "PROXY" not in run.text.upper(), run


def test_keep_env_keeps_proxies(lab):
    """CEL-22."""
    run = lab.run("env", options=["--keep-env"], env=PROXIES)
    assert "HTTPS_PROXY=http://185.199.108.66:3128" in run.text, run


def best(attempt, n=3):
    return min((attempt() for _ in range(n)), key=lambda run: run.seconds)


@pytest.mark.parametrize("name", ["v4only.example.test", "v6only.example.test", "api.example.test"])
def test_whichever_family_the_name_has(lab, name):
    """CEL-17: connects within 300 ms of what the bare host does; the cell's own start-up is in it."""
    command = ["curl", "-sS", f"https://{name}/whoami"]
    bare, run = best(lambda: lab.bare(*command)), best(lambda: lab.run(*command, allow=[f"{name}:443"]))
    assert bare.status == 0 and run.status == 0, (bare, run)
    assert run.seconds < bare.seconds + 0.3, (bare, run)


def test_falls_back_when_one_family_is_dead(lab):
    """CEL-17: an AAAA that swallows packets costs the dialler no more than it costs curl."""
    command = ["curl", "-sS", "--max-time", "8", "http://half.example.test/whoami"]
    bare, run = best(lambda: lab.bare(*command), 2), best(lambda: lab.run(*command, allow=["half.example.test:80"]), 2)
    assert bare.status == 0 and run.status == 0, (bare, run)
    assert run.seconds < bare.seconds + 0.4, (bare, run)


@pytest.fixture
def without_ipv6(lab):
    from small_internet.namespaces import sh

    sh("ip", "-n", lab.namespaces.host, "-6", "route", "del", "default")
    yield
    sh("ip", "-n", lab.namespaces.host, "-6", "route", "add", "default", "via", world.HOST6_GATEWAY)


@pytest.mark.parametrize(
    "name, works", [("api.example.test", True), ("v4only.example.test", True), ("v6only.example.test", False)]
)
def test_host_without_ipv6(lab, without_ipv6, name, works):
    """CEL-17."""
    command = ["curl", "-sS", "--max-time", "5", f"https://{name}/whoami"]
    bare, run = best(lambda: lab.bare(*command), 2), best(lambda: lab.run(*command, allow=[f"{name}:443"]), 2)
    assert (bare.status == 0, run.status == 0) == (works, works), (bare, run)
    assert run.seconds < bare.seconds + 0.3, (bare, run)


def test_two_names_on_one_address(lab, witness):
    """CEL-14: by name, exactly."""
    with witness.expect_only("one.shared.test", ports=[(world.SHARED4, 443), (world.SHARED6, 443)]):
        run = lab.run(
            "sh",
            "-c",
            "curl -sS https://one.shared.test/whoami; curl -sS https://two.shared.test/whoami; echo second=$?",
            allow=["one.shared.test:443"],
        )
    assert "sni=one.shared.test" in run.text and "second=6" in run.text, run


def test_ssh_on_22_and_the_same_name_on_23(lab, witness):
    """CEL-14."""
    with witness.expect_only("git.example.test", ports=[(world.GIT4, 22), (world.GIT6, 22)]):
        results, run = lab.probe(
            [
                {"do": "tcp", "to": ["git.example.test", 22], "read": 4},
                {"do": "tcp", "to": ["git.example.test", 23], "read": 4},
            ],
            allow=["git.example.test:22"],
        )
    assert bytes.fromhex(results[0]["data"]).startswith(b"SSH-"), run
    assert (results[1].get("error") or results[1]["end"]) in ("ECONNREFUSED", "reset", "ECONNRESET") and results[1][
        "seconds"
    ] < 1, results


def test_twenty_cells_at_once(lab):
    """CEL-18: no cross-talk, and each record names its cell."""
    started = [
        lab.start(
            "sh",
            "-c",
            f"curl -sS http://n{i}.scripted.test/whoami; curl -sS http://n{(i + 1) % 20}.scripted.test/whoami; echo second=$?",
            allow=[f"n{i}.scripted.test:80"],
            options=["--name", f"cell-{i}"],
        )
        for i in range(20)
    ]
    for i, run in enumerate([lab.finish(s, 60) for s in started]):
        assert run.status == 0 and f"host=n{i}.scripted.test" in run.text and "second=6" in run.text, run
        assert run.denials(name=f"n{(i + 1) % 20}.scripted.test"), run
        assert all(r["gateway"] == f"cell-{i}" for r in run.audit), run.audit[:2]


def test_host_resolv_conf_is_the_default_resolver(lab, witness):
    """Without --resolver the upstream is the one in the host's resolv.conf."""
    from small_internet.runner import SALLYPORT

    with witness.watch() as seen:
        run = lab.bare(
            SALLYPORT, "run", "--allow", "api.example.test", "--", "curl", "-sS", "https://api.example.test/whoami"
        )
    assert run.status == 0 and "sni=api.example.test" in run.text, run
    assert {q.server for q in seen.asked} == {world.RESOLVER}


def test_several_allows_and_a_policy_file(lab):
    policy = "version: 1\nrules:\n  - name: pkg\n    action: allow\n    domains: [pkg.test]\n"
    run = lab.run(
        "sh",
        "-c",
        "curl -sS https://pkg.test/whoami && curl -sS https://api.example.test/whoami && curl -sS https://www.cdn.test/whoami",
        policy=policy,
        allow=["api.example.test:443", "www.cdn.test:80,443"],
    )
    assert run.status == 0 and run.text.count("sni=") == 3, run


def test_half_close_and_bulk(lab):
    """A download of 512 MiB and an upload of 64 MiB arrive whole; a half-closed connection still answers."""
    run = lab.run(
        "sh",
        "-c",
        "curl -sS https://api.example.test/big | wc -c; head -c 67108864 /dev/zero | curl -sS -T - https://api.example.test/upload/file -o /dev/null -w '%{size_upload}\\n';"
        " printf 'half-closed\\n' | nc -N -w 5 db.example.test 5432",
        allow=["api.example.test:443", "db.example.test:5432"],
        timeout=60,
    )
    assert run.text.split() == [str(512 << 20), "67108864", "half-closed"], run


def test_no_state_is_left(lab):
    """Neither a process nor a mount of ours outlives the command."""
    base = lab.workspace()
    lab.run("true", base=base)
    time.sleep(0.1)
    with open("/proc/self/mountinfo") as file:
        assert not [line for line in file if base in line]
    left = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if base.encode() in file.read():
                    left.append(pid)
        except OSError:
            continue
    assert not left
    assert stat.S_ISREG(os.stat(f"{base}/audit.jsonl").st_mode)
