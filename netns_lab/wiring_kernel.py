"""The lab's wiring in the kernel: read as facts, and brought to the facts that are wanted."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from netns_lab.names import fabric_namespace, lab_of
from netns_lab.netlink import open_whole_rtnl
from netns_lab.processes import machine_namespaces, namespace_id
from netns_lab.topology import DEFAULT_MTU_BYTES
from netns_lab.wiring import (
    LOOPBACK,
    Address,
    Bridge,
    Cable,
    Down,
    Fact,
    Master,
    Mtu,
    Namespace,
    StaticRoute,
    Stray,
    Sysctl,
    Up,
    WiringDelta,
    diff_wiring,
)
from nodeplane.datapath import netns, sysctl
from nodeplane.datapath.rtnl import Family, Link, Route, Rtnl
from nodeplane.errors import KernelNotFoundError, NodeplaneError

# Making a lost link again takes a second round for what hung on the old one; more rounds mean that
# somebody else changes the same links all the time.
_ROUNDS = 5

_FAMILIES: tuple[Family, ...] = (4, 6)

# rt_protos(5): "static", an administrator's. cni-agent owns nodeplane's own number and sweeps what it misses.
_STATIC = 4

Links = Mapping[str, Mapping[str, Link]]
Report = Callable[[str, Fact], None]


def lab_namespaces(lab: str | None = None) -> set[str]:
    """Return the names of one lab's namespaces, or of all labs'."""
    owners = {name: lab_of(name) for name in netns.names()}
    return {name for name, owner in owners.items() if owner is not None and lab in {None, owner}}


def converge(lab: str, desired: tuple[Fact, ...], report: Report) -> None:
    """Bring the kernel to the desired facts; tell `report` of each removal and each making.

    Namespaces that are not desired stay: pods have to be detached from their nodes before, see `sweep`.

    Raises:
        KernelError: the kernel refused.
        NodeplaneError: the wiring does not settle, somebody else keeps changing it.
    """
    for _ in range(_ROUNDS):
        delta = diff_wiring(desired, list(read_wiring(lab, desired)))
        if not delta:
            return
        _apply(delta, report)
    raise NodeplaneError(f"the links of lab {lab} do not settle; missing: {delta.make[:3]}")


def sweep(lab: str, desired: Collection[Fact], report: Report) -> None:
    """Remove the lab's namespaces that are not desired, and all that is in them."""
    wanted = {fact.namespace for fact in desired if isinstance(fact, Namespace)}
    for name in sorted(lab_namespaces(lab) - wanted):
        netns.remove(name)
        report("removed", Namespace(name))


def read_wiring(lab: str, desired: Collection[Fact]) -> Iterator[Fact]:
    """Yield the facts that hold in the lab's namespaces, as far as the desired ones ask for them."""
    names = lab_namespaces(lab)
    # A name that was given to the machine's own namespace must not lead us there: making it anew fails.
    foreign = machine_namespaces()
    present = {
        name for name in names if netns.is_namespace(_path(name)) and namespace_id(_path(name)) not in foreign
    }
    wanted = {fact.namespace for fact in desired if isinstance(fact, Namespace)}
    # A name without a namespace behind it (a killed `create` leaves one) is nothing to build on.
    yield from map(Namespace, sorted(present))
    yield from (
        fact for fact in desired if isinstance(fact, Sysctl) and fact.namespace in present and _is_set(fact)
    )
    addressed = {(fact.namespace, fact.link) for fact in desired if isinstance(fact, Address)}
    measured = {(fact.namespace, fact.link) for fact in desired if isinstance(fact, Bridge | Cable)}
    measured |= {(fact.peer_namespace, fact.peer_link) for fact in desired if isinstance(fact, Cable)}
    # Where nodes and routers have links, they have routes of ours; the fabric has none.
    routed = {fact.namespace for fact in desired if isinstance(fact, Cable)}
    downs = {(fact.namespace, fact.link) for fact in desired if isinstance(fact, Down)}
    links: dict[str, Mapping[str, Link]] = {}
    for namespace in sorted(present & wanted):
        with open_whole_rtnl(_path(namespace)) as rtnl:
            links[namespace] = rtnl.links()
            yield from _link_facts(namespace, links[namespace], downs)
            for link in (link for link in links[namespace] if (namespace, link) in addressed):
                held = (each for family in _FAMILIES for each in rtnl.addresses(link, family))
                # The kernel gives each link a link-local address of IPv6 by itself.
                yield from (
                    Address(namespace, link, address)
                    for address in held
                    if address.version == 4 or not address.ip.is_link_local
                )
            yield from (
                Mtu(namespace, link.name, link.mtu_bytes)
                for link in links[namespace].values()
                if (namespace, link.name) in measured and link.mtu_bytes != DEFAULT_MTU_BYTES
            )
            if namespace in routed:
                yield from _static_routes(namespace, rtnl)
    yield from _cable_facts(lab, links, desired)


