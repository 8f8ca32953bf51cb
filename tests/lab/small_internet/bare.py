"""bare.py RESOLVER COMMAND…: runs a command as the user in the lab's host namespace, with the lab's resolver and nothing else.

The files of the resolver are bound in a private mount namespace, so that the machine's own are left alone.
"""

import ctypes
import os
import sys
import tempfile

_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, flags):
    if _libc.mount(source.encode(), target.encode(), None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


if _libc.unshare(_CLONE_NEWNS) != 0:
    raise OSError(ctypes.get_errno(), "unshare")
mount("none", "/", _MS_REC | _MS_PRIVATE)
for path, text in (
    ("/etc/resolv.conf", f"nameserver {sys.argv[1]}\noptions timeout:2 attempts:1\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        mount(file.name, os.path.realpath(path), _MS_BIND)
uid, gid = int(os.environ.pop("LAB_UID")), int(os.environ.pop("LAB_GID"))
if uid:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except FileNotFoundError:
    sys.exit(127)
