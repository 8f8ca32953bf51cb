"""Reads the tree: its source files, and what each CMake target declares."""

import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = (".c", ".h", ".cpp", ".hpp")
_CALL = re.compile(r"(sallyport_(?:library|test|fuzz|add_plugin|executable|benchmark))\(([^)]*)\)")
_KEYWORDS = {"NAME", "PUBLIC", "SOURCES", "DEPS", "SYSTEM", "CORPUS"}


def files():
    """Paths relative to the root: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return sorted(f for f in listed if f and os.path.isfile(os.path.join(ROOT, f)))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def source_files():
    return [f for f in files() if f.endswith(SOURCE)]


class Target:
    def __init__(self, kind, folder, words):
        self.kind, self.folder = kind, folder
        self.parts = {}
        key = None
        for word in words:
            if word in _KEYWORDS:
                key = word
                self.parts.setdefault(key, [])
            elif key:
                self.parts[key].append(word)
        self.name = self.parts.get("NAME", ["?"])[0]
        self.deps = set(self.parts.get("DEPS", []))

    def owns(self, path):
        """Whether the file is one of its sources, or a header beside the sources of a library or test."""
        if (
            os.path.dirname(path) == self.folder
            and path.endswith((".h", ".hpp"))
            and self.kind != "sallyport_add_plugin"
        ):
            return True
        return any(
            os.path.normpath(os.path.join(self.folder, s)) == path
            for s in self.parts.get("SOURCES", [])
            if not s.startswith("$")
        )


def targets(listed=None):
    found = []
    for path in listed or [f for f in files() if os.path.basename(f) == "CMakeLists.txt"]:
        text = re.sub(r"#[^\n]*", "", read(path))
        for kind, body in _CALL.findall(text):
            found.append(Target(kind, os.path.dirname(path), body.split()))
    return found


def includes(path):
    """[(line, text between the quotes or brackets, "\\"" or "<")]"""
    found = []
    for number, line in enumerate(read(path).split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if match:
            found.append((number, match[2], match[1]))
    return found
