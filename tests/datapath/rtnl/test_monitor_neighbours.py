"""The kernel's word that neighbours and forwarding entries of a VXLAN link changed."""

import asyncio
from contextlib import aclosing
from ipaddress import ip_address

import pytest

from nodeplane.datapath.rtnl import Deletion, FdbEntry, Neighbour, Replacement, Vxlan, open_rtnl
from nodeplane.datapath.rtnl.monitor import NeighbourEvent, RtnlMonitor
from tests.netns_fixture import namespace, run_in

MAC, OTHER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:03"
PEER = ip_address("10.244.7.64")


@pytest.mark.netns
@pytest.mark.parametrize(
    ("item", "command"),
    [
        pytest.param(
            Neighbour("vx", PEER, MAC), f"ip neigh replace {PEER} dev vx lladdr {OTHER_MAC}", id="neighbour"
        ),
        pytest.param(
            Neighbour("vx", ip_address("fd00::7"), MAC),
            f"ip neigh replace fd00::7 dev vx lladdr {OTHER_MAC}",
            id="of IPv6",
        ),
        pytest.param(
            FdbEntry("vx", MAC, ip_address("10.0.0.2")),
            f"bridge fdb replace {MAC} dev vx dst 10.0.0.3 self permanent",
            id="forwarding entry",
        ),
    ],
)
def test_what_happens_to_an_entry(item: Neighbour | FdbEntry, command: str) -> None:
    """It comes, another takes its place, and it goes; links that are up have nothing else to tell."""
    key = item.address if isinstance(item, Neighbour) else item.mac
    with namespace() as path, open_rtnl(path) as rtnl:
        rtnl.add_vxlan("vx", Vxlan(7, 4789, ip_address("10.0.0.1")))
        rtnl.set_up("vx")
        index = rtnl.link("vx").index
        with RtnlMonitor(path, has_neighbours=True) as monitor:
            assert rtnl.apply([Replacement(item)]) == {}
            added = asyncio.run(until(monitor, key))
            assert (added.link_index, added.item) == (index, _nameless(item))

            assert run_in(path, *command.split()).returncode == 0
            replaced = asyncio.run(until(monitor, key))
            assert replaced.item not in {None, _nameless(item)}

            assert rtnl.apply([Deletion(item)]) == {}
            assert asyncio.run(until(monitor, key)).item is None


def _nameless(item: Neighbour | FdbEntry) -> Neighbour | FdbEntry:
    if isinstance(item, Neighbour):
        return Neighbour("", item.address, item.mac)
    return FdbEntry("", item.mac, item.destination)


async def until(monitor: RtnlMonitor, key: object) -> NeighbourEvent:
    """Return the next event of an entry."""
    async with aclosing(monitor.events()) as events, asyncio.timeout(30):
        async for event in events:
            if isinstance(event, NeighbourEvent) and event.key == key:
                return event
    raise AssertionError
