"""Values that the tests of this package share."""

from ipaddress import ip_address, ip_network

import msgspec

from ipam.model import Allocation, Block, Handle, Network, PodRef, Pool, Request

POOL = Pool("default", ip_network("10.0.0.0/24"), 26)
NETWORK = ip_network("10.0.0.64/26")
BLOCK = Block(NETWORK, "default", "n1")
WEB = PodRef("default", "web-1", "uid-1")


def network(text: str) -> Network:
    """Return a network of either family."""
    return ip_network(text)


def handle(number: int, node: str = "n1") -> Handle:
    """Return the handle of the container of that number, on that node."""
    return Handle(f"c{number}", "eth0", node)


def request(number: int, now_s: int = 1000, node: str = "n1", **fields: object) -> Request:
    """Return the request of the container of that number."""
    wish = Request(handle(number, node), WEB, node, f"/run/netns/p{number}", now_s)
    return msgspec.structs.replace(wish, **fields)


def allocation(number: int, address: str, sequence: int = 1, block: Block = BLOCK) -> Allocation:
    """Return what `request(number)` gets when it gets `address`."""
    return Allocation(
        address=ip_address(address),
        block=block.network,
        pool=block.pool,
        node=block.node,
        handle=handle(number, block.node),
        pod=WEB,
        netns=f"/run/netns/p{number}",
        assigned_at_s=1000,
        sequence=sequence,
    )
