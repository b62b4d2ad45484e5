"""Packets of a link, captured by tcpdump and read as values.

tcpdump keeps up with any rate that a lab makes; scapy decodes the file afterwards and is imported only then,
since that takes half a second.
"""

import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from netns_lab.programs import environment
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError, SetupError

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
    # -U and immediate mode: what has passed is in the file at once. -Z: Debian's tcpdump would give up root
    # before it opens the file.
    options = ["-n", "-U", "--immediate-mode", "-B", "8192", "-s", str(head_bytes), "-Z", "root"]
    with netns.inside(netns.NETNS_DIR / namespace):
        try:
            tcpdump = subprocess.Popen(
                ["tcpdump", *options, "-i", link, "-w", str(file), expression],
                env=environment(lab, f"capture/{link}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as exc:
            raise SetupError("tcpdump is missing: install the Debian package tcpdump") from exc
    try:
        await_listening(tcpdump, link)
        yield file
    finally:
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.communicate()


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


def await_listening(tcpdump: "subprocess.Popen[bytes]", link: str) -> None:
    """Wait for the line that tcpdump writes once the kernel keeps packets for it.

    Raises:
        NodeplaneError: it has ended; carries its message.
    """
    said = []
    for line in tcpdump.stderr or ():
        said.append(line.decode(errors="replace").strip())
        if "listening on" in said[-1]:
            return
    raise NodeplaneError(f"capture on {link}: {said[-1] if said else 'tcpdump ended'}")
