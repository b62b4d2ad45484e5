"""`ipamctl check` and `ipamctl gc`: what is wrong, what is left behind, and what can be done about it.

Both free only what two looks have seen as left behind, unchanged: see `ipam.collection`.
"""

import time
from collections.abc import Callable
from pathlib import Path

import click

from ipam.boot import read_boot_id
from ipam.check import Finding, find_contradictions, read_snapshot
from ipam.cli_options import (
    choose_cluster,
    datastore_option,
    grace_options,
    node_option,
    open_existing,
    this_node,
)
from ipam.cluster import Cluster
from ipam.collection import collect
from ipam.datastore import Datastore
from ipam.leaks import Leak, find_leaks, netns_exists
from ipam.ledger import LedgerReader
from ipam.live import find_unfit, leak_findings
from ipam.model import Allocation
from ipam.reclaim import Reclaim, find_reclaimable, reclaim
from ipam.repair import Repaired, repair
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import print_report, print_result
from nodeplane.runtime.source_options import source_options


class Looks:
    """Sees what is left behind, as often as it is asked.

    Args:
        node: The node that we are on.
        cluster: Looks at the cluster, if there is one to look at.
        grace_s: For how long a new allocation is left alone.
    """

    def __init__(self, node: str, cluster: Callable[[], Cluster | None], grace_s: int) -> None:
        self._node = node
        self._cluster = cluster
        self._grace_s = grace_s
        self._boot_id = read_boot_id()

    def leaks(self, datastore: Datastore, cluster: Cluster | None) -> list[Leak]:
        """Look once."""
        before_s = int(time.time()) - self._grace_s
        found = self._judge(datastore.read(LedgerReader.allocations), cluster)
        return [leak for leak in found if leak.is_certain or leak.allocation.assigned_at_s <= before_s]

    def settled(self, datastore: Datastore, observe_s: float) -> list[Leak]:
        """Look twice; return what both looks saw."""
        first = self.leaks(datastore, self._cluster())
        if not first:
            return []
        time.sleep(observe_s)
        second = self.leaks(datastore, self._cluster())
        return [leak for leak in second if leak in first]

    def still(self, leak: Leak) -> bool:
        """Look at one again, just before it is freed."""
        # The cluster was asked twice already; a namespace can be had for nothing.
        return leak.allocation.node != self._node or bool(self._judge([leak.allocation], None))

    def cluster(self) -> Cluster | None:
        """Look at the cluster."""
        return self._cluster()

    def _judge(self, allocations: list[Allocation], cluster: Cluster | None) -> list[Leak]:
        nodes = None if cluster is None else cluster.nodes
        return find_leaks(allocations, self._node, netns_exists, boot_id=self._boot_id, nodes=nodes)


@click.command()
@click.option(
    "--repair", "is_repair", is_flag=True, help="Put right what can be put right safely, and say what was."
)
@node_option
@grace_options
@source_options
@datastore_option
@output_option
@click.pass_context
def check(
    context: click.Context,
    *,
    is_repair: bool,
    node_name: str | None,
    grace_s: int,
    observe_s: float,
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    url: str,
    output: str,
) -> None:
    """Hold all records against one another, against this node's namespaces, and against a cluster if named.

    Exit 1 when something is wrong; with --repair, when something is left that is wrong.
    """
    from ipam.report import describe_findings, describe_repairs

    looks = Looks(this_node(node_name), choose_cluster(manifests, kubeconfig, master), grace_s)
    with open_existing(url) as datastore:
        repaired = _repair(datastore, looks, observe_s) if is_repair else []
        findings = [Finding("file", problem) for problem in datastore.verify()]
        snapshot = datastore.read(read_snapshot)
        cluster = looks.cluster()
        leaks = looks.leaks(datastore, cluster)
    findings += find_contradictions(snapshot) + leak_findings(leaks)
    if cluster is not None:
        findings += find_unfit(snapshot, cluster, [leak.allocation for leak in leaks])
    if is_repair:
        print_report({"repaired": describe_repairs(repaired), "left": describe_findings(findings)}, output)
    else:
        print_result(describe_findings(findings), output)
    click.echo(
        f"checked {len(snapshot.pools)} pools, {len(snapshot.blocks)} blocks, "
        f"{len(snapshot.allocations)} allocations, {len(snapshot.handles)} handles: {len(findings)} findings",
        err=True,
    )
    context.exit(1 if findings else 0)


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be freed; free nothing.")
@node_option
@grace_options
@source_options
@datastore_option
@output_option
def gc(
    *,
    dry_run: bool,
    node_name: str | None,
    grace_s: int,
    observe_s: float,
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    url: str,
    output: str,
) -> None:
    """Free the addresses of this node's pods whose network namespace is gone, then blocks that are empty.

    With a cluster named, those of nodes that it has no more as well, and their blocks. A node keeps one block
    in each pool.
    """
    from ipam.report import describe_leaks, describe_reclaims

    looks = Looks(this_node(node_name), choose_cluster(manifests, kubeconfig, master), grace_s)
    with open_existing(url) as datastore:
        if dry_run:
            freed = looks.leaks(datastore, looks.cluster())
            blocks = _reclaimable(datastore, looks)
        else:
            due = looks.settled(datastore, observe_s)
            freed = list(collect(datastore, due, looks.still, int(time.time())).freed)
            blocks = reclaim_all(datastore, _reclaimable(datastore, looks))
    sections = {"addresses": describe_leaks(freed), "blocks": describe_reclaims(blocks)}
    print_report(sections, output)


def reclaim_all(datastore: Datastore, found: list[Reclaim]) -> list[Reclaim]:
    """Reclaim blocks, each in a transaction of its own; return those that still were as they were seen."""
    return [item for item in found if _reclaim(datastore, item)]


def _reclaim(datastore: Datastore, item: Reclaim) -> bool:
    return datastore.transact(lambda ledger: reclaim(ledger, item))


def _reclaimable(datastore: Datastore, looks: Looks) -> list[Reclaim]:
    cluster = looks.cluster()
    blocks, pools = datastore.read(lambda ledger: (ledger.blocks(), ledger.pools()))
    nodes = None if cluster is None else cluster.nodes
    return find_reclaimable(blocks, pools, int(time.time()), nodes=nodes)


def _repair(datastore: Datastore, looks: Looks, observe_s: float) -> list[Repaired]:
    """Put records right first: only then is a leak freed from a block that knows of it."""
    now_s = int(time.time())
    repaired = [item for item in repair(datastore, now_s) if item.done]
    collected = collect(datastore, looks.settled(datastore, observe_s), looks.still, now_s)
    repaired += [Repaired(finding, "freed") for finding in leak_findings(collected.freed)]
    for item in reclaim_all(datastore, _reclaimable(datastore, looks)):
        subject = f"block {item.block.network} of pool {item.block.pool}"
        owner = item.block.node or "no node"
        repaired.append(Repaired(Finding(subject, f"is of {owner}, and not needed there"), item.verdict))
    return repaired
