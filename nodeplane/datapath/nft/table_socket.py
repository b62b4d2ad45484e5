"""The requests about one table of the network namespace that this process is in.

Encodes no payload and decodes none: it frames them, and says what the kernel refused.
"""

from collections.abc import Iterable, Iterator

from nodeplane.datapath.netlink_socket import NetlinkSocket
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.expr import NFPROTO, TableFamily
from nodeplane.datapath.nft.transaction import Request, encode_batch
from nodeplane.errors import KernelNotFoundError, kernel_error

# A full load goes out in one piece: 30,000 services with four endpoints are about 9 MB.
BUFFER_BYTES = 64 << 20


class TableSocket:
    """A socket for what is asked and told of one table."""

    def __init__(self, family: TableFamily, name: str, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.family: TableFamily = family
        self.name = name
        self._reading = f"read table {family} {name}"
        self._socket = NetlinkSocket(nl.NETLINK_NETFILTER, buffer_bytes)

    def close(self) -> None:
        """Close the socket; it can't be used any more."""
        self._socket.close()

    @property
    def port(self) -> int:
        """The netlink port by which the kernel names us in its notifications."""
        return self._socket.port

    def ask(self, operation: int, payload: bytes) -> memoryview:
        """Return the answer to a question about one thing.

        Raises:
            KernelNotFoundError: it is not there.
        """
        request = nl.message(operation, nl.NLM_F_ACK, 1, NFPROTO[self.family], payload)
        return nl.nf_payload(self._socket.ask(self._reading, request)[0])

    def find(self, operation: int, payload: bytes) -> memoryview | None:
        """Return the answer to a question about one thing, None if it is not there."""
        try:
            return self.ask(operation, payload)
        except KernelNotFoundError:
            return None

    def dump(self, operation: int, payload: bytes) -> Iterator[memoryview]:
        """Yield all that the kernel has of a kind, as far as `payload` does not narrow it.

        Raises:
            KernelError: the kernel refused, or (EINTR) the ruleset changed meanwhile.
        """
        request = nl.message(operation, nl.NLM_F_DUMP, 1, NFPROTO[self.family], payload)
        for datagram in self._socket.dump(self._reading, request):
            for kind, _flags, _sequence, answer in nl.messages(datagram):
                if kind != nl.NLMSG_DONE:
                    yield nl.nf_payload(answer)

    def commit(self, operation: str, requests: Iterable[Request]) -> None:
        """Send one transaction.

        Raises:
            KernelError: the kernel refused one of the requests, and so all of them.
        """
        batch, last = encode_batch(self.family, requests)
        # The first message that failed is the cause; later ones may only follow from it.
        for code in self._socket.errors(operation, batch, last).values():
            raise kernel_error(operation, code)
