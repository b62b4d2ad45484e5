"""Nodes on one segment that run real agents, to measure routing: namespaces, agents, blocks, probes."""

import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Network, ip_interface
from pathlib import Path

from bench.program import Process, Readiness, start
from bench.room import INSTANCES, NEIGHBOURS, room
from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_datastore
from ipam.ledger import Ledger
from ipam.model import Block, Handle, Mode, PodRef, Pool, Request
from ipam.pool_space import block_at
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from tests.netns_fixture import namespace

POOL = IPv4Network("10.128.0.0/10")
SEGMENT = IPv4Network("10.99.0.0/16")
_PORT = 9
# linux/rtnetlink.h: RTMGRP_IPV4_ROUTE.
_ROUTES = 0x40
_LIMIT_S = 60.0
_AGAIN_S = 0.002
# The blocks that rounds claim begin here; those of nodes begin at a hash of their names, far above.
_FIRST_BLOCK = 16
_CLAIMS_AT_ONCE = 20
_INSTANCES_EACH, _NEIGHBOURS_EACH = 4, 2
_REFLECTORS = 2
_MESH: Mapping[str, object] = {}
REFLECTED: Mapping[str, object] = {
    "routeReflectors": [{"nodeSelector": "reflector == 'True'", "clusterId": "244.0.0.1"}]
}
"""Two nodes that reflect, in place of a full mesh."""


