"""The sets of pools in our table, as far as a plugin keeps them that works without an agent: it only adds.

What has left the pools meanwhile an agent takes out, which reads them whenever they change
(`cni.features.node_table_keeper`).
"""

from ipam.config import NetworkConfig, build_supply
from ipam.datastore import open_datastore
from ipam.errors import NoDatastoreError
from ipam.model import Pool
from nodeplane.cnispec import Request, decode_config


def ensure_masquerade(request: Request, ipam_type: str) -> None:
    """Have the pools in the table that the pod's address may come from, if one says `natOutgoing`.

    Raises:
        ConfigError: a pool is wrong.
        DatastoreError: the pools can't be read.
        KernelError: the kernel refused.
    """
    if ipam_type != "nodeplane-ipam":
        return  # its addresses are in no pool of ours
    pools = _read_pools(request)
    if not any(pool.nat_outgoing for pool in pools):
        return
    # What follows loads all that speaks nf_tables.
    from cni.call_lock import find_socket
    from cni.features.masquerade_rules import build_pool_elements
    from cni.features.node_table import open_node_table

    with open_node_table(find_socket(request.environ).parent) as table:
        for name, ranges in build_pool_elements(pools).items():
            table.widen(name, ranges)


def _read_pools(request: Request) -> tuple[Pool, ...]:
    """Read all pools; those of the configuration go before recorded ones, as an ADD records them."""
    config = decode_config(request.config, NetworkConfig)
    given = build_supply(config).pools
    if given and not any(pool.nat_outgoing for pool in given):
        # The pod's address is in one of these.
        return given
    try:
        with open_datastore(config.ipam.datastore, create=False) as datastore:
            recorded = datastore.read(lambda ledger: ledger.pools())
    except NoDatastoreError:
        recorded = ()
    names = {pool.name for pool in given}
    return (*(pool for pool in recorded if pool.name not in names), *given)
