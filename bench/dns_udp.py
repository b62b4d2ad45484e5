"""CPU per query and queries per second of coredns-lite over UDP, next to a bare echo loop.

The peer is the least that a Python program can do for a query: one recvfrom, one sendto, bytes prepared
beforehand, no lookup. The server and the load (Debian's dnsperf) have a core each, if there are two. Runs
of both sides alternate, and each figure is the median: other load on the machine then meets both alike.
CPU time is the whole server process's, user and system, from /proc/PID/stat.
"""

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from bench.figure import median, report

SERVICES = 1000
NAMESPACES = 20
ZONE = "cluster.local"
# Names that a pod's resolver asks for on the way through its search path (ndots:5).
SEARCH_SUFFIX = "svc.cluster.local"

# Per mix: CPU microseconds per query, queries per second on one core.
GOALS = {"hits": ("ours <= 7", "ours >= 120000"), "mix": ("ours <= 9", None)}
PEER_NAME = "recvfrom/sendto echo loop in Python"
# What a right server answers to each mix; the peer says NOERROR to everything.
RCODES = {"hits": {"NOERROR"}, "mix": {"NOERROR", "NXDOMAIN"}}
PEER_RCODES = {"NOERROR"}

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """What one run of dnsperf against one server gave."""

    cpu_us_per_query: float
    queries_per_s: float


def main() -> None:
    """Measure both sides under each mix and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="three runs of 1 s instead of nine of 3 s")
    parser.add_argument("--echo-fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo_fd is not None:
        echo(socket.socket(fileno=options.echo_fd))
        return
    rounds, seconds = (3, 1) if options.quick else (9, 3)
    with tempfile.TemporaryDirectory(prefix="bench-dns-") as text:
        directory = Path(text)
        for mix, lines in build_mixes().items():
            queries = directory / f"{mix}.txt"
            queries.write_text("".join(f"{line}\n" for line in lines))
            with serve_ours(directory) as ours, serve_echo() as peer:
                runs = [
                    (
                        measure(*ours, queries=queries, seconds=seconds, rcodes=RCODES[mix]),
                        measure(*peer, queries=queries, seconds=seconds, rcodes=PEER_RCODES),
                    )
                    for _ in range(rounds)
                ]
            report_mix(mix, runs)


def build_services() -> list[tuple[str, str]]:
    """Name the services: (name, namespace)."""
    return [(f"service-{number}", f"team-{number % NAMESPACES}") for number in range(SERVICES)]


def build_mixes() -> dict[str, list[str]]:
    """Build the lines of dnsperf's input for each mix."""
    shuffled = random.Random(1)
    names = [f"{name}.{namespace}.svc.{ZONE}" for name, namespace in build_services()]
    hits = [f"{name} A" for name in names]
    shuffled.shuffle(hits)
    mix = []
    for name in names:
        # In 20: 12 A, 5 AAAA of a service that has none (NODATA), 3 from the search path (NXDOMAIN).
        mix += [f"{name} A"] * 12 + [f"{name} AAAA"] * 5 + [f"{name}.team-1.{SEARCH_SUFFIX} A"] * 3
    shuffled.shuffle(mix)
    return {"hits": hits, "mix": mix}


@contextmanager
def serve_ours(directory: Path) -> Iterator[tuple[int, str, int]]:
    """Run coredns-lite over the services; yield its process id, address and port once it is ready."""
    manifests = directory / "manifests"
    manifests.mkdir(exist_ok=True)
    (manifests / "services.json").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "ServiceList",
                "items": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {"name": name, "namespace": namespace},
                        "spec": {"clusterIP": f"10.96.{number >> 8}.{number & 255}", "ports": [{"port": 80}]},
                    }
                    for number, (name, namespace) in enumerate(build_services())
                ],
            }
        )
    )
    with bind_free() as probe:
        address, port = probe.getsockname()
    corefile = directory / "Corefile"
    corefile.write_text(
        f"{ZONE}:{port} {{\n bind {address}\n kubernetes {{\n manifests {manifests}\n }}\n}}\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(directory / "notify"))
        process = subprocess.Popen(
            [Path(sys.executable).parent / "coredns-lite", "run", "--conf", corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            ready.settimeout(60)
            assert ready.recv(64) == b"READY=1"
            pin(process.pid, 0)
            yield process.pid, address, port
        finally:
            process.terminate()
            process.wait()
            (directory / "notify").unlink()


@contextmanager
def serve_echo() -> Iterator[tuple[int, str, int]]:
    """Run the echo loop in a process of its own; yield its process id, address and port."""
    with bind_free() as sock:
        address, port = sock.getsockname()
        process = subprocess.Popen(
            [sys.executable, __file__, "--echo-fd", str(sock.fileno())], pass_fds=[sock.fileno()]
        )
    try:
        pin(process.pid, 0)
        yield process.pid, address, port
    finally:
        process.kill()
        process.wait()


def echo(sock: socket.socket) -> None:
    """Send each query its header back as a reply, with the same prepared bytes behind the id for all."""
    # QR, AA, RD, NOERROR and no sections: dnsperf matches replies by id.
    reply = bytes.fromhex("8500 0000 0000 0000 0000") + bytes(60)
    recvfrom, sendto = sock.recvfrom, sock.sendto
    while True:
        query, peer = recvfrom(512)
        sendto(query[:2] + reply, peer)


def bind_free() -> socket.socket:
    """Bind a loopback address of this process's own to a free port, with room for all queries under way."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}.53", 0))
    return sock


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core, if the load can have another."""
    if len(os.sched_getaffinity(0)) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {sorted(os.sched_getaffinity(0))[core]})


def measure(pid: int, address: str, port: int, *, queries: Path, seconds: int, rcodes: set[str]) -> Run:
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


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, user and system (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def report_mix(mix: str, runs: list[tuple[Run, Run]]) -> None:
    """Print the two figures of a mix, each the median of its runs."""
    cpu_goal, rate_goal = GOALS[mix]
    ours, peer = zip(*runs, strict=True)
    for figure, unit, goal, of in (
        (f"dns_udp_{mix}_cpu", "us/query", cpu_goal, attrgetter("cpu_us_per_query")),
        (f"dns_udp_{mix}_rate", "queries/s", rate_goal, attrgetter("queries_per_s")),
    ):
        report(
            figure,
            unit,
            median([*map(of, ours)]),
            peer=median([*map(of, peer)]),
            peer_name=PEER_NAME,
            goal=goal,
        )


if __name__ == "__main__":
    main()
