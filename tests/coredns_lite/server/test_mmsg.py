"""Batches of datagrams on real sockets of the loopback interface."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, ip_address

import pytest

from coredns_lite.server.listen import Listening, open_udp
from coredns_lite.server.mmsg import SLOT_BYTES, SLOTS, PacketBatch


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(sockets: ExitStack, address: str) -> tuple[Listening, PacketBatch, int]:
    listening = open_udp(address, 0)
    sockets.enter_context(listening.socket)
    return listening, PacketBatch(listening.socket, listening.packet_info), listening.socket.getsockname()[1]


def client(sockets: ExitStack, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    sock.settimeout(30)
    return sock


def receive(batch: PacketBatch, count: int) -> list[bytes]:
    """Receive until `count` datagrams have come, all of them in the batch's memory at once."""
    lengths = batch.receive()
    assert len(lengths) == count
    return [
        batch.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + length] for slot, length in enumerate(lengths)
    ]


def write(batch: PacketBatch, slot: int, reply: bytes) -> None:
    batch.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(reply)] = reply
    batch.reply_lengths[slot] = len(reply)


def test_a_batch_is_answered_in_place(sockets: ExitStack) -> None:
    """Each reply goes to the one who asked, whatever its length, and the next batch has full slots again."""
    _, batch, port = listen(sockets, "127.0.0.1")
    for length in (0, 3, 1200):
        clients = [client(sockets) for _ in range(3)]
        for number, each in enumerate(clients):
            each.sendto(bytes([number]) * (length + number), ("127.0.0.1", port))

        assert receive(batch, 3) == [bytes([number]) * (length + number) for number in range(3)]
        assert [batch.peer(slot) for slot in range(3)] == [
            (IPv4Address("127.0.0.1"), each.getsockname()[1]) for each in clients
        ]
        for slot in range(3):
            write(batch, slot, bytes([slot]) * (slot + 1))
        assert batch.send(0, 3) == []
        assert [each.recv(9000) for each in clients] == [b"\0", b"\1\1", b"\2\2\2"]


def test_no_more_than_the_slots(sockets: ExitStack) -> None:
    """What does not fit a batch comes with the next; what does not fit a slot is cut."""
    _, batch, port = listen(sockets, "127.0.0.1")
    sender = client(sockets)
    for number in range(SLOTS):
        sender.sendto(bytes([number]), ("127.0.0.1", port))
    sender.sendto(b"x" * (SLOT_BYTES + 1), ("127.0.0.1", port))

    assert receive(batch, SLOTS) == [bytes([number]) for number in range(SLOTS)]
    assert receive(batch, 1) == [b"x" * SLOT_BYTES]


def test_a_refused_reply_keeps_no_other_back(sockets: ExitStack) -> None:
    """A part of the batch can be sent, and the kernel's refusals name the error."""
    _, batch, port = listen(sockets, "127.0.0.1")
    asker = client(sockets)
    for number in range(5):
        asker.sendto(bytes([number]), ("127.0.0.1", port))
    receive(batch, 5)
    for slot in range(5):
        write(batch, slot, bytes([slot]) * 2)
    batch.reply_lengths[1] = batch.reply_lengths[4] = 70_000  # more than UDP can carry

    assert batch.send(1, 4) == [errno.EMSGSIZE, errno.EMSGSIZE]
    assert [asker.recv(10) for _ in range(2)] == [b"\2\2", b"\3\3"]


@pytest.mark.parametrize(
    ("address", "asked", "seen"),
    [
        pytest.param(str(IPv4Address(0)), "127.0.0.9", "127.0.0.9", id="every IPv4 address"),
        pytest.param("", "127.0.0.9", "127.0.0.9", id="every address, asked over IPv4"),
        pytest.param("", "::1", "::1", id="every address, asked over IPv6"),
        pytest.param("::", "::1", "::1", id="every IPv6 address"),
        pytest.param("127.0.0.9", "127.0.0.9", "127.0.0.9", id="one IPv4 address"),
        pytest.param("::1", "::1", "::1", id="one IPv6 address"),
    ],
)
def test_replies_leave_from_the_address_that_was_asked(
    sockets: ExitStack, address: str, asked: str, seen: str
) -> None:
    """Also on a socket of many addresses, batch after batch."""
    listening, batch, port = listen(sockets, address)
    asker = client(sockets, socket.AF_INET6 if ":" in asked else socket.AF_INET)
    for _ in range(3):
        asker.sendto(b"?", (asked, port))
        assert receive(batch, 1) == [b"?"]
        assert batch.peer(0) == (ip_address(asked if ":" in asked else "127.0.0.1"), asker.getsockname()[1])
        path = batch.return_path(0)
        write(batch, 0, b"!")
        assert batch.send(0, 1) == []
        # And later, when the slot is another's.
        listening.socket.sendmsg([b"."], path.control, 0, path.address)

        for reply in (b"!", b"."):
            text, sender = asker.recvfrom(10)
            assert (text, sender[:2]) == (reply, (seen, port))


def test_shut_down_socket_gives_empty_datagrams(sockets: ExitStack) -> None:
    """What had come before is still received; then `receive` returns at once."""
    listening, batch, port = listen(sockets, "127.0.0.1")
    client(sockets).sendto(b"late", ("127.0.0.1", port))
    with pytest.raises(OSError, match="not connected"):
        listening.socket.shutdown(socket.SHUT_RD)

    lengths = batch.receive()
    assert lengths[0] == 4
    assert not any(lengths[1:])
    assert not any(batch.receive())
