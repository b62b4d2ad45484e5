"""What can go wrong with addresses, and which CNI error code says so."""

from ipam.model import Pool
from nodeplane.cnispec import ErrorCode
from nodeplane.errors import NodeplaneError


class IpamError(NodeplaneError):
    """The base of what address management reports."""


class ExhaustedError(IpamError):
    """No pool has an address for this node; says for each pool its size, its use and what to do."""


class AddressInUseError(IpamError):
    """The very address that was asked for is somebody else's."""


class AddressRefusedError(IpamError):
    """The very address or pool that was asked for can't be given; says why."""


class PodUnknownError(IpamError):
    """Kubernetes does not know the pod yet, so that nobody can tell which addresses it may have."""


class DatastoreError(IpamError):
    """The datastore can't be read or written, or is not one of ours; says how to restore it."""


class NoDatastoreError(DatastoreError):
    """Nothing is there, and whoever asked must not make it."""


class UnreadableError(DatastoreError):
    """One entry can't be read; names its key."""


class DatastoreBusyError(DatastoreError):
    """Other writers held the datastore for longer than we wait."""


class UnsettledError(IpamError):
    """Blocks of a pool are not in line with what it has reserved: `pool_record.settle_blocks`, and again.

    Never leaves `ipam.allocator`.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(f"blocks of pool {pool.name} are not in line with what it reserves: run ipamctl gc")
        self.pool = pool


class InconsistentError(IpamError):
    """The datastore contradicts itself, so that an address could be handed out twice; nothing was written."""


# For `cnispec.run_plugin`. A full pool frees itself as pods end, which is what code 11 tells a runtime:
# try again later (SPEC section 5); kubelet does. So may the pod that has the address that another wants.
CNI_CODES: dict[type[NodeplaneError], int] = {
    ExhaustedError: ErrorCode.TRY_AGAIN_LATER,
    AddressInUseError: ErrorCode.TRY_AGAIN_LATER,
    AddressRefusedError: ErrorCode.INVALID_CONFIG,
    PodUnknownError: ErrorCode.TRY_AGAIN_LATER,
    DatastoreBusyError: ErrorCode.TRY_AGAIN_LATER,
    DatastoreError: ErrorCode.IO_FAILURE,
    InconsistentError: ErrorCode.INTERNAL,
}
