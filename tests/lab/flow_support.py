"""Conversations with the sni-filter in a cell: one policy, raw bytes, and what a refusal looks like."""

from small_internet import world

POLICY = """version: 1
rules:
  - name: raw
    action: allow
    domains: [raw.example.test]
    ports: [80, 443, 5432, 8443, 2222]
  - name: api
    action: allow
    domains: [api.example.test, other.example.test]
    ports: [80, 443, 8080]
  - name: any
    action: allow
    domains: [db.example.test]
    ports: [443]
    tunnel: any
"""
RAW = [(a, p) for a in (world.RAW4, world.RAW6) for p in (80, 443, 5432, 8443, 2222)]


def converse(lab, *flows, policy=POLICY, **options):
    """Each flow: dict of probe.py's tcp step; `to` defaults to raw.example.test:443. All in one cell, side by side."""
    steps = [{"do": "tcp", "to": ["raw.example.test", 443], "timeout": 9, **flow} for flow in flows]
    return lab.probe(steps, threads=32, policy=policy, **options)


def passes(lab, data, **flow):
    results, run = converse(lab, {"send": data.hex(), "read": len(data), **flow})
    assert bytes.fromhex(results[0].get("data", "")) == data, (
        results[0].get("error"),
        results[0].get("end"),
        len(results[0].get("data", "")),
        run,
    )
    return run


def refused(result, seconds=1.5):
    """Closed at once: by reset, or by a TLS alert and a close; nothing else came back."""
    if "error" in result:
        return result["error"] in ("ECONNREFUSED", "ECONNRESET") and result["seconds"] < seconds
    data = bytes.fromhex(result["data"])
    return (
        result["end"] in ("reset", "eof")
        and result["seconds"] < seconds
        and (data == b"" or data[0] == 21 or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")))
    )


def denies(lab, witness, data, reason, **flow):
    with witness.expect_only(flow.get("to", ["raw.example.test"])[0]):
        results, run = converse(lab, {"send": data.hex(), **flow})
    assert refused(results[0]), (results, run)
    reasons = [d["reason"] for d in run.denials()]
    assert reasons and set(reasons) <= ({reason} if isinstance(reason, str) else set(reason)), run
    return run


def arrived(lab, port=None):
    """What the raw servers received, connection by connection."""
    return [c.data for c in lab.servers.connections(port=port)]


def request(host, path="/", version="1.1", extra=""):
    return f"GET {path} HTTP/{version}\r\nHost: {host}\r\n{extra}\r\n".encode()