def _link_facts(
    namespace: str, links: Mapping[str, Link], downs: Collection[tuple[str, str]]
) -> Iterator[Fact]:
    for link in links.values():
        if link.kind == "bridge":
            yield Bridge(namespace, link.name)
        if link.master is not None:
            yield Master(namespace, link.name, link.master)
        if link.is_up:
            yield Up(namespace, link.name)
        elif (namespace, link.name) in downs:
            yield Down(namespace, link.name)


def _static_routes(namespace: str, rtnl: Rtnl) -> Iterator[Fact]:
    for family in _FAMILIES:
        for route in rtnl.routes(_STATIC, family=family):
            if route.gateway is not None:
                yield StaticRoute(namespace, route.destination, route.gateway)
            elif route.link is not None:
                yield StaticRoute(namespace, route.destination, link=route.link)


def _cable_facts(lab: str, links: Links, desired: Collection[Fact]) -> Iterator[Fact]:
    """Yield the cables whose two ends are each other's, and every other link in the places of ours."""
    fabric = fabric_namespace(lab)
    segments = {fact.link for fact in desired if isinstance(fact, Bridge)}
    ends = {(fabric, link) for link in links.get(fabric, {}) if link not in {LOOPBACK, *segments}}
    for cable in (fact for fact in desired if isinstance(fact, Cable)):
        ends |= {(cable.namespace, cable.link), (cable.peer_namespace, cable.peer_link)}
        near = links.get(cable.namespace, {}).get(cable.link)
        far = links.get(cable.peer_namespace, {}).get(cable.peer_link)
        if near and far and near.peer_index == far.index and far.peer_index == near.index:
            ends -= {(cable.namespace, cable.link), (cable.peer_namespace, cable.peer_link)}
            yield cable
    yield from (
        Stray(namespace, link) for namespace, link in sorted(ends) if link in links.get(namespace, {})
    )


def _is_set(fact: Sysctl) -> bool:
    with netns.inside(_path(fact.namespace)):
        return sysctl.read(fact.name) == fact.value


def _apply(delta: WiringDelta, report: Report) -> None:
    for fact in delta.remove:
        # What was to go may have gone with something else: a link with its namespace.
        with suppress(KernelNotFoundError):
            _remove(fact)
        report("removed", fact)
    for fact in delta.make:
        _make(fact)
        report("made", fact)


def _remove(fact: Fact) -> None:
    match fact:
        case Stray(namespace, link):
            with open_whole_rtnl(_path(namespace)) as rtnl:
                rtnl.delete_link(link)
        case Address(namespace, link, address):
            with open_whole_rtnl(_path(namespace)) as rtnl:
                rtnl.delete_address(link, address)
        case Mtu(namespace, link, _):
            with open_whole_rtnl(_path(namespace)) as rtnl:
                rtnl.set_mtu(link, DEFAULT_MTU_BYTES)
        case StaticRoute(namespace, _, _, _):
            with open_whole_rtnl(_path(namespace)) as rtnl:
                rtnl.delete_route(_route(fact))


def _make(fact: Fact) -> None:
    match fact:
        case Namespace(namespace):
            netns.create(namespace)
        case Sysctl(namespace, name, value):
            with netns.inside(_path(namespace)):
                sysctl.write(name, value)
        case Cable(namespace, link, peer_namespace, peer_link):
            with open_whole_rtnl(_path(peer_namespace)) as rtnl:
                rtnl.add_veth(peer_link, link, _path(namespace))
        case _:
            with open_whole_rtnl(_path(fact.namespace)) as rtnl:
                _make_link_fact(rtnl, fact)


def _make_link_fact(rtnl: Rtnl, fact: Fact) -> None:
    match fact:
        case Bridge(_, link):
            rtnl.add_bridge(link)
        case Master(_, link, bridge):
            rtnl.set_master(link, bridge)
        case Address(_, link, address):
            rtnl.add_address(link, address)
        case Up(_, link):
            rtnl.set_up(link)
        case Down(_, link):
            rtnl.set_down(link)
        case Mtu(_, link, mtu_bytes):
            rtnl.set_mtu(link, mtu_bytes)
        case StaticRoute():
            rtnl.replace_route(_route(fact))


def _route(fact: StaticRoute) -> Route:
    is_on_link = fact.gateway is None and fact.destination.version == 4
    return Route(
        fact.destination,
        fact.gateway,
        link=fact.link or None,
        protocol=_STATIC,
        scope="link" if is_on_link else "global",
    )


def _path(namespace: str) -> Path:
    return netns.NETNS_DIR / namespace
