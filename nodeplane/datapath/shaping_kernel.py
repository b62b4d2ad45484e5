"""The kernel's token buckets and redirections, by rtnetlink messages of our own (see `rtnl.kernel`)."""

import errno
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import shaping_codec as codec
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest
from nodeplane.datapath.rtnl import link_codec
from nodeplane.datapath.shaping import Bucket, Shape
from nodeplane.errors import KernelError

_MAKE = nl.NLM_F_CREATE | nl.NLM_F_EXCL
_PUT = nl.NLM_F_CREATE | nl.NLM_F_REPLACE
# To delete what is not there, or is the kernel's own (noqueue, pfifo_fast).
_NOTHING_THERE = {errno.ENOENT, errno.EINVAL}


class KernelShaper:
    """The kernel's `Shaper` of the calling thread's namespace; a context manager that closes its socket."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(nl.NETLINK_ROUTE, is_strict=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self, name: str) -> Shape:
        """See `Shaper`."""
        index = self._index(name)
        targets = self._targets(name, index)
        return Shape(self._bucket(name, index), self._label(targets[0]) if targets else None)

    def add_ifb(self, name: str, mtu_bytes: int) -> None:
        """See `Shaper`."""
        self._write(f"create ifb {name}", link_codec.NEWLINK, codec.new_ifb(name, mtu_bytes), _MAKE)

    def limit(self, name: str, bucket: Bucket) -> None:
        """See `Shaper`."""
        operation, index = f"limit link {name}", self._index(name)
        if self._bucket(name, index) is None:
            # Of another kind or handle: the kernel would change what is there, and refuse.
            self._delete(operation, codec.root(index))
        self._write(operation, codec.NEWQDISC, codec.bucket(index, bucket), _PUT)

    def unlimit(self, name: str) -> None:
        """See `Shaper`."""
        index = self._index(name)
        if self._bucket(name, index) is not None:
            self._delete(f"end the limit of link {name}", codec.root(index))

    def redirect(self, name: str, target: str) -> None:
        """See `Shaper`."""
        operation, index = f"redirect link {name} to {target}", self._index(name)
        to = self._index(target)
        # With it go all filters that it has.
        self._delete(operation, codec.ingress(index))
        self._write(operation, codec.NEWQDISC, codec.ingress(index), _MAKE)
        self._write(operation, codec.NEWTFILTER, codec.redirection(index, to), _MAKE)

    def undirect(self, name: str) -> None:
        """See `Shaper`."""
        index = self._index(name)
        if self._targets(name, index):
            self._delete(f"end the redirection of link {name}", codec.ingress(index))

    def _delete(self, operation: str, body: bytes) -> None:
        try:
            self._write(operation, codec.DELQDISC, body)
        except KernelError as exc:
            if exc.errno not in _NOTHING_THERE:
                raise

    def _bucket(self, name: str, index: int) -> Bucket | None:
        # Without ECHO newer kernels answer only if somebody listens (sch_api.c, rtnl_notify_needed).
        request = nl.request(codec.GETQDISC, nl.NLM_F_ACK | nl.NLM_F_ECHO, 1, codec.root(index))
        answers = self._socket.ask(f"read the queue of link {name}", request)
        # Of one that the kernel made by itself it tells nothing.
        return codec.decode_bucket(answers[0]) if answers else None

    def _targets(self, name: str, index: int) -> list[int]:
        """Return the links that filters of ours lead through; 0 is one that is gone."""

        def read() -> list[int]:
            found = map(codec.decode_target, self._dump(f"list filters of link {name}", index))
            return [target for target in found if target is not None]

        return read_at_rest(read)

    def _label(self, index: int) -> str:
        if not index:
            return ""
        query = link_codec.link_query(index=index)
        return link_codec.link_label(self._link("read a link's name", query))

    def _index(self, name: str) -> int:
        query = link_codec.link_query(name)
        return link_codec.link_index(self._link(f"read link {name}", query))

    def _write(self, operation: str, kind: int, body: bytes, flags: int = 0) -> None:
        self._socket.ask(operation, nl.request(kind, flags | nl.NLM_F_ACK, 1, body))

    def _link(self, operation: str, query: bytes) -> memoryview:
        request = nl.request(link_codec.GETLINK, nl.NLM_F_ACK, 1, query)
        return self._socket.ask(operation, request)[0]

    def _dump(self, operation: str, index: int) -> Iterator[memoryview]:
        request = nl.request(codec.GETTFILTER, nl.NLM_F_DUMP, 1, codec.filters(index))
        for data in self._socket.dump(operation, request):
            for found, _, _, payload in nl.messages(data):
                if found == codec.NEWTFILTER:
                    yield payload
