"""What a cell takes from its parent: descriptors, standard streams, setuid programs, the terminal.

CEL-11 to -13.
"""

import fcntl
import os
import pty
import shutil
import signal
import socket
import struct
import termios
import time

import pytest

from small_internet import world
from small_internet.runner import PYTHON, USER


# --- CEL-11, -12, -13: what is inherited ---


def test_descriptors_are_not_inherited(lab, witness):
    """CEL-11: a connected TCP socket at 9, and others."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        leaked = socket.create_connection((world.EVIL4, 5432))
    control = socket.socketpair()
    try:

        def place():
            os.dup2(leaked.fileno(), 9)
            os.dup2(control[0].fileno(), 10)

        process, base, given, began = lab.start(
            "sh", "-c", "ls /proc/self/fd; echo LEAK >&9", pass_fds=(9, 10, leaked.fileno()), preexec=place
        )
        run = lab.finish((process, base, given, began))
    finally:
        leaked.close()
    lines = run.text.split()
    assert set(lines) <= {"0", "1", "2", "3"}, run
    assert not [c for c in lab.servers.connections(world.EVIL4, 5432) if b"LEAK" in c.data]


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_inet_socket_as_a_standard_stream(lab, stream):
    """CEL-11: replaced by a copied pipe: the data passes, the socket itself is not in the cell."""
    with lab.namespaces.inside(lab.namespaces.host_fd):
        outer = socket.create_connection((world.EVIL4, 5432))
    with outer:
        number = {"stdin": 0, "stdout": 1, "stderr": 2}[stream]
        code = f"import os,socket,stat; print('socket' if stat.S_ISSOCK(os.fstat({number}).st_mode) and socket.socket(fileno=os.dup({number})).family in (2, 10) else 'pipe', file=open('result','w'))"
        base = lab.workspace()
        run = lab.run(PYTHON, "-c", code, base=base, **{stream: outer.fileno()})
        assert run.status == 0, run
        with open(f"{base}/project/result") as file:
            assert file.read() == "pipe\n"


def test_setuid_gains_nothing(lab):
    """CEL-12."""
    program = f"{lab.share}/suid-id"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 0, 0)
    os.chmod(program, 0o4755)
    assert "euid=0" in lab.bare(program).text, "the control: outside it does gain"
    assert "euid=0" not in lab.run(program).text


class Terminal:
    """sallyport run on a pseudo-terminal of its own, as a shell would start it."""

    def __init__(self, lab, *command):
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", 33, 77, 0, 0))

        def control():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        os.fchown(slave, USER.pw_uid, -1)
        self.process, self.base, *_ = lab.start(
            *command, stdin=slave, stdout=slave, stderr=slave, preexec=control, env={"TERM": "xterm"}
        )
        os.close(slave)
        self.text = b""

    def expect(self, word, seconds=8):
        deadline = time.monotonic() + seconds
        os.set_blocking(self.master, False)
        while word not in self.text:
            assert time.monotonic() < deadline, (word, self.text)
            try:
                self.text += os.read(self.master, 4096)
            except (BlockingIOError, OSError):
                time.sleep(0.02)

    def type(self, text):
        os.write(self.master, text)

    def wait(self, seconds=8):
        status = self.process.wait(seconds)
        os.close(self.master)
        return status


def test_terminal_size_and_resize(lab):
    """CEL-13."""
    terminal = Terminal(
        lab,
        PYTHON,
        "-c",
        "import os,signal,time\nsignal.signal(signal.SIGWINCH,lambda *_:print('resized',os.get_terminal_size(),flush=True))\nprint('first',os.get_terminal_size(),flush=True)\nfor _ in range(80): time.sleep(0.1)",
    )
    terminal.expect(b"columns=77, lines=33")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("4H", 44, 99, 0, 0))
    terminal.expect(b"resized os.terminal_size(columns=99, lines=44)")
    terminal.type(b"\x03")
    assert terminal.wait() != 0


def test_terminal_interrupt(lab):
    """CEL-13: Ctrl-C reaches the command; the status says so."""
    terminal = Terminal(lab, "sh", "-c", "echo ready; sleep 30")
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    assert terminal.wait() in (128 + signal.SIGINT, -signal.SIGINT)


def test_terminal_interrupt_that_the_command_handles(lab):
    terminal = Terminal(lab, "sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"caught")
    assert terminal.wait() == 9


def test_terminal_injection(lab):
    """CEL-13: TIOCSTI and TIOCLINUX are refused, also with high bits set in the request."""
    code = "import ctypes\nl=ctypes.CDLL(None,use_errno=True)\nfor r in (0x5412,0x541c,0x5412|1<<32,0x541c|1<<32):\n  ctypes.set_errno(0); v=l.syscall(16,ctypes.c_long(0),ctypes.c_ulong(r),ctypes.c_char_p(b'X')); print('result',v,ctypes.get_errno())\nprint('done',flush=True)"
    terminal = Terminal(lab, PYTHON, "-c", code)
    terminal.expect(b"done")
    assert terminal.text.count(b"result -1") == 4, terminal.text
    terminal.wait()


def test_full_screen_program(lab):
    """CEL-13: raw mode, cursor addressing, input."""
    if not shutil.which("tmux"):
        pytest.fail("tmux is missing: ./dev deps")
    terminal = Terminal(
        lab,
        "tmux",
        "-f",
        "/dev/null",
        "-S",
        "socket",
        "new-session",
        "echo in-tmux; read line; echo got $line; sleep 0.5",
    )
    terminal.expect(b"in-tmux")
    terminal.type(b"typed\r")
    terminal.expect(b"got typed")
    assert terminal.wait(10) == 0
