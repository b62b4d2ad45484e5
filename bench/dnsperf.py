"""One run of Debian's dnsperf against a server: what a query cost it, and how many it answered."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.pinned import cpu_s, pin


class Run(NamedTuple):
    """What one run of dnsperf against one server gave."""

    cpu_us_per_query: float
    queries_per_s: float


def measure(
    pid: int,
    address: str,
    port: int,
    *,
    queries: Path,
    seconds: int,
    rcodes: set[str],
    more: Sequence[str] = (),
) -> Run:
    """Run dnsperf once, check what was answered, and say what a query cost the server."""
    before_s = cpu_s(pid)
    load = subprocess.Popen(
        [
            "dnsperf",
            "-s",
            address,
            "-p",
            str(port),
            "-d",
            queries,
            "-l",
            str(seconds),
            "-c",
            "4",
            "-q",
            "200",
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    pin(load.pid, -1)
    output, _ = load.communicate()
    spent_s = cpu_s(pid) - before_s
    assert load.returncode == 0, output
    assert set(re.findall(r"([A-Z]+) \d+ \([\d.]+%\)", output)) == rcodes, output
    figures = dict(re.findall(r"^ *(Queries [a-z ]+): +([\d.]+)", output, re.MULTILINE))
    if int(figures["Queries lost"]):
        print(f"{figures['Queries lost']} queries lost by {address}:{port}", file=sys.stderr)
    return Run(spent_s * 1e6 / float(figures["Queries completed"]), float(figures["Queries per second"]))
