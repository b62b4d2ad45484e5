"""Packets of a link, captured by tcpdump and read as values.

tcpdump keeps up with any rate that a lab makes; scapy decodes the file afterwards and is imported only then,
since that takes half a second.
"""

import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from netns_lab.programs import environment
from netns_lab.tcpdump import await_listening, start_tcpdump
from nodeplane.errors import NodeplaneError

_FILE_HEADER_BYTES = 24
_RECORD_HEADER = struct.Struct("=4I")
_POLL_S = 0.01


class Packet(msgspec.Struct, frozen=True):
    """One TCP segment over IPv4, as it was on the link."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    flags: str
    sequence: int

    def __str__(self) -> str:
        ends = f"{self.source}:{self.source_port} > {self.destination}:{self.destination_port}"
        return f"{ends} TCP [{self.flags}] seq {self.sequence}"


@contextmanager
def capture(
    lab: str, namespace: str, link: str, expression: str, file: Path, *, head_bytes: int = 128
) -> Iterator[Path]:
    """Capture what passes a link of a lab's namespace into a file, from entry to exit.

    Of each packet the first `head_bytes` are kept: 128 have room for all headers that are not tunnelled.

    Raises:
        SetupError: tcpdump is not installed.
        NodeplaneError: tcpdump refused; carries its message.
    """
    options = ("-B", "8192", "-s", str(head_bytes), "-w", str(file), expression)
    tcpdump = start_tcpdump(namespace, link, environment(lab, f"capture/{link}"), *options)
    try:
        await_listening(tcpdump, link)
        yield file
    finally:
        tcpdump.process.send_signal(signal.SIGINT)
        tcpdump.process.communicate()


def await_packets(file: Path, count: int, limit_s: float) -> None:
    """Wait until a capture holds `count` packets, at most `limit_s` seconds: what is missing then is lost."""
    deadline = time.monotonic() + limit_s
    while count_packets(file) < count and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def count_packets(file: Path) -> int:
    """Count the whole packets in a capture file that may still grow (pcap-savefile(5)).

    Raises:
        NodeplaneError: the file can't be read.
    """
    count, offset = 0, _FILE_HEADER_BYTES
    with _read_errors(file), file.open("rb") as capture_file:
        size = os.fstat(capture_file.fileno()).st_size
        while offset + _RECORD_HEADER.size <= size:
            header = os.pread(capture_file.fileno(), _RECORD_HEADER.size, offset)
            _, _, captured_bytes, _ = _RECORD_HEADER.unpack(header)
            offset += _RECORD_HEADER.size + captured_bytes
            count += offset <= size
    return count


def read_packets(file: Path) -> list[Packet]:
    """Read the TCP segments of a capture file; other packets are left out.

    Raises:
        NodeplaneError: the file can't be read, or holds no capture.
    """
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Ether  # noqa: F401 - scapy decodes Ethernet once this is loaded
    from scapy.utils import PcapReader

    with _read_errors(file, (OSError, Scapy_Exception)), PcapReader(str(file)) as reader:
        return [
            Packet(
                source=frame[IP].src,
                source_port=frame[TCP].sport,
                destination=frame[IP].dst,
                destination_port=frame[TCP].dport,
                flags=str(frame[TCP].flags),
                sequence=frame[TCP].seq,
            )
            for frame in reader
            if IP in frame and TCP in frame
        ]


@contextmanager
def _read_errors(file: Path, kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    try:
        yield
    except kinds as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise NodeplaneError(f"capture {file}: {reason}") from exc
