"""One namespace's rtnetlink socket: a request, a question with one answer, a dump."""

from pathlib import Path

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest


class Exchange:
    """What is said to the kernel and what it answers, as bytes; `socket` is the socket itself.

    Args:
        namespace: Whose; None for the calling thread's.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """

    def __init__(self, namespace: Path | None) -> None:
        with netns.inside(namespace):
            # Strict: the kernel itself applies a dump's filters (NETLINK_GET_STRICT_CHK, 4.20).
            self.socket = NetlinkSocket(nl.NETLINK_ROUTE, is_strict=True)

    def write(self, operation: str, kind: int, body: bytes, flags: int = 0) -> list[memoryview]:
        """Send a request and return what the kernel says beside its acknowledgement."""
        return self.socket.ask(operation, nl.request(kind, flags | nl.NLM_F_ACK, 1, body))

    def question(self, operation: str, kind: int, body: bytes) -> memoryview:
        """Send a question and return its one answer."""
        return self.socket.question(operation, nl.request(kind, 0, 1, body))

    def dump(self, operation: str, kind: int, body: bytes) -> list[memoryview]:
        """Send a question and return its many answers, all of one moment."""
        request = nl.request(kind, nl.NLM_F_DUMP, 1, body)
        # Other pods' links come and go meanwhile.
        datagrams = read_at_rest(lambda: list(self.socket.dump(operation, request)))
        return [
            payload
            for data in datagrams
            for found, _, _, payload in nl.messages(data)
            if found not in {nl.NLMSG_DONE, nl.NLMSG_ERROR}
        ]
