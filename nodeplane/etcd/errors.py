"""What can go wrong with etcd; the class says what is known about the request."""

from nodeplane.errors import NodeplaneError


class EtcdError(NodeplaneError):
    """The base of what the client reports."""


class EtcdUnavailableError(EtcdError):
    """No endpoint answers; the request was not carried out, or only read."""


class EtcdRefusedError(EtcdError):
    """etcd has understood and refused; nothing was carried out. `code` is gRPC's."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class EtcdUnknownError(EtcdError):
    """A write was sent and its answer never came: carried out or not, now or in a moment."""


# https://grpc.github.io/grpc/core/md_doc_statuscodes.html
INVALID_ARGUMENT = 3
FAILED_PRECONDITION = 9
OUT_OF_RANGE = 11
UNAUTHENTICATED = 16
RESOURCE_EXHAUSTED = 8
# Cancelled, unknown, deadline exceeded, aborted, internal, unavailable: a member that has no leader, has lost
# it, stops, or waits too long for its peers. It may have passed the request on before.
PASSING = frozenset({1, 2, 4, 10, 13, 14})
