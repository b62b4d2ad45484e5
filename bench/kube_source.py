"""Cluster state from an API server: what a large list costs, and how long an event takes to its reader.

The server is a process of its own that sends prepared bytes over TLS, objects as Kubernetes 1.36 writes them.
The peer is `json.loads` of the same bytes: parsing alone, without a connection, objects or a store.
"""

import argparse
import asyncio
import json
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from bench.cluster_objects import STAMP, endpoint_slice, service
from bench.figure import median, report

_PAGE = 500
_EVENTS_PER_S = 1000
_SERVICES, _SLICES = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"


def pages(path: str, services: int) -> list[bytes]:
    """Render a list in pages of 500, compact as Go writes JSON."""
    build = service if path == _SERVICES else endpoint_slice
    bodies = []
    for start in range(0, services, _PAGE):
        metadata = {"resourceVersion": "300000"}
        if start + _PAGE < services:
            metadata["continue"] = str(start // _PAGE + 1)
        items = [build(number) for number in range(start, min(start + _PAGE, services))]
        document = {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}
        bodies.append(json.dumps(document, separators=(",", ":")).encode())
    return bodies


def chunk(event: str, item: dict[str, Any]) -> bytes:
    """Render an event of a watch, as the HTTP chunk of its own that an API server sends it in."""
    line = json.dumps({"type": event, "object": item}, separators=(",", ":")).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(line), line)


def initial_events(path: str, services: int) -> list[bytes]:
    """Render a streaming list: every object, then the bookmark."""
    build = service if path == _SERVICES else endpoint_slice
    end = {"resourceVersion": "300000", "annotations": {"k8s.io/initial-events-end": "true"}}
    return [
        *(chunk("ADDED", build(number)) for number in range(services)),
        chunk("BOOKMARK", {"metadata": end}),
    ]


async def serve(directory: Path, services: int, *, streaming: bool) -> None:
    """Serve the lists, and watches in which a slice changes every millisecond; print the port first."""
    bodies = {path: pages(path, services) for path in (_SERVICES, _SLICES)}
    initial = {path: initial_events(path, services) for path in bodies if streaming}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                path, _, query = target.partition("?")
                if path in initial and "sendInitialEvents" in query:
                    await watch(writer, path, services, initial[path])
                elif "sendInitialEvents" in query:
                    await send(writer, b'{"kind":"Status","code":400}', b"400 Bad Request")
                elif "watch=1" in query:
                    await watch(writer, path, services, ())
                else:
                    number = int(query.rpartition("continue=")[2]) if "continue=" in query else 0
                    await send(writer, bodies[path][number], b"200 OK")
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def send(writer: asyncio.StreamWriter, body: bytes, status: bytes) -> None:
    """Send a whole response."""
    writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
    writer.write(body)
    await writer.drain()


