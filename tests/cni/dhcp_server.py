"""A DHCP server (RFC 2131) for one address, on every link of a namespace that a request comes from."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from nodeplane.datapath import netns

_ETH_P_ALL = 3
_REPLIES = {1: "offer", 3: "ack"}  # of DHCPDISCOVER and DHCPREQUEST
_POLL_S = 0.2


@contextmanager
def serving(where: Path, address: str, server: str) -> Iterator[list[str]]:
    """Serve for as long as the block lasts; yields the types of the messages that came, as they come."""
    seen: list[str] = []
    ended = threading.Event()
    with netns.inside(where):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    wire.settimeout(_POLL_S)
    thread = threading.Thread(target=_serve, args=(wire, address, server, seen, ended))
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
        wire.close()


def _serve(wire: socket.socket, address: str, server: str, seen: list[str], ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            data, link = wire.recvfrom(2048)
        except TimeoutError:
            continue
        packet = Ether(data)
        if not (packet.haslayer(DHCP) and packet.haslayer(UDP) and packet[UDP].dport == 67):
            continue
        options: dict[str, Any] = {
            option[0]: option[1] for option in packet[DHCP].options if isinstance(option, tuple)
        }
        kind: int = options["message-type"]
        seen.append({1: "discover", 3: "request", 7: "release"}.get(kind, str(kind)))
        if kind in _REPLIES:
            wire.sendto(bytes(_reply(packet, _REPLIES[kind], address, server)), (link[0], 0))


def _reply(request: Packet, kind: str, address: str, server: str) -> Packet:
    mac = "02:00:00:00:00:99"
    asked = request[BOOTP]
    options = [
        ("message-type", kind),
        ("server_id", server),
        ("lease_time", 3600),
        ("subnet_mask", "255.255.255.0"),
        ("router", server),
        "end",
    ]
    return (
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        / IP(src=server, dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / BOOTP(op=2, xid=asked.xid, flags=asked.flags, yiaddr=address, siaddr=server, chaddr=asked.chaddr)
        / DHCP(options=options)
    )
