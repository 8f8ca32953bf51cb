"""The command line of `sallyport run`: what it refuses, in which words, and that it starts whatever the caller's state is."""

import os
import subprocess

import pytest

from small_internet.runner import SALLYPORT

USAGE = "usage: sallyport run [options] -- COMMAND"


def call(*arguments, **options):
    done = subprocess.run([SALLYPORT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["true"], "write -- before the command"),
        (["--"], "no command"),
        (["--alow", "x.test", "--", "true"], "did you mean --allow?"),
        (["--al", "x.test", "--", "true"], "unknown option --al"),  # an abbreviation would change its meaning one day
        (["-p", "", "--", "true"], "--policy is empty"),
        (["--audit", "", "--", "true"], "--audit is empty"),
        (["--write", "", "--", "true"], "--write is empty"),
        (["--bind", "", "--", "true"], "--bind is empty"),
        (["--allow", "", "--", "true"], "--allow is empty"),
        (["--audit", "-", "--", "true"], "--audit -"),
        (["-p", "-", "--", "true"], "-p -"),
        (["--name", "a b", "--", "true"], "--name: expected"),
        (["--name", "x" * 65, "--", "true"], "--name: expected"),
        (["--report", "pdf", "--", "true"], "expected text, md or json"),
        (["--resolver", "dns.example", "--", "true"], "--resolver:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_refused(arguments, words):
    status, out, err = call("run", *arguments)
    assert status == 125 and words in err and not out
    if "--resolver" not in arguments:
        assert USAGE in err


def test_near_misses_of_commands():
    status, _, err = call("rn")
    assert status == 2 and "did you mean `run`?" in err
    status, out, err = call("help", "nothing")
    assert status == 2 and not out and "unknown command" in err
    assert call("version")[1].startswith("sallyport ")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o777], ids=oct)
def test_any_umask(umask):
    """As root too, whose worker reads its plugins as nobody. The command has the caller's umask."""
    status, out, err = call("run", "-q", "--resolver", "127.0.0.1", "--", "sh", "-c", "umask", umask=umask)
    assert (status, int(out, 8)) == (0, umask), err


def without_resolver(*arguments):
    """In a mount namespace where /etc/resolv.conf is empty."""
    script = 'mount -t tmpfs none /mnt && : >/mnt/empty && mount --bind /mnt/empty /etc/resolv.conf && exec "$@"'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", SALLYPORT, "run", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=30)
    return done.returncode, done.stderr


def test_no_resolver_is_needed_where_no_name_is_looked_up(tmp_path):
    """A policy of addresses, or of names with their own addresses, runs without one; any other says what to do."""
    fixed = tmp_path / "fixed.yaml"
    fixed.write_text("version: 1\nrules:\n  - {name: cache, action: allow, domains: [cache], resolves_to: [192.0.2.1/32], ports: [80]}\n")
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text("version: 1\nrules:\n  - {name: both, action: allow, domains: [a.test], addresses: [192.0.2.1/32], ports: [80]}\n")
    for path in (fixed, mixed):
        os.chmod(path, 0o644)
    assert without_resolver("-q", "--", "true") == (0, "")
    assert without_resolver("-q", "--allow", "192.0.2.1:80", "--", "true") == (0, "")
    assert without_resolver("-q", "-p", str(fixed), "--", "true") == (0, "")
    for arguments in (["--allow", "x.test"], ["-p", str(mixed)]):
        status, err = without_resolver(*arguments, "--", "true")
        assert status == 125 and "no resolver" in err and "--resolver" in err


def test_banner_says_what_is_open(tmp_path):
    policy = tmp_path / "open.yaml"
    policy.write_text("version: 1\ndefault: allow\nrules:\n  - {name: no, action: deny, domains: [evil.test]}\n")
    os.chmod(policy, 0o644)
    status, _, err = call("run", "-p", str(policy), "--resolver", "127.0.0.1", "--", "true", cwd=tmp_path)
    assert status == 0 and "1 rule; everything else is allowed" in err
