"""The side of an association that answers: pure, packets in and packets out (RFC 9260, section 4)."""

import secrets
from collections.abc import Callable, Collection

from netns_lab.sctp.packet import (
    ABORT,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    Chunk,
    Init,
    Packet,
    data_chunk,
    init_chunk,
    read_data,
    read_init,
    sack_chunk,
)

Key = tuple[str, int, int]
Answer = Callable[[tuple[str, int], bytes], bytes]

# Of clients that never say goodbye; the oldest goes.
_MOST_ASSOCIATIONS = 4096
_TSN_MASK = 0xFFFFFFFF


class _Association:
    """What is known of a peer: its tag and ours, what it has sent, what was answered."""

    def __init__(self, peer: Init) -> None:
        self.own = Init(secrets.randbits(32) or 1, secrets.randbits(32), secrets.token_bytes(16))
        self.peer_tag = peer.tag
        self.received_tsn = (peer.tsn - 1) & _TSN_MASK
        self.next_tsn = self.own.tsn
        self.is_open = False
        self.last: Chunk | None = None
        self.count = 0


class SctpEcho:
    """Answers on some ports; `answer` gives a message's answer for its source and content."""

    def __init__(self, ports: Collection[int], answer: Answer) -> None:
        self._ports = frozenset(ports)
        self._answer = answer
        self._associations: dict[Key, _Association] = {}

    def receive(self, address: str, packet: Packet) -> list[Packet]:
        """Take a packet of a peer's and return what is sent to it."""
        key = (address, packet.source_port, packet.destination_port)
        replies: list[Chunk] = []
        tag = 0
        for chunk in packet.chunks:
            if chunk.kind == INIT:
                return self._begin(key, packet, chunk)
            association = self._associations.get(key)
            if association is None or packet.tag != association.own.tag:
                return []
            tag = association.peer_tag
            replies += self._chunk(key, association, chunk)
        return [_reply(packet, tag, *replies)] if replies else []

    def _begin(self, key: Key, packet: Packet, chunk: Chunk) -> list[Packet]:
        peer = read_init(chunk)
        if peer is None or peer.tag == 0:
            return []
        if packet.destination_port not in self._ports:
            # Nobody there (8.4): as a closed port of TCP is refused.
            return [_reply(packet, peer.tag, Chunk(ABORT, 0, b""))]
        if len(self._associations) >= _MOST_ASSOCIATIONS:
            del self._associations[next(iter(self._associations))]
        known = self._associations.pop(key, None)
        # The same INIT again is a lost answer's; any other begins anew.
        is_same = known is not None and not known.is_open and known.peer_tag == peer.tag
        association = known if known is not None and is_same else _Association(peer)
        self._associations[key] = association
        return [_reply(packet, peer.tag, init_chunk(INIT_ACK, association.own))]

    def _chunk(self, key: Key, association: _Association, chunk: Chunk) -> list[Chunk]:
        if chunk.kind == COOKIE_ECHO and chunk.body == association.own.cookie:
            association.is_open = True
            return [Chunk(COOKIE_ACK, 0, b"")]
        if chunk.kind == DATA and association.is_open:
            return self._data(key, association, chunk)
        if chunk.kind == HEARTBEAT:
            return [Chunk(HEARTBEAT_ACK, 0, chunk.body)]
        if chunk.kind == SHUTDOWN:
            return [Chunk(SHUTDOWN_ACK, 0, b"")]
        if chunk.kind in {ABORT, SHUTDOWN_COMPLETE}:
            self._associations.pop(key, None)
        return []

    def _data(self, key: Key, association: _Association, chunk: Chunk) -> list[Chunk]:
        message = read_data(chunk)
        if message is None:
            return []
        tsn, content = message
        if tsn == (association.received_tsn + 1) & _TSN_MASK:
            association.received_tsn = tsn
            answer = self._answer((key[0], key[1]), content)
            association.last = data_chunk(association.next_tsn, association.count & 0xFFFF, answer)
            association.next_tsn = (association.next_tsn + 1) & _TSN_MASK
            association.count += 1
        # What comes again has lost its answer.
        again = [association.last] if association.last is not None and tsn == association.received_tsn else []
        return [sack_chunk(association.received_tsn), *again]


def _reply(packet: Packet, tag: int, *chunks: Chunk) -> Packet:
    return Packet(packet.destination_port, packet.source_port, tag, chunks)
