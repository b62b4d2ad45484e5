"""What of the datastore no longer fits the world: the namespaces of this node, the cluster's pods and nodes.

Only what is certain is named as a leak. A pod that the cluster does not know may still run on a node that is
cut off from it, so that without a look at that node's namespaces this is only told.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from ipam.check import Snapshot
from ipam.cluster import Cluster
from ipam.finding import Finding
from ipam.leaks import Leak
from ipam.model import Address, Allocation


def leak_findings(leaks: Iterable[Leak]) -> list[Finding]:
    """Return a finding for each leak."""
    return [Finding(f"address {leak.allocation.address}", f"is leaked: {leak.reason}") for leak in leaks]


def find_unfit(snapshot: Snapshot, cluster: Cluster, leaked: Iterable[Allocation]) -> list[Finding]:
    """Return what the cluster contradicts; leaks, which are found otherwise, are left out."""
    known = set(leaked)
    left = [item for item in snapshot.allocations if item not in known]
    found = {*_orphans(left, cluster), *_homeless(snapshot, cluster), *_unallocated(snapshot, cluster)}
    return sorted(found, key=lambda item: (item.subject, item.problem))


def _orphans(allocations: Iterable[Allocation], cluster: Cluster) -> Iterator[Finding]:
    for item in allocations:
        if not item.pod.name:
            continue
        name = f"{item.pod.namespace}/{item.pod.name}"
        pod = cluster.pods.get((item.pod.namespace, item.pod.name))
        if pod is None:
            yield Finding(f"address {item.address}", f"is orphaned: pod {name} is not in the cluster")
        elif pod.node and pod.node != item.node:
            where = f"pod {name} is on node {pod.node}, not on {item.node}"
            yield Finding(f"address {item.address}", f"is orphaned: {where}")


def _homeless(snapshot: Snapshot, cluster: Cluster) -> Iterator[Finding]:
    for block in snapshot.blocks:
        if block.node and block.node not in cluster.nodes:
            subject = f"block {block.network} of pool {block.pool}"
            yield Finding(subject, f"is unaffine: its node {block.node} is not in the cluster")


def _unallocated(snapshot: Snapshot, cluster: Cluster) -> Iterator[Finding]:
    """Find addresses that pods have and the datastore does not know of: the next pod might get them."""
    allocated = {str(item.address) for item in snapshot.allocations}
    users: defaultdict[str, list[str]] = defaultdict(list)
    for (namespace, name), pod in cluster.pods.items():
        for text in pod.addresses:
            users[text].append(f"{namespace}/{name}")
    for text, names in users.items():
        address = _decode(text)
        if address is None or not any(address in pool.network for pool in snapshot.pools):
            continue
        if len(names) > 1:
            yield Finding(f"address {address}", f"is used twice: by pods {' and '.join(sorted(names))}")
        if str(address) not in allocated:
            yield Finding(f"address {address}", f"is used by pod {names[0]}, and not allocated")


def _decode(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        # Written by hand into a manifest: nobody can use it.
        return None
