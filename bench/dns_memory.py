"""Memory of coredns-lite, and seconds from its start to a right answer, with 1,000 and 10,000 Services.

Each Service has four endpoints. The objects are manifests, a thousand in a file; the start is the program's
exec, the answer that of the last Service of the last file. Memory is the process's resident size (VmRSS, with
shared libraries) after every Service's name was asked for. OpenSSL is in it: asyncio loads it. With
`_api_server` the objects come from one over https (`netns-lab apiserver`), which takes an HTTP client.
"""

import argparse
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.cluster_feeds import fill_store, write_manifests
from bench.cluster_objects import build_cluster, cluster_ip, namespace_name
from bench.figure import median, report
from bench.program import memory_mb, running_apiserver

GOALS = {1_000: ("ours <= 35", "ours <= 0.5"), 10_000: ("ours <= 60", "ours <= 2")}
ZONE = "cluster.local"
_WITHIN_S = 60.0
_OUR_NAMESPACE = Path("/proc/self/ns/net")


class Run(NamedTuple):
    """What one start gave."""

    first_answer_s: float
    rss_mb: float


def main() -> None:
    """Measure each size and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one run each instead of five")
    options = parser.parse_args()
    for services, (memory_goal, start_goal) in GOALS.items():
        with tempfile.TemporaryDirectory(prefix="bench-dns-") as text:
            directory = Path(text)
            write_manifests(directory / "manifests", build_cluster(services))
            origin = f"manifests {directory / 'manifests'}"
            runs = [measure(directory, services, origin) for _ in range(1 if options.quick else 5)]
        report(f"dns_rss_{services}", "MB", median([run.rss_mb for run in runs]), goal=memory_goal)
        report(
            f"dns_first_answer_{services}", "s", median([run.first_answer_s for run in runs]), goal=start_goal
        )
    with tempfile.TemporaryDirectory(prefix="bench-dns-") as text:
        directory = Path(text)
        services = min(GOALS)
        fill_store(directory, build_cluster(services))
        with running_apiserver(_OUR_NAMESPACE, directory) as kubeconfig:
            run = measure(directory, services, f"kubeconfig {kubeconfig}")
        report(f"dns_rss_{services}_api_server", "MB", run.rss_mb)


def measure(directory: Path, services: int, origin: str) -> Run:
    """Start the program once, wait for a right answer, ask for everything."""
    address, port = free_address()
    started = time.perf_counter()
    with (
        running(directory, address, port, origin) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect((address, port))
        last = services - 1
        while ask(sock, last) != cluster_ip(last):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.perf_counter() - started < _WITHIN_S
        first_answer_s = time.perf_counter() - started
        for number in range(services):
            assert ask(sock, number) == cluster_ip(number)
        return Run(first_answer_s, memory_mb(process, "VmRSS"))


def ask(sock: socket.socket, number: int) -> str:
    """Ask for a Service's address; empty if there is none yet."""
    labels = [f"service-{number}", namespace_name(number), "svc", *ZONE.split(".")]
    name = b"".join(bytes((len(label),)) + label.encode() for label in labels) + b"\0"
    try:
        sock.settimeout(_WITHIN_S)
        sock.send(struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1")
        reply = sock.recv(512)
    except OSError:
        # Nobody is there yet.
        time.sleep(0.002)
        return ""
    return socket.inet_ntoa(reply[-4:]) if not reply[3] & 0xF else ""


@contextmanager
def running(directory: Path, address: str, port: int, origin: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run coredns-lite over the objects of an origin, as a Corefile names it."""
    corefile = directory / "Corefile"
    corefile.write_text(f"{ZONE}:{port} {{\n bind {address}\n kubernetes {{\n {origin}\n }}\n}}\n")
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "coredns-lite", "run", "--conf", corefile], stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_address() -> tuple[str, int]:
    """Find a loopback address of this process's own with a free port."""
    address = f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}.54"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return address, port


if __name__ == "__main__":
    main()
