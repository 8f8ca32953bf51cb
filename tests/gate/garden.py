"""Requests that some servers read differently from others: the classes that http-garden collects, generated.

payloads(host): [(what it is, octets, body)]; body is what a strict reader finds, None where the request must be refused.
tests/plugins/http-proxy/garden_test.cpp has every octet in every place; here are the classes, through a whole gate.
"""


def payloads(host):
    out = []
    name = host.encode()
    chunked = b"3\r\nabc\r\n0\r\n\r\n"
    coded = b"Transfer-Encoding: chunked\r\n"

    def post(fields, body=b"abc", line=None):
        return (line or b"POST http://" + name + b"/ HTTP/1.1") + b"\r\nHost: " + name + b"\r\n" + fields + b"\r\n" + body

    def refuse(what, octets):
        out.append((what, octets, None))

    def accept(what, octets, body):
        out.append((what, octets, body))

    for value in (b"+3", b"-3", b"3,", b",3", b"3,3", b"3, 3", b"3 3", b"0x3", b"0o3", b"3.0", b"3e0", b"1_0", b'"3"', b"3;", b"03", b"",
                  b"18446744073709551619", b"9223372036854775811", b"99999999999999999999", b"\xd9\xa3", b"three", b"3\t4"):  # fmt: skip
        refuse(f"length {value!r}", post(b"Content-Length: " + value + b"\r\n"))
    accept("length", post(b"Content-Length: 3\r\n"), b"abc")
    accept("length with blanks", post(b"Content-Length: \t 3 \t\r\n"), b"abc")
    for other in (b"Content-Length: 3", b"content-length: 4", b"CONTENT-LENGTH:3"):
        refuse("two lengths", post(b"Content-Length: 3\r\n" + other + b"\r\n"))

    for value in (b"chunked,", b",chunked", b"chunked,chunked", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked;q=1",
                  b'"chunked"', b"xchunked", b"identity", b"gzip", b"", b"chunked\x0b", b"\x0cchunked", b"chunked\xa0", b"chun\tked", b"null"):  # fmt: skip
        refuse(f"coding {value!r}", post(b"Transfer-Encoding: " + value + b"\r\n", chunked))
    for value in (b"chunked", b"Chunked", b"CHUNKED", b" \tchunked\t "):
        accept(f"coding {value!r}", post(b"Transfer-Encoding:" + value + b"\r\n", chunked), b"abc")
    for field in (b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding:\r\n chunked",
                  b"Transfer-Encoding:\n chunked", b"X: y\r\tTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r", b"\rTransfer-Encoding: chunked",
                  b"Transfer-Encoding\x0b: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"):  # fmt: skip
        refuse(f"field {field!r}", post(field + b"\r\nContent-Length: 3\r\n", chunked))
    for other in (b"Transfer_Encoding", b"Transfer.Encoding", b"X-Transfer-Encoding"):
        accept(f"field {other!r}", post(other + b": chunked\r\nContent-Length: 3\r\n"), b"abc")
    refuse("length and coding", post(b"Content-Length: 3\r\n" + coded, chunked))
    refuse("coding and length", post(coded + b"Content-Length: 0\r\n", chunked))
    refuse("coding in 1.0", post(coded, chunked, b"POST http://" + name + b"/ HTTP/1.0"))

    for size in (b"0x3", b"+3", b"-3", b" 3", b"3 ", b"\t3", b"0_3", b"0_2e", b"3_0", b"3,", b"g", b"", b"3g", b"00000000000000003", b"ffffffffffffffff",
                 b"10000000000000003", b"8000000000000000", b"3\x0b", b"3\xff", b"3.0", b"3\r", b"3\n"):  # fmt: skip
        refuse(f"chunk {size!r}", post(coded, size + b"\r\nabc\r\n0\r\n\r\n"))
    accept("chunks in hex", post(coded, b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), b"0123456789" * 2)
    for part in (b"3\nabc\r\n0\r\n\r\n", b"3\rabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nab\r\n0\r\n\r\n",
                 b"3\r\nabc\r\n0\n\r\n", b"3\r\nabc\r\n0\r\n\n", b"3\r\nabcXX0\r\n\r\n", b"3\r\nabc\r\n0\r\n", b"3\r\nabc\r\n0", b"3\r\nabc", b"\r\n3\r\nabc\r\n0\r\n\r\n", b"3;a=\r\r\nabc\r\n0\r\n\r\n",
                 b"3;a=\nabc\r\n0\r\n\r\n", b"3;a=b\rc\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
                 b"3\r\nabc\r\n0\r\nHost: evil.test\r\n\r\n", b"3\r\nabc\r\n0\r\n x: y\r\n\r\n", b"3\r\nabc\r\n0\r\nx : y\r\n\r\n", b"3\r\nabc\r\n0\r\nx\r\n\r\n"):  # fmt: skip
        refuse(f"chunks {part!r}", post(coded, part))
    accept("extensions", post(coded, b'3;a;b=c;d="e"\r\nabc\r\n0;f\r\n\r\n'), b"abc")
    accept("trailers", post(coded, b"3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n"), b"abc")

    for line in (b"POST  http://%s/ HTTP/1.1", b"POST http://%s/  HTTP/1.1", b" POST http://%s/ HTTP/1.1", b"POST\thttp://%s/\tHTTP/1.1", b"POST http://%s/ HTTP/1.1 ",
                 b"POST http://%s/ http/1.1", b"POST http://%s/", b"POST http://%s/ HTTP/11", b"POST http://%s/ HTTP/1.1.1", b"POST http://%s/ HTTP/01.1",
                 b"\r\nPOST http://%s/ HTTP/1.1", b"\nPOST http://%s/ HTTP/1.1", b"POST http://%s/ HTTP/1.1\r", b"POST http://%s/ a HTTP/1.1", b"PO\x00ST http://%s/ HTTP/1.1",
                 b"POST http://%s/a\x7fb HTTP/1.1", b"POST http://%s/a\xffb HTTP/1.1", b"POST http://%s/a#b HTTP/1.1"):  # fmt: skip
        refuse(f"line {line!r}", post(b"Content-Length: 3\r\n", line=line % name))
    refuse("line feeds alone", post(b"Content-Length: 3\r\n").replace(b"\r\n", b"\n"))
    refuse("a line feed at the end", post(b"Content-Length: 3\r\n", b"").removesuffix(b"\r\n") + b"\nabc")
    for fold in (b"X: a\r\n b", b"X: a\r\n\tb", b"X:\r\n b", b" X: a", b"\tX: a", b"X: a\n b", b"Content-Length:\r\n 3", b"X : a", b"X\t: a", b": a", b"X", b"X: a\x00b", b"X\x7f: a",
                 b"X: a\x0bb\x01", b"X[]: a"):  # fmt: skip
        refuse(f"fold {fold!r}", post(fold + b"\r\nContent-Length: 3\r\n"))
    for hosts in (name, b"evil.test", b""):
        refuse("two hosts", post(b"Host: " + hosts + b"\r\nContent-Length: 3\r\n"))
    for expect in (b"100-continue, x", b"x", b"100-Continue; q=1"):
        refuse(f"expect {expect!r}", post(b"Expect: " + expect + b"\r\nContent-Length: 3\r\n"))
    for connection in (b"close;", b"a b", b'"close"', b"(close)", b"content-length:3"):
        refuse(f"connection {connection!r}", post(b"Connection: " + connection + b"\r\nContent-Length: 3\r\n"))
    accept("connection with empties", post(b"Connection: ,, close ,,\r\nContent-Length: 3\r\n"), b"abc")
    accept("upper-case letters in a value", post(b"X: \xc3\xa9\r\nContent-Length: 3\r\n"), b"abc")
    return out
