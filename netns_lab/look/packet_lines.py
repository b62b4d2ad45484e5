"""A packet as one line, for people; or as one JSON document in a line, for programs."""

import json
import struct
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from netns_lab.look.capturing import Captured, Link


class PacketPrinter:
    """Prints packets as they come."""

    def __init__(self, links: "Sequence[Link]", output: str) -> None:
        self._names = [link.name for link in links]
        self._output = output
        self._width = max(map(len, self._names))

    def write(self, packet: "Captured") -> None:
        """Print one packet."""
        row = {
            "time": clock(packet.time_ns),
            "link": self._names[packet.link],
            "bytes": packet.length,
            "packet": describe(packet.data),
        }
        if self._output == "table":
            click.echo(f"{row['time']} {row['link']:{self._width}} {row['packet']}")
        else:
            # JSON is YAML too; a line for each, so that a reader knows where one ends.
            click.echo(("- " if self._output == "yaml" else "") + json.dumps(row))


def clock(time_ns: int) -> str:
    """Return the time of day with microseconds, where we are."""
    seconds, rest_ns = divmod(time_ns, 10**9)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest_ns // 1000:06d}"


def describe(data: bytes) -> str:
    """Return what a frame is: who speaks to whom, and what it is about; of any bytes."""
    try:
        return _describe(data)
    except (ValueError, IndexError, struct.error):
        # scapy takes a header that is cut short for whole.
        return f"malformed frame of {len(data)} bytes"


def _describe(data: bytes) -> str:
    # Late: scapy takes half a second.
    from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: F401 - scapy decodes what is loaded
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Ether
    from scapy.layers.vxlan import VXLAN

    frame = Ether(data)
    prefix = ""
    if VXLAN in frame:
        prefix = f"VXLAN {frame[VXLAN].vni} {_ends(frame)} | "
        frame = frame[VXLAN].payload
    if ARP in frame:
        return f"{prefix}{frame[ARP].summary()}"
    if IP in frame or IPv6 in frame:
        return prefix + _describe_ip(frame)
    return f"{prefix}{frame.summary()}"


def _describe_ip(frame: Any) -> str:
    from scapy.layers.dns import DNS
    from scapy.layers.inet import TCP, UDP

    from netns_lab.look.dns_records import describe_message

    ends = _ends(frame)
    if TCP in frame:
        segment = frame[TCP]
        size = len(segment.payload)
        return f"{ends} TCP [{segment.flags}] seq {segment.seq} ack {segment.ack} length {size}"
    if DNS in frame and UDP in frame:
        return f"{ends} {describe_message(frame[DNS])}"
    if UDP in frame:
        return f"{ends} UDP length {len(frame[UDP].payload)}"
    inner = frame.getlayer(2) if frame.name == "Ethernet" else frame.getlayer(1)
    return f"{ends} {inner.summary() if inner is not None else ''}".rstrip()


def _ends(frame: Any) -> str:
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    layer = frame[IP] if IP in frame else frame[IPv6]
    ports = [getattr(layer.payload, field, None) for field in ("sport", "dport")]
    source, destination = (
        host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in zip((layer.src, layer.dst), ports, strict=True)
    )
    return f"{source} > {destination}"
