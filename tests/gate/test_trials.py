"""Trials (mode: observe) at a gate, which let pass what rules deny and nothing that the guard holds, and end by themselves; and a policy
that stands in several files."""

import datetime
import time

from origin import Origin
from proxy_client import connect_to, everything, head_of
from small_internet.gate import P0, gateway_yaml
from test_proxy_origins import obliging


def on_trial(seconds):
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    until = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    return P0.replace("agents: { ", f"agents: {{ mode: observe, until: {until}, "), until


def test_a_trial_lets_pass_and_ends_by_itself(gates, lab, work, connect):
    policy, until = on_trial(3600)
    gate = gates(gateway_yaml("real"), policy)
    assert f"OBSERVING client `agents` until {until}" in gate.log()
    assert gate.status()["trials"] == [f"client `agents` until {until}"]
    origin = Origin(lab, obliging, port=80)
    try:
        # By name: dns, the filter, the proxy.
        assert work.curl("-o", "/dev/null", "-w", "%{http_code}", "http://load.example.test/x").text.endswith("200"), gate.log()[-2000:]
        for plugin in ("dns", "sni-filter"):
            told = gate.wait_audit(name="load.example.test", plugin=plugin, kind="decision")[-1]
            assert (told["verdict"], told["effective"], told["mode"], told["reason"]) == ("deny", "allow", "observe", "no_rule"), told
        with connect() as s:
            s.sendall(b"GET http://load.example.test/x HTTP/1.1\r\nHost: load.example.test\r\n\r\n")
            assert b" 200 " in head_of(s)
        told = gate.wait_audit(name="load.example.test", plugin="http-proxy", kind="decision")[-1]
        assert (told["verdict"], told["effective"], told["mode"]) == ("deny", "allow", "observe"), told
        # The guard holds.
        with connect() as s:
            s.sendall(b"GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
            assert b" 403 " in head_of(s)
        with connect() as s:
            s.sendall(b"GET http://172.20.0.5/ HTTP/1.1\r\nHost: 172.20.0.5\r\n\r\n")
            assert b" 403 " in head_of(s)
        # It ends by itself, without a reload, and with it what it had let pass.
        policy, until = on_trial(6)
        gate.write(gate.policy_file, policy)
        end = time.monotonic() + 5
        while f"until {until}" not in gate.log() and time.monotonic() < end:
            time.sleep(0.05)
        generation = gate.status()["generation"]
        with connect(timeout=20) as s:
            s.sendall(connect_to("load.example.test:80"))
            assert head_of(s).startswith(b"HTTP/1.1 200 ")
            began = time.monotonic()
            everything(s)  # cut by the end of the trial
            assert time.monotonic() - began < 12
        assert "NXDOMAIN" in work.dig("load.example.test").text
        assert gate.status()["generation"] == generation and gate.status()["trials"] == []
    finally:
        origin.close()


def test_rules_on_trial_are_told_and_decide_nothing(gates, work):
    gate = gates(
        gateway_yaml("real"),
        P0.replace("rules:\n", "rules:\n  - { name: try-out, mode: observe, action: deny, domains: [api.example.test] }\n"),
    )
    assert work.curl("https://api.example.test/whoami").status == 0
    told = gate.wait_audit(rule="try-out", plugin="sni-filter")[-1]
    assert (told["verdict"], told["effective"], told["mode"], told["reason"]) == ("deny", "allow", "observe", "name_not_allowed"), told
    decided = gate.wait_audit(rule="api", plugin="sni-filter", kind="decision")[-1]
    assert (decided["verdict"], decided["mode"]) == ("allow", "enforce"), decided


def test_a_change_of_an_included_file_is_a_reload(gates, work):
    gate = gates(gateway_yaml("real"), P0)
    base = gate.policy_file.replace("policy.yaml", "base.yaml")
    gate.write(base, "version: 1\nrules:\n  - { name: base, action: deny, domains: [never.cdn.test] }\n")
    before = gate.status()["generation"]
    gate.write(gate.policy_file, P0.replace("version: 1\n", "version: 1\ninclude: [base.yaml]\n"))
    wait_for(lambda: gate.status()["generation"] > before)
    assert "NXDOMAIN" in work.dig("never.cdn.test").text
    denied = gate.wait_audit(name="never.cdn.test", rule="base")[-1]
    assert denied["where"] == "base.yaml:3", denied
    before = gate.status()["generation"]
    gate.write(base, "version: 1\n")
    wait_for(lambda: gate.status()["generation"] > before)
    assert work.curl("https://api.example.test/whoami").status == 0


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
