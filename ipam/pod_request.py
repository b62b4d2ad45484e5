"""The request that one CNI call makes: what its configuration, the runtime and the pod's annotations ask."""

import time

from ipam.boot import read_boot_id, read_machine_id
from ipam.config import (
    KubernetesConfig,
    NetworkConfig,
    Supply,
    build_node_name,
    build_pod,
    wanted_addresses,
)
from ipam.model import Handle, PodRef, Request
from nodeplane import cnispec


def build_request(call: cnispec.Request, config: NetworkConfig, supply: Supply) -> Request:
    """Build the request of an ADD; Kubernetes is asked where the configuration names it.

    What the runtime asks for in the call goes before the pod's annotations.

    Raises:
        ConfigError: a field or an annotation is not valid.
        ApiError: Kubernetes does not answer.
        PodUnknownError: Kubernetes does not know the pod.
    """
    ipam, pod, node = config.ipam, build_pod(call.args), build_node_name(config)
    request = Request(
        handle=Handle(call.container_id, call.interface, node),
        pod=pod,
        node=node,
        netns=call.netns,
        now_s=int(time.time()),
        addresses=wanted_addresses(config, call.args),
        ipv4_pools=ipam.ipv4_pools,
        ipv6_pools=ipam.ipv6_pools,
        sets=supply.sets,
        network=call.network,
        boot_id=read_boot_id(),
        machine_id=read_machine_id(),
    )
    field, where = kubernetes_of(config)
    return request if where is None else _ask_kubernetes(request, pod, where, field)


def kubernetes_of(config: NetworkConfig) -> tuple[str, KubernetesConfig | None]:
    """Return where Kubernetes is to be asked, and the field that says so."""
    if config.ipam.kubernetes is not None:
        return "ipam.kubernetes", config.ipam.kubernetes
    return "kubernetes", config.kubernetes


def _ask_kubernetes(request: Request, pod: PodRef, where: KubernetesConfig, field: str) -> Request:
    """Add what the cluster knows of the pod, its namespace and its node."""
    # Late: only these need a YAML parser or an HTTP client.
    import msgspec

    from ipam.annotations import decode_annotations
    from ipam.cluster import read_pod_facts

    facts = read_pod_facts(where, pod, request.node, field)
    wishes = decode_annotations(
        facts.annotations, facts.namespace_annotations, f"pod {pod.namespace}/{pod.name}"
    )
    return msgspec.structs.replace(
        request,
        addresses=request.addresses or wishes.addresses,
        ipv4_pools=wishes.ipv4_pools or request.ipv4_pools,
        ipv6_pools=wishes.ipv6_pools or request.ipv6_pools,
        node_labels=facts.node_labels,
        namespace_labels=facts.namespace_labels if pod.name else None,
    )
