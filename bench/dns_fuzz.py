"""Mutated packets against a running coredns-lite: it lives, grows no more, and answers rightly in between.

Packets are queries of all sorts with bytes changed, cut, repeated or joined, and plain noise. After each
batch a right query must get its right answer; a reply must be a reply, of an id that was sent, and never for
a packet that itself was one. Memory is looked at once the caches are full, and at the end.
"""

import argparse
import random
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dns.message

from bench.dns_services import ZONE, build_services, serve_ours
from bench.figure import report
from bench.pinned import cpu_s, rss_mb

PACKETS, QUICK_PACKETS = 1_000_000, 50_000
BATCH = 200
# The caches fill with mutants too, which takes most of a million packets: 49,152 entries each.
WARM_SHARE = 0.7
MAX_GROWTH_MB = 6.0
_QR = 0x80


def main() -> None:
    """Send the packets and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PACKETS} packets, not {PACKETS}")
    parser.add_argument("--seed", type=int, default=1, help="other packets")
    options = parser.parse_args()
    count = QUICK_PACKETS if options.quick else PACKETS
    with (
        tempfile.TemporaryDirectory(prefix="bench-dns-") as text,
        serve_ours(Path(text)) as (pid, address, port),
    ):
        before_s = cpu_s(pid)
        replies, wrong, growth_mb = fuzz(pid, (address, port), random.Random(options.seed), count)
        spent_s = cpu_s(pid) - before_s
        is_alive = Path(f"/proc/{pid}/exe").exists()
    print(f"{count} packets, {replies} replies, {spent_s:.1f} s of CPU", file=sys.stderr)
    report("dns_fuzz_alive", "processes", float(is_alive), goal="ours >= 1")
    report("dns_fuzz_wrong_answers", "answers", float(wrong), goal="ours <= 0")
    report("dns_fuzz_growth", "MB", growth_mb, goal=f"ours <= {MAX_GROWTH_MB:.0f}")


def fuzz(pid: int, server: tuple[str, int], source: random.Random, count: int) -> tuple[int, int, float]:
    """Send mutants; return the number of replies, of wrong answers, and how much memory grew."""
    name, namespace = build_services()[7]
    right = f"{name}.{namespace}.svc.{ZONE}"
    packets = mutants(source)
    warm_mb = 0.0
    replies = wrong = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
    ):
        for sock in (sender, asker):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.connect(server)
        asker.settimeout(30)
        for number in range(0, count, BATCH):
            sent = [next(packets) for _ in range(BATCH)]
            for packet in sent:
                sender.send(packet)
            wrong += not answers_rightly(asker, right)
            # That query came last: what the others were to get is there.
            found, bad = take_replies(sender, {packet[:2] for packet in sent if is_query(packet)})
            replies += found
            wrong += bad
            if number <= count * WARM_SHARE:
                warm_mb = rss_mb(pid)
        return replies, wrong, rss_mb(pid) - warm_mb


def mutants(source: random.Random) -> Iterator[bytes]:
    """Yield packets without end."""
    names = [f"{name}.{namespace}.svc.{ZONE}" for name, namespace in build_services()]
    seeds = [
        build_query(source.choice(names), rtype, *edns)
        for rtype in ("A", "AAAA", "SRV", "PTR", "ANY", "AXFR", "TYPE4711")
        for edns in _EDNS
    ]
    while True:
        packet = bytearray(source.choice(seeds))
        struct.pack_into("!H", packet, 0, source.randrange(65536))
        for _ in range(source.choice((0, 1, 1, 2, 5))):
            change(packet, source, seeds)
        yield bytes(packet[:4000])


# Size, DO, options; size 0 for none of it.
_EDNS: tuple[tuple[int, bool, str], ...] = (
    (0, False, ""),
    (1232, False, ""),
    (4096, True, ""),
    (1232, False, "000a 0008 3132333435363738"),
    (1232, False, "0003 0000 0008 0007 00011800616263"),
)


def build_query(name: str, rtype: str, size_bytes: int, dnssec_ok: bool, options: str) -> bytes:
    """Render a query; options are in hexadecimal digits."""
    wire = dns.message.make_query(name, rtype, use_edns=False).to_wire()
    if not size_bytes:
        return wire
    data = bytes.fromhex(options)
    opt = struct.pack("!BHHIH", 0, 41, size_bytes, 0x8000 if dnssec_ok else 0, len(data))
    return wire[:11] + b"\1" + wire[12:] + opt + data


def change(packet: bytearray, source: random.Random, seeds: list[bytes]) -> None:
    """Damage a packet in one of several ways."""
    at = source.randrange(len(packet)) if packet else 0
    match source.randrange(7):
        case 0 | 1 if packet:
            packet[at] = source.randrange(256)
        case 2 if packet:
            packet[at] ^= 1 << source.randrange(8)
        case 3:
            del packet[at:]
        case 4:
            packet[at:at] = source.randbytes(source.randrange(1, 40))
        case 5:
            packet += source.choice(seeds)[12:]
        case _:
            # A pointer, maybe to itself or behind the end.
            packet[at : at + 2] = struct.pack("!H", 0xC000 | source.randrange(64))


def answers_rightly(asker: socket.socket, name: str) -> bool:
    """Ask for a Service's address and compare."""
    query = dns.message.make_query(name, "A")
    asker.send(query.to_wire())
    try:
        answer = dns.message.from_wire(asker.recv(4096)).answer
    except TimeoutError:
        return False
    return [str(rdata) for rrset in answer for rdata in rrset] == ["10.96.0.7"]


def take_replies(sender: socket.socket, idents: set[bytes]) -> tuple[int, int]:
    """Take what has come; return the number of replies, and of those that should not be."""
    count = bad = 0
    while True:
        try:
            reply = sender.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return count, bad
        count += 1
        bad += len(reply) < 12 or not reply[2] & _QR or reply[:2] not in idents


def is_query(packet: bytes) -> bool:
    """Whether a packet may be replied to."""
    return len(packet) >= 12 and not packet[2] & _QR


if __name__ == "__main__":
    main()
