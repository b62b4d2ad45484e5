"""A cluster in which endpoints come and go while clients connect: what was announced, and who was reached.

A real API server and a real kubeproxy run in the node's namespace. Every address that may be an endpoint is
answered in the server's namespace, also while no Service has it: who is led to a removed endpoint reaches it,
and is found out. An endpoint tells its clients its own address. Clients note each connection: when it began,
to which Service, whom it reached or why it failed.

A Service that changes has four of its eight addresses as endpoints, and with each change the next four: one
goes, one comes.
"""

import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import inet_ntoa

import msgspec

from bench import cluster_feeds as feeds
from bench import cluster_objects as objects
from bench.api_client import ApiClient, slice_path
from bench.cluster_objects import ENDPOINTS
from bench.path_namespaces import IPV4, trio
from bench.program import Process, Readiness, running_apiserver, start
from nodeplane.datapath import netns
from tests.netns_fixture import run_in

_ADDRESSES = 8
_RECORD = struct.Struct("=dfI4sI")

_SERVER = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=4096)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    try:
        client.send(socket.inet_aton(client.getsockname()[0]))
    except OSError:
        pass
    client.close()
"""

# Arguments: file of records, port, seconds to rest between connections, limit in seconds, NUMBER=ADDRESS...
_CLIENT = """
import signal, socket, struct, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
reset, record = struct.pack("ii", 1, 0), struct.Struct("=dfI4sI")
port, rest, limit = int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
targets = [(int(number), address) for number, _, address in (each.partition("=") for each in sys.argv[5:])]
with open(sys.argv[1], "wb") as log:
    turn = 0
    while not stop:
        number, address = targets[turn % len(targets)]
        turn += 1
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        client.settimeout(limit)
        reached, error = bytes(4), 0
        began = time.monotonic()
        try:
            client.connect((address, port))
            reached = client.recv(4)
            if len(reached) != 4:
                reached, error = bytes(4), 104
        except OSError as exc:
            error = exc.errno or 110
        log.write(record.pack(began, time.monotonic() - began, number, reached, error))
        client.close()
        time.sleep(rest)
"""


class Attempt(msgspec.Struct, frozen=True):
    """One connection: when it began, what it took, whom it reached (empty: nobody, for this errno)."""

    began: float
    seconds: float
    service: int
    reached: str
    error: int


class Step(msgspec.Struct, frozen=True):
    """One change of a Service's endpoints, and when the API server was told and had answered."""

    service: int
    removed: str
    added: str
    sent: float
    answered: float


