"""Plugins are loaded only from where they may be: PLG-01. Each refusal is in words, exit 125, and nothing is started."""

import os
import re
import shutil
import subprocess
import tempfile

import pytest

from small_internet.runner import BUILD, OTHER_UID, TREE, USER

NAMES = ("dns.so", "sni-filter.so")
MARK = "/tmp/sp-lab-loaded-%d"  # what a plugin that should not have been loaded leaves behind

PROGRAM = r"""
#include <policy/abi.h>
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("%(mark)s", O_CREAT | O_WRONLY, 0666); }
%(body)s
"""
NO_SYMBOL = "int policy_plugin_entry_missing = 1;"
ENTRY = r"""
static const char manifest[] SECTION = "MANIFEST";
static const policy_instance_api api = {sizeof(policy_instance_api)};
POLICY_EXPORT const policy_plugin policy_plugin_entry = {%s, %s, %s, sizeof(policy_plugin), {manifest, sizeof manifest - 1}, &api};
"""
IN_SECTION = '__attribute__((section(".policy.manifest"), used))'


def manifest_of(plugin):
    """The real plugin's manifest as the inside of a C string."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            ["llvm-objcopy-19", f"--dump-section=.policy.manifest={directory}/json", plugin, "/dev/null"], check=True
        )
        with open(f"{directory}/json", "rb") as file:
            text = file.read().rstrip(b"\0").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.fixture
def directory(lab):
    """A copy of the plugins in a directory of root's that the test may spoil."""
    path = f"{lab.workspace(0)}/plugins"
    os.mkdir(path)
    for name in NAMES:
        shutil.copy(f"{BUILD}/plugins/{name}", path)
        os.chmod(f"{path}/{name}", 0o755)
    return path


def attempt(lab, directory, **options):
    base = lab.workspace()
    run = lab.run(
        "touch", "started", base=base, allow=["api.example.test"], options=["--plugin-dir", directory], **options
    )
    return run, os.path.exists(f"{base}/project/started")


def assert_refused(lab, witness, directory, *words, **options):
    with witness.expect_zero():
        run, started = attempt(lab, directory, **options)
    assert run.status == 125 and not started, run
    assert all(w in run.errors for w in words), run
    assert not os.path.exists(MARK % os.getpid()), "code of the refused plugin ran"


def test_control_the_copy_is_accepted(lab, directory):
    run, started = attempt(lab, directory)
    assert run.status == 0 and started, run


def build(source, target):
    subprocess.run(
        ["clang-19", "-shared", "-fPIC", "-I", f"{TREE}/libpolicy/include", "-x", "c", "-", "-o", target],
        input=source,
        text=True,
        check=True,
    )
    os.chmod(target, 0o755)


