"""An etcd of our own, of one member or several, on loopback ports of its own; ended with the block."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.netns_lab.apiserver.free_port import free_ports

_READY_WITHIN_S = 60.0
Answer = dict[str, Any]
# Quick elections: what is tested is that they happen, not how long etcd's default takes.
_HEARTBEAT_MS, _ELECTION_MS = 50, 500


class EtcdCluster:
    """The members, by number from 0; each has its data in a directory of its own."""

    def __init__(
        self, directory: Path, members: int, options: Mapping[str, str], scheme: str = "http"
    ) -> None:
        ports = free_ports(2 * members)
        self.ports, self.peer_ports = ports[:members], ports[members:]
        self._directory = directory
        self._options = options
        self._scheme = scheme
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[str]:
        """Where clients find the members."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def url(self, prefix: str = "/nodeplane", query: str = "") -> str:
        """Return the datastore URL of a prefix."""
        return f"etcd://{','.join(self.addresses)}{prefix}{query}"

    def start(self, number: int) -> None:
        """Start a member, also one that was killed: with the data that it has."""
        peers = [f"http://127.0.0.1:{port}" for port in self.peer_ports]
        client = f"{self._scheme}://127.0.0.1:{self.ports[number]}"
        options = {
            "name": f"m{number}",
            "data-dir": str(self._directory / f"etcd-{number}"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peers[number],
            "initial-advertise-peer-urls": peers[number],
            "initial-cluster": ",".join(f"m{index}={peer}" for index, peer in enumerate(peers)),
            "heartbeat-interval": str(_HEARTBEAT_MS),
            "election-timeout": str(_ELECTION_MS),
            "log-level": "error",
            # Ours live for seconds; a power cut is not what they test.
            "unsafe-no-fsync": "",
            **self._options,
        }
        words = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
        self._processes[number] = subprocess.Popen(
            ["etcd", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self, number: int) -> None:
        """End a member as a power cut would."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def kill_leader(self) -> int:
        """Kill the member that leads; return its number."""
        number = self.leader()
        self.kill(number)
        return number

    def leader(self) -> int:
        """Wait until the members that run agree on one that leads; return its number."""
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while True:
            states = [(number, self._status(number)) for number in self._processes]
            ids = {state["header"]["member_id"]: number for number, state in states if state}
            leaders = {state.get("leader") for _, state in states if state}
            if len(leaders) == 1 and (leader := leaders.pop()) in ids:
                return ids[leader]
            assert time.monotonic() < deadline_s, states
            time.sleep(0.02)

    def await_health(self) -> None:
        """Wait until each member answers."""
        deadline_s = time.monotonic() + _READY_WITHIN_S
        for number, process in self._processes.items():
            while not _answers(self.ports[number]):
                assert process.poll() is None, f"etcd {number} ended"
                assert time.monotonic() < deadline_s
                # Nothing tells when etcd listens: asked for.
                time.sleep(0.02)
        if self._scheme == "http":
            self.leader()

    def stop(self) -> None:
        """End all members."""
        for number in list(self._processes):
            self.kill(number)

    def _status(self, number: int) -> Answer:
        try:
            return post(self.addresses[number], "/v3/maintenance/status", {})
        except (urllib.error.URLError, OSError):
            return {}


@contextmanager
def etcd_cluster(
    directory: Path, members: int = 1, options: Mapping[str, str] | None = None, scheme: str = "http"
) -> Iterator[EtcdCluster]:
    """Run a cluster; ended with the block."""
    cluster = EtcdCluster(directory, members, options or {}, scheme)
    try:
        for number in range(members):
            cluster.start(number)
        cluster.await_health()
        yield cluster
    finally:
        cluster.stop()


def post(address: str, path: str, body: object) -> Answer:
    """Ask a member, by means that are not under test."""
    request = urllib.request.Request(  # http, our own
        f"http://{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5.0) as answer:  # noqa: S310
        found: Answer = json.load(answer)
        return found


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True
