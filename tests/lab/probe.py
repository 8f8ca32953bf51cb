"""probe.py: runs inside a cell (or bare): takes a JSON list of steps on standard input, prints a JSON list of results.

One cell serves many attempts so. A step that fails says how: the name of its errno, or how a conversation ended (`eof`,
`reset`, `timeout`, `enough`). Addresses may be names, which are then looked up as any program would.
"""

import concurrent.futures
import contextlib
import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6, None: 0}


def word(error):
    if isinstance(error, socket.gaierror):
        return "gaierror"
    return (
        errno.errorcode.get(error.errno, str(error.errno))
        if isinstance(error, OSError) and error.errno
        else type(error).__name__
    )


def lookup(step):
    found = socket.getaddrinfo(
        step["name"], step.get("port", 443), FAMILY[step.get("family")], socket.SOCK_STREAM, 0, step.get("flags", 0)
    )
    return {"addresses": list(dict.fromkeys(f[4][0] for f in found))}


def connect(step):
    address, port = step["to"]
    family, kind, proto, _, where = socket.getaddrinfo(address, port, FAMILY[step.get("family")], socket.SOCK_STREAM)[0]
    client = socket.socket(family, kind, proto)
    client.settimeout(step.get("timeout", 8))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(where)
    return client


def tcp(step):
    """Connects, sends `send` or each of `pieces` (hex) with a pause between, reads up to `read` bytes or the end."""
    client = connect(step)
    result = {"connected": True, "end": "enough", "local": client.getsockname()[1]}
    received = b""
    with client:
        try:
            for n, piece in enumerate(step.get("pieces", [step["send"]] if "send" in step else [])):
                if n:
                    time.sleep(step.get("pause", 0.002))
                client.sendall(bytes.fromhex(piece))
            if step.get("half"):
                client.shutdown(socket.SHUT_WR)
            while len(received) < step.get("read", 1 << 16):
                data = client.recv(65536)
                if not data:
                    result["end"] = "eof"
                    break
                received += data
        except (ConnectionResetError, BrokenPipeError):
            result["end"] = "reset"
        except TimeoutError:
            result["end"] = "timeout"
    result["data"] = received.hex()
    return result


def udp(step):
    address, port = step["to"]
    family, _, _, _, where = socket.getaddrinfo(address, port, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(step.get("timeout", 2))
        if step.get("broadcast"):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if "from" in step:
            client.bind((step["from"], 0))
        if step.get("connect", True):
            client.connect(where)
            client.send(bytes.fromhex(step["send"]))
            answer = client.recv(65535)
        else:
            client.sendto(bytes.fromhex(step["send"]), where)
            answer = client.recvfrom(65535)[0]
    return {"data": answer.hex()}


def resolver():
    """The name server that programs here are told of."""
    with open("/etc/resolv.conf") as file:
        return [[line.split()[1], 53] for line in file if line.startswith("nameserver")][0]


def dns(step):
    """One DNS message over UDP, or several (`messages`) over one TCP connection."""
    if not step.get("tcp"):
        return udp({"to": step.get("to") or resolver(), **step})
    with connect({**step, "to": step.get("to") or resolver()}) as client:
        messages = [bytes.fromhex(m) for m in step.get("messages", [step.get("send")])]
        client.sendall(b"".join(struct.pack("!H", len(m)) + m for m in messages))
        answers = []
        buffer = b""
        while len(answers) < len(messages):
            data = client.recv(65536)
            if not data:
                break
            buffer += data
            while len(buffer) >= 2 and len(buffer) >= 2 + (length := struct.unpack("!H", buffer[:2])[0]):
                answers.append(buffer[2 : 2 + length].hex())
                buffer = buffer[2 + length :]
    return {"answers": answers, "data": answers[0] if answers else ""}


def make_socket(step):
    with socket.socket(step["family"], step["type"], step.get("proto", 0)) as made:
        if "to" in step:
            made.connect(tuple(step["to"]) if isinstance(step["to"], list) else step["to"])
            if "send" in step:
                made.send(bytes.fromhex(step["send"]))
    return {"made": True}


def sendto(step):
    with socket.socket(step["family"], step["type"], step.get("proto", 0)) as made:
        made.settimeout(1)
        if step.get("broadcast"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.sendto(bytes.fromhex(step["send"]), tuple(step["to"]))
    return {"sent": True}


def syscall(step):
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    value = libc.syscall(*(ctypes.c_long(a) for a in step["args"]))
    if value < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return {"value": value}


def write_memory(step):
    """process_vm_writev into another process."""
    libc = ctypes.CDLL(None, use_errno=True)
    local = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(local), 8)
    if libc.process_vm_writev(step["pid"], vector, 1, vector, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_writev")
    return {"written": True}


def read_file(step):
    with open(step["path"], "rb") as file:
        return {"data": file.read(step.get("size", 65536)).hex()}


def write_file(step):
    with open(step["path"], "ab" if step.get("append") else "wb") as file:
        file.write(bytes.fromhex(step["send"]))
    return {"written": True}


def rename(step):
    os.rename(step["path"], step["target"])
    return {"renamed": True}


def serve_loopback(step):
    """A server and its client, both inside: loopback belongs to the workload."""
    family = FAMILY[step["family"]]
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind((step["address"], step.get("port", 0)))
        server.listen(1)
        with socket.create_connection(server.getsockname()[:2], 3) as client, contextlib.closing(
            server.accept()[0]
        ) as accepted:
            client.sendall(b"ping")
            got = accepted.recv(4)
            accepted.sendall(got[::-1])
            return {"data": client.recv(4).decode()}


STEPS = {
    f.__name__: f
    for f in (
        lookup,
        tcp,
        udp,
        dns,
        make_socket,
        sendto,
        syscall,
        write_memory,
        read_file,
        write_file,
        rename,
        serve_loopback,
    )
}


def perform(step):
    began = time.monotonic()
    try:
        result = STEPS[step["do"]](step)
    except Exception as error:  # the result is what is asked for, whatever it is
        result = {"error": word(error), "text": str(error)}
    result["seconds"] = round(time.monotonic() - began, 3)
    return result


if __name__ == "__main__":
    given = json.load(sys.stdin)
    with concurrent.futures.ThreadPoolExecutor(max_workers=int(sys.argv[1]) if len(sys.argv) > 1 else 1) as pool:
        print(json.dumps(list(pool.map(perform, given))))
