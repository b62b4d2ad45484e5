"""The contract of a connection tracking table, held by the kernel and by the fake alike."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import SCTP, TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.conntrack.message import encode_delete
from nodeplane.datapath.conntrack.table import Conntrack, KernelConntrack
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import KernelError
from tests.datapath.conntrack.entries import add_entry
from tests.netns_fixture import namespace, run_in


def flow(
    source: str,
    destination: str,
    port: int,
    *,
    to: str | None = None,
    to_port: int | None = None,
    protocol: int = UDP,
    zone: int = 0,
) -> Flow:
    return Flow(
        protocol=protocol,
        source=ip_address(source).packed,
        source_port=1000,
        destination=ip_address(destination).packed,
        destination_port=port,
        reply_source=ip_address(to or destination).packed,
        reply_source_port=to_port or port,
        zone=zone,
    )


FLOWS = {
    "dns": flow("10.0.0.1", "10.96.0.10", 53, to="10.244.0.1", to_port=5353),
    "dns, another endpoint": flow("10.0.0.2", "10.96.0.10", 53, to="10.244.0.2", to_port=5353),
    "dns, not translated": flow("10.0.0.3", "10.96.0.10", 53),
    "another port": flow("10.0.0.4", "10.96.0.10", 54, to="10.244.0.1", to_port=5454),
    "another address": flow("10.0.0.5", "10.96.0.11", 53, to="10.244.0.1", to_port=5353),
    "tcp": flow("10.0.0.1", "10.96.0.10", 53, to="10.244.0.1", to_port=5353, protocol=TCP),
    "sctp": flow("10.0.0.1", "10.96.0.10", 53, protocol=SCTP),
    "sctp, another port": flow("10.0.0.1", "10.96.0.10", 54, protocol=SCTP),
    "zone": flow("10.0.0.1", "10.96.0.10", 53, to="10.244.0.9", to_port=5353, zone=7),
    "v6": flow("fd00::1", "fd96::10", 53, to="fd44::1", to_port=5353),
    "v6, another endpoint": flow("fd00::2", "fd96::10", 53, to="fd44::2", to_port=5353),
    "v6, another address": flow("fd00::3", "fd96::11", 53, to="fd44::1", to_port=5353),
    "v6, another port": flow("fd00::4", "fd96::10", 54, to="fd44::1", to_port=5454),
    "v6, tcp": flow("fd00::1", "fd96::10", 53, to="fd44::1", to_port=5353, protocol=TCP),
}
DNS, DNS6 = FLOWS["dns"], FLOWS["v6"]


class Edge(NamedTuple):
    """A table, and a way to put flows into it."""

    table: Conntrack
    add: Callable[[Flow], object]


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    if request.param == "fake":
        fake = FakeConntrack()
        yield Edge(fake, fake.add)
        return
    with namespace() as ns, netns.inside(ns), KernelConntrack() as table:
        yield Edge(table, add_entry)


def names(found: list[Flow]) -> list[str]:
    """Return the names of flows in `FLOWS`, whatever their ids are."""
    assert all(entry.id for entry in found)
    known = [replace(entry, id=0) for entry in found]
    assert all(entry in FLOWS.values() for entry in known), known
    return [name for name, entry in FLOWS.items() if entry in known]


def all_of(table: Conntrack, wanted: FlowFilter) -> list[Flow]:
    return [entry for part in table.find(wanted) for entry in part]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(
            FlowFilter("ip", UDP),
            [
                "dns",
                "dns, another endpoint",
                "dns, not translated",
                "another port",
                "another address",
                "zone",
            ],
            id="protocol",
        ),
        pytest.param(
            FlowFilter("ip", UDP, destination=DNS.destination, destination_port=53),
            ["dns", "dns, another endpoint", "dns, not translated", "zone"],
            id="frontend",
        ),
        pytest.param(FlowFilter("ip", UDP, destination_port=54), ["another port"], id="port at any address"),
        pytest.param(
            FlowFilter("ip", UDP, reply_source=DNS.reply_source, reply_source_port=5353),
            ["dns", "another address"],
            id="endpoint",
        ),
        pytest.param(
            FlowFilter("ip", UDP, reply_source=DNS.reply_source),
            ["dns", "another port", "another address"],
            id="all ports of an endpoint",
        ),
        pytest.param(
            FlowFilter(
                "ip", UDP, destination=DNS.destination, destination_port=53, reply_source=DNS.reply_source
            ),
            ["dns"],
            id="frontend and endpoint",
        ),
        pytest.param(
            FlowFilter("ip", TCP, destination=DNS.destination, destination_port=53), ["tcp"], id="tcp"
        ),
        # The kernel does not compare ports of SCTP.
        pytest.param(
            FlowFilter("ip", SCTP, destination=DNS.destination, destination_port=53), ["sctp"], id="sctp"
        ),
        pytest.param(
            FlowFilter("ip6", UDP),
            ["v6", "v6, another endpoint", "v6, another address", "v6, another port"],
            id="v6, protocol",
        ),
        # The kernel compares IPv6 addresses the wrong way round.
        pytest.param(
            FlowFilter("ip6", UDP, destination=DNS6.destination, destination_port=53),
            ["v6", "v6, another endpoint"],
            id="v6, frontend",
        ),
        pytest.param(
            FlowFilter("ip6", UDP, reply_source=DNS6.reply_source, reply_source_port=5353),
            ["v6", "v6, another address"],
            id="v6, endpoint",
        ),
        pytest.param(FlowFilter("ip6", UDP, destination_port=9), [], id="none"),
    ],
)
def test_find(edge: Edge, wanted: FlowFilter, expected: list[str]) -> None:
    """A filter finds the flows that agree with all of it, and no others."""
    for entry in FLOWS.values():
        edge.add(entry)

    assert names(all_of(edge.table, wanted)) == expected


@pytest.mark.parametrize("name", FLOWS)
def test_delete(edge: Edge, name: str) -> None:
    """Deleting one flow leaves all others, those that look alike included."""
    for entry in FLOWS.values():
        edge.add(entry)
    family: Family = "ip" if len(FLOWS[name].destination) == 4 else "ip6"
    found = all_of(edge.table, FlowFilter(family, FLOWS[name].protocol))
    mine = [entry for entry in found if replace(entry, id=0) == FLOWS[name]]

    assert edge.table.delete(mine) == 1
    assert edge.table.usage().entries == len(FLOWS) - 1
    left = all_of(edge.table, FlowFilter(family, FLOWS[name].protocol))
    assert sorted(map(str, left)) == sorted(str(entry) for entry in found if entry not in mine)
    # Once more: it is gone, which is no error.
    assert edge.table.delete(mine) == 0


def test_delete_spares_the_successor(edge: Edge) -> None:
    """A flow that began anew after it was found, with the same addresses, is not what was to be deleted."""
    edge.add(DNS)
    (before,) = all_of(edge.table, FlowFilter("ip", UDP))
    another = replace(before, id=before.id ^ 1)

    assert edge.table.delete([another]) == 0
    assert all_of(edge.table, FlowFilter("ip", UDP)) == [before]


def test_delete_many(edge: Edge) -> None:
    """What is there goes, however many messages that takes, and what is not there is not counted."""
    flows = [replace(DNS, source_port=port) for port in range(1, 1301)]
    for entry in flows:
        edge.add(entry)
    found = all_of(edge.table, FlowFilter("ip", UDP))
    assert len(found) == 1300
    missing = [replace(entry, source_port=2000 + entry.source_port) for entry in found[:700]]
    mixed = [entry for pair in zip(found, missing, strict=False) for entry in pair] + found[700:]

    assert edge.table.delete(mixed) == 1300
    assert all_of(edge.table, FlowFilter("ip", UDP)) == []


def test_delete_nothing(edge: Edge) -> None:
    """Nothing to delete is nothing: a request without a tuple would empty the table."""
    edge.add(DNS)

    assert edge.table.delete([]) == 0
    assert edge.table.usage().entries == 1


@pytest.mark.parametrize(
    "another",
    [
        pytest.param(DNS, id="the same"),
        pytest.param(replace(DNS, destination=DNS.source, destination_port=9), id="the same answers"),
    ],
)
def test_add_twice(edge: Edge, another: Flow) -> None:
    """The fake refuses what the kernel refuses."""
    edge.add(DNS)

    with pytest.raises(KernelError, match="EEXIST"):
        edge.add(another)


def test_usage(edge: Edge) -> None:
    """The table says how full it is."""
    assert edge.table.usage().entries == 0
    edge.add(DNS)
    edge.add(DNS6)

    usage = edge.table.usage()
    assert (usage.entries, usage.limit > usage.entries) == (2, True)


@pytest.mark.parametrize("name", FLOWS)
def test_delete_always_names_one_flow(name: str) -> None:
    """No request to delete is without a whole original tuple, or has a filter: those may mean all flows."""
    request = encode_delete(FLOWS[name], 1, acknowledge=False)
    ((kind, flags, _, payload),) = nl.messages(request)
    parts = nl.attribute_map(nl.nf_payload(payload))

    assert (kind, flags) == (0x102, nl.NLM_F_REQUEST)
    assert {1, 12} <= parts.keys() <= {1, 12, 18}
    tuple_ = nl.attribute_map(parts[1])
    assert [len(nl.attribute_map(tuple_[part])) for part in (1, 2)] == [2, 3]


@pytest.mark.netns
def test_other_namespaces_are_not_seen() -> None:
    """A table is that of the namespace it was opened in, also for a thread that has moved on."""
    with namespace("a") as mine, namespace("b") as theirs:
        with netns.inside(mine):
            table = KernelConntrack()
            add_entry(DNS)
        with table, netns.inside(theirs):
            add_entry(FLOWS["dns, another endpoint"])
            assert names(all_of(table, FlowFilter("ip", UDP))) == ["dns"]
            table.delete(all_of(table, FlowFilter("ip", UDP)))
        listed = run_in(theirs, "conntrack", "-L").stdout

    assert "src=10.0.0.2 dst=10.96.0.10" in listed
