"""What can go wrong with addresses, and which CNI error code says so."""

from nodeplane.cnispec import ErrorCode
from nodeplane.errors import NodeplaneError


class IpamError(NodeplaneError):
    """The base of what address management reports."""


class ExhaustedError(IpamError):
    """No pool has an address for this node; says for each pool its size, its use and what to do."""


class DatastoreError(IpamError):
    """The datastore can't be read or written, or is not one of ours; says how to restore it."""


class DatastoreBusyError(DatastoreError):
    """Other writers held the datastore for longer than we wait."""


class InconsistentError(IpamError):
    """The datastore contradicts itself, so that an address could be handed out twice; nothing was written."""


# For `cnispec.run_plugin`. A full pool frees itself as pods end, which is what code 11 tells a runtime:
# try again later (SPEC section 5); kubelet does.
CNI_CODES: dict[type[NodeplaneError], int] = {
    ExhaustedError: ErrorCode.TRY_AGAIN_LATER,
    DatastoreBusyError: ErrorCode.TRY_AGAIN_LATER,
    DatastoreError: ErrorCode.IO_FAILURE,
    InconsistentError: ErrorCode.INTERNAL,
}
