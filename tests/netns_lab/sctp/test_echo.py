"""An association with the echo, packet by packet."""

import pytest

from netns_lab.sctp.echo import SctpEcho
from netns_lab.sctp.packet import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    Chunk,
    Init,
    Packet,
    data_chunk,
    init_chunk,
    read_data,
    read_init,
)

PEER = "10.0.0.9"
OWN = Init(77, 1000)


class Peer:
    """A peer that speaks with the echo."""

    def __init__(self, port: int = 7) -> None:
        self.echo = SctpEcho([7], lambda source, content: f"{source} {content.decode()}".encode())
        self.port = port
        self.tag = 0

    def say(self, *chunks: Chunk) -> list[Chunk]:
        """Send chunks and return those of the replies."""
        replies = self.echo.receive(PEER, Packet(5000, self.port, self.tag, chunks))
        assert all(reply[:3] == (self.port, 5000, OWN.tag) for reply in replies)
        return [chunk for reply in replies for chunk in reply.chunks]

    def open(self) -> Init:
        """Do the four steps, and return what the echo said of itself."""
        (answer,) = self.say(init_chunk(INIT, OWN))
        peer = read_init(answer)
        assert answer.kind == INIT_ACK
        assert peer is not None
        self.tag = peer.tag
        assert self.say(Chunk(COOKIE_ECHO, 0, peer.cookie)) == [Chunk(COOKIE_ACK, 0, b"")]
        return peer


def test_message() -> None:
    peer = Peer()
    tsn = peer.open().tsn

    sack, answer = peer.say(data_chunk(1000, 0, b"hello"))

    assert (sack.kind, sack.body[:4]) == (SACK, (1000).to_bytes(4, "big"))
    assert (answer.kind, read_data(answer)) == (DATA, (tsn, b"('10.0.0.9', 5000) hello"))


def test_lost_packets() -> None:
    """Each step may be sent again and is answered as before; a message is answered once."""
    peer = Peer()
    (first,), (second,) = peer.say(init_chunk(INIT, OWN)), peer.say(init_chunk(INIT, OWN))
    tsn = peer.open().tsn
    once, again = peer.say(data_chunk(1000, 0, b"a")), peer.say(data_chunk(1000, 0, b"a"))
    _, following = peer.say(data_chunk(1001, 1, b"b"))
    early = peer.say(data_chunk(1009, 2, b"c"))

    assert first == second
    assert once == again
    assert read_data(following) == (tsn + 1, b"('10.0.0.9', 5000) b")
    assert [(chunk.kind, chunk.body[:4]) for chunk in early] == [(SACK, (1001).to_bytes(4, "big"))]


@pytest.mark.parametrize(
    ("chunk", "answer"),
    [
        (Chunk(HEARTBEAT, 0, b"x"), [Chunk(HEARTBEAT_ACK, 0, b"x")]),
        (Chunk(SHUTDOWN, 0, b"\0" * 4), [Chunk(SHUTDOWN_ACK, 0, b"")]),
        (Chunk(ABORT, 0, b""), []),
        (Chunk(99, 0, b""), []),
        (Chunk(DATA, 0, b"a part"), []),
    ],
)
def test_other_chunks(chunk: Chunk, answer: list[Chunk]) -> None:
    peer = Peer()
    peer.open()

    assert peer.say(chunk) == answer


def test_refused() -> None:
    """A port that nobody serves; a stranger's tag; a wrong cookie; a message before the association."""
    closed, stranger, forger, hasty = Peer(port=8), Peer(), Peer(), Peer()
    stranger.open()
    stranger.tag ^= 1
    (answer,) = hasty.say(init_chunk(INIT, OWN))
    init = read_init(answer)
    assert init is not None
    hasty.tag = init.tag
    forger.say(init_chunk(INIT, OWN))

    assert closed.say(init_chunk(INIT, OWN)) == [Chunk(ABORT, 0, b"")]
    assert stranger.say(data_chunk(1000, 0, b"x")) == []
    assert forger.say(Chunk(COOKIE_ECHO, 0, b"guess")) == []
    assert hasty.say(data_chunk(1000, 0, b"x")) == []


def test_many_peers() -> None:
    """Those who never say goodbye do not fill the memory."""
    echo = SctpEcho([7], lambda _source, content: content)
    for number in range(5000):
        init = init_chunk(INIT, Init(number + 1, 1))
        assert echo.receive(f"10.0.{number >> 8}.{number & 255}", Packet(1, 7, 0, (init,)))

    assert len(echo._associations) == 4096
