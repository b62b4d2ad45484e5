"""The keys of IPAM's values in a store.

    pools                                             all pools: few, and read by each request
    blocks/<pool>/<network>                           Block
    allocations/<address>                             Allocation
    handles/<container id>/<interface>/<node>         the addresses that the handle holds

and, made from the blocks, so that a request finds its block by a few keys (`ipam.block_index`):

    nodes/<node>/<pool>                               the segments of the node's blocks
    nodes/<node>/<pool>/<segment>                     the node's blocks in one segment
    claims/<pool>/<level>/<word>                      which blocks are claimed (`ipam.claim_map`)
    spare/<pool>/<idle since>/<network>               a block that has an address to give, and its node
"""

from ipaddress import ip_network

from ipam.errors import DatastoreError
from ipam.model import Address, Block, Handle, Network

POOLS = "pools"
BLOCKS = "blocks/"
NODES = "nodes/"
CLAIMS = "claims/"
SPARE = "spare/"
ALLOCATIONS = "allocations/"
HANDLES = "handles/"
# Those of nodes' own addresses (`ipam.model.tunnel_handle`).
TUNNELS = f"{HANDLES}node:"
OURS = (POOLS, BLOCKS, NODES, CLAIMS, SPARE, ALLOCATIONS, HANDLES)


def is_ours(key: str) -> bool:
    """Say whether a key is of a kind that we read."""
    return key.startswith(OURS)


def blocks_prefix(pool: str) -> str:
    """Return what the keys of a pool's blocks begin with."""
    return f"{BLOCKS}{pool}/"


def block_key(pool: str, network: Network) -> str:
    """Return the key of a block; the prefix length is set off with '-', as Calico writes it."""
    return f"{BLOCKS}{pool}/{_dashed(network)}"


def own_key(node: str, pool: str) -> str:
    """Return the key of the segments of a node's blocks; those of no node have an empty one."""
    return f"{NODES}{node}/{pool}"


def word_key(pool: str, level: int, index: int) -> str:
    """Return the key of a word of a pool's claim map."""
    return f"{CLAIMS}{pool}/{level}/{index:x}"


def spare_prefix(pool: str) -> str:
    """Return what the keys of a pool's blocks with free addresses begin with."""
    return f"{SPARE}{pool}/"


def spare_key(block: Block) -> str | None:
    """Return the key under which a block is known to have an address to give; None when it has none.

    The keys sort by how long ago that address was last in use.
    """
    since_s = block.idle_since_s
    return None if since_s is None else f"{spare_prefix(block.pool)}{since_s:011d}/{_dashed(block.network)}"


def decode_spare_key(key: str) -> tuple[int, Network]:
    """Return since when the block that such a key names is idle, and the block."""
    _, since_s, network = key.rsplit("/", 2)
    try:
        return int(since_s), ip_network(network.replace("-", "/"))
    except ValueError as exc:
        raise not_ours(exc) from exc


def allocation_key(address: Address) -> str:
    """Return the key of an allocation."""
    return f"{ALLOCATIONS}{address}"


def attachment_prefix(handle: Handle) -> str:
    """Return what the keys of an attachment's handles begin with, whatever their node."""
    return f"{HANDLES}{handle.container_id}/{handle.interface}/"


def handle_key(handle: Handle) -> str:
    """Return the key of a handle."""
    return f"{attachment_prefix(handle)}{handle.node}"


def _dashed(network: Network) -> str:
    return f"{network.network_address}-{network.prefixlen}"


def not_ours(exc: Exception) -> DatastoreError:
    """Say that a key or a value can't be one of ours."""
    return DatastoreError(f"the datastore holds a value that is not ours: {exc}")
