"""Requests and notifications: what is read again, what a refusal is, what a slow reader is told."""

import errno
import socket
import struct

import pytest

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netlink_socket, netns
from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest
from nodeplane.errors import KernelError, KernelNotFoundError, kernel_error
from tests.netns_fixture import namespace, run_in

GETLINK, NEWADDR, GETADDR = 18, 20, 22
ADDRESSES = 1 << 4  # RTNLGRP_IPV4_IFADDR


@pytest.mark.parametrize(
    ("errnos", "expected"),
    [
        pytest.param([], "found", id="at rest"),
        pytest.param([errno.EINTR] * 4, "found", id="changed meanwhile"),
        pytest.param([errno.EINTR] * 5, errno.EINTR, id="changed all the time"),
        pytest.param([errno.ENOENT], errno.ENOENT, id="not there"),
    ],
)
def test_read_at_rest(errnos: list[int], expected: str | int) -> None:
    """What changed while it was read is read again, a few times."""
    left = list(errnos)

    def read() -> str:
        if left:
            raise kernel_error("read", left.pop(0))
        return "found"

    try:
        found: str | int = read_at_rest(read)
    except KernelError as exc:
        found = exc.errno

    assert (found, left) == (expected, [])


def link_request(index: int) -> bytes:
    header = index.to_bytes(4, "little").rjust(8, b"\0").ljust(16, b"\0")
    return nl.request(GETLINK, nl.NLM_F_ACK, 1, header)


@pytest.mark.netns
def test_a_refusal_leaves_the_socket_usable() -> None:
    """After an error, and after a dump that nobody read to its end, the next question gets its own answer."""
    with namespace() as ns:
        with netns.inside(ns):
            asker = NetlinkSocket(nl.NETLINK_ROUTE)
        with asker:
            with pytest.raises(KernelNotFoundError):
                asker.ask("read link", link_request(4711))
            dump = asker.dump("list addresses", nl.request(GETADDR, nl.NLM_F_DUMP, 1, bytes(8)))
            next(dump)
            (answer,) = asker.ask("read link", link_request(1))

    assert nl.read_text(nl.attribute_map(answer[16:])[3]) == "lo"


class Kernel:
    """A socket's other end that answers each request with the next of some lists of datagrams."""

    def __init__(self, *answers: list[bytes]) -> None:
        self._answers = list(answers)
        self._queue: list[bytes] = []

    def setsockopt(self, *_option: object) -> None:
        return

    def sendto(self, _data: bytes, _to: tuple[int, int]) -> None:
        self._queue += self._answers.pop(0)

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        if not self._queue:
            raise BlockingIOError
        return self._queue.pop(0)


def verdict(sequence: int, code: int) -> bytes:
    """Render an NLMSG_ERROR without the request that it is about."""
    return nl.request(nl.NLMSG_ERROR, 0, sequence, struct.pack("=i", -code).ljust(20, b"\0"))


def test_answers_after_a_failed_commit_are_not_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nfnetlink_rcv_batch sends when a commit fails: first that, then what it said of each request."""
    kernel = Kernel([verdict(0, errno.ENOMEM), verdict(1, 0)], [verdict(1, errno.ENOENT)])
    monkeypatch.setattr(netlink_socket, "open_socket", lambda *_arguments: kernel)
    asker = NetlinkSocket(nl.NETLINK_NETFILTER)

    found = [asker.errors("commit", b"", 1) for _ in range(2)]

    assert found == [{0: errno.ENOMEM}, {1: errno.ENOENT}]


@pytest.mark.netns
def test_a_slow_reader_is_told() -> None:
    """Notifications name who caused them; with more than the socket holds, some are lost."""
    with namespace() as ns:
        with netns.inside(ns):
            listener = NetlinkListener("addresses", nl.NETLINK_ROUTE, ADDRESSES, 2048)
        with listener:
            assert listener.receive_more() == b""
            run_in(ns, "ip", "address", "add", "192.0.2.1/32", "dev", "lo")
            told = listener.receive_more()
            assert told
            ((kind, port, body),) = nl.notifications(told)
            for number in range(2, 66):
                run_in(ns, "ip", "address", "add", f"192.0.2.{number}/32", "dev", "lo")
            seen = [listener.receive_more() for _ in range(3)]

    assert (kind, port > 0, socket.inet_aton("192.0.2.1") in bytes(body)) == (NEWADDR, True, True)
    assert None in seen
