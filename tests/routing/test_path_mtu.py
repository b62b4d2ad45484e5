"""Links of 9000 and of 1500 bytes on one way: senders hear of the smaller one, and large transfers arrive."""

import errno
import hashlib
import socket
import threading
from typing import NamedTuple

import pytest

from tests.netns_fixture import eventually
from tests.routing.routed_lab import Family, RoutedLab

pytestmark = pytest.mark.lab

# linux/in.h, linux/in6.h: always ask for fragmentation not to happen; the path's MTU as it is known.
_MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
_DO = 2
_UDP_HEADERS = {4: 28, 6: 48}
_BULK_BYTES = 4_000_000
_LIMIT_S = 60.0


class Way(NamedTuple):
    """A pod on a link of 9000 bytes, one behind a link of 1500, and what there is room for between them."""

    one: str
    other: str
    mtu_bytes: dict[int, int]


WAYS = {
    "bgp": Way("default/pod-1", "default/pod-3", {4: 1500, 6: 1500}),
    # Less the headers of VXLAN over IPv6, which the links of pods of both families leave room for.
    "cross-subnet": Way("default/pod-1", "default/pod-3", {4: 1430, 6: 1430}),
    "vxlan over a router": Way("default/pod-1", "default/pod-3", {4: 1430, 6: 1430}),
}


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """Return the way of the lab that is up."""
    name: str = request.node.callspec.params["routed"]
    return WAYS[name]


@pytest.mark.parametrize("routed", WAYS, indirect=True)
def test_the_sender_hears_of_it(routed: RoutedLab, way: Way, family: Family) -> None:
    """ICMP says how large a packet may be, and the sender's kernel heeds it."""
    with routed.open(routed.pod(way.one), socket.SOCK_DGRAM, family) as client:
        client.setsockopt(*_MTU_DISCOVER[family], _DO)
        client.connect((routed.address(way.other, family), 9))
        before = client.getsockopt(*_MTU[family])

        def probe() -> int:
            """Send the largest packet that is known to fit; say why the one before did not arrive as one."""
            try:
                client.send(bytes(client.getsockopt(*_MTU[family]) - _UDP_HEADERS[family]))
            except OSError as exc:
                return exc.errno or 0
            return 0

        # The other pod has no such port, and says so of what arrives.
        eventually(probe, lambda error: error == errno.ECONNREFUSED, within_s=_LIMIT_S)
        known = client.getsockopt(*_MTU[family])

    assert before > 8000
    assert known == way.mtu_bytes[family]


@pytest.mark.parametrize("routed", WAYS, indirect=True)
@pytest.mark.parametrize("is_back", [False, True], ids=["there", "back"])
def test_a_large_transfer_arrives(routed: RoutedLab, way: Way, family: Family, is_back: bool) -> None:
    one, other = (way.other, way.one) if is_back else (way.one, way.other)
    content = bytes(range(251)) * (_BULK_BYTES // 251)
    with routed.open(routed.pod(other), socket.SOCK_STREAM, family) as listener:
        listener.bind((routed.address(other, family), 0))
        listener.listen()
        received = hashlib.sha256()

        def receive() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(_LIMIT_S)
                while chunk := connection.recv(1 << 16):
                    received.update(chunk)

        receiver = threading.Thread(target=receive)
        receiver.start()
        with routed.open(routed.pod(one), socket.SOCK_STREAM, family) as client:
            client.settimeout(_LIMIT_S)
            client.connect(listener.getsockname()[:2])
            client.sendall(content)
        receiver.join(_LIMIT_S)

    assert received.digest() == hashlib.sha256(content).digest()
