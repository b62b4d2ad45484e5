"""Host ports (the capability portMappings): from an ADD until the DEL, and back after a wipe of our table.

    claim in the file ─► elements of our table ─► route_localnet on the link ─► stale UDP flows removed

A DEL goes the other way. Whatever is killed in between has its claim in the file: the next ADD completes it,
the next DEL or GC removes it. What needs the kernel is imported when a pod has host ports.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cni.attachment import Attachment, Found, build_attachment, identity_on_link, read_owner
from cni.call_lock import find_socket
from cni.error_codes import HOST_PORT_TAKEN
from cni.features.host_port import Claim, HostPort, decode_host_ports, find_conflicts, find_places
from cni.features.host_port_ledger import changing, read_claims, write_claims
from cni.pod import Pod
from cni.wiring.plan import Plan
from nodeplane.cnispec import CniError, Request
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.errors import KernelNotFoundError

if TYPE_CHECKING:
    from cni.features.feature import Make
    from nodeplane.datapath.nft.table import Elements

log = logging.getLogger(__name__)


class HostPorts:
    """The feature (`cni.features.feature.Feature`)."""

    def prepare(self, request: Request) -> "Make":
        """See `Feature`.

        Raises:
            ConfigError: a port mapping is wrong.
        """
        ports = decode_host_ports(request.config)
        attachment, folder = build_attachment(request), find_socket(request.environ).parent

        def make(plan: Plan, _found: Found) -> None:
            if ports:
                _claim(_build_claim(attachment, plan, ports), folder)
            else:
                # An earlier ADD of this attachment may have asked for some.
                self.remove(attachment, folder)

        return make

    def remove(self, attachment: Attachment, folder: Path) -> None:
        """See `Feature`."""
        # Nobody else changes this attachment's claim: calls for it are serialised.
        if any(claim.is_of(attachment.container_id, attachment.interface) for claim in read_claims(folder)):
            _release(lambda claim: claim.is_of(attachment.container_id, attachment.interface), folder)

    def check(self, pod: Pod) -> list[str]:
        """See `Feature`."""
        ports = decode_host_ports(pod.request.config)
        if not ports:
            return []
        attachment, folder = build_attachment(pod.request), find_socket(pod.request.environ).parent
        return _find_differences(_build_claim(attachment, pod.plan, ports), folder)

    def collect(self, network: str, valid: Collection[tuple[str, str]], folder: Path) -> None:
        """See `Feature`."""

        def is_garbage(claim: Claim) -> bool:
            return claim.network == network and (claim.container_id, claim.interface) not in valid

        if any(map(is_garbage, read_claims(folder))):
            _release(is_garbage, folder)

    def elements(self, folder: Path) -> "Elements":
        """See `Feature`."""
        claims = read_claims(folder)
        if not claims:
            return {}
        from cni.features.host_port_elements import build_elements

        with open_rtnl() as host:
            alive = {read_owner(link.alias).identity for link in host.links().values()}
        return build_elements(
            claim for claim in claims if identity_on_link(claim.container_id, claim.interface) in alive
        )


def _build_claim(attachment: Attachment, plan: Plan, ports: tuple[HostPort, ...]) -> Claim:
    return Claim(
        attachment.container_id,
        attachment.interface,
        attachment.network,
        plan.host.link,
        tuple(str(address.ip) for address in plan.pod.addresses),
        ports,
    )


def _claim(claim: Claim, folder: Path) -> None:
    """Make a claim good.

    Raises:
        CniError: another pod has one of its ports.
        KernelError: the kernel refused.
    """
    from cni.features.host_port_elements import build_elements, subtract
    from cni.features.host_port_flows import remove_flows_to, remove_misled_flows
    from cni.features.node_table import open_node_table

    with changing(folder) as claims:
        stale = _require_free(claim, claims)
        gone = [each for each in claims if each in stale or each.is_of(claim.container_id, claim.interface)]
        if gone != [claim]:
            write_claims(folder, (*(each for each in claims if each not in gone), *stale, claim))
        elements = build_elements([claim])
        with open_node_table(folder) as table:
            table.drop(subtract(build_elements(gone), elements))
            table.put(elements)
        if stale:
            write_claims(folder, (*(each for each in claims if each not in gone), claim))
    _prepare_link(claim)
    remove_flows_to(stale)
    remove_misled_flows([claim])


def _require_free(claim: Claim, claims: Iterable[Claim]) -> list[Claim]:
    """Return the holders of these ports whose pods are gone.

    Raises:
        CniError: there is one whose pod is not.
    """
    found = list(find_conflicts(claim, claims))
    if not found:
        return []
    with open_rtnl() as host:
        for holder, place in found:
            if _is_alive(holder, host):
                raise CniError(HOST_PORT_TAKEN, f"host port {place} is taken", f"by {holder}")
    for holder, place in found:
        log.info("host port taken over from a pod that is gone place=%s holder=%s", place, holder)
    return [holder for holder, _ in found]


def _is_alive(claim: Claim, host: Rtnl) -> bool:
    link = host.find_link(claim.host_link)
    identity = identity_on_link(claim.container_id, claim.interface)
    return link is not None and read_owner(link.alias).identity == identity


def _release(is_meant: Callable[[Claim], bool], folder: Path) -> None:
    from cni.features.host_port_elements import build_elements, subtract
    from cni.features.host_port_flows import remove_flows_to
    from cni.features.node_table import open_node_table

    with changing(folder) as claims:
        meant = [claim for claim in claims if is_meant(claim)]
        kept = tuple(claim for claim in claims if claim not in meant)
        with open_node_table(folder) as table:
            table.drop(subtract(build_elements(meant), build_elements(kept)))
        remove_flows_to(meant)
        write_claims(folder, kept)


def _prepare_link(claim: Claim) -> None:
    """Let packets of 127.0.0.1 reach the pod's link, and the answers come back."""
    if any(place.version == 4 for place in find_places(claim)):
        KernelSysctls().write(_route_localnet(claim), 1)


def _route_localnet(claim: Claim) -> str:
    return f"net.ipv4.conf.{claim.host_link}.route_localnet"


def _find_differences(claim: Claim, folder: Path) -> list[str]:
    from cni.features.host_port_elements import build_elements
    from cni.features.node_table import open_node_table

    lines = []
    for place in find_places(claim):
        alone = build_elements([claim], only=place)
        with open_node_table(folder) as table:
            found = table.find(alone)
        if found != alone:
            what = "missing" if any(not part for part in found.values()) else "leads to another place"
            lines.append(f"host port {place}: {what}")
    if any(place.version == 4 for place in find_places(claim)):
        name = _route_localnet(claim)
        try:
            value = KernelSysctls().read(name)
        except KernelNotFoundError:
            return lines  # the link is gone, which is said already
        if value != "1":
            lines.append(f"{name} is {value}, expected 1")
    return lines
