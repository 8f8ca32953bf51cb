"""The lab itself: a bare host reaches everything there, and the witness counts it. A denial elsewhere means something only so."""

import pytest

from small_internet import world


@pytest.mark.parametrize("flags", [["-4"], ["-6"], ["--http1.1"], ["--http2"], ["-4", "--http2"]], ids=" ".join)
@pytest.mark.parametrize("name", ["api.example.test", "evil.test", "two.shared.test"])
def test_web(lab, name, flags):
    run = lab.bare("curl", "-sS", *flags, f"https://{name}/whoami")
    assert run.status == 0, run
    assert f"sni={name}" in run.text


def test_plain_http(lab):
    assert "host=evil.test" in lab.bare("curl", "-sS", "http://evil.test/whoami").text


@pytest.mark.parametrize("address", [world.EVIL4, world.EVIL6, "1.2.3.4", "2a00:1::1"])
@pytest.mark.parametrize("port", [80, *world.ECHO_PORTS])
def test_witness_counts_each_connection(lab, witness, address, port):
    before = witness.count(address, port)
    run = lab.bare("nc", "-z", "-w", "2", address, str(port))
    assert run.status == 0, run
    assert witness.count(address, port) == before + 1


@pytest.mark.parametrize("server", [world.RESOLVER, world.RESOLVER6, world.OTHER_RESOLVER, world.OTHER_RESOLVER6])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_questions_are_noted(lab, witness, server, transport):
    with witness.watch() as seen:
        run = lab.bare("dig", "+short", "+tries=1", "+time=2", transport, f"@{server}", "evil.test", "A")
    assert run.text.strip() == world.EVIL4, run
    assert [(q.name, q.type, q.server) for q in seen.asked] == [("evil.test", "A", server)]
    assert [k[1:] for k in seen.arrived] == [(server, 53)]


def test_expect_zero_fails_when_something_leaves(lab, witness):
    with pytest.raises(AssertionError, match="witness saw"):
        with witness.expect_zero():
            lab.bare("nc", "-z", "-w", "2", world.EVIL4, "5432")


@pytest.mark.parametrize(
    "command",
    [["ping", "-c", "1", "-W", "1", world.EVIL4], ["nc", "-u", "-w", "1", world.EVIL4, "4433"]],
    ids=lambda c: c[0],
)
def test_witness_counts_datagrams(lab, witness, command):
    with witness.watch() as seen:
        run = lab.bare(*command, input=b"x")
    assert run.status == 0, run
    assert [k[1] for k in seen.arrived] == [world.EVIL4]


def test_dns_of_all_kinds(lab):
    def dig(*words):
        return lab.bare("dig", "+short", "+tries=1", "+time=2", *words).text.split()

    assert dig("api.example.test", "AAAA") == [world.GOOD6]
    assert dig("alias.example.test", "A")[-1] == world.EVIL4
    assert dig("v4only.example.test", "AAAA") == []
    assert dig("anything.evil.test", "A") == [world.EVIL4]
    assert dig("private.guard.test", "A") == ["10.0.0.5"]
    assert len(dig("long.example.test", "A")) == 60
    assert dig("tc.scripted.test", "A") == [world.GOOD4]
    assert "NXDOMAIN" in lab.bare("dig", "nowhere.invalid", "A").text


def test_git_over_https_and_ssh(lab):
    base = lab.workspace()
    for url, directory in (
        ("https://git.example.test/git/repo.git", "a"),
        (f"ssh://root@git.example.test{lab.servers.repository}", "b"),
    ):
        run = lab.bare("git", "clone", "-q", url, directory, base=base)
        assert run.status == 0, run
        with open(f"{base}/project/{directory}/README") as file:
            assert "small internet" in file.read()


def test_npm(lab):
    run = lab.bare("npm", "install", "--no-audit", "--no-fund", "--registry", "https://npm.pkg.test/", "lab-pad")
    assert run.status == 0, run


def test_pip(lab):
    run = lab.bare(
        "/usr/bin/python3",
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "-i",
        "https://pypi.pkg.test/simple",
        "lab-wheel",
    )
    assert run.status == 0, run


def test_banner_server_speaks_first(lab):
    run = lab.bare("nc", "-w", "1", "-d", world.EVIL4, str(world.BANNER_PORT))
    assert run.out == world.BANNER


def test_raw_server_keeps_the_bytes(lab):
    run = lab.bare("nc", "-N", "-w", "2", world.RAW4, "443", input=b"\x16\x03\x01hello")
    assert run.out == b"\x16\x03\x01hello"
    assert lab.servers.connections(world.RAW4, 443)[-1].data == b"\x16\x03\x01hello"
