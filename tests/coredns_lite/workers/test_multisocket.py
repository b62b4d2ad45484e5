"""Several processes on one address: what is answered, counted, replaced and left, by the running program."""

import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dns.message
import dns.rcode
import msgspec
import pytest

from tests.coredns_lite.running import LIMIT_S, PROGRAM, Cluster, free_port, make_cluster, publish
from tests.netns_fixture import eventually

CLIENTS = 24
"""So many ports that it would be a wonder if one process had them all: 1 in 2^23."""
WEB = "web.default.svc.cluster.local"


class Program(msgspec.Struct):
    """The running program."""

    process: subprocess.Popen[bytes]
    cluster: Cluster
    metrics: int
    log: Path

    def workers(self) -> set[int]:
        """Return its worker processes."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {*map(int, path.read_text().split())}

    def metric(self, pattern: str) -> float:
        url = f"http://{self.cluster.address}:{self.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=LIMIT_S) as response:
            text = response.read().decode()
        return sum(float(value) for value in re.findall(rf"^{pattern}.* (\S+)$", text, re.MULTILINE))

    def asked(self) -> float:
        return self.metric(r"coredns_dns_requests_total\{")


class Clients:
    """Clients with ports of their own, which ask for the same."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self._sockets = []
        for _ in range(CLIENTS):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.connect((cluster.address, cluster.port))
            sock.settimeout(LIMIT_S)
            self._sockets.append(sock)

    def ask(self, name: str = WEB) -> set[str]:
        """Have each ask once, and wait for its answer; return what was answered."""
        query = dns.message.make_query(name, "A")
        for sock in self._sockets:
            sock.send(query.to_wire())
        return {describe(sock.recv(4096)) for sock in self._sockets}


def describe(packet: bytes) -> str:
    reply = dns.message.from_wire(packet)
    return str(reply.answer[0][0]) if reply.answer else dns.rcode.to_text(reply.rcode())


@contextmanager
def started(cluster: Cluster, metrics: int) -> Iterator[Program]:
    log = cluster.corefile.with_name(f"log-{os.urandom(4).hex()}")
    notify = cluster.corefile.with_name(f"notify-{os.urandom(4).hex()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, log.open("w") as stderr:
        ready.bind(str(notify))
        ready.settimeout(LIMIT_S)
        process = subprocess.Popen(
            [PROGRAM, "run", "--conf", cluster.corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(notify)},
            stderr=stderr,
        )
        try:
            assert ready.recv(64) == b"READY=1", log.read_text()
            yield Program(process, cluster, metrics, log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    found = make_cluster(tmp_path, "")
    metrics = free_port(found.address)
    text = found.corefile.read_text()
    plugins = f"errors\n    multisocket 2\n    loadbalance\n    prometheus {found.address}:{metrics}\n"
    found.corefile.write_text(text.replace("    kubernetes", f"    {plugins}    kubernetes", 1))
    publish(found.manifests, "a.yaml", web="10.96.0.1")
    return found


def metrics_port(cluster: Cluster) -> int:
    found = re.search(r"prometheus \S+:(\d+)", cluster.corefile.read_text())
    assert found
    return int(found[1])


def is_there(pid: int) -> bool:
    try:
        return "workers.process" in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_changes_counts_and_a_death(cluster: Cluster) -> None:
    """Each process forgets what a change touches; the counts are of all; one that dies is replaced."""
    with started(cluster, metrics_port(cluster)) as program, ExitStack() as stack:
        clients = Clients(cluster, stack)
        workers = program.workers()
        assert len(workers) == 2
        # Asked, then kept: the second time the processes answer by themselves.
        assert [clients.ask() for _ in range(3)] == [{"10.96.0.1"}] * 3
        assert clients.ask(f"nope.{WEB}") == {"NXDOMAIN"}
        for number in range(2, 7):
            publish(cluster.manifests, "a.yaml", web=f"10.96.0.{number}")
            eventually(clients.ask, {f"10.96.0.{number}"}.__eq__, within_s=LIMIT_S)
            # From there it never goes back.
            assert clients.ask() == {f"10.96.0.{number}"}
        # A namespace that comes changes everything: nothing is kept.
        (cluster.manifests / "ns.yaml").write_text(
            "{apiVersion: v1, kind: Namespace, metadata: {name: other}}\n"
        )
        clients.ask()
        before = eventually(program.asked, lambda count: count % CLIENTS == 0 and count > 0, within_s=LIMIT_S)
        clients.ask()
        eventually(program.asked, (before + CLIENTS).__eq__, within_s=LIMIT_S)

        victim = min(workers)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: program.workers() - {victim}, lambda found: len(found) == 2, within_s=LIMIT_S)
        assert clients.ask() == {"10.96.0.6"}
        assert program.metric("coredns_lite_worker_restarts_total") == 1

        last = program.workers()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT_S) == 0
        assert not [*filter(is_there, last | workers)]
        log = program.log.read_text()
        assert "Traceback" not in log
        served = re.search(r"received=(\d+) .* uncached=(\d+) .* overloaded=0 .* unsent=0 lost=0", log)
        assert served
        received, uncached = map(int, served.groups())
        # What the dead one had not reported is not among them.
        assert received > 10 * CLIENTS
        # The rest was kept by the processes.
        assert uncached < received - CLIENTS


def test_none_is_left_when_the_program_is_killed(cluster: Cluster) -> None:
    with started(cluster, metrics_port(cluster)) as program:
        workers = program.workers()
        program.process.kill()
        eventually(lambda: [*filter(is_there, workers)], [].__eq__, within_s=LIMIT_S)


def test_reload_and_a_successor_lose_no_query(cluster: Cluster) -> None:
    """New processes take over from the old ones, of this program or of one started beside it."""
    is_over = threading.Event()
    with ExitStack() as stack:
        program = stack.enter_context(started(cluster, metrics_port(cluster)))
        clients = Clients(cluster, stack)
        seen: list[set[str]] = []

        def ask() -> None:
            while not is_over.is_set():
                seen.append(clients.ask())

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            workers = program.workers()
            program.process.send_signal(signal.SIGUSR1)
            eventually(
                program.workers, lambda found: len(found) == 2 and not found & workers, within_s=LIMIT_S
            )
            stack.enter_context(started(cluster, metrics_port(cluster)))
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(LIMIT_S) == 0
            count = len(seen)
            eventually(lambda: len(seen), lambda found: found > count + 3, within_s=LIMIT_S)
        finally:
            is_over.set()
            thread.join()

    assert {*map(frozenset, seen)} == {frozenset({"10.96.0.1"})}
    assert "Traceback" not in program.log.read_text()
