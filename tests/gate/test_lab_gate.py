"""The lab's own bridge: without a gate everything is reachable, so that a zero at the witness means something."""

from small_internet import world


def test_agents_reach_the_outside_while_no_gate_runs(work, witness):
    with witness.watch() as seen:
        run = work.curl(f"http://{world.EVIL4}:8080/", "--http0.9", resolver=world.RESOLVER)
        work.dig("+short", "evil.test", server=world.OTHER_RESOLVER)
    assert ("tcp", world.EVIL4, 8080) in seen.arrived, run
    assert [q.name for q in seen.asked] == ["evil.test"]


def test_over_ipv6_too(work, witness):
    with witness.watch() as seen:
        work.run("ping", "-6", "-c1", "-W2", world.EVIL6)
        work.dig("+short", "AAAA", "evil.test", server=world.OTHER_RESOLVER6)
    assert ("other", world.EVIL6, "ipv6-icmp") in seen.arrived
    assert seen.asked


def test_agents_reach_each_other_while_no_gate_runs(work, other):
    run = work.run("ping", "-c1", "-W2", other.address4)
    assert run.status == 0, run