class ChurnCluster:
    """The cluster while it runs."""

    def __init__(
        self, namespaces: tuple[Path, Path], api: ApiClient, source: Sequence[str], directory: Path
    ) -> None:
        self._client, self.node = namespaces
        self.steps: list[Step] = []
        self._api = api
        self._source = source
        self._directory = directory
        self._turns: dict[int, int] = {}
        self._readiness = Readiness(directory)
        self.log = directory / "kubeproxy.log"
        self.process = self._start()

    def change(self, service: int) -> Step:
        """Replace the oldest endpoint of a Service by another one, and announce it."""
        turn = self._turns[service] = self._turns.get(service, 0) + 1
        addresses = objects.endpoint_ips(service, _ADDRESSES)
        chosen = [addresses[(turn + index) % _ADDRESSES] for index in range(ENDPOINTS)]
        body = {"endpoints": objects.endpoint_slice(service, chosen)["endpoints"]}
        path = slice_path(objects.namespace_name(service), objects.slice_name(service))
        sent = time.monotonic()
        self._api.patch(path, body)
        step = Step(service, addresses[turn - 1 & _ADDRESSES - 1], chosen[-1], sent, time.monotonic())
        self.steps.append(step)
        return step

    def kill(self) -> None:
        """End kubeproxy without warning."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start kubeproxy again; return when it is in step with the cluster."""
        self._readiness.forget()
        self.process = self._start()

    def plan(self) -> str:
        """Return what a full sync would still have to change."""
        done = run_in(self.node, _program("kubeproxy"), "plan", *self._source, "-o", "json", timeout_s=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def clients(
        self, name: str, services: Iterable[int], *, rest_s: float, limit_s: float
    ) -> Iterator[list[Attempt]]:
        """Let a client connect to Services all the time; what it did is in the list once the context ends."""
        attempts: list[Attempt] = []
        path = self._directory / name
        targets = [f"{number}={objects.cluster_ip(number)}" for number in services]
        random.shuffle(targets)
        with netns.inside(self._client):
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", _CLIENT, str(path)),
                    *(str(objects.PORT), str(rest_s), str(limit_s), *targets),
                ]
            )
        try:
            yield attempts
        finally:
            process.terminate()
            process.wait()
        content = path.read_bytes()
        attempts += [
            Attempt(began, seconds, number, inet_ntoa(reached) if not error else "", error)
            for began, seconds, number, reached, error in _RECORD.iter_unpack(content)
        ]

    def close(self) -> None:
        """End kubeproxy."""
        self.kill()
        self._readiness.close()

    def _start(self) -> Process:
        process = start(self.node, "kubeproxy", "run", *self._source, log=self.log, env=self._readiness.env)
        try:
            self._readiness.wait(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process


@contextmanager
def churn_cluster(directory: Path, services: int) -> Iterator[ChurnCluster]:
    """Run a cluster of so many services."""
    (directory / "api").mkdir()
    feeds.fill_store(directory / "api", objects.build_cluster(services))
    with ExitStack() as stack:
        client, node, server = stack.enter_context(trio(IPV4))
        # Any address of the range is the server's own (RTN_LOCAL), used or not.
        _run(server, "ip addr add 10.128.0.0/10 dev lo")
        _run(node, f"ip route add 10.128.0.0/10 via {IPV4.endpoints[0]}")
        with netns.inside(server):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SERVER, str(objects.TARGET_PORT)],
                stdout=subprocess.PIPE,
                text=True,
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        kubeconfig = stack.enter_context(running_apiserver(node, directory / "api"))
        api = ApiClient(kubeconfig, node)
        stack.callback(api.close)
        source = ("--node-name", "node-0", "--kubeconfig", str(kubeconfig))
        cluster = ChurnCluster((client, node), api, source, directory)
        stack.callback(cluster.close)
        yield cluster


def _run(ns: Path, command: str) -> None:
    done = run_in(ns, *command.split())
    assert done.returncode == 0, done.stderr


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def lateness(
    attempts: Iterable[Attempt], steps: Iterable[Step], announced: Sequence[float] | None = None
) -> list[float]:
    """Return how long after a removal each connection to a removed endpoint began, in seconds.

    An endpoint is removed from when that is announced (when the API server had answered, unless `announced`
    says otherwise for each step) until the API server is told that it is there again.
    """
    gone: dict[tuple[int, str], list[tuple[float, float]]] = {}
    ordered = [*steps]
    times = announced or [step.answered for step in ordered]
    for step, time_s in zip(ordered, times, strict=True):
        back = gone.get((step.service, step.added))
        if back:
            back[-1] = (back[-1][0], step.sent)
        gone.setdefault((step.service, step.removed), []).append((time_s, float("inf")))
    late = []
    for attempt in attempts:
        for since, until in gone.get((attempt.service, attempt.reached), ()):
            # It may have been let through by the change that brings the endpoint back.
            if since < attempt.began and attempt.began + attempt.seconds < until:
                late.append(attempt.began - since)
    return late


def strangers(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return the connections that reached an endpoint that was never the Service's."""
    return [
        attempt
        for attempt in attempts
        if not attempt.error and attempt.reached not in objects.endpoint_ips(attempt.service, _ADDRESSES)
    ]
