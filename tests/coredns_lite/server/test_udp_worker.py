"""The packet loop, on a real socket, with a responder that says what the table wants."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import dns.message
import dns.rcode
import pytest

from coredns_lite.kept import KeptReplies, Label
from coredns_lite.kind import MALFORMED
from coredns_lite.pending import Pending
from coredns_lite.plugin import Client
from coredns_lite.server import udp_worker
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.listen import open_udp
from coredns_lite.server.udp_worker import SendLater, UdpWorker
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer
from nodeplane.errors import KernelError
from tests.netns_fixture import eventually


class FakeResponder:
    """Replies as a function says; `packets` is its cache."""

    def __init__(
        self, reply_to: Callable[[bytes], bytes | Pending | None], packets: dict[bytes, bytes] | None = None
    ) -> None:
        self.replies = KeptReplies(1 << 20)
        for body, reply in (packets or {}).items():
            self.replies.put(body, [reply + Label(0, 0, len(body) + 2).pack()])
        self.last_kind = MALFORMED
        self.clients: list[Client] = []
        self._reply_to = reply_to

    def respond(self, packet: bytes, find_client: Callable[[], Client]) -> bytes | Pending | None:
        """Reply, and note who asked."""
        self.clients.append(find_client())
        return self._reply_to(packet)


def refuse(packet: bytes) -> bytes | None:
    raise AssertionError(f"asked for {packet!r}")


def refuse_to_defer(pending: Pending, _origin: Origin, _send: SendLater) -> bool:
    raise AssertionError(f"deferred {pending}")


@contextmanager
def serving(worker: UdpWorker) -> Iterator[None]:
    """Run a worker in its thread; leave only when the thread has ended."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


async def later() -> Answer:
    return Answer()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(30)
        yield sock


@contextmanager
def worker_for(responder: FakeResponder, **options: object) -> Iterator[tuple[UdpWorker, socket.socket]]:
    """Give a worker that is not running yet and a client that is connected to its socket."""
    sock = open_udp("127.0.0.1", 0).socket
    with sock, connected(sock.getsockname()[1]) as client:
        options = {"defer": refuse_to_defer, **options}
        yield UdpWorker(sock, responder, **options), client  # type: ignore[arg-type]  # keywords pass through


def test_cached_and_uncached() -> None:
    """The cache is asked without the id; the reply gets the query's own."""
    responder = FakeResponder(lambda packet: packet[:2] + b"computed", {b"query": b"cached"})
    with worker_for(responder) as (worker, client):
        for packet in (b"01query", b"02query", b"03other"):
            client.send(packet)
        with serving(worker):
            assert [client.recv(100) for _ in range(3)] == [b"01cached", b"02cached", b"03computed"]

    assert worker.counters == Counters(batches=1, received=3, sent=3, uncached=1)


@pytest.mark.parametrize(
    ("packets", "replies"),
    [
        pytest.param("x", "", id="one, dropped"),
        pytest.param("xxx", "", id="all dropped"),
        pytest.param("xab", "ab", id="first"),
        pytest.param("axb", "ab", id="middle"),
        pytest.param("abx", "ab", id="last"),
        pytest.param("xaxxbcx", "abc", id="several"),
    ],
)
def test_dropped_packets_leave_the_others(packets: str, replies: str) -> None:
    """Each packet without a reply is passed over in the batch that is sent."""
    responder = FakeResponder(lambda packet: None if packet.endswith(b"x") else packet)
    with worker_for(responder) as (worker, client):
        for packet in packets:
            client.send(b"id" + packet.encode())
        client.send(b"idz")
        with serving(worker):
            assert [client.recv(100) for _ in range(len(replies) + 1)] == [
                b"id" + reply.encode() for reply in replies + "z"
            ]

    count, dropped = len(packets) + 1, packets.count("x")
    assert worker.counters == Counters(1, count, count - dropped, uncached=count, dropped=dropped)


@pytest.mark.parametrize("packet", [pytest.param(b"", id="empty"), pytest.param(b"1", id="half an id")])
def test_less_than_an_id(packet: bytes) -> None:
    """It is handed on as it is, for the responder to drop."""
    seen = []

    def respond(given: bytes) -> bytes | None:
        seen.append(given)
        return given if given == b"end" else None

    with worker_for(FakeResponder(respond)) as (worker, client):
        client.send(packet)
        client.send(b"end")
        with serving(worker):
            assert client.recv(100) == b"end"

    assert seen == [packet, b"end"]


def test_a_defect_costs_one_packet(caplog: pytest.LogCaptureFixture) -> None:
    """An error in this program is logged and counted; the service goes on."""

    def respond(packet: bytes) -> bytes | None:
        if packet == b"poison":
            raise ValueError(packet)
        return packet

    with worker_for(FakeResponder(respond)) as (worker, client):
        client.send(b"poison")
        client.send(b"good")
        with serving(worker):
            assert client.recv(100) == b"good"

    assert (worker.counters.defects, worker.counters.dropped) == (1, 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"defect met, packet dropped packet={b'poison'.hex()}"
    ]


