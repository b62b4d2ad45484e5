"""How many TCP segments came with a wrong password, or without the one that was expected.

A session whose ends disagree on the password (TCP MD5, RFC 2385) is one whose peer never answers: the kernel
drops what comes, and bird hears nothing of it. The kernel's counters of the network namespace are the only
sign, on the side that drops.
"""

from pathlib import Path

_FILE = Path("/proc/net/netstat")
# linux/snmp.h: no password where one is expected, one where none is, a wrong one.
_COUNTERS = ("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure")


def read_password_failures() -> int:
    """Return the count for this network namespace since its beginning."""
    return parse_netstat(_FILE.read_text())


def parse_netstat(text: str) -> int:
    """Add up the counters in `/proc/net/netstat`: lines in pairs, names and values."""
    lines = text.splitlines()
    total = 0
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        found = dict(zip(names.split(), values.split(), strict=True))
        total += sum(int(found.get(counter, 0)) for counter in _COUNTERS)
    return total