class Nodes:
    """Nodes of one mode with their agents up, each knowing all others."""

    def __init__(
        self, mode: Mode, folder: Path, fabric: Path, paths: Sequence[Path], bgp: Mapping[str, object]
    ) -> None:
        self.mode = mode
        self._bgp = bgp
        self.paths = list(paths)
        self.names = [f"n{number}" for number in range(len(paths))]
        self.datastore = f"sqlite://{folder}/ipam.sqlite"
        self._fabric = fabric
        self._folder = folder
        self._pool = Pool("default", POOL, 26, mode=mode)
        self._next_block = _FIRST_BLOCK
        self._ledger: Datastore | None = None
        (folder / "nodes").mkdir()

    def address(self, number: int) -> IPv4Address:
        """Return a node's address."""
        return SEGMENT[10 + number]

    def wire(self) -> None:
        """Join the nodes to the segment."""
        with open_rtnl(self._fabric) as fabric:
            fabric.add_bridge("segment")
            fabric.set_up("segment")
            for number, path in enumerate(self.paths):
                fabric.add_veth(f"p{number}", "eth0", path)
                fabric.set_master(f"p{number}", "segment")
                fabric.set_up(f"p{number}")
                with open_rtnl(path) as node:
                    node.set_up("eth0")
                    node.add_address("eth0", ip_interface((self.address(number), SEGMENT.prefixlen)))

    def write_nodes(self, absent: int | None = None) -> None:
        """Say which nodes there are, each in a file of its own: a change of one is read by itself."""
        for number, name in enumerate(self.names):
            file = self._folder / "nodes" / f"{name}.yaml"
            if number == absent:
                file.unlink()
            elif not file.exists():
                draft = file.with_name(f".{file.name}")
                draft.write_text(
                    f"apiVersion: v1\nkind: Node\n"
                    f"metadata: {{name: {name}, labels: {{reflector: '{number < _REFLECTORS}'}}}}\n"
                    f"status: {{addresses: [{{type: InternalIP, address: {self.address(number)}}}]}}\n"
                )
                draft.rename(file)

    def cut(self, number: int) -> None:
        """Cut a node off: its link has no other end any more."""
        with open_rtnl(self._fabric) as fabric:
            fabric.set_down(f"p{number}")

    def join(self, number: int) -> None:
        """Undo it."""
        with open_rtnl(self._fabric) as fabric:
            fabric.set_up(f"p{number}")

    def open_ledger(self, stack: ExitStack) -> None:
        """Open the datastore and give each node its first block."""
        self._ledger = stack.enter_context(open_datastore(self.datastore))
        allocator = Allocator(self._ledger, (self._pool,))
        for name in self.names:
            pod = PodRef("default", name, name)
            allocator.assign(
                Request(Handle(name, "eth0", name), pod, name, "/run/netns/none", int(time.time()))
            )

    def next_block(self) -> IPv4Network:
        """Return the block that is claimed next."""
        network = block_at(self._pool, self._next_block)
        assert isinstance(network, IPv4Network)
        return network

    def claim(self, number: int, count: int = 1) -> list[IPv4Network]:
        """Give a node new blocks."""
        assert self._ledger is not None
        blocks = []
        for _ in range(count):
            blocks.append(Block(self.next_block(), "default", self.names[number]))
            self._next_block += 1
        for first in range(0, count, _CLAIMS_AT_ONCE):
            part = blocks[first : first + _CLAIMS_AT_ONCE]
            self._ledger.transact(partial(self._claim, part))
        return [block.network for block in blocks if isinstance(block.network, IPv4Network)]

    def _claim(self, blocks: Sequence[Block], ledger: Ledger) -> None:
        for block in blocks:
            ledger.claim_block(self._pool, block)

    def start_agents(self, stack: ExitStack) -> None:
        """Start all agents and wait until each is ready."""
        waiting: list[tuple[Readiness, Process]] = []
        for name, path in zip(self.names, self.paths, strict=True):
            own = self._folder / name
            own.mkdir()
            config = {
                "datastore": self.datastore,
                "socket": "",
                "gcInterval": "0",
                "metricsBindAddress": "",
                **(
                    {"bgp": {"asNumber": 64512, "directory": str(own / "bird"), **self._bgp}}
                    if self.mode == "bgp"
                    else {}
                ),
            }
            (own / "agent.yaml").write_text(json.dumps(config))
            readiness = Readiness(own)
            stack.callback(readiness.close)
            options = ("--config", str(own / "agent.yaml"), "--manifests", str(self._folder / "nodes"))
            process = start(
                path, "cni-agent", "run", "--node-name", name, *options, log=own / "log", env=readiness.env
            )
            stack.callback(_end, process, own / "bird" / "bird.pid")
            waiting.append((readiness, process))
        for readiness, process in waiting:
            readiness.wait(process)

    def give_pod(self, block: IPv4Network, owner: int) -> None:
        """Give a node an address of a block to answer from, if it has none; its agent hears of that too."""
        address = ip_interface(f"{block[1]}/32")
        with open_rtnl(self.paths[owner]) as rtnl:
            if address not in rtnl.addresses("lo"):
                rtnl.add_address("lo", address)

    def until_reached(self, block: IPv4Network, owner: int, begin: Callable[[], object]) -> float:
        """Do something and return the seconds until every other node gets an answer from the block."""
        target = str(block[1])
        self.give_pod(block, owner)
        with self._watching(owner) as watched, self._answerer(owner, target) as answerer:
            started = time.perf_counter()
            begin()
            waiting = set(watched)
            poller = select.poll()
            poller.register(answerer, select.POLLIN)
            for peer in watched.values():
                poller.register(peer.events, select.POLLIN)
                poller.register(peer.probe, select.POLLIN)
            while waiting:
                ready = poller.poll(_AGAIN_S * 1000)
                hot = {fd for fd, _ in ready} or None
                _answer(answerer)
                for number in list(waiting):
                    peer = watched[number]
                    if hot is None or peer.events.fileno() in hot:
                        peer.drain()
                        peer.ask(target)
                    if (hot is None or peer.probe.fileno() in hot) and peer.has_answer():
                        waiting.discard(number)
                assert time.perf_counter() - started < _LIMIT_S, f"nodes {sorted(waiting)[:5]} reach nothing"
            return time.perf_counter() - started

    def until_withdrawn(self, block: IPv4Network, owner: int, begin: Callable[[], object]) -> float:
        """Do something and return the seconds until no other node has a way to the block."""
        target = str(block[1])
        with self._watching(owner) as watched:
            started = time.perf_counter()
            begin()
            waiting = set(watched)
            poller = select.poll()
            for peer in watched.values():
                poller.register(peer.events, select.POLLIN)
            while waiting:
                poller.poll(_AGAIN_S * 1000)
                for number in list(waiting):
                    watched[number].drain()
                    if not watched[number].has_way(target):
                        waiting.discard(number)
                assert time.perf_counter() - started < _LIMIT_S, (
                    f"nodes {sorted(waiting)[:5]} still have a way"
                )
            return time.perf_counter() - started

    def _answerer(self, owner: int, target: str) -> socket.socket:
        with netns.inside(self.paths[owner]):
            answerer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        answerer.bind((target, _PORT))
        answerer.setblocking(False)
        return answerer

    @contextmanager
    def _watching(self, owner: int) -> Iterator[dict[int, "_Peer"]]:
        peers = {number: _Peer(path) for number, path in enumerate(self.paths) if number != owner}
        try:
            yield peers
        finally:
            for peer in peers.values():
                peer.close()


