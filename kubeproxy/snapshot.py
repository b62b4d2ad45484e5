"""A proxier that has taken the cluster's state in once: what `once` writes, and `plan` prints."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from typing import Any

from kubeproxy.inputs import Inputs, build_inputs, resolve_options
from kubeproxy.ipvs.layout import LINK
from kubeproxy.kernel_edges import KernelEdges
from kubeproxy.kernel_version import SKIP_CHECK, expect_kernel
from kubeproxy.node_port_ips import pack_all, pack_own, place_node_ports
from kubeproxy.own_node import find_node, pod_networks
from kubeproxy.proxier import WATCHED, Proxier
from kubeproxy.rule_inputs import Options, build_options, read_until_known
from nodeplane.errors import ApiError
from nodeplane.kube.source import Source
from nodeplane.runtime.event_loop import run_async
from nodeplane.runtime.loading import begin_loading

# `once` and `plan` don't wait for an API server for ever.
_SNAPSHOT_WITHIN_S = 60.0


@contextmanager
def open_kernel(inputs: Inputs, *, terminate_removed: bool = False) -> Iterator[KernelEdges]:
    """Open the kernel's edges."""
    if SKIP_CHECK not in os.environ:
        expect_kernel(os.uname().release)
    with ExitStack() as stack:
        yield KernelEdges(
            stack, inputs.node_name, inputs.resolved.settings, terminate_removed=terminate_removed
        )


@contextmanager
def loaded_proxier(options: dict[str, Any]) -> Iterator[Proxier]:
    """Yield a proxier that has taken the snapshot in."""
    inputs = build_inputs(resolve_options(options), options)
    begin_loading()
    source = inputs.open_source(within_s=_SNAPSHOT_WITHIN_S)
    with open_kernel(inputs) as kernel:
        yield run_async(_load(inputs, source, kernel.build_proxier))


async def _load(inputs: Inputs, source: Source, build_proxier: Callable[[Options], Proxier]) -> Proxier:
    from nodeplane.datapath.local_addresses import KernelAddresses

    settings = inputs.resolved.settings
    async with aclosing(source.batches(WATCHED)) as batches:
        try:
            async with asyncio.timeout(_SNAPSHOT_WITHIN_S):
                held = await read_until_known(batches, inputs.node_name, settings)
        except TimeoutError as exc:
            raise ApiError(f"not known within {_SNAPSHOT_WITHIN_S:.0f} s: what mode NodeCIDR needs") from exc
    node = find_node(held, inputs.node_name)
    proxier = build_proxier(build_options(settings, pod_networks(node)))
    for batch in held:
        proxier.take(batch)
    interface_ips = KernelAddresses(without=LINK).read()
    proxier.set_own_ips(pack_own(interface_ips))
    proxier.set_node_port_ips(pack_all(place_node_ports(settings, node, interface_ips)))
    return proxier
