"""What several suites of the cell ask: was it refused at once, and the numbers of socket families."""

ALLOW = ["api.example.test:443"]

AF = {
    "unix": 1,
    "inet": 2,
    "inet6": 10,
    "netlink": 16,
    "packet": 17,
    "alg": 38,
    "bluetooth": 31,
    "tipc": 30,
    "vsock": 40,
    "key": 15,
    "can": 29,
    "rds": 21,
    "kcm": 41,
    "xdp": 44,
    "smc": 43,
    "x25": 9,
}


def gone(result, seconds=1.0):
    """Refused at once, by the kernel or by a reset right after the connect."""
    if result["seconds"] > seconds:
        return False
    return (
        result["error"] not in ("TimeoutError", "ETIMEDOUT")
        if "error" in result
        else result["end"] in ("reset", "eof") and not result["data"]
    )
