"""Packets of several links at once: tcpdump captures, one reader puts them in the order of time.

All links are on one machine, so the kernel gives all packets the time of one clock. tcpdump hands each on in
the pcap format (pcap-savefile(5)); from here they go to one pcapng file, or as lines to whoever watches.
"""

import os
import selectors
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec

from netns_lab.attachment import host_link
from netns_lab.execute import find_place, place_namespace
from netns_lab.look.packet_lines import PacketPrinter
from netns_lab.look.pcapng import PcapngWriter
from netns_lab.names import UPLINK
from netns_lab.processes import MARK
from netns_lab.programs import environment
from netns_lab.state import StateDirectory
from netns_lab.tcpdump import await_listening, start_tcpdump
from netns_lab.topology import Topology
from nodeplane.errors import NodeplaneError

# pcap-savefile(5): with nanoseconds; 24 bytes of header, 16 before each packet.
_MAGIC_NS = 0xA1B23C4D
_HEADER = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=4I")

Sink: TypeAlias = PcapngWriter | PacketPrinter

# A packet may wait so long for one that passed another link before it.
_ORDER_S = 0.2


class Limits(msgspec.Struct, frozen=True):
    """When a capture ends: after so many packets, after so long; None is never."""

    count: int | None = None
    for_s: float | None = None


class Link(msgspec.Struct, frozen=True):
    """A link of a lab: what people call it, and where it is."""

    name: str
    namespace: str
    link: str


class Captured(msgspec.Struct, frozen=True, order=True):
    """A packet, with the time at which it passed, and the number of its link."""

    time_ns: int
    link: int
    data: bytes
    length: int


def find_link(state: StateDirectory, topology: Topology, text: str) -> Link:
    """Return the link that `PLACE` or `PLACE:LINK` names; `PLACE:host` is the node's end of a pod's link.

    Raises:
        ConfigError: there is no such place.
        NodeplaneError: the pod is not attached.
    """
    name, _, link = text.partition(":")
    place = find_place(topology, name)
    if link == "host" and name in {pod.name for pod in topology.pods} | {pod.key for pod in topology.pods}:
        pod = next(pod for pod in topology.pods if name in {pod.name, pod.key})
        node = next(node for node in topology.nodes if node.name == pod.node)
        return Link(text, place_namespace(state.lab, node), host_link(state, pod.key))
    return Link(text, place_namespace(state.lab, place), link or UPLINK)


@contextmanager
def open_sink(links: Sequence[Link], file: Path | None, output: str) -> Iterator[Sink]:
    """Yield what takes packets: a file, or without one whoever watches."""
    if file is None:
        yield PacketPrinter(links, output)
        return
    with file.open("wb") as target:
        yield PcapngWriter(target, links)


def capture_links(lab: str, links: Sequence[Link], expression: str, limits: Limits, sink: Sink) -> None:
    """Capture until a limit is reached or a signal comes.

    Raises:
        SetupError: tcpdump is not installed.
        NodeplaneError: tcpdump refused.
    """
    with ExitStack() as stack, _ended_by_signals() as ending:
        streams = [
            stack.enter_context(_tcpdump(lab, link, number, expression)) for number, link in enumerate(links)
        ]
        for packet in _in_order(streams, limits, ending):
            sink.write(packet)


def _in_order(streams: "Sequence[_Stream]", limits: Limits, ending: int) -> Iterator[Captured]:
    """Yield packets in the order of time, as far as they come within `_ORDER_S` of one another."""
    deadline = None if limits.for_s is None else time.monotonic() + limits.for_s
    waiting: list[Captured] = []
    count = 0
    with selectors.DefaultSelector() as selector:
        selector.register(ending, selectors.EVENT_READ)
        for stream in streams:
            selector.register(stream.descriptor, selectors.EVENT_READ, stream)
        is_over = False
        while not is_over:
            left_s = None if deadline is None else deadline - time.monotonic()
            pause_s = _ORDER_S if waiting else left_s
            events = selector.select(pause_s if left_s is None else max(0.0, min(pause_s or 0.0, left_s)))
            is_over = left_s is not None and left_s <= 0
            for key, _ in events:
                if key.data is None:
                    is_over = True
                    continue
                fresh = key.data.read()
                if fresh is None:
                    selector.unregister(key.fileobj)
                    is_over = is_over or len(selector.get_map()) == 1
                else:
                    waiting += fresh
            waiting.sort()
            before_ns = time.time_ns() - round(_ORDER_S * 1e9)
            while waiting and (is_over or len(streams) == 1 or waiting[0].time_ns <= before_ns):
                yield waiting.pop(0)
                count += 1
                if count == limits.count:
                    return


class _Stream:
    """What a tcpdump hands on, decoded as far as it has come."""

    def __init__(self, number: int, descriptor: int) -> None:
        self._number = number
        self.descriptor = descriptor
        self._received = b""
        self._has_header = False

    def read(self) -> list[Captured] | None:
        """Return the packets that have come; None at the end."""
        chunk = os.read(self.descriptor, 1 << 20)
        if not chunk:
            return None
        self._received += chunk
        return list(self._packets())

    def _packets(self) -> Iterator[Captured]:
        if not self._has_header:
            if len(self._received) < _HEADER.size:
                return
            if _HEADER.unpack_from(self._received)[0] != _MAGIC_NS:
                raise NodeplaneError("tcpdump: expected the pcap format with nanoseconds")
            self._received = self._received[_HEADER.size :]
            self._has_header = True
        while len(self._received) >= _RECORD.size:
            seconds, nanoseconds, captured, length = _RECORD.unpack_from(self._received)
            end = _RECORD.size + captured
            if len(self._received) < end:
                return
            data = self._received[_RECORD.size : end]
            self._received = self._received[end:]
            yield Captured(seconds * 10**9 + nanoseconds, self._number, data, length)


@contextmanager
def _tcpdump(lab: str, link: Link, number: int, expression: str) -> Iterator[_Stream]:
    """Run a tcpdump on a link and yield what it hands on, once the kernel keeps packets for it."""
    whole = environment(lab, f"capture/{link.name}")
    # Without the lab's mark: `up` leaves a person's processes alone.
    own = {name: value for name, value in whole.items() if name != MARK}
    options = ("-B", "8192", "--time-stamp-precision=nano", "-w", "-")
    filters = ("--", expression) if expression else ()
    tcpdump = start_tcpdump(link.namespace, link.link, own, *options, *filters)
    with tcpdump.process:
        try:
            await_listening(tcpdump, link.name)
            yield _Stream(number, tcpdump.output.fileno())
        finally:
            tcpdump.process.kill()


@contextmanager
def _ended_by_signals() -> Iterator[int]:
    """Yield a descriptor that can be read once SIGINT, SIGTERM or SIGHUP has come."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: os.write(writer, b"x")) for number in endings}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
