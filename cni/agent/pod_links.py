"""The host's side of the pods' links, kept as their ADDs made it.

    links npl* (kernel) ────────┐
    who holds which address ────┼─► what each lacks ─► routes, addresses, settings
    (IPAM); live namespaces     └─► orphans         ─► deleted

A link's alias names its container, IPAM says which addresses that has, and `cni.wiring.plan` what
follows. Nobody but an ADD makes a link. One that IPAM knows nothing of may have its address from another
IPAM plugin, so it is an orphan only if its pod's namespace is gone too. Left alone, it would keep its address
from the next pod.
"""

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import msgspec

from cni.attachment import HOST_LINK_PREFIX, Attachment, read_owner
from cni.features.pod_shaping import remove_orphans as remove_shaping
from cni.wiring.apply import ensure_route, remove_links
from cni.wiring.plan import Side, Sysctl, build_plan
from ipam.ledger import LedgerReader
from ipam.model import Allocation, Handle
from nodeplane.datapath.rtnl import (
    ROUTE_PROTOCOL,
    Family,
    Interface,
    Link,
    Route,
    Rtnl,
)
from nodeplane.datapath.rtnl.monitor import (
    AddressEvent,
    Event,
    ForwardingEvent,
    LinkEvent,
    LinkState,
    NeighbourEvent,
    Overrun,
    RouteEvent,
)
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError

_FAMILIES: tuple[Family, ...] = (4, 6)
# An ADD sets its link up last but one; what is down longer was set down.
_ADD_TAKES_S = 30

Opener = Callable[[Path], AbstractContextManager[Rtnl]]

log = logging.getLogger(__name__)


class PodLink(msgspec.Struct, frozen=True):
    """What the kernel has of a pod's link; `routes` are ours through it."""

    link: Link
    addresses: frozenset[Interface] = frozenset()
    routes: tuple[Route, ...] = ()

    @property
    def handle(self) -> Handle | None:
        """Whose it is by its alias, which has no node."""
        container, slash, interface = read_owner(self.link.alias).identity.partition("/")
        return Handle(container, interface, "") if slash else None


Held = Mapping[Handle, tuple[Allocation, ...]]
"""What IPAM has for containers; nothing is an empty tuple."""


class Lack(msgspec.Struct, frozen=True):
    """What a link must have and has not."""

    settings: tuple[Sysctl, ...] = ()
    is_down: bool = False
    addresses: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """What a sync did; `refused` holds the kernel's reason for each link that still lacks something."""

    repaired: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()


def concerns_pods(event: Event, own_port: int) -> bool:
    """Say whether what somebody did may have taken something from a pod's link.

    Of settings (proxy_arp and the like) the kernel tells nobody; they are looked at with all else.
    """
    match event:
        case RouteEvent(protocol=protocol, is_on_link=is_on_link, is_deleted=is_deleted, port=port):
            # What the kernel itself deletes goes with its link, whose end is no damage, or with IPv6 on that
            # link, and so with an address.
            is_by_another = port not in {0, own_port}
            return protocol == ROUTE_PROTOCOL and is_on_link and is_deleted and is_by_another
        case LinkEvent(name=name, is_up=is_up):
            # Its routes go with it in silence. This is also how a link ends, which calls for nothing.
            return name.startswith(HOST_LINK_PREFIX) and not is_up
        case AddressEvent(version=version, is_deleted=is_deleted):
            # The gateway of IPv6 (that of IPv4 is no address), perhaps; the event does not name the link.
            return version == 6 and is_deleted
        case NeighbourEvent() | LinkState() | ForwardingEvent():
            return False
        case Overrun():
            return True


def is_hurt(rtnl: Rtnl, fallen: Container[str], stripped: Container[int]) -> bool:
    """Say whether a link that was reported down, or to have lost an address, is there to be repaired.

    Most have just ended, and an end is reported like that too. One that is up again has lost its routes.

    Args:
        rtnl: Of the host.
        fallen: Links that were reported down, by name.
        stripped: Links that were reported to have lost an address, by index.
    """
    ours = (link for name, link in rtnl.links().items() if name.startswith(HOST_LINK_PREFIX))
    return any(link.name in fallen or link.index in stripped for link in ours)


def read_held(ledger: LedgerReader, links: Iterable[PodLink]) -> Held:
    """Read what IPAM has for the containers of links; the cost is that of their number alone.

    A link's alias does not say under which node's name its address was asked for, which may be another than
    the agent's: of all nodes, whoever holds one for the container keeps its link.
    """
    held: dict[Handle, tuple[Allocation, ...]] = {}
    for handle in filter(None, {each.handle for each in links}):
        found = (
            ledger.allocation(address)
            for holder in ledger.namesakes(handle)
            for address in ledger.addresses(holder)
        )
        held[handle] = tuple(allocation for allocation in found if allocation is not None)
    return held


def find_unknown(links: Iterable[PodLink], held: Held) -> list[Link]:
    """Return the links whose containers IPAM has nothing for."""
    return [each.link for each in links if each.handle is not None and not held.get(each.handle)]


