"""What Kubernetes knows of pods, namespaces and nodes, looked at once: for annotations, selectors and leaks.

Imports late: a directory of manifests costs a YAML parser, an API server an HTTP client, and a plugin whose
configuration names neither must not pay for them.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ipam.config import KubernetesConfig
from ipam.errors import PodUnknownError
from ipam.model import PodRef
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

if TYPE_CHECKING:
    from nodeplane.kube.api_request import Selector
    from nodeplane.kube.objects import Object

# A runtime gives a pod's start two minutes; an API server that takes this long is asked at the next try.
_ANSWER_WITHIN_S = 20.0
# The label that every namespace has (KEP-2161); a manifest need not repeat it.
_NAME_LABEL = "kubernetes.io/metadata.name"


class PodFacts(msgspec.Struct, frozen=True):
    """What decides on a pod's addresses beyond its request."""

    annotations: Mapping[str, str] = {}
    namespace_annotations: Mapping[str, str] = {}
    namespace_labels: Mapping[str, str] = {}
    node_labels: Mapping[str, str] = {}


class ClusterPod(msgspec.Struct, frozen=True):
    """Where a pod runs, and the addresses that it reports as its own; none of the host's network."""

    node: str
    addresses: tuple[str, ...] = ()


class Cluster(msgspec.Struct, frozen=True):
    """Which nodes there are, and the pods (by namespace and name) that have not ended."""

    nodes: frozenset[str] = frozenset()
    pods: Mapping[tuple[str, str], ClusterPod] = {}


def read_pod_facts(config: KubernetesConfig, pod: PodRef, node: str, field: str) -> PodFacts:
    """Look a pod, its namespace and its node up; without a pod's name, its node alone.

    Raises:
        ConfigError: `config` names both or neither, or a manifest is wrong; `field` is where it stands.
        ApiError: the server does not answer.
        PodUnknownError: there is no such pod, so that its wishes can't be known.
    """
    if bool(config.manifests) == bool(config.kubeconfig):
        raise ConfigError(PLACE, field, "expected either manifests or kubeconfig")
    from nodeplane.kube.api_request import Selector
    from nodeplane.kube.objects import Namespace, Node, Pod

    wanted: dict[type[Object], Selector] = {Node: Selector(field=f"metadata.name={node}")}
    if pod.name:
        wanted[Namespace] = Selector(field=f"metadata.name={pod.namespace}")
        wanted[Pod] = Selector(field=f"metadata.namespace={pod.namespace},metadata.name={pod.name}")
    manifests = Path(config.manifests) if config.manifests else None
    kubeconfig = Path(config.kubeconfig) if config.kubeconfig else None
    found = {
        (type(item), item.metadata.namespace, item.metadata.name): item
        for item in _read(manifests, kubeconfig, None, wanted, wanted)
    }
    itself = found.get((Pod, pod.namespace, pod.name))
    if pod.name and itself is None:
        raise PodUnknownError(f"pod {pod.namespace}/{pod.name} is not in the cluster: its annotations matter")
    namespace, host = found.get((Namespace, "", pod.namespace)), found.get((Node, "", node))
    return PodFacts(
        annotations=(itself.metadata.annotations or {}) if itself else {},
        namespace_annotations=(namespace.metadata.annotations or {}) if namespace else {},
        namespace_labels={_NAME_LABEL: pod.namespace, **(namespace.labels if namespace else {})},
        node_labels=host.labels if host else {},
    )


def read_cluster(manifests: Path | None, kubeconfig: Path | None, master: str | None) -> Cluster:
    """Read all pods and nodes.

    Raises:
        ConfigError: not exactly one of the sources is named, or a manifest is wrong.
        ApiError: the server does not answer.
    """
    from nodeplane.kube.objects import Node, Pod

    pods: dict[tuple[str, str], ClusterPod] = {}
    nodes = set()
    for item in _read(manifests, kubeconfig, master, (Node, Pod), {}):
        if isinstance(item, Node):
            nodes.add(item.metadata.name)
        # A pod that has ended keeps its object, but its sandbox and its address are gone.
        elif isinstance(item, Pod) and item.status.phase not in {"Succeeded", "Failed"}:
            reported = tuple(each.ip for each in item.status.pod_ips or ()) or (item.status.pod_ip,)
            addresses = () if item.spec.host_network else tuple(text for text in reported if text)
            key = item.metadata.namespace, item.metadata.name
            pods[key] = ClusterPod(item.spec.node_name, addresses)
    return Cluster(frozenset(nodes), pods)


def _read(
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    kinds: Collection["type[Object]"],
    selectors: "Mapping[type[Object], Selector]",
) -> list["Object"]:
    """Read the first snapshot of a source."""
    from nodeplane.kube.open_source import open_source

    source = open_source(manifests, kubeconfig, master, selectors, snapshot_within_s=_ANSWER_WITHIN_S)

    async def first() -> list["Object"]:
        async with aclosing(source.batches(kinds)) as batches:
            async for batch in batches:
                return [change.new for change in batch if change.new is not None]
        return []

    return asyncio.run(first())