async def watch(writer: asyncio.StreamWriter, path: str, services: int, initial: Iterable[bytes]) -> None:
    """Send events of slices at their rate, each stamped with the time it was sent; none of services."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in initial:
        writer.write(event)
        await writer.drain()
    loop = asyncio.get_running_loop()
    due, number = loop.time(), 0
    while path == _SLICES:
        due += 1 / _EVENTS_PER_S
        number += 1
        await asyncio.sleep(due - loop.time())
        item = endpoint_slice(number % services, stamp=repr(time.monotonic()))
        writer.write(chunk("MODIFIED", item))
        await writer.drain()
    await asyncio.Event().wait()


async def measure_ours(kubeconfig: Path, events: int) -> dict[str, Any]:
    """List into a store, then take so many events; return what it cost."""
    # Only this process must have these in its memory.
    from nodeplane.kube.apiserver import ApiServerSource
    from nodeplane.kube.connection import Connection
    from nodeplane.kube.objects import EndpointSlice, Service
    from nodeplane.kube.store import Store

    store = Store()
    latencies: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    source = ApiServerSource(Connection.from_kubeconfig(kubeconfig))
    async with aclosing(source.batches((Service, EndpointSlice))) as batches:
        store.apply(await anext(batches))
        cost = {
            "seconds": time.perf_counter() - started,
            "cpu_s": time.process_time() - cpu,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        }
        # What was sent while the list came in waited for the list, not for its own way.
        listed = time.monotonic()
        while len(latencies) < events:
            batch = await anext(batches)
            now = time.monotonic()
            sent = [
                float((change.new.metadata.annotations or {})[STAMP])
                for change in batch
                if change.new is not None
            ]
            latencies += [now - each for each in sent if each > listed]
            store.apply(batch)
    return {**cost, "latencies": latencies}


def measure_peer(services: int) -> dict[str, Any]:
    """Return the CPU seconds of `json.loads` of all pages, held as one list would be."""
    bodies = [*pages(_SERVICES, services), *pages(_SLICES, services)]
    cpu = time.process_time()
    held = [json.loads(body) for body in bodies]
    return {"cpu_s": time.process_time() - cpu, "bytes": sum(map(len, bodies)), "pages": len(held)}


def run_child(*arguments: str) -> dict[str, Any]:
    """Run a part of this script in a process of its own, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, text=True, stdout=subprocess.PIPE, timeout=250
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def running_server(directory: Path, services: int, *, streaming: bool) -> Iterator[Path]:
    """Run the server; yield the kubeconfig that leads to it."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1",
         "-keyout", directory / "server.key", "-out", directory / "server.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [sys.executable, __file__, "--serve", str(directory), "--services", str(services)]
    command += ["--streaming"] if streaming else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = f"https://127.0.0.1:{server.stdout.readline().strip()}"
            cluster = {"server": url, "certificate-authority": "server.pem"}
            config = {
                "current-context": "bench",
                "contexts": [{"name": "bench", "context": {"cluster": "bench"}}],
                "clusters": [{"name": "bench", "cluster": cluster}],
            }
            kubeconfig = directory / "kubeconfig"
            # JSON is YAML.
            kubeconfig.write_text(json.dumps(config))
            yield kubeconfig
        finally:
            server.terminate()


def middle(results: Sequence[dict[str, Any]], name: str) -> float:
    """Return the median of one measurement."""
    return median([result[name] for result in results])


def report_all(services: int, rounds: int, events: int) -> None:
    """Report every figure of one size, of lists in pages and of streaming lists."""
    peers = [run_child("--peer", "--services", str(services)) for _ in range(rounds)]
    report(f"kube_source_bytes_{services}", "MB", peers[0]["bytes"] / 1e6)
    latencies: list[float] = []
    for streaming in (False, True):
        with (
            tempfile.TemporaryDirectory() as name,
            running_server(Path(name), services, streaming=streaming) as kubeconfig,
        ):
            ours = [run_child("--ours", str(kubeconfig), "--events", str(events)) for _ in range(rounds)]
        latencies += [each for one in ours for each in one["latencies"]]
        figure = f"kube_source_{'streaming_list' if streaming else 'list'}"
        report(f"{figure}_{services}", "s", middle(ours, "seconds"))
        report(
            f"{figure}_cpu_{services}",
            "s",
            middle(ours, "cpu_s"),
            peer=middle(peers, "cpu_s"),
            peer_name="json.loads of the same bytes",
            goal="ratio <= 1.2",
        )
        report(f"{figure}_peak_rss_{services}", "MB", middle(ours, "rss_mb"), goal="ours <= 80")
    latencies.sort()
    report("kube_source_latency_p50", "ms", 1000 * latencies[len(latencies) // 2])
    report("kube_source_latency_p99", "ms", 1000 * latencies[len(latencies) * 99 // 100], goal="ours <= 5")


def main() -> None:
    """Measure 10,000 services of four endpoints, and events at 1,000 a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure once instead of five times")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=5_000, help=argparse.SUPPRESS)
    # The parts that run in processes of their own.
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--streaming", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve, arguments.services, streaming=arguments.streaming))
    elif arguments.ours:
        print(json.dumps(asyncio.run(measure_ours(arguments.ours, arguments.events))))
    elif arguments.peer:
        print(json.dumps(measure_peer(arguments.services)))
    else:
        report_all(arguments.services, 1 if arguments.quick else 5, arguments.events)


if __name__ == "__main__":
    main()
