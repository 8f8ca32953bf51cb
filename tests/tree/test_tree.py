"""The tree's own rules: what may include what, how long a file is, what a plugin's README says, which compilers take the headers."""

import os
import re
import subprocess

import pytest

import tree

SOURCES = tree.source_files()
TARGETS = tree.targets()
LIBRARIES = {t.folder: t for t in TARGETS if t.kind == "sallyport_library"}
INCLUDE_ROOTS = ("libpolicy", "plugins", "")


def folder_of(include, path):
    """The folder of ours that an include line names; None for the standard library, other libraries and generated code."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), include))
    for candidate in (beside, *(os.path.normpath(os.path.join(root, include)) for root in INCLUDE_ROOTS)):
        if os.path.isfile(os.path.join(tree.ROOT, candidate)):
            return os.path.dirname(candidate)
    return None


def reachable(names):
    known = {t.name: t for t in LIBRARIES.values()}
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += known[name].deps if name in known else []
    return found


def test_the_reader_of_cmake_finds_the_tree():
    assert {"libpolicy/result", "libpolicy/names", "libpolicy/wire", "libpolicy/engine"} <= set(LIBRARIES)
    assert LIBRARIES["libpolicy/names"].deps == {"result"}
    assert len(SOURCES) > 20


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.folder}:{t.name}")
def test_includes_are_declared(target):
    """DEPS is all a folder may include, besides itself, the public API and what several tests share.

    A test may also use what its target's own headers speak of, which it links by that target, and what other tests share;
    two targets of one folder share what they declare.
    """
    test = target.kind in ("sallyport_test", "sallyport_fuzz")
    allowed = (
        reachable(target.deps)
        if test
        else target.deps | {d for t in TARGETS if t.folder == target.folder and t.name in target.deps for d in t.deps}
    )
    wrong = []
    for path in (f for f in SOURCES if target.owns(f)):
        for line, include, _ in tree.includes(path):
            folder = folder_of(include, path)
            if (
                folder is None
                or folder in (os.path.dirname(path), target.folder)
                or folder.startswith(("libpolicy/include", *(["tests/"] if test else [])))
            ):
                continue
            if folder not in LIBRARIES or LIBRARIES[folder].name not in allowed:
                wrong.append(f'{path}:{line}: "{include}" is in {folder}, which {target.name} does not list in DEPS')
    assert not wrong, "\n".join(wrong)


def test_every_dependency_points_down_and_there_is_no_cycle():
    known = {t.name: t for t in LIBRARIES.values()}

    def walk(name, above):
        assert name not in above, f"cycle: {' -> '.join([*above, name])}"
        for dependency in known[name].deps & known.keys():
            walk(dependency, [*above, name])

    for name in known:
        walk(name, [])


# The embeddable core: names, wire and engine use the standard library alone; Protobuf stays where the schema is decoded.
@pytest.mark.parametrize(
    "folder, forbidden",
    [
        ("libpolicy/result", r"^(absl|boost|google)/"),
        ("libpolicy/names", r"^(absl|boost|google)/"),
        ("libpolicy/wire", r"^(absl|boost|google|openssl|ldns)/|^(sys/socket|netdb|unistd)\.h$"),
        ("libpolicy/engine", r"^(absl|boost|google)/"),
        ("libpolicy/include", r"^(absl|boost|google|grpcpp)/"),
        ("libpolicy/host", r"^google/|\.pb\.h$"),
        ("plugins", r"^google/|\.pb\.h$"),
    ],
)
def test_libraries_stay_where_they_belong(folder, forbidden):
    paths = [f for f in SOURCES if f.startswith(folder + "/")]
    assert paths, f"{folder} holds no source file"
    wrong = [f"{p}:{n}: {i}" for p in paths for n, i, _ in tree.includes(p) if re.search(forbidden, i)]
    assert not wrong, "\n".join(wrong)


def test_no_folder_is_called_utils():
    wrong = [f for f in tree.files() if re.search(r"(^|/)(utils?|helpers?|common|misc)(/|\.[a-z]+$)", f)]
    assert not wrong, wrong


def test_files_are_short():
    wrong = [
        f"{f}: {n} lines"
        for f in SOURCES + [f for f in tree.files() if f.endswith((".py", ".cmake"))]
        if (n := tree.read(f).count("\n")) > 800
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_for_later_and_no_path_of_one_machine():
    pattern = re.compile(
        r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|/ho" r"me/[a-z]+/|/wo" r"rk/(main|shared)|/tm" r"p/brief"
    )
    wrong = [
        f"{f}:{n}: {line.strip()}"
        for f in SOURCES + [f for f in tree.files() if f.endswith((".py", ".cmake", ".txt", ".md", ".proto", ".sh"))]
        for n, line in enumerate(tree.read(f).split("\n"), 1)
        if pattern.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_headers_are_guarded_and_say_what_they_are():
    wrong = []
    for path in (f for f in SOURCES if f.endswith((".h", ".hpp"))):
        text = tree.read(path)
        if not text.startswith(("//", "/*")):
            wrong.append(f"{path}: starts without a comment that says what it is")
        if not re.search(r"^#pragma once|^#ifndef \w+_H", text, re.M):
            wrong.append(f"{path}: no include guard")
    assert not wrong, "\n".join(wrong)


PLUGINS = sorted(os.path.dirname(f) for f in tree.files() if re.fullmatch(r"plugins/[a-z-]+/plugin\.cpp", f))
HEADINGS = ["enforce", "example", "option", "reason", "metric", "capabilit", "trust", "not do"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_readme_of_a_plugin(plugin):
    headings = [line.lower() for line in tree.read(f"{plugin}/README.md").split("\n") if line.startswith("#")]
    missing = [h for h in HEADINGS if not any(h in line for line in headings)]
    assert not missing, f"{plugin}/README.md has no heading with {missing}; it has {headings}"


def test_there_are_plugins():
    assert {"plugins/dns", "plugins/sni-filter"} <= set(PLUGINS)


# A co_await stands alone, or right of `=` or co_return: inside conditions, ?: and arguments g++ 12 miscompiles it. Asking for
# the executor never suspends and may stand anywhere.
_BEFORE = re.compile(r"(^|[;{}]|=|\bco_return|\belse|\bdo|\)|:)\s*$")


@pytest.mark.parametrize("path", [f for f in SOURCES if "co_await" in tree.read(f)] or [None])
def test_co_await_shape(path):
    assert path, "no coroutine in the tree"
    wrong = []
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0]).replace(
            "co_await asio::this_coro::", "asio::this_coro::"
        )
        for match in re.finditer(r"\bco_await\b", code):
            before = code[: match.start()]
            if before.count("(") > before.count(")") or "?" in before or not _BEFORE.search(before):
                wrong.append(f"{path}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


PUBLIC_C = [f for f in SOURCES if f.startswith("libpolicy/include/policy/") and f.endswith(".h")]
PUBLIC_CPP = [f for f in SOURCES if f.startswith("libpolicy/include/policy/") and f.endswith(".hpp")]
STRICT = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Ilibpolicy/include"]


@pytest.mark.parametrize(
    "compiler",
    [
        "gcc -std=c11 -x c",
        "clang-19 -std=c11 -x c",
        "g++ -std=c++17 -x c++",
        "g++ -std=c++20 -x c++",
        "clang++-19 -std=c++17 -x c++",
        "clang++-19 -std=c++20 -x c++",
    ],
)
def test_public_headers_compile_alone(compiler):
    cpp = "c++" in compiler
    headers = PUBLIC_C + (PUBLIC_CPP if "c++20" in compiler else [])
    assert "libpolicy/include/policy/abi.h" in headers
    for header in headers:
        text = f'#include <{os.path.relpath(header, "libpolicy/include")}>\n' + (
            "" if cpp else "typedef int not_empty;\n"
        )
        result = subprocess.run(
            [*compiler.split(), *STRICT, "-"], input=text, cwd=tree.ROOT, capture_output=True, text=True
        )
        assert result.returncode == 0, f"{compiler} {header}\n{result.stderr}"


@pytest.mark.parametrize("folder", ["result", "names", "engine", "wire"])
def test_core_headers_compile_alone(folder):
    """With g++ as well: the embeddable core must not depend on one compiler."""
    for header in (f for f in SOURCES if f.startswith(f"libpolicy/{folder}/") and f.endswith(".hpp")):
        text = f'#include "{os.path.relpath(header, "libpolicy")}"\n'
        result = subprocess.run(
            ["g++", "-std=c++20", "-x", "c++", *STRICT, "-Ilibpolicy", "-"],
            input=text,
            cwd=tree.ROOT,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{header}\n{result.stderr}"
