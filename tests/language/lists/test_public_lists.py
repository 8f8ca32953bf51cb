"""Public lists of 100,000 names and more load in every format that lists come in.

npm ships them as JSON. They are fetched once, by npm itself, into the build folder, and written in each format; what cannot be
fetched is a skip that says so. The number of names is what `policyctl stats` counts in the policy that was loaded.
"""

import csv
import json
import os
import pathlib
import re
import resource
import subprocess
import tarfile

import pytest

BUILD = pathlib.Path(os.environ.get("SALLYPORT_BUILD", "build")).resolve()
POLICYCTL = BUILD / "bin" / "policyctl"
CACHE = BUILD / "public-lists"

# Package and version, the file in it, how many names it has at least.
LISTS = {
    "disposable-email-domains": ("disposable-email-domains@1.0.62", "index.json", 121_570),
    "disposable-domains": ("disposable-domains@2.0.1", "index.json", 133_604),
    "disposable-email": ("@dahoom/disposable-email@0.3.253", "domains.json", 165_219),
    "third-party-web": ("third-party-web@0.30.0", "dist/domain-map.csv", 100_000),
}

LINES = {
    "domains": "{}\n",
    "hosts": "0.0.0.0 {}\n",
    "adblock": "||{}^\n",
    "dnsmasq": "address=/{}/#\n",
    "squid": ".{}\n",
    "rpz": "{} CNAME .\n",
}
HEADS = {"adblock": "[Adblock Plus 2.0]\n! a list\n", "rpz": "$TTL 300\n@ SOA localhost. root.localhost. 1 2 3 4 5\n  NS localhost.\n"}


def fetched(package, member):
    name = package.rsplit("@", 1)[0].lstrip("@").replace("/", "-")
    folder = CACHE / name
    file = folder / "package" / member
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            packed = subprocess.run(
                ["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot fetch {package}: {error}")
        archives = list(folder.glob("*.tgz"))
        if packed.returncode != 0 or not archives:
            pytest.skip(f"npm cannot fetch {package}: no registry is reached from here")
        with tarfile.open(archives[0]) as archive:
            for entry in archive.getmembers():
                if entry.isfile() and entry.name == f"package/{member}":
                    archive.extract(entry, folder)
    return file


def names_of(file):
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8") as text:
            found = [row[0] for row in csv.reader(text) if row]
    else:
        found = json.loads(file.read_text(encoding="utf-8"))
        found = list(found) if isinstance(found, dict) else found
    # Some are e-mail domains that no DNS name can be: spaces, two dots. They are the list's own mistakes.
    return [n for n in dict.fromkeys(x.strip().strip(".").lower() for x in found) if is_name(n)]


def is_name(text):
    labels = text.split(".")
    return (
        len(labels) > 1
        and len(text) <= 253
        and not labels[-1].isdigit()
        and all(0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() and label.isascii() for label in labels)
    )


@pytest.mark.parametrize("format_", LINES)
@pytest.mark.parametrize("name", LISTS)
def test_loads(name, format_, tmp_path):
    package, member, least = LISTS[name]
    names = names_of(fetched(package, member))
    assert len(names) >= least * 0.98, f"{package} has {len(names)} names"
    with open(tmp_path / "list.txt", "w", encoding="utf-8") as out:
        out.write(HEADS.get(format_, ""))
        out.writelines(LINES[format_].format(n) for n in names)
    os.chmod(tmp_path, 0o700)
    os.chmod(tmp_path / "list.txt", 0o600)
    policy = tmp_path / "policy.yaml"

    def checked(accepted):
        policy.write_text(
            f"version: 1\nlists:\n  list: {{ file: list.txt, format: {format_}, max_invalid: {accepted} }}\n"
            "rules:\n  - { name: blocked, action: deny, lists: [list] }\n"
        )
        policy.chmod(0o600)
        return subprocess.run([POLICYCTL, "check", policy], capture_output=True, text=True)

    # A few of these names have A-labels that nobody could register; how many is said, and is what max_invalid must be.
    first = checked(0)
    holes = re.search(r"(\d+) of \d+ lines not understood", first.stderr)
    invalid = int(holes.group(1)) if holes else 0
    assert invalid < 100, first.stderr
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    second = checked(invalid)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert second.returncode == 0, second.stderr
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name} {format_}: {len(names)} names, {invalid} invalid, {seconds * 1000:.0f} ms of CPU time")
    if format_ != "adblock":
        return
    # And what it says is what is decided.
    stats = subprocess.run([POLICYCTL, "stats", "-o", "json", policy], capture_output=True, text=True).stdout
    assert str(len(names) - invalid) in stats, stats
    explained = subprocess.run([POLICYCTL, "explain", "-p", policy, names[len(names) // 2]], capture_output=True, text=True)
    assert explained.returncode == 1 and "blocked" in explained.stdout
