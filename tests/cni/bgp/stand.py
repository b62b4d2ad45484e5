"""Nodes on one wire, each with a speaker and a real bird in its namespace, and plain routers beside them.

The speakers run in this process, on a loop in a thread of its own; their birds are started through a program
that enters the node's namespace first. What the agent does for them (blackholes of own blocks) tests do.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cni.bgp.bird import CONFIG_NAME, LOG_NAME, PID_NAME
from cni.bgp.config import BgpConfig
from cni.bgp.control import BirdError, ask_once
from cni.bgp.metrics import BgpMetrics
from cni.bgp.speaker import Speaker
from cni.bgp.state import Session, read_sessions
from ipam.model import Pool
from nodeplane.datapath.rtnl import Route, open_rtnl
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus
from nodeplane.kube.source import Change, Source
from tests.netns_fixture import eventually, namespace, run_in

T = TypeVar("T")

POOLS = (
    Pool("default", ip_network("10.244.0.0/16"), 26, mode="bgp"),
    Pool("default-ipv6", ip_network("fd00:10:244::/64"), 122, mode="bgp"),
)
BIRD = "/usr/sbin/bird"


def address(number: int, version: int = 4) -> str:
    """Return the address of a node or router on the wire."""
    return f"10.0.0.{number}" if version == 4 else f"fd00::{number:x}"


def block(number: int, version: int = 4) -> str:
    """Return a node's block."""
    return f"10.244.{number}.0/26" if version == 4 else f"fd00:10:244:0:0:{number:x}::/122"


class LoopThread:
    """An event loop that tests can hand work to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, step: Callable[[], T]) -> T:
        """Run a step in the loop's thread and return what it returns."""

        async def run() -> T:
            return step()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """Begin work; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the loop, once nothing runs on it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class StandNode:
    """One node: its namespace, and the speaker that runs for it."""

    def __init__(self, stand: "Stand", number: int, path: Path, config: BgpConfig) -> None:
        self.number, self.path, self.config = number, path, config
        self.name = f"n{number}"
        self._stand = stand
        self._running: Future[None] | None = None
        self.speaker: Speaker | None = None
        self.registry = CollectorRegistry()

    def start(self, source: Source | None = None) -> None:
        """Start the node's speaker, as an agent's start would."""
        ready = threading.Event()
        self.registry = CollectorRegistry()
        speaker = Speaker(self.name, self.config, BgpMetrics(self.registry), ready.set)

        def begin() -> None:
            speaker.take_nodes(self._stand.snapshot())
            speaker.take_pools(POOLS)
            speaker.take_announced(())

        self.speaker = speaker
        self._stand.thread.call(begin)
        self._running = self._stand.thread.spawn(speaker.run(source))
        assert ready.wait(30), self.log()

    def tell(self, step: Callable[[Speaker], None]) -> None:
        """Tell the speaker something."""
        speaker = self.speaker
        assert speaker is not None
        self._stand.thread.call(lambda: step(speaker))

    def stop(self) -> None:
        """End the speaker; its bird goes on."""
        if self._running is not None:
            self._running.cancel()
            done = asyncio.run_coroutine_threadsafe(_cancelled(), self._stand.thread.loop)
            done.result(30)
            self._running = None

    @property
    def directory(self) -> Path:
        return self.config.directory

    @property
    def pid(self) -> int:
        """The process number of the node's bird; 0 while it is being written."""
        return int((self.directory / PID_NAME).read_text() or 0)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the node's bird."""
        os.kill(self.pid, number)

    def configuration(self) -> str:
        """Return the configuration that is in force."""
        return (self.directory / CONFIG_NAME).read_text()

    def log(self) -> str:
        """Return what bird has logged."""
        file = self.directory / LOG_NAME
        return file.read_text() if file.exists() else ""

    def announce(self, network: str) -> None:
        """Write the route that the agent keeps for a block of the node's own."""
        with open_rtnl(self.path) as rtnl:
            rtnl.add_route(Route(ip_network(network), kind="blackhole"))

    def withdraw(self, network: str) -> None:
        """Delete it."""
        with open_rtnl(self.path) as rtnl:
            rtnl.delete_route(Route(ip_network(network), kind="blackhole"))

    def sessions(self) -> dict[tuple[str, int], Session]:
        """Return the sessions by neighbour and family; none while bird is not there."""
        with suppress(BirdError):
            found = read_sessions(self.config.control_socket)
            return {(item.name, item.address.version): item for item in found}
        return {}

    def states(self) -> dict[tuple[str, int], str]:
        """Return the sessions' states."""
        return {key: session.state for key, session in self.sessions().items()}

    def ask(self, command: str) -> list[str]:
        """Ask bird something."""
        [reply] = ask_once(self.config.control_socket, (command,))
        return [text for _, text in reply.lines]

    def next_hops(self, network: str) -> list[str]:
        """Return the gateways of bird's route to a network; none for no route, or one that is not unicast."""
        return next_hops(self.path, network)


def next_hops(path: Path, network: str) -> list[str]:
    """Return the gateways of bird's route to a network inside a namespace, if it is a unicast route."""
    version = ip_network(network).version
    done = run_in(path, "ip", "-j", f"-{version}", "route", "show", "exact", network, "proto", "bird")
    hops: list[str] = []
    for route in json.loads(done.stdout or "[]"):
        # iproute2 names the type only of others than unicast.
        if route.get("type", "unicast") == "unicast":
            hops += [item["gateway"] for item in route.get("nexthops", [route])]
    return sorted(hops)


