"""System calls that a program does not get: what an old kernel, or a container engine's own filter, looks like from inside."""

import ctypes
import errno
import struct

SOCKET, SECCOMP, LANDLOCK_CREATE_RULESET, UNSHARE = 41, 317, 444, 272  # of x86_64
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_libc = ctypes.CDLL(None, use_errno=True)


def refuse(*calls, error=errno.ENOSYS):
    """A preexec function. A call is a number, or (number, first argument, third argument or None)."""
    program = []
    for call in calls:
        number, *arguments = call if isinstance(call, tuple) else (call,)
        tests = [(0, number)] + [(16 + 16 * i, value) for i, value in enumerate(arguments) if value is not None]
        for i, (offset, value) in enumerate(tests):
            left = 2 * (len(tests) - i - 1) + 1  # to the next call
            program += [(_LOAD, 0, 0, offset), (_EQUAL, 0, left, value)]
        program.append((_RETURN, 0, 0, _ERRNO | error))
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("HBBI", *row) for row in program)

    def install():
        buffer = ctypes.create_string_buffer(code, len(code))
        fprog = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
        if _libc.prctl(38, 1, 0, 0, 0) or _libc.prctl(22, 2, ctypes.create_string_buffer(fprog, len(fprog))):
            raise OSError(ctypes.get_errno(), "prctl")

    return install
