"""REL-08: every process of the gate is killed in turn every 5 s, and the policy is reloaded every second, for five minutes, while
one agent downloads and another attacks: nothing leaks, and the service is back within 2 s each time.

The warden is started again at once when it is killed, as systemd and compose do. SALLYPORT_CHAOS_SECONDS shortens it.
"""

import json
import os
import threading
import time

from small_internet import world
from small_internet.gate import GATE4, P0, Gate, gateway_yaml

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = float(os.environ.get("SALLYPORT_CHAOS_SECONDS", "300"))
KILL_EVERY, BACK_WITHIN = 5, 2.0

# Downloads without end, by proxy and transparently in turn; one line for each success with its time.
DOWNLOADER = """
while :; do
  curl -sS --max-time 4 -o /dev/null -x http://GATE:3128 https://api.example.test/whoami 2>/dev/null && echo proxy $(date +%s.%N)
  curl -sS --max-time 4 -o /dev/null https://api.example.test/whoami 2>/dev/null && echo transparent $(date +%s.%N)
  dig +short +tries=1 +time=1 @GATE api.example.test 2>/dev/null | grep -q . && echo dns $(date +%s.%N)
done
""".replace("GATE", GATE4)


def test_kill_and_reload_while_one_downloads_and_another_attacks(lab, agents, work, other, witness):
    gate = Gate(lab, gateway_yaml("real")).start()
    stop = threading.Event()
    killed = []
    try:
        base = lab.workspace()
        with open(f"{base}/served", "wb") as out:
            process, *_ = work.start("sh", "-c", DOWNLOADER, base=base, stdout=out)
            attack = other.start("/usr/bin/python3", f"{HERE}/attacker.py", str(SECONDS), uid=0, env={"PAUSE": "0.01"})
            with witness.expect_only("api.example.test", ports=[(world.GOOD4, 443), (world.GOOD6, 443)]):
                end = time.monotonic() + SECONDS
                number, next_kill = 0, time.monotonic() + KILL_EVERY
                while time.monotonic() < end:
                    number += 1
                    gate.write(gate.policy_file, f"{P0}\n# edit {number}\n")
                    if time.monotonic() >= next_kill:
                        killed.append(kill_next(gate, len(killed)))
                        next_kill += KILL_EVERY
                    time.sleep(1)
                attacked = lab.finish(attack, 60)
            stop.set()
            process.kill()
            process.wait()
        made = json.loads(attacked.text)
        assert all(count > SECONDS for count in made.values()), made
        with open(f"{base}/served") as file:
            served = [line.split() for line in file]
        times = {kind: [float(t) for k, t in served if k == kind] for kind in ("proxy", "transparent", "dns")}
        kinds = {what for what, _ in killed}
        assert {"warden", "dns", "nftables"} <= kinds or SECONDS < 60, kinds
        late = []
        for what, when in killed:
            for kind, moments in times.items():
                after = next((t for t in moments if t > when), None)
                if after is None or after - when > BACK_WITHIN:
                    late.append((what, kind, None if after is None else round(after - when, 2)))
        print(f"{len(killed)} kills, {number} reloads, attacks {made}, served { {k: len(v) for k, v in times.items()} }, late {late}")
        assert not late, f"{late}\n{gate.log()[-4000:]}"
    finally:
        gate.stop()


def kill_next(gate, number):
    """(what was killed, when by the wall clock)."""
    workers = gate.workers()
    names = sorted(sorted(plugins)[0] for plugins in workers.values()) + ["warden"]
    target = names[number % len(names)]
    now = time.time()
    if target == "warden":
        gate.kill()
        gate.start()
    else:
        os.kill(next(pid for pid, plugins in workers.items() if target in plugins), 9)
    return target, now
