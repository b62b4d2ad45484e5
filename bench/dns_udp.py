"""CPU per query and queries per second of coredns-lite, next to Debian's name servers and a bare echo loop.

Cases are named MIX_SERVICES[_edns]: `hits` is A of Services; `mix` is 60% A, 25% AAAA (NODATA), 10% names of
the search path (NXDOMAIN) and 5% SRV. Metrics are on. dnsmasq, nsd and unbound serve the same records with
one worker. The echo loop is the least that a Python program can do for a query: one recvfrom, one sendto,
bytes prepared beforehand, no lookup.

The servers and the load (Debian's dnsperf) have a core each, if there are two. Runs of all sides alternate,
and each figure is the median: other load on the machine then meets all alike. CPU time is the whole server
process's (with its children's processes, as nsd has), user and system, from /proc/PID/stat.
"""

import argparse
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from bench.dns_peers import PEERS, Running, Service, serve_peer
from bench.dns_services import SERVICES, ZONE, build_services, own_address, serve_ours, service_address
from bench.dnsperf import Run, measure
from bench.figure import median, report
from bench.pinned import pin, pin_all, processes, rss_mb

MANY_SERVICES = 10_000
# Names that a pod's resolver asks for on the way through its search path (ndots:5).
SEARCH_SUFFIX = "svc.cluster.local"

# Per mix: CPU microseconds per query, queries per second on one core.
GOALS = {"hits": ("ours <= 7", "ours >= 120000"), "mix": ("ours <= 9", None)}
FASTEST_GOAL = "ratio >= 0.7"
TCP_GOAL = "ours >= 15000"
RSS_GOALS = {SERVICES: "ours <= 35", MANY_SERVICES: "ours <= 60"}
START_GOALS = {SERVICES: "ours <= 0.5", MANY_SERVICES: "ours <= 2"}
WORKERS = 2
PEER_NAME = "recvfrom/sendto echo loop in Python"
# What a right server answers to each mix; the peer says NOERROR to everything.
RCODES = {"hits": {"NOERROR"}, "mix": {"NOERROR", "NXDOMAIN"}}
PEER_RCODES = {"NOERROR"}


class Case(NamedTuple):
    """A mix of queries, over so many Services, with or without EDNS."""

    mix: str
    services: int
    edns: bool

    @property
    def name(self) -> str:
        """The case as the figures have it."""
        return f"{self.mix}_{self.services}{'_edns' if self.edns else ''}"


CASES = (
    Case("hits", SERVICES, edns=False),
    Case("hits", SERVICES, edns=True),
    Case("mix", SERVICES, edns=False),
    Case("mix", SERVICES, edns=True),
    Case("hits", MANY_SERVICES, edns=False),
    Case("mix", MANY_SERVICES, edns=False),
)


