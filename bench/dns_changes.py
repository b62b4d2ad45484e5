"""coredns-lite while endpoints change 100 times a second: how late answers are, and how soon they are new.

1,000 Services are asked for their addresses 10,000 times a second by Debian's dnsperf, which says of each
query how long it took. Meanwhile the slice of one of 100 headless Services is replaced every 10 ms, and the
Service asked for until its answer has the new address: that takes from the file's being in place to the
answer's being here. `cache 30` is in the Corefile. Next to it nsd has the same 1,000 records: asked while
nothing else goes on, and while coredns-lite takes the same changes on the same core, since who makes and
takes them needs the two cores too. Rounds of all alternate; each figure is the median of the rounds'.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles

import dns.message

from bench.dns_peers import Running, Service, serve_peer
from bench.dns_services import (
    SERVICES,
    ZONE,
    build_services,
    free_tcp_port,
    own_address,
    service_address,
    write_services,
)
from bench.figure import median, report
from bench.pinned import pin, pin_all

CHANGING = 100
QUERIES_PER_S, CHANGES_PER_S = 10_000, 100
ROUNDS, SECONDS = 5, 10
_LIMIT_S = 30.0


def main() -> None:
    """Measure both sides and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one round of 3 s")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer (multisocket)")
    options = parser.parse_args()
    rounds, seconds = (1, 3) if options.quick else (ROUNDS, SECONDS)
    with tempfile.TemporaryDirectory(prefix="bench-dns-") as text, ExitStack() as stack:
        directory = Path(text)
        ours = stack.enter_context(serve(directory, options.workers))
        services = [
            Service(f"{name}.{namespace}.svc.{ZONE}", service_address(number))
            for number, (name, namespace) in enumerate(build_services(SERVICES))
        ]
        peer = stack.enter_context(serve_peer("nsd", directory, services, ZONE))
        for running in (ours, peer):
            pin_all(running.pid, 0)
        queries = directory / "queries"
        queries.write_text("".join(f"{service.name} A\n" for service in services))
        late: dict[str, list[float]] = {"changing": [], "quiet": [], "nsd": [], "nsd beside": []}
        fresh: list[list[float]] = []
        for _ in range(rounds):
            with changing(directory / "manifests", ours) as waits:
                late["changing"].append(p99(ask(ours, queries, seconds)))
            fresh.append(waits)
            with changing(directory / "manifests", ours):
                late["nsd beside"].append(p99(ask(peer, queries, seconds)))
            late["quiet"].append(p99(ask(ours, queries, seconds)))
            late["nsd"].append(p99(ask(peer, queries, seconds)))
    report(
        "dns_p99_changing",
        "ms",
        median(late["changing"]),
        peer=median(late["nsd beside"]),
        peer_name="nsd beside the changes",
        goal="ours <= 0.5",
    )
    report(
        "dns_p99_quiet",
        "ms",
        median(late["quiet"]),
        peer=median(late["nsd"]),
        peer_name="nsd",
        goal="ours <= 0.5",
    )
    report("dns_change_to_answer_p50", "ms", median([median(waits) for waits in fresh]), goal="ours <= 2")
    report("dns_change_to_answer_p99", "ms", median([p99(waits) for waits in fresh]), goal="ours <= 10")
    report("dns_changes_rate", "changes/s", median([len(waits) / seconds for waits in fresh]))


def p99(values: Sequence[float]) -> float:
    """Return what one in a hundred is above."""
    return quantiles(values, n=100)[98]


def ask(server: Running, queries: Path, seconds: int) -> list[float]:
    """Have dnsperf ask; return how long each query took, in milliseconds."""
    load = subprocess.Popen(
        ["dnsperf", "-v", "-s", server.address, "-p", str(server.port), "-d", queries, "-c", "4", "-q", "400",
         "-l", str(seconds), "-Q", str(QUERIES_PER_S)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    pin(load.pid, -1)
    output, _ = load.communicate()
    assert load.returncode == 0
    # `> NOERROR name A 0.000123`
    lines = [line.split() for line in output.splitlines() if line.startswith("> ")]
    assert {words[1] for words in lines} == {"NOERROR"}, {words[1] for words in lines}
    return [float(words[-1]) * 1000 for words in lines]


@contextmanager
def changing(manifests: Path, server: Running) -> Iterator[list[float]]:
    """Change one headless Service after another; the list gets how long each took to be answered, in ms."""
    waits: list[float] = []
    is_over = threading.Event()

    def change() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((server.address, server.port))
            sock.settimeout(_LIMIT_S)
            due = time.monotonic()
            while not is_over.is_set():
                number = len(waits)
                write_slice(manifests, number % CHANGING, address := changed_address(number, time.time_ns()))
                waits.append(1000 * wait_for(sock, number % CHANGING, address))
                due += 1 / CHANGES_PER_S
                is_over.wait(max(due - time.monotonic(), 0))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield waits
    finally:
        is_over.set()
        thread.join()


def changed_address(number: int, salt: int) -> str:
    """Return an address that the Service did not have before."""
    return f"10.{128 + salt % 64}.{number >> 8 & 255}.{number & 255}"


def wait_for(sock: socket.socket, number: int, address: str) -> float:
    """Ask until an answer has the address; return for how many seconds."""
    query = dns.message.make_query(f"db-{number}.default.svc.{ZONE}", "A", use_edns=False).to_wire()
    expected = socket.inet_aton(address)
    began = time.perf_counter()
    while True:
        sock.send(query)
        if sock.recv(512).endswith(expected):
            return time.perf_counter() - began
        assert time.perf_counter() - began < _LIMIT_S


def write_slice(manifests: Path, number: int, address: str) -> None:
    """Put a headless Service and its slice in place."""
    name = f"db-{number}"
    metadata = {"namespace": "default", "name": name}
    items = [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None"}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [],
        },
    ]
    draft = manifests / f".{name}"
    draft.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    draft.rename(manifests / f"{name}.json")


@contextmanager
def serve(directory: Path, workers: int) -> Iterator[Running]:
    """Run coredns-lite over the Services; yield it once it is ready."""
    manifests = directory / "manifests"
    write_services(manifests, SERVICES)
    for number in range(CHANGING):
        write_slice(manifests, number, changed_address(number, 0))
    with socket.socket() as probe:
        probe.bind((own_address(), 0))
        address, port = probe.getsockname()
    corefile = directory / "Corefile"
    corefile.write_text(
        f"{ZONE}:{port} {{\n bind {address}\n multisocket {workers}\n errors\n loadbalance\n cache 30\n"
        f" prometheus {address}:{free_tcp_port()}\n kubernetes {{\n manifests {manifests}\n }}\n}}\n"
    )
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
        (directory / "log").open("w") as log,
    ):
        ready.bind(str(directory / "notify"))
        ready.settimeout(60)
        process = subprocess.Popen(
            [Path(sys.executable).parent / "coredns-lite", "run", "--conf", corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stderr=log,
        )
        try:
            assert ready.recv(64) == b"READY=1"
            yield Running(process.pid, address, port)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
