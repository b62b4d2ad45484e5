"""The table of mode nftables, which serves until the one of this mode takes its place."""

from collections.abc import Collection

from kubeproxy.rules.addresses import PackedAddress
from kubeproxy.rules.layout import CLUSTER_IPS
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import ElementChange, Table
from nodeplane.errors import KernelNotFoundError


class OtherTable:
    """What stands under the name of our table, if mode nftables has written it.

    Args:
        edge: The table.
        skeleton: Its constant part in mode nftables.
    """

    def __init__(self, edge: TableEdge, skeleton: Table) -> None:
        self._edge = edge
        self._skeleton = skeleton
        self._cluster_ips = next(each for each in skeleton.maps if each.name == CLUSTER_IPS)

    def guard(self, addresses: Collection[PackedAddress]) -> int | None:
        """Let it refuse what no Service publishes at these addresses, which are about to be this node's own.

        Returns:
            The transactions that it took; None if there is no such table, whole and in force.
        """
        try:
            if not self._edge.is_whole(self._skeleton):
                return None
        except KernelNotFoundError:
            return None
        here = self._edge.read_map(self._cluster_ips)
        fresh = {address: b"" for address in addresses if address not in here}
        if not fresh:
            return 0
        self._edge.update(self._skeleton, {CLUSTER_IPS: ElementChange(add=fresh)})
        return 1
