"""The CNI IPAM plugin `nodeplane-ipam`: ADD, DEL, VERSION as CNI SPEC 1.1.0 section 4 has them.

Another plugin runs it with its own environment and its whole network configuration, of which `ipam` and
`nodeName` are ours. On the path of every pod start: imports stay few.
"""

from ipam.allocator import Allocator
from ipam.config import NetworkConfig, build_node_name, build_pod, build_pools
from ipam.datastore import open_datastore
from ipam.errors import CNI_CODES
from ipam.model import Handle
from nodeplane.cniresult import Ip, Result
from nodeplane.cnispec import Request, decode_config, run_plugin


def main() -> int:
    """Serve one CNI call; return the exit code."""
    return run_plugin("nodeplane-ipam: CNI IPAM plugin of nodeplane", {"ADD": add, "DEL": delete}, CNI_CODES)


def add(request: Request) -> Result:
    """Give the attachment an address; a repeated ADD gets the same one."""
    config = decode_config(request.config, NetworkConfig)
    node_name, pools = build_node_name(config), build_pools(config.ipam)
    with open_datastore(config.ipam.datastore) as datastore:
        assignment = Allocator(datastore, node_name, pools).assign(
            Handle(request.container_id, request.interface), build_pod(request.args), request.netns
        )
    return Result(ips=(Ip(assignment.address),))


def delete(request: Request) -> None:
    """Free what the attachment holds, however little the configuration has otherwise.

    SPEC section 2, DEL: it succeeds when there is nothing to free, so that pools and names, which ADD needs,
    must not stand in its way.
    """
    config = decode_config(request.config, NetworkConfig)
    with open_datastore(config.ipam.datastore) as datastore:
        Allocator(datastore, config.node_name, ()).release(Handle(request.container_id, request.interface))
