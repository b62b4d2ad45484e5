"""A test stand: nodes that ask for addresses over one datastore, at a time that the test sets."""

from collections.abc import Sequence

from ipam.allocator import Allocator
from ipam.datastore import Datastore
from ipam.ledger import LedgerReader
from ipam.model import Allocation, Policy, Pool, Request
from ipam.store import Store
from ipam.stores.memory import MemoryStore
from tests.ipam.values import handle, request


class Stand:
    """Nodes that all have the same pools and policy."""

    def __init__(self, *pools: Pool, store: Store | None = None) -> None:
        self.datastore = Datastore(MemoryStore() if store is None else store)
        self.pools = pools
        self.policy = Policy()
        self.now_s = 1000

    def allocator(self) -> Allocator:
        return Allocator(self.datastore, self.pools, self.policy, lambda: self.now_s)

    def ask(self, wish: Request) -> list[str]:
        """Return the addresses that a request gets, with their prefix lengths."""
        return [str(ip.address) for ip in self.allocator().assign(wish).ips]

    def add(self, number: int, node: str = "n1", **fields: object) -> str:
        """Return what a container gets: without prefix lengths, a comma between families."""
        wish = request(number, self.now_s, node, **fields)
        return ",".join(text.partition("/")[0] for text in self.ask(wish))

    def fill(self, numbers: Sequence[int], node: str = "n1") -> list[str]:
        return [self.add(number, node) for number in numbers]

    def delete(self, number: int) -> bool:
        """Free what a container holds, on whichever node."""
        nodes = [item.node for item in self.allocations() if item.handle.container_id == f"c{number}"]
        return self.allocator().release(handle(number, *nodes[:1]))

    def blocks(self) -> dict[str, str]:
        """Return the node of each block, and how many addresses are in use."""
        return {str(block.network): f"{block.node} {block.used}" for block in self.datastore.blocks()}

    def allocations(self) -> list[Allocation]:
        return self.datastore.read(LedgerReader.allocations)