def test_a_new_responder_holds_at_once() -> None:
    """Whoever asks after the change is answered by the new one, though the loop was waiting meanwhile."""
    with worker_for(FakeResponder(refuse, {b"?": b"old"})) as (worker, client), serving(worker):
        client.send(b"01?")
        assert client.recv(100) == b"01old"
        for number in range(20):
            worker.responder = FakeResponder(refuse, {b"?": b"%d" % number})
            client.send(b"02?")
            assert client.recv(100) == b"02%d" % number


@pytest.mark.parametrize(("logs_errors", "lines"), [(True, 1), (False, 0)])
def test_unsent_replies(
    logs_errors: bool, lines: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted, and logged if that is wanted, once a second at most."""
    with worker_for(FakeResponder(lambda packet: packet), logs_errors=logs_errors) as (worker, client):
        # As a firewall's drop rule would have it; on loopback the kernel takes all.
        monkeypatch.setattr(worker._batch, "send", lambda _first, count: [errno.EPERM] * count)
        with serving(worker):
            for number in (1, 2):
                client.send(b"packet")
                eventually(lambda: worker.counters.unsent, number.__eq__)

    assert worker.counters.sent == 0
    line = "reply not sent error='Operation not permitted' unsent_total=1"
    assert [record.getMessage() for record in caplog.records] == [line] * lines


def test_query_log() -> None:
    """It is told of each reply, with peer and sizes, and of no packet without one."""
    lines: list[tuple[Client, int, bytes]] = []

    def note(client: Client, query_bytes: int, reply: bytes, duration_s: float) -> None:
        assert duration_s >= 0
        lines.append((client, query_bytes, reply))

    responder = FakeResponder(lambda packet: None if packet == b"idx" else packet + b"!")
    with worker_for(responder, query_log=note) as (worker, client):
        for packet in (b"ida", b"idx", b"idlong"):
            client.send(packet)
        with serving(worker):
            assert [client.recv(100) for _ in range(2)] == [b"ida!", b"idlong!"]
        peer = Client(IPv4Address("127.0.0.1"), client.getsockname()[1], "udp")

    assert lines == [(peer, 3, b"ida!"), (peer, 6, b"idlong!")]
    assert responder.clients == [peer] * 3


def test_an_answer_that_comes_later() -> None:
    """Its query leaves its slot; the reply finds its way once the slot is another's."""
    pending = Pending(Query(7, 0, b"\0\0\1\0\1", b"\0", 1, 1), later(), 512)
    deferred: list[tuple[Pending, SendLater]] = []

    def defer(what: Pending, _origin: Origin, send: SendLater) -> bool:
        deferred.append((what, send))
        return True

    responder = FakeResponder(lambda packet: pending if packet == b"idlater" else packet)
    with worker_for(responder, defer=defer) as (worker, client), serving(worker):
        for packet in (b"idlater", b"idnow"):
            client.send(packet)
        assert client.recv(100) == b"idnow"
        ((what, send),) = deferred
        send(b"idthen", MALFORMED)
        assert client.recv(100) == b"idthen"

    assert what is pending
    assert (worker.counters.deferred, worker.counters.sent) == (1, 1)
    pending.later.close()


def test_answers_that_come_later_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is refused at once and counted; when one is settled, there is room again."""
    monkeypatch.setattr(udp_worker, "MAX_DEFERRED", 2)
    query = Query(0x6964, 0, b"\0\0\1\0\1", b"\0", 1, 1)
    deferred: list[tuple[Pending, SendLater]] = []

    def defer(what: Pending, _origin: Origin, send: SendLater) -> bool:
        deferred.append((what, send))
        return True

    responder = FakeResponder(lambda _: Pending(query, later(), 512))
    with worker_for(responder, defer=defer) as (worker, client), serving(worker):
        for _ in range(3):
            client.send(b"idlater")
        assert dns.message.from_wire(client.recv(100)).rcode() == dns.rcode.SERVFAIL
        # Also one that gets no reply.
        deferred[0][1](None, MALFORMED)
        client.send(b"idlater")
        eventually(lambda: len(deferred), (3).__eq__)
        deferred[1][1](b"idthen", MALFORMED)
        assert client.recv(100) == b"idthen"

    assert (worker.counters.deferred, worker.counters.overloaded, worker.counters.sent) == (3, 1, 1)
    for what, _ in deferred:
        what.later.close()


def test_stop_before_run() -> None:
    with worker_for(FakeResponder(refuse)) as (worker, _):
        worker.stop()
        worker.run()

    assert worker.counters == Counters()


def test_stop_while_waiting() -> None:
    """A loop that waits for packets that never come ends promptly (the fixture joins its thread)."""
    with worker_for(FakeResponder(refuse)) as (worker, _), serving(worker):
        pass

    assert worker.counters == Counters()


def test_a_socket_that_fails_for_good() -> None:
    """The loop ends with the error instead of trying for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        worker = UdpWorker(sock, FakeResponder(refuse), refuse_to_defer)
        with pytest.raises(KernelError) as caught:
            worker.run()

    assert (caught.value.operation, caught.value.errno) == ("recvmmsg", errno.ENOTCONN)
