"""The explicit proxy of a whole gate before origins that a test scripts: what they see, and what they can do to a client.

HTP-05, -11, -14, -15, -23, -24, -25, -27, -28, -30, -33, -35, -36.
"""

import base64
import hashlib
import os
import re
import socket
import struct
import time

import pytest

from garden import payloads
from origin import Origin, read_requests, whole_requests
from proxy_client import connect_to, everything, exactly, get, head_of
from small_internet import world
from small_internet.gate import P0, Gate, gateway_yaml

NAME = "load.example.test"
POLICY = P0 + """
  - { name: origin, action: allow, clients: [agents], domains: [load.example.test], ports: [80, 443, 8080] }
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsmuggle"


@pytest.fixture(scope="module")
def gate(lab, agents):
    made = Gate(lab, gateway_yaml("real"), POLICY).start()
    yield made
    made.stop()


@pytest.fixture
def origin(lab):
    """origin(script): a server at load.example.test; ends with the test."""
    made = []

    def start(script, **options):
        made.append(Origin(lab, script, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def obliging(conversation):
    """Answers each request with 200, reading bodies of whatever framing."""
    while head := conversation.head():
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            while (line := chunk_line(conversation)) is not None and (size := int(line, 16)):
                conversation.body(size + 2)
            conversation.body(2)
        elif match := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            conversation.body(int(match[1]))
        conversation.send(OK)


def chunk_line(conversation):
    line = b""
    while not line.endswith(b"\r\n"):
        octet = conversation.body(1)
        if not octet:
            return None
        line += octet
    return line[:-2]


def test_every_payload_is_refused_or_one_request(gate, send, origin, witness):
    """HTP-11, HTP-14, HTP-15: with a request for another host behind each; that one is never handled."""
    seen = origin(obliging)
    behind = b"GET http://evil.test/smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"
    meant = {}
    with witness.expect_only(NAME, ports=[(world.LOAD4, 80)]):
        for number, (what, octets, body) in enumerate(rows := payloads(NAME)):
            octets = octets.replace(f"http://{NAME}/".encode(), f"http://{NAME}/{number}".encode())
            try:
                status, answer = send(octets + behind, end=True, timeout=10)
            except TimeoutError:
                pytest.fail(f"{what}: no answer and no end")
            if body is None:
                assert status in (400, 405, 417, 505, 0), (what, answer)
            else:
                assert status == 200 and b"HTTP/1.1 200" not in answer[1:], (what, answer)
                meant[b"/%d" % number] = body
    seen.close()
    # A chunk can be found bad only when its head has gone: then the origin has no whole request.
    got = [request for data in seen.received for request in whole_requests(data)]
    assert {line.split()[1]: body for line, _, body in got} == meant and len(got) == len(meant)
    assert all(fields[b"host"] == NAME.encode() for _, fields, _ in got)
    assert b"smuggled" not in b"".join(seen.received)
    assert len(meant) > 10 and len(rows) - len(meant) > 140


def test_a_hundred_thousand_tiny_chunks(gate, send, origin):
    """HTP-14: CPU is bounded."""
    seen = origin(obliging)
    began = time.monotonic()
    status, _ = send(get(f"http://{NAME}/", f"Host: {NAME}", "Transfer-Encoding: chunked", "Connection: close", method="POST") + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n", timeout=30)
    assert status == 200 and time.monotonic() - began < 15
    assert read_requests(b"".join(seen.received))[0][2] == b"x" * 100_000


def test_a_lone_chunked_in_other_letters(gate, send, origin):
    """HTP-11."""
    seen = origin(obliging)
    status, _ = send(get(f"http://{NAME}/", f"Host: {NAME}", "Transfer-Encoding: Chunked", "Connection: close", method="POST") + b"3\r\nabc\r\n0\r\n\r\n")
    assert status == 200 and read_requests(seen.received[0])[0][2] == b"abc"


def test_own_fields_are_dropped(gate, send, origin):
    """HTP-24, HTP-25, HTP-27: Connection takes away what it may, and nothing of ours or the client's identity goes on."""
    seen = origin(obliging)
    status, _ = send(get(
        f"http://{NAME}/", f"Host: {NAME}", "Connection: close, host, content-length, x-a, connection, upgrade, http2-settings, proxy-authorization", "X-A: 1",
        "X-B: 2", "Content-Length: 3", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic " + base64.b64encode(b"a:b").decode(), "X-Forwarded-For: 10.0.0.1",
        "X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1", "TE: trailers", "Keep-Alive: timeout=5", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", method="POST") + b"abc")  # fmt: skip
    assert status == 200
    (line, fields, body), = read_requests(seen.received[0])
    assert line == b"POST / HTTP/1.1" and body == b"abc" and fields[b"host"] == NAME.encode() and fields[b"x-b"] == b"2"
    assert not {b"x-a", b"proxy-connection", b"proxy-authorization", b"x-forwarded-for", b"x-real-ip", b"forwarded", b"keep-alive", b"upgrade", b"http2-settings", b"te"} & set(fields), fields
    assert b"10.0.0.1" not in seen.received[0]


@pytest.mark.parametrize("method", ["SLUDGE", "PROPFIND", "get", "A-B.C"])
def test_unknown_methods_go_by_policy(gate, send, origin, method):
    """HTP-30: a token is a method, to a host that policy allows."""
    seen = origin(obliging)
    status, _ = send(get(f"http://{NAME}/", f"Host: {NAME}", "Connection: close", method=method))
    assert status == 200 and read_requests(seen.received[0])[0][0] == f"{method} / HTTP/1.1".encode()


def test_a_loop_is_found_by_its_via(gate, send, origin, witness):
    """HTP-23: what names this proxy has been here before, in whatever place of whatever Via."""
    seen = origin(obliging)
    assert send(get(f"http://{NAME}/", f"Host: {NAME}", "Via: 1.0 other", "Connection: close"))[0] == 200
    via = read_requests(seen.received[0])[0][1][b"via"].decode()
    assert re.fullmatch(r"(1\.0 other, )?1\.1 sallyport-\w+", via), via
    own = via.split()[-1]
    for fields in ([f"Via: {via}"], [f"Via: 1.1 {own}"], ["Via: 1.1 a, 1.1 b", f"Via: 1.0 c (x), HTTP/1.1 {own} (comment), 1.1 d"], [f"Via: 1.1 {own.upper()}"]):
        with witness.expect_zero():
            status, answer = send(get(f"http://{NAME}/", f"Host: {NAME}", *fields))
        assert status == 508 and b"loop_detected" in answer, (fields, answer)
    assert len(seen.received) == 1


def test_a_chain_that_leads_back_ends(gate, send, origin, witness):
    """HTP-23, A→B→A: B, at load.example.test, passes whatever it gets on to A, as a proxy does; A refuses it there, and nobody is asked a third time."""
    def proxy_b(conversation):
        head = conversation.head()
        line, _, rest = head.partition(b"\r\n")
        method, _, version = line.split()
        via = b"\r\nVia: 1.1 b" if b"\r\nvia:" not in rest.lower() else b""
        rest = re.sub(rb"(?i)(\r\nVia: [^\r]*)", rb"\1, 1.1 b", b"\r\n" + rest)
        back = method + b" http://" + NAME.encode() + b"/ " + version + rest + via + b"\r\nConnection: close\r\n\r\n"
        answered.append(send(back)[1])
        conversation.send(answered[-1])

    answered = []
    seen = origin(proxy_b)
    with witness.expect_only(NAME, ports=[(world.LOAD4, 80)]) as outside:
        status, answer = send(get(f"http://{NAME}/", f"Host: {NAME}", "Connection: close"))
    assert status == 508 and len(answered) == 1 and b"loop_detected" in answered[0] and b"loop_detected" in answer, answer
    assert len(seen.received) == 1 and outside.arrived[("tcp", world.LOAD4, 80)] == 1
    (record,) = gate.wait_audit(name=NAME, reason="loop_detected", verdict="deny")[-1:]
    assert record["http"]["status"] == 508, record


KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"]


def test_websocket_after_a_101(gate, connect, origin):
    """HTP-28: frames both ways, and each side's end reaches the other."""
    ended = []

    def script(conversation):
        head = conversation.head()
        assert b"upgrade: websocket" in head.lower()
        conversation.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode() + b"\x81\x05hello")
        while data := conversation.receive():
            conversation.send(data)
        ended.append(True)

    origin(script)
    with connect() as s:
        s.sendall(get(f"http://{NAME}/chat", f"Host: {NAME}", *UPGRADE))
        head = head_of(s)
        assert head.startswith(b"HTTP/1.1 101 ") and ACCEPT.encode() in head, head
        assert exactly(s, 7) == b"\x81\x05hello"
        frame = b"\x82\x7e" + struct.pack("!H", 60000) + os.urandom(60000)
        s.sendall(frame)
        assert exactly(s, len(frame)) == frame
    end = time.monotonic() + 5
    while not ended:
        assert time.monotonic() < end
        time.sleep(0.02)
    gate.wait_audit(name=NAME, kind="close")


def test_without_a_101_nothing_switches(gate, connect, origin):
    """HTP-28: a 200 is a response, and the next request on that connection is a request, decided by itself."""
    seen = origin(obliging)
    with connect() as s:
        s.sendall(get(f"http://{NAME}/chat", f"Host: {NAME}", *UPGRADE))
        head = head_of(s)
        assert head.startswith(b"HTTP/1.1 200 ") and b"upgrade" not in head.lower(), head
        assert exactly(s, 2) == b"ok"
        s.sendall(get("http://evil.test/", "Host: evil.test"))
        assert everything(s).startswith(b"HTTP/1.1 403 ")
    assert b"evil" not in b"".join(seen.received)


def test_a_101_that_nobody_asked_for(gate, send, origin):
    """HTP-28, HTP-36."""
    origin(lambda c: (c.head(), c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + SECOND)))
    status, answer = send(get(f"http://{NAME}/", f"Host: {NAME}"))
    assert status == 502 and b"smuggle" not in answer, answer