def main() -> None:
    """Measure all sides in each case and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--quick", action="store_true", help="1,000 Services without EDNS, one run of 1 s each"
    )
    parser.add_argument("--echo-fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo_fd is not None:
        echo(socket.socket(fileno=options.echo_fd))
        return
    rounds, seconds = (1, 1) if options.quick else (5, 3)
    for count in (SERVICES,) if options.quick else (SERVICES, MANY_SERVICES):
        with tempfile.TemporaryDirectory(prefix="bench-dns-") as text, ExitStack() as stack:
            directory = Path(text)
            started = time.monotonic()
            ours = Running(*stack.enter_context(serve_ours(directory, count)))
            start_s = time.monotonic() - started
            servers = {"ours": ours, "echo": Running(*stack.enter_context(serve_echo()))}
            services = [
                Service(f"{name}.{namespace}.svc.{ZONE}", service_address(number))
                for number, (name, namespace) in enumerate(build_services(count))
            ]
            for peer in PEERS:
                running = stack.enter_context(serve_peer(peer, directory, services, ZONE))
                pin_all(running.pid, 0)
                servers[peer] = running
            for case in CASES:
                if case.services == count and not (options.quick and case.edns):
                    report_case(case, run_case(case, directory, servers, rounds, seconds))
            report(f"dns_udp_rss_{count}", "MB", rss_mb(ours.pid), goal=RSS_GOALS[count])
            report(f"dns_udp_start_{count}", "s", start_s, goal=START_GOALS[count])
            if count == SERVICES:
                queries = write_queries(directory, Case("hits", count, edns=False))
                tcp = measure(
                    *ours, queries=queries, seconds=seconds, rcodes=RCODES["hits"], more=("-m", "tcp")
                )
                report("dns_tcp_rate", "queries/s", tcp.queries_per_s, goal=TCP_GOAL)
                report_workers(directory, ours, queries, rounds, seconds)


def report_workers(directory: Path, alone: Running, queries: Path, rounds: int, seconds: int) -> None:
    """Print what a query costs with worker processes, next to one process; all on one core."""
    with serve_ours(directory / "workers", workers=WORKERS) as crew:
        runs: dict[Running, list[Run]] = {alone: [], Running(*crew): []}
        for server in runs:
            # Each process is to have all replies: some queries are spread over many ports.
            for _ in range(min(rounds, 4)):
                measure(*server, queries=queries, seconds=1, rcodes=RCODES["hits"], more=("-c", "64"))
        for _ in range(rounds):
            for server, results in runs.items():
                more = ("-c", "64")
                results.append(
                    measure(*server, queries=queries, seconds=seconds, rcodes=RCODES["hits"], more=more)
                )
        one, several = ([run.cpu_us_per_query for run in results] for results in runs.values())
        report(
            f"dns_udp_hits_{SERVICES}_workers_{WORKERS}_cpu", "us/query", median(several),
            peer=median(one), peer_name="one process", goal=GOALS["hits"][0],
        )  # fmt: skip
        report(f"dns_udp_workers_{WORKERS}_rss", "MB", sum(map(rss_mb, processes(crew[0]))))


def run_case(
    case: Case, directory: Path, servers: Mapping[str, Running], rounds: int, seconds: int
) -> dict[str, list[Run]]:
    """Measure all servers in turn, as often as there are rounds."""
    queries = write_queries(directory, case)
    once = directory / "once.txt"
    once.write_text("\n".join(sorted({*queries.read_text().splitlines()})) + "\n")
    for server in servers.values():
        # A cluster's names are asked for again and again: caches, of whoever has any, are warm.
        warm = ["dnsperf", "-s", server.address, "-p", str(server.port), "-d", str(once), "-n", "1"]
        subprocess.run([*warm, *(["-e"] if case.edns else [])], check=True, stdout=subprocess.DEVNULL)
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            rcodes = PEER_RCODES if name == "echo" else RCODES[case.mix]
            more = ("-e",) if case.edns else ()
            runs[name].append(measure(*server, queries=queries, seconds=seconds, rcodes=rcodes, more=more))
    return runs


def write_queries(directory: Path, case: Case) -> Path:
    """Write dnsperf's input for a case."""
    path = directory / f"{case.name}.txt"
    path.write_text("".join(f"{line}\n" for line in build_mix(case.mix, case.services)))
    return path


def build_mix(mix: str, count: int) -> list[str]:
    """Build the lines of dnsperf's input for a mix."""
    shuffled = random.Random(1)
    names = [f"{name}.{namespace}.svc.{ZONE}" for name, namespace in build_services(count)]
    lines = [f"{name} A" for name in names]
    if mix == "mix":
        lines = []
        for name in names:
            # In 20: 12 A, 5 AAAA of a service that has none (NODATA), 2 from the search path (NXDOMAIN), 1
            # SRV.
            lines += [f"{name} A"] * 12 + [f"{name} AAAA"] * 5 + [f"{name}.team-1.{SEARCH_SUFFIX} A"] * 2
            lines.append(f"_http._tcp.{name} SRV")
    shuffled.shuffle(lines)
    return lines


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
    sock.bind((own_address(), 0))
    return sock


def report_case(case: Case, runs: Mapping[str, list[Run]]) -> None:
    """Print the figures of a case, each the median of its runs: next to the echo loop, and to each server."""
    cpu_goal, rate_goal = GOALS[case.mix]
    ours, echo_runs = runs["ours"], runs["echo"]
    for figure, unit, goal, of in (
        (f"dns_udp_{case.name}_cpu", "us/query", cpu_goal, attrgetter("cpu_us_per_query")),
        (f"dns_udp_{case.name}_rate", "queries/s", rate_goal, attrgetter("queries_per_s")),
    ):
        report(
            figure,
            unit,
            median([*map(of, ours)]),
            peer=median([*map(of, echo_runs)]),
            peer_name=PEER_NAME,
            goal=goal,
        )
    rates = {name: median([run.queries_per_s for run in runs[name]]) for name in PEERS}
    fastest = max(rates, key=rates.__getitem__)
    for name, rate in rates.items():
        report(
            f"dns_udp_{case.name}_rate_{name}",
            "queries/s",
            median([run.queries_per_s for run in ours]),
            peer=rate,
            peer_name=name,
            # Of runs side by side: other load on the machine comes and goes between the rounds.
            ratio=median(
                [mine.queries_per_s / its.queries_per_s for mine, its in zip(ours, runs[name], strict=True)]
            ),
            goal=FASTEST_GOAL if name == fastest else None,
        )


if __name__ == "__main__":
    main()
