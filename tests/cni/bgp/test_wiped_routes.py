"""Deletions of bird's routes: its own are none of our business, those of others are."""

from ipaddress import ip_network

import pytest

from cni.bgp.wiped_routes import WipedRoutes
from nodeplane.datapath.rtnl.monitor import Event, LinkEvent, Overrun, RouteEvent

BIRDS, OTHERS = 4001, 4002


def route(port: int, *, text: str = "10.244.1.0/26", protocol: int = 12, is_deleted: bool = True) -> Event:
    return RouteEvent(ip_network(text), protocol, is_on_link=False, is_deleted=is_deleted, port=port)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        pytest.param([route(BIRDS, is_deleted=False)], [()], id="added"),
        pytest.param([route(BIRDS, is_deleted=False), route(BIRDS)], [(), ()], id="by bird"),
        pytest.param([route(BIRDS, is_deleted=False), route(OTHERS)], [(), (4,)], id="by another"),
        pytest.param([route(BIRDS)], [(4,)], id="before bird's port is known: once too often"),
        pytest.param([route(0, text="fd00::/64")], [(6,)], id="by the kernel, IPv6"),
        pytest.param([route(OTHERS, protocol=110)], [()], id="another's route"),
        pytest.param([LinkEvent("eth0", is_up=True)], [()], id="no route"),
        pytest.param([Overrun()], [(4, 6)], id="events lost"),
    ],
)
def test_find(events: list[Event], found: list[tuple[int, ...]]) -> None:
    wiped = WipedRoutes()
    assert [tuple(sorted(wiped.find(event))) for event in events] == found