def test_continue_and_a_refusal_instead(gate, connect, origin):
    """HTP-35: the origin's final 403 comes first, and the body that follows is no request; its 100 goes on where it has one."""
    def script(conversation):
        head = conversation.head()
        if b"/no" in head:
            conversation.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            return
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert conversation.body(3) == b"abc"
        conversation.send(OK)

    seen = origin(script)
    fields = [f"Host: {NAME}", "Content-Length: 3", "Expect: 100-continue"]
    with connect() as s:
        s.sendall(get(f"http://{NAME}/yes", *fields, method="POST"))
        assert head_of(s).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"abc")
        assert head_of(s).startswith(b"HTTP/1.1 200 ") and exactly(s, 2) == b"ok"
    with connect() as s:
        s.sendall(get(f"http://{NAME}/no", *fields, method="POST"))
        answer = head_of(s)
        assert answer.startswith(b"HTTP/1.1 403 "), answer
        s.sendall(get("http://evil.test/", "Host: evil.test"))  # in the place of the body
        assert b"HTTP/1.1 " not in everything(s)
    assert b"evil" not in b"".join(seen.received)


def test_a_policy_refusal_comes_before_the_body(gate, connect, witness):
    """HTP-35: a name outside the policy is 403 at once, not after 100-continue."""
    with witness.expect_zero(), connect() as s:
        s.sendall(get("http://evil.test/", "Host: evil.test", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert everything(s).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("octets", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"], ids=["100", "103"])
def test_a_flood_of_interim_responses_is_capped(gate, send, origin, octets):
    """HTP-35."""
    origin(lambda c: (c.head(), c.send(octets * 10_000), c.send(OK)))
    status, answer = send(get(f"http://{NAME}/", f"Host: {NAME}", "Connection: close"))
    assert answer.count(b"HTTP/1.1 1") <= 16 and b"HTTP/1.1 200" not in answer and len(answer) < 4096, answer[:400]


def answer(fields, body=b""):
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + body


BAD = {
    "length-and-chunked": answer(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SECOND),
    "two-lengths": answer(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello" + SECOND),
    "length-plus": answer(b"Content-Length: +5\r\n", b"hello"),
    "length-empty": answer(b"Content-Length:\r\n", SECOND),
    "coding-twice": answer(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SECOND),
    "coding-other": answer(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "nul": answer(b"X: a\0b\r\nContent-Length: 0\r\n"),
    "bare-cr": answer(b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n"),
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "fold": answer(b"X: a\r\n b\r\nContent-Length: 0\r\n"),
    "space-colon": answer(b"Content-Length : 5\r\n", b"hello"),
    "1-MiB-head": answer(b"X: " + b"a" * (1 << 20) + b"\r\n"),
    "1001-fields": answer(b"a: b\r\n" * 1001),
    "http-0.9": b"<html>hello</html>",
    "http-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "status": b"HTTP/1.1 2xx OK\r\n\r\n",
    "banner": b"220 ready\r\n",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_responses_are_502(gate, send, origin, kind):
    """HTP-36: and the client gets no second response."""
    seen = len(failures(gate))
    origin(lambda c: (c.head(), c.send(BAD[kind])))
    status, got = send(get(f"http://{NAME}/", f"Host: {NAME}"))
    assert status == 502 and got.count(b"HTTP/1.1 ") == 1 and b"smuggle" not in got and b"sallyport" in got, got[:600]
    end = time.monotonic() + 5
    while len(failures(gate)) == seen:
        assert time.monotonic() < end, gate.audit(name=NAME)[-4:]
        time.sleep(0.02)


def failures(gate):
    """Records of responses that could not be read; equal ones within a second are one record with a count."""
    return [r for r in gate.audit(name=NAME) if (r.get("cause") or "").startswith("response:") for _ in range(r["count"])]


@pytest.mark.parametrize("body", [b"5\r\nhelloX", b"zz\r\nhello\r\n0\r\n\r\n", b"5;\x01\r\nhello\r\n0\r\n\r\n", b"5\r\nhel", b"5\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nhello"],
                         ids=["no-end", "letters", "extension", "cut", "line-feed", "overflow"])  # fmt: skip
def test_bad_chunks_of_a_response_cut_it_off(gate, send, origin, body):
    """HTP-36: the client sees that it is not whole, and nothing behind it."""
    origin(lambda c: (c.head(), c.send(answer(b"Transfer-Encoding: chunked\r\n", body + SECOND))))
    status, got = send(get(f"http://{NAME}/", f"Host: {NAME}"))
    assert status in (0, 200, 502) and got.count(b"HTTP/1.1 ") <= 1 and b"smuggle" not in got, got
    assert status == 502 or not got.endswith(b"0\r\n\r\n"), "it looks whole"


def test_octets_behind_a_response_are_no_second_one(gate, connect, origin):
    """HTP-36: a second response that nobody asked for is not the answer to the next request."""
    def script(conversation):
        while conversation.head():
            conversation.send(OK + SECOND)

    seen = origin(script)
    with connect() as s:
        for _ in range(3):
            s.sendall(get(f"http://{NAME}/", f"Host: {NAME}"))
            assert head_of(s).startswith(b"HTTP/1.1 200 ") and exactly(s, 2) == b"ok"
            time.sleep(0.05)  # what is behind it has arrived
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(1)
    assert len(seen.received) == 3, "a connection with octets left over is not used again"


def test_a_kept_connection_is_one_clients(gate, connect, origin):
    """Class of HTP-15: an upstream connection is used again for the client it was made for, and for nobody else."""
    seen = origin(obliging)
    with connect() as s, connect(agent="b") as t:
        for one in (s, s, t, s):
            one.sendall(get(f"http://{NAME}/", f"Host: {NAME}"))
            assert head_of(one).startswith(b"HTTP/1.1 200 ") and exactly(one, 2) == b"ok"
    assert sorted(data.count(b"GET / ") for data in seen.received) == [1, 3]


def test_the_origins_end_leaves_the_clients_half_open(gate, connect, origin):
    """HTP-01: half-close the other way round: the origin has said all, and still hears what the client says until its end."""
    def script(conversation):
        assert conversation.body(6) == b"\0begin"
        conversation.send(b"\0all")
        conversation.socket.shutdown(socket.SHUT_WR)
        while conversation.receive():
            pass

    seen = origin(script, port=8080)
    more = os.urandom(200_000)
    with connect() as s:
        s.sendall(connect_to(f"{NAME}:8080"))
        assert head_of(s).startswith(b"HTTP/1.1 200 ")
        s.sendall(b"\0begin")
        assert everything(s) == b"\0all"
        s.sendall(more)
        s.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 5
        while seen.received[0] != b"\0begin" + more:
            assert time.monotonic() < end, len(seen.received[0])
            time.sleep(0.02)
    closed = gate.wait_audit(name=NAME, kind="close", port=8080)[-1]
    assert closed["bytes"] == {"up": 6 + len(more), "down": 4}, closed


def test_a_reset_of_the_origin_reaches_the_client_and_frees_the_slot(gate, connect, origin):
    """HTP-33: in a tunnel; a transfer that was cut off does not look complete."""
    def script(conversation):
        conversation.receive()
        conversation.send(b"\0half")
        conversation.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conversation.socket.close()

    origin(script, port=8080)
    before = gate.health("http-proxy")["tunnels"]
    with connect() as s:
        s.sendall(connect_to(f"{NAME}:8080"))
        assert head_of(s).startswith(b"HTTP/1.1 200 ")
        s.sendall(b"\0begin")
        with pytest.raises(ConnectionResetError):
            while s.recv(65536):
                pass
    end = time.monotonic() + 5
    while gate.health("http-proxy")["tunnels"] > before:
        assert time.monotonic() < end, gate.health("http-proxy")
        time.sleep(0.05)
