"""A pod's walk down its search path (ndots:5) for a name outside the cluster, with `autopath` and without.

The walk is glibc's: A and AAAA side by side of each name in turn, until one is there (resolv.conf(5)); its
path is what kubelet gives a pod. One coredns-lite listens twice, once with `autopath @kubernetes`; the walks
take turns. The name outside is one that the server knows itself: an upstream costs both sides the same.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import dns.message
import dns.rdatatype

from bench.dns_services import ZONE, own_address, write_services
from bench.figure import median, report

NAME = "www.example.com"
NAMESPACE = "team-1"
PATH = (f"{NAMESPACE}.svc.{ZONE}", f"svc.{ZONE}", ZONE)
QUERIES = [
    [dns.message.make_query(name, rtype, use_edns=False).to_wire() for rtype in ("A", "AAAA")]
    for name in (*(f"{NAME}.{suffix}" for suffix in PATH), NAME)
]
SERVICES = 1000
_LIMIT_S = 10.0


class Walk(NamedTuple):
    """What one walk took."""

    queries: int
    seconds: float


def main() -> None:
    """Walk both ways and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="200 walks instead of 5,000")
    options = parser.parse_args()
    walks: dict[bool, list[Walk]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="bench-dns-") as text, serve(Path(text)) as places:
        for _ in range(200 if options.quick else 5_000):
            for has_autopath, (address, port) in places.items():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pod:
                    pod.settimeout(_LIMIT_S)
                    pod.bind((pod_address(), 0))
                    pod.connect((address, port))
                    walks[has_autopath].append(walk(pod))
    ours, peer = walks[True], walks[False]
    name = "the same server without autopath"
    report(
        "dns_autopath_queries",
        "queries/walk",
        median([each.queries for each in ours]),
        peer=median([each.queries for each in peer]),
        peer_name=name,
    )
    report(
        "dns_autopath_walk",
        "ms",
        median([1000 * each.seconds for each in ours]),
        peer=median([1000 * each.seconds for each in peer]),
        peer_name=name,
    )


def walk(pod: socket.socket) -> Walk:
    """Ask for one name after the other until there is an address."""
    began = time.perf_counter()
    for tried, queries in enumerate(QUERIES, start=1):
        for query in queries:
            pod.send(query)
        answers = [dns.message.from_wire(pod.recv(1232)).answer for _ in queries]
        if any(found.rdtype == dns.rdatatype.A for answer in answers for found in answer):
            return Walk(tried * len(queries), time.perf_counter() - began)
    raise AssertionError(f"{NAME} was not found")


@contextmanager
def serve(directory: Path) -> Iterator[dict[bool, tuple[str, int]]]:
    """Run coredns-lite; yield the places where it listens, by whether they have autopath."""
    manifests = directory / "manifests"
    write_services(manifests, SERVICES)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asking", "namespace": NAMESPACE},
        "status": {"phase": "Running", "podIP": pod_address()},
    }
    (manifests / "pod.json").write_text(json.dumps(pod))
    places = {}
    blocks = []
    for has_autopath in (True, False):
        with socket.socket() as probe:
            probe.bind((own_address(), 0))
            places[has_autopath] = probe.getsockname()
        address, port = places[has_autopath]
        line = "autopath @kubernetes" if has_autopath else ""
        blocks.append(
            f".:{port} {{\n bind {address}\n {line}\n hosts {{\n 192.0.2.1 {NAME}\n fallthrough\n }}\n"
            f" kubernetes {ZONE} {{\n manifests {manifests}\n pods verified\n }}\n}}\n"
        )
    corefile = directory / "Corefile"
    corefile.write_text("".join(blocks))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(directory / "notify"))
        ready.settimeout(60)
        process = subprocess.Popen(
            [Path(sys.executable).parent / "coredns-lite", "run", "--conf", corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert ready.recv(64) == b"READY=1"
            yield places
        finally:
            process.terminate()
            process.wait()


def pod_address() -> str:
    """Return a loopback address for the pod."""
    return own_address().removesuffix("53") + "10"


if __name__ == "__main__":
    main()