def find_orphans(unknown: Iterable[Link], live: Iterable[Path], open_it: Opener) -> list[Link]:
    """Return those of the links whose other end is in none of the live namespaces.

    An end is known by the indexes of both: among links that lead to the host, the host's index is unique.
    """
    left = {(link.peer_index, link.index): link for link in unknown if link.kind == "veth"}
    for path in live if left else ():
        try:
            with open_it(path) as rtnl:
                ends = {(link.index, link.peer_index) for link in rtnl.links().values()}
        except KernelNotFoundError:
            continue  # it has gone meanwhile
        left = {end: link for end, link in left.items() if end not in ends}
    return list(left.values())


def build_sides(
    links: Iterable[PodLink],
    held: Held,
    now_s: float,
    *,
    is_arp_strict: bool,
    loose: Container[str] = frozenset(),
) -> dict[str, Side]:
    """Build what each link must have, by its name; for one that is just being made, nothing.

    `loose` are the links of pods that may send from addresses that lead elsewhere.
    """
    sides: dict[str, Side] = {}
    for each in links:
        handle = each.handle
        allocations = held.get(handle, ()) if handle is not None else ()
        if handle is None or not allocations:
            continue
        newest_s = max(allocation.assigned_at_s for allocation in allocations)
        pod = allocations[0].pod
        attachment = Attachment(
            handle.container_id, handle.interface, Path(allocations[0].netns), pod.namespace, pod.name
        )
        is_being_made = not each.link.is_up and now_s - newest_s < _ADD_TAKES_S
        if is_being_made or attachment.host_link != each.link.name:
            continue
        plan = build_plan(
            attachment,
            Path(allocations[0].netns),
            [allocation.address for allocation in allocations],
            mtu_bytes=each.link.mtu_bytes,
            is_arp_strict=is_arp_strict,
            host_mac=each.link.mac,
            is_loose=each.link.name in loose,
        )
        sides[each.link.name] = plan.host
    return sides


def read_links(rtnl: Rtnl) -> tuple[PodLink, ...]:
    """Read the pods' links of a namespace.

    Raises:
        KernelError: they can't be read.
    """
    names = [name for name in rtnl.links() if name.startswith(HOST_LINK_PREFIX)]
    if not names:
        return ()
    routes = [route for family in _FAMILIES for route in rtnl.routes(ROUTE_PROTOCOL, family=family)]
    addresses = rtnl.addresses_by_link(6)
    # Once more, since one that has come meanwhile has none of its routes in the lists above.
    links = rtnl.links()
    return tuple(
        PodLink(
            links[name],
            frozenset(addresses.get(name, ())),
            tuple(route for route in routes if route.link == name),
        )
        for name in names
        if name in links
    )


def find_lack(sysctls: Sysctls, there: PodLink, side: Side, shared: Container[Route]) -> Lack:
    """Say what a link lacks of what it must have; `shared` are our routes that all pods use.

    Raises:
        KernelNotFoundError: the link is gone.
    """
    return Lack(
        tuple((name, value) for name, value in side.sysctls if sysctls.read(name) != str(value)),
        not there.link.is_up,
        tuple(address for address in side.addresses if address not in there.addresses),
        tuple(route for route in side.routes if route not in there.routes and route not in shared),
    )


def repair(
    rtnl: Rtnl, sysctls: Sysctls, links: Iterable[PodLink], sides: Mapping[str, Side], orphans: Iterable[Link]
) -> Report:
    """Give links what they lack and delete orphans; a link that is gone meanwhile is fine.

    A refusal at one link does not hold up the others.
    """
    removed = tuple(link.name for link in orphans if _is_there(rtnl, link))
    remove_links(rtnl, removed)
    remove_shaping(rtnl)
    shared = read_shared(rtnl) if sides else frozenset()
    repaired: list[str] = []
    refused: set[str] = set()
    for each in links:
        side = sides.get(each.link.name)
        if side is None:
            continue
        try:
            lack = find_lack(sysctls, each, side, shared)
            if lack != Lack():
                _fill(rtnl, sysctls, each.link.name, lack)
                repaired.append(each.link.name)
        except KernelNotFoundError:
            log.debug("link is gone link=%s", each.link.name)
        except KernelError as exc:
            refused.add(f"{each.link.name}: {exc}")
    return Report(tuple(repaired), removed, frozenset(refused))


def read_shared(rtnl: Rtnl) -> frozenset[Route]:
    """Read our routes that all pods use: the gateway's."""
    return frozenset(rtnl.routes(ROUTE_PROTOCOL, link="lo"))


def _is_there(rtnl: Rtnl, link: Link) -> bool:
    """Say whether it is still this link that has the name: a pod's next sandbox takes it over."""
    found = rtnl.find_link(link.name)
    return found is not None and found.index == link.index


def _fill(rtnl: Rtnl, sysctls: Sysctls, name: str, lack: Lack) -> None:
    # In an ADD's order: what IPv6 does when a link comes up depends on the settings.
    sysctls.write_all(lack.settings)
    if lack.is_down:
        rtnl.set_up(name)
    for address in lack.addresses:
        # A link that gets IPv6 back has one from the kernel, which follows from the MAC as well.
        with suppress(KernelExistsError):
            rtnl.add_address(name, address)
    for route in lack.routes:
        ensure_route(rtnl, route)
