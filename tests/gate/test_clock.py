"""REL-06 through a whole gate: a wall clock that jumps."""

import time

from load_support import DB4, Clock, by_proxy, transparently, udp, until
from small_internet import world
from small_internet.gate import P0, Gate, gateway_yaml
from small_internet.runner import BUILD

POLICY = P0 + """
  - { name: db, action: allow, clients: [agents], domains: [db.example.test], ports: [5353/udp] }
"""
DAY = 86400


def test_the_clock_jumps(lab, agents, work, witness):
    """REL-06: a day forward and a day back: bindings and timers go by the boot clock, none ends early, and none lives for ever."""
    clock = Clock(f"{lab.namespaces.state}/clock")
    gateway = gateway_yaml("real", extra=f"plugin_dir: {BUILD}/plugins\n").replace("plugins:\n", "plugins:\n  - { name: pcap-monitor, config: { grace: 1s } }\n", 1)
    gate = Gate(lab, gateway, POLICY)
    gate.start(environment=clock.environment, prefix=clock.prefix)

    def day_of_last_record():
        return gate.audit()[-1]["ts"][:10]

    try:
        assert not udp(work)
        assert DB4 in work.dig("+short", "db.example.test").text
        work.dig("before.evil.test")
        gate.wait_audit(name="before.evil.test")
        today = day_of_last_record()
        for name, jump in (("forward", DAY), ("back", -DAY)):
            clock.set(jump)
            assert udp(work), "a binding does not end early"
            assert transparently(work) and by_proxy(work)
            for _ in range(3):  # repeats too: a window that lasts until tomorrow would swallow them
                work.dig(f"{name}.evil.test")
            work.dig(f"{name}.evil.test", "+tcp")
            gate.wait_audit(name=f"{name}.evil.test")
            assert day_of_last_record() != today, "the gate's clock has jumped"
            gate.set_policy(f"{POLICY}# {name}\n")
            with witness.expect_zero():
                assert "NXDOMAIN" in work.dig("evil.test").text
            # The monitor's judgement waits for its grace, not for tomorrow.
            work.probe([{"do": "udp", "to": [world.EVIL4, 4400 + jump // DAY], "send": "beef", "timeout": 0.2}])
            gate.wait_audit(plugin="pcap-monitor", port=4400 + jump // DAY)
            assert sum(r["count"] for r in until(lambda: gate.audit(name=f"{name}.evil.test"))) >= 1
        until(lambda: sum(r["count"] for r in gate.audit(name="back.evil.test")) == 4)
        # Asked while the clock stood a day back, and not again: it ends by its TTL of a minute all the same.
        pids = set(gate.workers())
        ends = time.monotonic() + 60 + 30 + 10
        until(lambda: time.monotonic() > ends - 40 and not udp(work), 110)
        assert set(gate.workers()) == pids and gate.status()["healthy"]
    finally:
        gate.stop()
