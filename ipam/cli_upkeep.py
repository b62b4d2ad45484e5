"""`ipamctl check` and `ipamctl gc`: what is wrong, what is left behind, and what can be done about it.

Both free only what two looks have seen as left behind, unchanged: see `ipam.collection`.
"""

import time
from collections.abc import Callable, Collection
from pathlib import Path

import click

from ipam.check import find_contradictions, find_strangers, read_snapshot
from ipam.cli_options import (
    choose_cluster,
    datastore_option,
    grace_options,
    node_option,
    open_existing,
    this_node,
)
from ipam.cluster import Cluster
from ipam.collection import Absence, Patience, collect, named_nodes
from ipam.datastore import Datastore
from ipam.finding import Finding
from ipam.leaks import Leak, find_blind, find_leaks, find_misnamed, is_alive, look_from, netns_exists
from ipam.ledger import LedgerReader
from ipam.live import find_unfit, leak_findings
from ipam.model import Allocation
from ipam.reclaim import Reclaim, find_reclaimable, reclaim_all
from ipam.repair import Repaired, repair
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import count_words, print_report, print_result
from nodeplane.runtime.source_options import source_options


class Looks:
    """Sees what is left behind, as often as it is asked.

    Args:
        node: The node that we are on.
        cluster: Looks at the cluster, if there is one to look at.
        grace_s: For how long a new allocation is left alone, and a node must have been missed.
        is_forced: Free also when not one namespace of this boot can be seen.
    """

    def __init__(
        self, node: str, cluster: Callable[[], Cluster | None], grace_s: int, *, is_forced: bool = False
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._grace_s = grace_s
        self._is_forced = is_forced
        self._absence = Absence(grace_s)
        self._here = look_from(node)

    def leaks(self, datastore: Datastore, cluster: Cluster | None) -> list[Leak]:
        """Look once."""
        return self._judge(datastore, None if cluster is None else cluster.nodes)

    def settled(self, datastore: Datastore, observe_s: float) -> list[Leak]:
        """Look as often as it takes: a leak is seen twice, of nodes that were missed for the grace."""
        patience = Patience(observe_s)
        due = patience.judge(self._look(datastore), time.monotonic())
        if self._absence.is_waiting:
            click.echo(f"nodes are missing: waiting {self._grace_s} s for them to come back", err=True)
            time.sleep(self._grace_s)
            due = patience.judge(self._look(datastore), time.monotonic())
        if patience.candidates:
            time.sleep(observe_s)
            due = patience.judge(self._look(datastore), time.monotonic())
        return due

    def still(self, leak: Leak) -> bool:
        """Look at one again, just before it is freed."""
        # The cluster was asked twice already; a namespace can be had for nothing.
        return not is_alive(leak.allocation, self._here, netns_exists)

    def cluster(self) -> Cluster | None:
        """Look at the cluster."""
        return self._cluster()

    def there(self, datastore: Datastore, *, is_patient: bool = True) -> frozenset[str] | None:
        """Return the nodes that count as there; None when no cluster is named.

        Raises:
            ConfigError: it is not the cluster that the datastore is of.
        """
        cluster = self._cluster()
        if cluster is None:
            return None
        named = named_nodes(datastore.blocks())
        if self._node not in cluster.nodes or not (named & cluster.nodes or not named):
            who = self._node if self._node not in cluster.nodes else "any node that has blocks"
            expected = f"expected the cluster of this datastore, and it does not have {who}"
            raise ConfigError("", "--manifests, --kubeconfig", f"{expected}: nothing is freed")
        seen = cluster.nodes
        if is_patient:
            seen = self._absence.judge(cluster.nodes, named, time.monotonic())
        allocations = datastore.read(LedgerReader.sound_allocations)
        misnamed = find_misnamed(allocations, self._here, netns_exists, cluster.nodes)
        if misnamed:
            raise ConfigError(
                "",
                "nodeName",
                f"expected a Node's name, and pods of this machine have addresses as {', '.join(misnamed)}, "
                f"we are {self._node}: nothing is freed",
            )
        return seen

    def _look(self, datastore: Datastore) -> list[Leak]:
        leaks = self._judge(datastore, self.there(datastore))
        if self._is_forced:
            return leaks
        blind = find_blind(datastore.read(LedgerReader.sound_allocations), self._here, netns_exists)
        if blind and any(leak.allocation.node == self._node and not leak.is_certain for leak in leaks):
            click.echo(
                f"no namespace of this boot can be seen in {', '.join(blind)}: nothing is freed for that; "
                "run where it is mounted, or with --all-gone",
                err=True,
            )
            leaks = [leak for leak in leaks if leak.allocation.node != self._node or leak.is_certain]
        return leaks

    def _judge(self, datastore: Datastore, nodes: Collection[str] | None) -> list[Leak]:
        now_s = int(time.time())
        allocations = datastore.read(LedgerReader.sound_allocations)
        found = find_leaks(allocations, self._here, netns_exists, nodes=nodes)
        return [leak for leak in found if leak.is_certain or _is_old(leak.allocation, now_s, self._grace_s)]


def _is_old(item: Allocation, now_s: int, grace_s: int) -> bool:
    """Say whether an allocation is past the grace; one of a time to come was written by a clock ahead."""
    return item.assigned_at_s > now_s or item.assigned_at_s <= now_s - grace_s


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
    is_forced: bool,
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

    looks = Looks(
        this_node(node_name), choose_cluster(manifests, kubeconfig, master), grace_s, is_forced=is_forced
    )
    with open_existing(url) as datastore:
        repaired = _repair(datastore, looks, observe_s) if is_repair else []
        findings = [Finding("file", problem) for problem in datastore.verify()]
        if not findings:
            # A damaged file may stumble over what nobody needs of it.
            findings += datastore.read(find_strangers)
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
    pools, blocks = count_words(len(snapshot.pools), "pool"), count_words(len(snapshot.blocks), "block")
    allocations = count_words(len(snapshot.allocations), "allocation")
    handles = count_words(len(snapshot.handles), "handle")
    words = count_words(len(findings), "finding")
    click.echo(f"checked {pools}, {blocks}, {allocations}, {handles}: {words}", err=True)
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
    is_forced: bool,
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

    looks = Looks(
        this_node(node_name), choose_cluster(manifests, kubeconfig, master), grace_s, is_forced=is_forced
    )
    with open_existing(url) as datastore:
        if dry_run:
            there = looks.there(datastore, is_patient=False)
            freed = looks.leaks(datastore, looks.cluster())
            blocks = _reclaimable(datastore, there)
        else:
            due = looks.settled(datastore, observe_s)
            freed = list(collect(datastore, due, looks.still, int(time.time())).freed)
            blocks = reclaim_all(datastore, _reclaimable(datastore, looks.there(datastore)))
    sections = {"addresses": describe_leaks(freed), "blocks": describe_reclaims(blocks)}
    print_report(sections, output)


def _reclaimable(datastore: Datastore, there: Collection[str] | None) -> list[Reclaim]:
    blocks, pools = datastore.read(lambda ledger: (ledger.sound_blocks(), ledger.pools()))
    return find_reclaimable(blocks, pools, int(time.time()), nodes=there)


def _repair(datastore: Datastore, looks: Looks, observe_s: float) -> list[Repaired]:
    """Put records right first: only then is a leak freed from a block that knows of it."""
    # A cluster that is not this datastore's is refused before anything is written.
    looks.there(datastore)
    now_s = int(time.time())
    repaired = [item for item in repair(datastore, now_s) if item.done]
    collected = collect(datastore, looks.settled(datastore, observe_s), looks.still, now_s)
    repaired += [Repaired(finding, "freed") for finding in leak_findings(collected.freed)]
    for item in reclaim_all(datastore, _reclaimable(datastore, looks.there(datastore))):
        subject = f"block {item.block.network} of pool {item.block.pool}"
        owner = item.block.node or "no node"
        repaired.append(Repaired(Finding(subject, f"is of {owner}, and not needed there"), item.verdict))
    return repaired