@pytest.mark.parametrize(
    "kind",
    [
        "relative",
        "dotdot",
        "missing-directory",
        "missing-file",
        "symlink",
        "symlinked-directory",
        "symlinked-parent",
        "owner",
        "directory-owner",
        "world-writable",
        "group-writable",
        "world-writable-directory",
        "world-writable-parent",
        "hard-link-of-other",
        "fifo",
        "empty",
        "text",
        "truncated",
    ],
)
def test_places_and_files(lab, witness, directory, kind):
    """PLG-01."""
    plugin, given, words = f"{directory}/dns.so", directory, ["dns"]
    if kind == "relative":
        given, words = os.path.relpath(directory, f"{lab.namespaces.state}/runs"), ["absolute"]
    elif kind == "dotdot":
        given, words = f"{directory}/../plugins", [".."]
    elif kind == "missing-directory":
        given, words = f"{directory}-none", ["plugins-none"]
    elif kind == "missing-file":
        os.unlink(plugin)
    elif kind == "symlink":
        os.rename(plugin, f"{directory}/real.so")
        os.symlink(f"{directory}/real.so", plugin)
    elif kind == "symlinked-directory":
        os.symlink(directory, f"{directory}-link")
        given, words = f"{directory}-link", ["link"]
    elif kind == "symlinked-parent":
        os.symlink(os.path.dirname(directory), f"{directory}-parent")
        given, words = f"{directory}-parent/plugins", ["link"]
    elif kind == "owner":
        os.chown(plugin, OTHER_UID, OTHER_UID)
    elif kind == "directory-owner":
        os.chown(directory, OTHER_UID, OTHER_UID)
        words = []
    elif kind == "world-writable":
        os.chmod(plugin, 0o757)
    elif kind == "group-writable":
        os.chown(plugin, 0, OTHER_UID)
        os.chmod(plugin, 0o775)
    elif kind == "world-writable-directory":
        os.chmod(directory, 0o777)
        words = ["plugins"]
    elif kind == "world-writable-parent":
        os.chmod(os.path.dirname(directory), 0o777)
        words = []
    elif kind == "hard-link-of-other":
        os.chown(plugin, OTHER_UID, 0)
    elif kind == "fifo":
        os.unlink(plugin)
        os.mkfifo(plugin)
    elif kind == "empty":
        os.truncate(plugin, 0)
    elif kind == "text":
        with open(plugin, "w") as file:
            file.write("not a library")
    elif kind == "truncated":
        os.truncate(plugin, os.path.getsize(plugin) // 2)
    assert_refused(lab, witness, given, *words)


@pytest.mark.parametrize(
    "kind, body, word",
    [
        ("missing-symbol", NO_SYMBOL, "dns"),
        ("no-manifest", ENTRY.replace("SECTION", "") % ("POLICY_ABI_MAGIC", "POLICY_ABI_MAJOR", "0"), "manifest"),
        ("other-major", ENTRY % ("POLICY_ABI_MAGIC", "POLICY_ABI_MAJOR + 1", "0"), "2"),
        ("newer-minor", ENTRY % ("POLICY_ABI_MAGIC", "POLICY_ABI_MAJOR", "999"), "999"),
        ("wrong-magic", ENTRY % ("UINT64_C(0x1122334455667788)", "POLICY_ABI_MAJOR", "0"), "dns"),
    ],
    ids=lambda v: v if isinstance(v, str) and "-" in v and len(v) < 20 else "",
)
def test_foreign_libraries(lab, witness, directory, kind, body, word):
    """PLG-01: wrong ABI, missing symbol."""
    body = body.replace("SECTION", IN_SECTION).replace("MANIFEST", manifest_of(f"{directory}/dns.so"))
    build(PROGRAM % {"mark": MARK % os.getpid(), "body": body}, f"{directory}/dns.so")
    with witness.expect_zero():
        run, started = attempt(lab, directory)
    assert run.status == 125 and not started and word in run.errors, run


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_preload_does_not_reach_the_worker(lab, directory, variable):
    """PLG-01: LD_PRELOAD and LD_LIBRARY_PATH are ignored by what enforces: the worker that parses traffic starts without them."""
    library = f"{directory}/preload.so"
    build(
        "#include <unistd.h>\n#include <stdio.h>\nunsigned la_version(unsigned v) { return v; }\n__attribute__((constructor)) static void loaded(void) { "
        'char name[64] = {0}; FILE *f = fopen("/proc/self/comm", "r"); if (f) { if (fgets(name, 60, f)) fprintf(stderr, "preloaded-in %d %s", getpid(), name); fclose(f); } }',
        library,
    )
    from test_faults import worker_of

    started = lab.start(
        "sh",
        "-c",
        "echo ready; sleep 3",
        env={variable: library, "LD_LIBRARY_PATH": directory},
        allow=["api.example.test"],
    )
    process = started[0]
    while (line := process.stdout.readline()) and line != b"ready\n":
        pass
    worker = worker_of(process.pid)
    with open(f"/proc/{worker}/maps") as file:
        maps = file.read()
    process.terminate()
    lab.finish(started)
    assert "preload.so" not in maps


def test_library_path_does_not_choose_the_workers_libraries(lab):
    """PLG-01: libraries of the user's in LD_LIBRARY_PATH are not what the worker and the enforcers are linked with."""
    base = lab.workspace()
    own = f"{base}/project/lib"
    os.mkdir(own)
    listed = subprocess.run(
        ["ldd", f"{BUILD}/bin/sallyport-worker", *(f"{BUILD}/plugins/{n}" for n in NAMES)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for library in set(re.findall(r"=> (/\S+)", listed)):
        shutil.copy(library, own)
    from test_faults import worker_of

    started = lab.start(
        "sh", "-c", "echo ready; sleep 3", env={"LD_LIBRARY_PATH": own}, allow=["api.example.test"], base=base
    )
    process = started[0]
    assert process.stdout.readline() == b"ready\n"
    with open(f"/proc/{worker_of(process.pid)}/maps") as file:
        maps = file.read()
    process.terminate()
    lab.finish(started)
    assert "libc.so.6" in maps and own not in maps and "project/lib" not in maps


def test_users_own_plugin_directory_is_accepted(lab):
    """Owners are root and the caller."""
    path = f"{lab.workspace()}/plugins"
    os.mkdir(path)
    for name in NAMES:
        shutil.copy(f"{BUILD}/plugins/{name}", path)
        os.chown(f"{path}/{name}", USER.pw_uid, USER.pw_gid)
    os.chown(path, USER.pw_uid, USER.pw_gid)
    run, started = attempt(lab, path)
    assert run.status == 0 and started, run
