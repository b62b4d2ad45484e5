"""The edge that sees: heads on all links of a namespace, and the rules that the followed packet meets there.

All sockets of a watch are opened before the packet is sent and read after it has come to its end: nothing
runs meanwhile, the kernel keeps what is to be told. Frames have the kernel's time, one clock for all
namespaces. A killed trace leaves nothing: the table belongs to a socket.
"""

import socket
import struct
from array import array
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from netns_lab.netlink import open_whole_rtnl
from netns_lab.trace.capture_filter import build_filter
from netns_lab.trace.head import Head, decode_frame
from netns_lab.trace.mark import Mark
from netns_lab.trace.table import TABLE, build_trace_table
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.trace import RuleMet, TraceListener
from nodeplane.errors import KernelExistsError, KernelPermissionError, NodeplaneError, kernel_error

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_SOL_PACKET, _STATISTICS = 263, 6  # PACKET_STATISTICS
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 26, 35, 33
_PACKET_STATISTICS = struct.Struct("=II")  # struct tpacket_stats: packets, of which lost
_BUFFER_BYTES = 4 << 20
_FRAME_BYTES = 512
_TIMESPEC = struct.Struct("=qq")
_NANOSECONDS = 1_000_000_000
_TABLE_BUFFER_BYTES = 1 << 16


class Sighting(msgspec.Struct, frozen=True):
    """A packet on a link: when (nanoseconds since 1970), where, and whether it left or came in."""

    at_ns: int
    namespace: str
    link: str
    is_out: bool
    head: Head


class Met(msgspec.Struct, frozen=True):
    """A rule that the packet met in a namespace; `iif` and `oif` are names, empty for none."""

    namespace: str
    rule: RuleMet
    iif: str = ""
    oif: str = ""


class Observed(msgspec.Struct, frozen=True):
    """What was seen; `lost` names the namespaces of which something is missing."""

    sightings: tuple[Sighting, ...]
    met: tuple[Met, ...]
    lost: tuple[str, ...] = ()


class Watch:
    """Sockets in many namespaces; `read` returns what they have heard."""

    def __init__(self) -> None:
        self.frames: dict[str, socket.socket] = {}
        self.rules: dict[str, TraceListener] = {}
        self.links: dict[str, dict[int, str]] = {}
        self.bridges: set[str] = set()

    def read(self) -> Observed:
        """Return all that was seen until now, in time order."""
        sightings: list[Sighting] = []
        met: list[Met] = []
        lost: list[str] = []
        for namespace, opened in self.frames.items():
            # A bridge takes what is for others; another place has only been flooded with it.
            sightings += _read_frames(namespace, opened, with_others=namespace in self.bridges)
            lost += [namespace] if _has_lost(opened) else []
        for namespace, listener in self.rules.items():
            found, is_whole = listener.take()
            lost += [] if is_whole or namespace in lost else [namespace]
            names = self.links[namespace]
            met += [Met(namespace, rule, names.get(rule.iif, ""), names.get(rule.oif, "")) for rule in found]
        return Observed(
            tuple(sorted(sightings, key=lambda sighting: sighting.at_ns)), tuple(met), tuple(lost)
        )


@contextmanager
def watching(
    family: Family, mark: Mark, namespaces: Iterable[str], bridges: Collection[str] = ()
) -> Iterator[Watch]:
    """Watch for the packet in namespaces, and in those of `bridges` on its way through a bridge.

    Raises:
        KernelError: the kernel refused.
        NodeplaneError: another trace has its table there.
    """
    program = build_filter(mark)
    watch = Watch()
    with ExitStack() as stack:
        for name in (*namespaces, *bridges):
            is_bridge = name in bridges
            table = build_trace_table(family, mark, of_bridge=is_bridge)
            watch.bridges |= {name} if is_bridge else set()
            path = netns.NETNS_DIR / name
            with open_whole_rtnl(path) as rtnl:
                watch.links[name] = {link.index: link.name for link in rtnl.links().values()}
            watch.frames[name] = stack.enter_context(_open_frames(name, program))
            with netns.inside(path):
                listener = TraceListener()
                stack.callback(listener.close)
                kernel_table = stack.enter_context(KernelTable(table.family, TABLE, _TABLE_BUFFER_BYTES))
            watch.rules[name] = listener
            try:
                kernel_table.create_owned(table)
            except (KernelExistsError, KernelPermissionError) as exc:
                raise NodeplaneError(f"{name}: another trace is running there (table {TABLE})") from exc
        yield watch


@contextmanager
def _open_frames(namespace: str, program: bytes) -> Iterator[socket.socket]:
    """Open a socket that gets all links' frames that the filter lets through, with the kernel's time."""
    instructions = array("B", program)
    address, _ = instructions.buffer_info()
    path: Path = netns.NETNS_DIR / namespace
    with netns.inside(path):
        # What comes in before the filter is there is no packet of ours: it has not been sent yet.
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        opened = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL_PROTOCOLS))
    with opened:
        try:
            opened.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, address)
            )
            opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except OSError as exc:
            raise kernel_error(f"capture in {namespace}", exc.errno or 0) from exc
        opened.setblocking(False)
        yield opened


def _has_lost(opened: socket.socket) -> bool:
    """Say whether there was more than the socket's buffer holds: in a flood that the filter lets through."""
    statistics = opened.getsockopt(_SOL_PACKET, _STATISTICS, _PACKET_STATISTICS.size)
    _, lost = _PACKET_STATISTICS.unpack(statistics)
    return bool(lost)


def _read_frames(namespace: str, opened: socket.socket, *, with_others: bool) -> Iterator[Sighting]:
    while True:
        try:
            data, ancillary, _flags, address = opened.recvmsg(_FRAME_BYTES, socket.CMSG_SPACE(16))
        except BlockingIOError:
            return
        except OSError:
            continue  # a link went down (ENETDOWN); what came before it is still there
        if address[2] == socket.PACKET_OTHERHOST and not with_others:
            continue
        head = decode_frame(data)
        stamp = next((part for _, kind, part in ancillary if kind == _SO_TIMESTAMPNS), b"")
        if head is not None and len(stamp) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            yield Sighting(
                at_ns=seconds * _NANOSECONDS + nanoseconds,
                namespace=namespace,
                link=address[0],
                is_out=address[2] == socket.PACKET_OUTGOING,
                head=head,
            )
