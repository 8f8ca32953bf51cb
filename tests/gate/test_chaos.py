"""REL-08: every process of the gate is killed in turn every 5 s, and the policy is reloaded every second, while one agent downloads
and another attacks: nothing leaks, and the service is back within 2 s each time.

A warden that is killed is started again as deploy/systemd/sallyport.service says. SALLYPORT_CHAOS_SECONDS says for how long:
45 s without it, which is every process once or twice; `SALLYPORT_CHAOS_SECONDS=300 pytest tests/gate/test_chaos.py` is the whole.
"""

import collections
import json
import os
import random
import re
import time

from small_internet import world
from small_internet.gate import GATE4, P0, UPSTREAMS, Gate, gateway_yaml
from small_internet.runner import TREE

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = float(os.environ.get("SALLYPORT_CHAOS_SECONDS", "45"))
KILL_EVERY, RELOAD_EVERY, BACK_WITHIN = 5, 1, 2.0
KINDS = ("dns", "proxy", "transparent", "stream")
NAME = "api.example.test"


def plugins(number):
    """Each in a process of its own; every fifth edition has another option of the proxy, so that its worker is replaced."""
    return [
        "{ name: nftables, config: {} }",
        f"{{ name: dns, process: own, config: {{ listen: [dns], answers: real, {UPSTREAMS} }} }}",
        f"{{ name: http-proxy, process: own, config: {{ listen: [proxy], connect_timeout: {10 + number // 5 % 2}s, {UPSTREAMS} }} }}",
        f"{{ name: sni-filter, process: own, config: {{ listen: [catch], destination: original, {UPSTREAMS} }} }}",
        "{ name: pcap-monitor, config: {} }",
    ]


def restart_delay():
    """Seconds, as the unit has it."""
    with open(f"{TREE}/deploy/systemd/sallyport.service") as file:
        unit = file.read()
    assert re.search(r"^Restart=always$", unit, re.M) and re.search(r"^StartLimitIntervalSec=0$", unit, re.M)
    number, unit_of_time = re.search(r"^RestartSec=(\d+)(ms|s?)$", unit, re.M).groups()
    return int(number) / (1000 if unit_of_time == "ms" else 1)


class Chaos:
    """The service manager, the editor and the killer in one; on the main thread, which starts processes."""

    def __init__(self, gate):
        self.gate, self.delay = gate, restart_delay()
        self.killed, self.reloads, self.pids = [], 0, set()
        self._died = None
        self._draw = random.Random(7)

    def run(self, seconds):
        end = time.monotonic() + seconds
        next_reload, next_kill = time.monotonic(), time.monotonic() + KILL_EVERY
        while (now := time.monotonic()) < end:
            self._manage(now)
            if now >= next_reload:
                next_reload += RELOAD_EVERY
                self._edit()
            # The last kill leaves room for the service to be seen back.
            if now >= next_kill and now < end - BACK_WITHIN - 1 and self._kill():
                next_kill += KILL_EVERY
            time.sleep(0.02)

    def _manage(self, now):
        if self.gate.process.poll() is None:
            self._died = None
        elif self._died is None:
            self._died = now
        elif now >= self._died + self.delay:
            self.gate.start(wait=False)
            self._died = None

    def _edit(self):
        self.reloads += 1
        gate = self.gate
        gate.write(gate.policy_file, f"{P0}\n# edition {self.reloads}\n")
        if self.reloads % 5 == 0:
            gate.write(gate.config, gateway_yaml("real", plugins=plugins(self.reloads)))

    def _kill(self):
        try:
            status = self.gate.status()
        except (OSError, StopIteration, ValueError):
            return False  # it is being started
        if not status["healthy"] or status["state"] == "starting":
            return False
        targets = {p["name"]: p["pid"] for p in status["plugins"]} | {"warden": status["pid"]}
        self.pids.update(targets.values())
        self.pids.update(d["pid"] for d in status["draining"])
        # Each as often as any other, in an order that differs from round to round.
        done = collections.Counter(what for what, _ in self.killed)
        fewest = min(done[name] for name in targets)
        target = self._draw.choice(sorted(name for name in targets if done[name] == fewest))
        os.kill(targets[target], 9)
        self.killed.append((target, time.monotonic()))
        return True


def outages(served, killed):
    """{kind: [(seconds until something that began after the kill succeeded, who was killed)]}."""
    found = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for what, when in killed:
            ended = next((end for began, end in served[kind] if began >= when), None)
            found[kind].append((float("inf") if ended is None else round(ended - when, 2), what))
    return found


def test_kill_and_reload_while_one_downloads_and_another_attacks(lab, agents, work, other, witness):
    gate = Gate(lab, gateway_yaml("real", plugins=plugins(0)), P0).start()
    try:
        base = lab.workspace()
        chaos = Chaos(gate)
        with witness.watch() as seen:
            with open(f"{base}/served", "wb") as out:
                download = work.start("/usr/bin/python3", f"{HERE}/downloader.py", str(SECONDS), GATE4, world.GOOD4, NAME, base=base, stdout=out)
                attack = other.start("/usr/bin/python3", f"{HERE}/attacker.py", str(SECONDS), "all,gate", uid=0, env={"PAUSE": "0.01"})
                chaos.run(SECONDS)
                attacked = lab.finish(attack, 60)
                lab.finish(download, 30)
        made = json.loads(attacked.text)
        served = {kind: [] for kind in KINDS}
        with open(f"{base}/served") as file:
            for kind, began, end in map(str.split, file):
                served[kind].append((float(began), float(end)))
        found = outages(served, chaos.killed)
        longest = {kind: max(found[kind]) for kind in KINDS}
        kills = collections.Counter(what for what, _ in chaos.killed)
        allowed = {(world.GOOD4, 443), (world.GOOD6, 443), (world.RESOLVER, 53), (world.RESOLVER, "icmp")}
        leaked = {k: n for k, n in seen.arrived.items() if (k[1], k[2]) not in allowed}
        strange = [q for q in seen.asked if q.name != NAME]
        print(
            f"\n{SECONDS:.0f} s: {len(chaos.killed)} kills {dict(kills)}, {chaos.reloads} reloads; attempts {made};"
            f" served { {k: len(v) for k, v in served.items()} }; longest outage {longest};"
            f" leaked {sum(leaked.values())} packets, {len(strange)} questions"
        )
        assert not leaked and not strange, (leaked, strange)
        # Every kind of attack was tried over and over, and whatever can be killed was.
        assert all(count > SECONDS for count in made.values()), made
        assert set(kills) == {"warden", "dns", "http-proxy", "sni-filter", "nftables", "pcap-monitor"}, kills
        late = {kind: [o for o in found[kind] if o[0] > BACK_WITHIN] for kind in KINDS}
        assert not any(late.values()), f"{late}\n{gate.log()[-4000:]}"
        # Nobody whose warden or successor came is left.
        current = {gate.status()["pid"], *gate.workers(), *(d["pid"] for d in gate.status()["draining"])}
        left = [pid for pid in chaos.pids - current if is_sallyport(pid)]
        assert not left, left
    finally:
        gate.stop()


def is_sallyport(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return "sallyport" in file.read()
    except OSError:
        return False