def _answer(answerer: socket.socket) -> None:
    with suppress(OSError):
        while True:
            data, asker = answerer.recvfrom(64)
            answerer.sendto(data, asker)


class _Peer:
    """A node that looks for a way: the kernel's word of routes, and a socket to ask with."""

    def __init__(self, path: Path) -> None:
        with netns.inside(path):
            self.events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.events.bind((0, _ROUTES))
        self.events.setblocking(False)
        self.probe.setblocking(False)

    def drain(self) -> None:
        with suppress(OSError):
            while self.events.recv(1 << 16):
                pass

    def ask(self, target: str) -> None:
        with suppress(OSError):
            self.probe.sendto(b"?", (target, _PORT))

    def has_answer(self) -> bool:
        try:
            return bool(self.probe.recv(64))
        except OSError:
            return False

    def has_way(self, target: str) -> bool:
        try:
            self.probe.connect((target, _PORT))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.events.close()
        self.probe.close()


@contextmanager
def nodes(
    mode: Mode, count: int, blocks_before: int = 0, bgp: Mapping[str, object] = _MESH
) -> Iterator[Nodes]:
    """Yield so many nodes of a mode with their agents up; `blocks_before` belong to the last of them.

    `bgp` is more of the agents' `bgp:`, such as `REFLECTED`.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-routes-"))
    # bird is not root.
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fabric = stack.enter_context(namespace("fabric"))
        paths = [stack.enter_context(namespace(f"n{number}")) for number in range(count)]
        found = Nodes(mode, folder, fabric, paths, bgp)
        found.wire()
        found.write_nodes()
        found.open_ledger(stack)
        found.claim(count - 1, blocks_before)
        stack.enter_context(room(INSTANCES, count * _INSTANCES_EACH))
        stack.enter_context(room(NEIGHBOURS, count * count * _NEIGHBOURS_EACH))
        found.start_agents(stack)
        yield found


def _end(process: Process, pid_file: Path) -> None:
    process.kill()
    process.wait()
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), 9)


def run_iperf(client: Path, server: Path, address: str, port: int, seconds: int) -> float:
    """Return the gigabits a second that one TCP connection carries."""
    with netns.inside(server):
        listener = subprocess.Popen(
            ["iperf3", "-s", "-1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        with netns.inside(client):
            for _ in range(200):
                done = subprocess.run(
                    ["iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-J"],
                    capture_output=True,
                    check=False,
                )
                result = json.loads(done.stdout or b"{}")
                if "error" not in result:
                    return float(result["end"]["sum_received"]["bits_per_second"]) / 1e9
                time.sleep(0.01)
        raise AssertionError(result["error"])
    finally:
        listener.kill()
        listener.wait()
