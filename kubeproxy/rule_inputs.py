"""What has to be known before the rules can be built: the configuration, maybe the node's pod networks."""

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import TypeAlias

from kubeproxy.config.settings import Settings, build_rule_options
from kubeproxy.own_node import find_node, read_node
from kubeproxy.rules.addresses import FAMILIES, Network
from kubeproxy.rules.rule_options import RuleOptions
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.source import Batch

log = logging.getLogger(__name__)

Options: TypeAlias = Mapping[Family, RuleOptions]


def build_options(settings: Settings, networks: tuple[Network, ...]) -> dict[Family, RuleOptions]:
    """Return the rules' options of both families; `networks` are those of this node's pods."""
    return {family: build_rule_options(settings, family, networks) for family in FAMILIES}


async def read_until_known(
    batches: AsyncGenerator[Batch, None], node_name: str, settings: Settings
) -> list[Batch]:
    """Read the snapshot, and in mode NodeCIDR on until this node has podCIDRs; return what was read.

    Without them all pods would count as foreign, and be masqueraded for nothing.
    """
    held: list[Batch] = []
    is_told = False
    async for batch in batches:
        held.append(batch)
        if settings.local_traffic.mode != "NodeCIDR":
            break
        node = read_node(find_node([batch], node_name))
        if node.pod_networks:
            break
        for problem in node.problems:
            log.error("left out of our own Node node=%s error=%r", node_name, problem)
        if not is_told:
            is_told = True
            log.info("waiting for podCIDRs of this node, nothing is written before node=%s", node_name)
    return held
