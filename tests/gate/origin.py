"""An origin server of the small internet that answers as a test says, and a reader of requests that forgives nothing."""

import contextlib
import re
import socket
import threading

from small_internet import world


class Origin:
    """Listens on load.example.test's address; `script(connection, origin)` serves each connection in a thread of its own.

    .received has the octets of each connection, in the order they were accepted.
    """

    def __init__(self, lab, script, port=80, address=world.LOAD4):
        self.script, self.received, self._lock, self._open = script, [], threading.Lock(), set()
        self._threads = []
        with lab.namespaces.inside(lab.namespaces.net_fd):
            self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._listener.bind((address, port))
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(30)
            with self._lock:
                self.received.append(b"")
                number = len(self.received) - 1
            thread = threading.Thread(target=self._serve, args=(Conversation(connection, self, number),), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, conversation):
        with self._lock:
            self._open.add(conversation.socket)
        with conversation.socket:
            try:
                self.script(conversation)
            except OSError:
                pass
            with self._lock:
                self._open.discard(conversation.socket)

    def open(self):
        """How many connections are."""
        with self._lock:
            return len(self._open)

    def close(self):
        """No more connections, and an end to those that are kept."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            left = list(self._threads)
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(10)


class Conversation:
    def __init__(self, connection, origin, number):
        self.socket, self._origin, self.number, self._left = connection, origin, number, b""

    def receive(self):
        """More octets; empty at the end."""
        data = self.socket.recv(65536)
        with self._origin._lock:
            self._origin.received[self.number] += data
        return data

    def head(self):
        """One head, without its last empty line; empty at the end. What came behind it is left for the next one."""
        while b"\r\n\r\n" not in self._left:
            data = self.receive()
            if not data:
                return b""
            self._left += data
        head, self._left = self._left.split(b"\r\n\r\n", 1)
        return head

    def body(self, octets):
        while len(self._left) < octets and (data := self.receive()):
            self._left += data
        body, self._left = self._left[:octets], self._left[octets:]
        return body

    def send(self, octets):
        self.socket.sendall(octets)


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"(" + _TOKEN + rb") (/[\x21-\x7e]*|\*) HTTP/1\.[01]")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*")


def read_requests(data):
    """[(line, {field: value}, body)], the whole of data; ValueError on what any reader could take in another way."""
    found = []
    while data:
        request, data = _one_request(data)
        found.append(request)
    return found


def whole_requests(data):
    """Those at the start of data that are whole, before what is not."""
    found = []
    while data:
        try:
            request, data = _one_request(data)
        except ValueError:
            break
        found.append(request)
    return found


def _one_request(data):
    head, mark, data = data.partition(b"\r\n\r\n")
    line, *rows = head.split(b"\r\n")
    if not mark or not _LINE.fullmatch(line):
        raise ValueError(f"request line {line!r}")
    fields = {}
    for row in rows:
        match = _FIELD.fullmatch(row)
        if not match or match[1].lower() in fields and match[1].lower() in (b"host", b"content-length", b"transfer-encoding"):
            raise ValueError(f"field line {row!r}")
        fields[match[1].lower()] = match[2]
    if b"host" not in fields or (b"content-length" in fields and b"transfer-encoding" in fields):
        raise ValueError(f"framing {fields}")
    body = b""
    if b"transfer-encoding" in fields:
        if fields[b"transfer-encoding"] != b"chunked":
            raise ValueError(f"coding {fields[b'transfer-encoding']!r}")
        while True:
            match = re.match(rb"([0-9a-f]{1,16})\r\n", data)
            if not match:
                raise ValueError(f"chunk {data[:40]!r}")
            size = int(match[1], 16)
            chunk, data = data[match.end() : match.end() + size], data[match.end() + size :]
            if len(chunk) != size or not data.startswith(b"\r\n"):
                raise ValueError("a chunk without its end")
            body, data = body + chunk, data[2:]
            if size == 0:
                break
    elif size := fields.get(b"content-length"):
        if not size.isdigit():
            raise ValueError(f"length {size!r}")
        body, data = data[: int(size)], data[int(size) :]
        if len(body) != int(size):
            raise ValueError("a body without its end")
    return (line, fields, body), data