class Stand:
    """A wire, what is on it, and the loop of the speakers."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.thread = LoopThread()
        self.nodes: dict[int, StandNode] = {}
        self.labels: dict[int, dict[str, str]] = {}
        self.annotations: dict[int, dict[str, str]] = {}
        self._directory = directory
        self._stack = stack
        self._pid_files: list[Path] = []
        self.wire = stack.enter_context(namespace("wire"))
        with open_rtnl(self.wire) as rtnl:
            rtnl.add_bridge("br0")
            rtnl.set_up("br0")

    def plug(self, number: int) -> Path:
        """Put a new namespace on the wire, with addresses of both families on its `eth0`."""
        path = self._stack.enter_context(namespace(f"b{number}"))
        with open_rtnl(self.wire) as wire, open_rtnl(path) as rtnl:
            wire.add_veth(f"v{number}", "eth0", path)
            wire.set_master(f"v{number}", "br0")
            wire.set_up(f"v{number}")
            rtnl.set_up("eth0")
            rtnl.add_address("eth0", ip_interface(f"{address(number)}/24"))
            rtnl.add_address("eth0", ip_interface(f"{address(number, 6)}/64"))
        return path

    def add_node(self, number: int, config: BgpConfig, labels: dict[str, str] | None = None) -> StandNode:
        """Add a node; its speaker is to be started."""
        path = self.plug(number)
        directory = self._directory / f"n{number}"
        directory.mkdir()
        program = self._entering(path, directory)
        self._pid_files.append(directory / PID_NAME)
        self.labels[number] = labels or {}
        node = StandNode(
            self, number, path, msgspec.structs.replace(config, bird=program, directory=directory)
        )
        self.nodes[number] = node
        return node

    def add_router(self, number: int, text: str) -> tuple[Path, Path]:
        """Add a plain router with a configuration of its own; return its namespace and control socket."""
        path = self.plug(number)
        directory = self._directory / f"r{number}"
        directory.mkdir()
        config, control, pid = directory / CONFIG_NAME, directory / "bird.ctl", directory / PID_NAME
        config.write_text(f'log "{directory / LOG_NAME}" all;\nrouter id {address(number)};\n{text}')
        # Without -f it is a daemon, once its configuration is good.
        done = run_in(path, BIRD, "-c", str(config), "-s", str(control), "-P", str(pid))
        assert (done.returncode, done.stderr) == (0, "")
        self._pid_files.append(pid)
        return path, control

    def snapshot(self) -> tuple[Change, ...]:
        """Return all nodes as additions."""
        return tuple(Change(node.key, None, node) for node in map(self.object, sorted(self.nodes)))

    def object(self, number: int) -> Node:
        """Return a node as the cluster has it."""
        addresses = tuple(NodeAddress("InternalIP", address(number, version)) for version in (4, 6))
        return Node(
            metadata=Metadata(
                name=f"n{number}", labels=self.labels.get(number), annotations=self.annotations.get(number)
            ),
            status=NodeStatus(addresses=addresses),
        )

    def start(self) -> None:
        """Start all nodes' speakers."""
        for node in self.nodes.values():
            node.start()

    def close(self) -> None:
        """End all speakers, and all birds."""
        for node in self.nodes.values():
            node.stop()
        self.thread.close()
        for file in self._pid_files:
            with suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def _entering(self, path: Path, directory: Path) -> Path:
        program = directory / "bird"
        program.write_text(f'#!/bin/sh\nexec nsenter --net={path} {BIRD} "$@"\n')
        program.chmod(0o755)
        return program


async def _cancelled() -> None:
    """Let what was cancelled end."""
    await asyncio.sleep(0)


@contextmanager
def open_stand(directory: Path) -> Iterator[Stand]:
    """Yield an empty stand."""
    with ExitStack() as stack:
        stand = Stand(directory, stack)
        try:
            yield stand
        finally:
            stand.close()


def wait_until_up(nodes: Iterable[StandNode], count: int) -> None:
    """Wait until every node has so many sessions, all of them established."""
    for node in nodes:
        eventually(node.states, lambda states: [*states.values()] == ["Established"] * count)


def wait_for_route(node: StandNode, network: str, *gateways: str) -> None:
    """Wait until a node has a unicast route through these gateways, and no others."""
    wait_for_hops(node.path, network, *gateways)


def wait_for_hops(path: Path, network: str, *gateways: str) -> None:
    """Wait until bird's route to a network is a unicast one through these gateways, and no others."""
    wanted = sorted(gateways)
    eventually(lambda: next_hops(path, network), lambda hops: hops == wanted, every_s=0.005)


def since(node: StandNode) -> dict[tuple[str, int], float]:
    """Return since when each of a node's sessions has been up."""
    return {key: session.since_s for key, session in node.sessions().items() if session.is_up}


def nearly(before: dict[tuple[str, int], float]) -> Any:
    """Return what equals the same times: bird reckons them by two clocks. One that ended needs a second."""
    return pytest.approx(before, abs=0.9)


def loopback_address(path: Path, text: str) -> None:
    """Give a namespace an address that stands for a pod's."""
    with open_rtnl(path) as rtnl:
        rtnl.add_address("lo", ip_interface(ip_address(text)))
