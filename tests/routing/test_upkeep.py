"""Routes that others wipe, links that flap, a node with a new address: routing comes back by itself."""

import pytest

from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Route, open_rtnl
from tests.netns_fixture import eventually
from tests.routing.routed_lab import FAMILIES, RoutedLab, write_topology
from tests.routing.test_packets import ask_all

pytestmark = pytest.mark.lab

# rt_protos(5): BIRD's.
_BIRD = 12
_LIMIT_S = 120.0


def ways_out(lab: RoutedLab, node: str) -> set[Route]:
    """Return the routes of a node that are its agent's, its plugin's or its BIRD's."""
    with open_rtnl(lab.node(node)) as rtnl:
        return {
            route
            for family in FAMILIES
            for protocol in (ROUTE_PROTOCOL, _BIRD)
            for route in rtnl.routes(protocol, family=family)
        }


def converges(lab: RoutedLab) -> None:
    """Wait until all pods reach one another."""

    def attempt() -> str:
        try:
            for family in FAMILIES:
                ask_all(lab, family, timeout_s=0.5)
        except OSError as exc:
            return str(exc)
        return ""

    eventually(attempt, lambda failure: not failure, within_s=_LIMIT_S)


def test_wiped_routes_return(routed: RoutedLab) -> None:
    before, agent = ways_out(routed, "n1"), routed.agent("n1")
    for family in FAMILIES:
        for protocol in (ROUTE_PROTOCOL, _BIRD):
            routed.execute("n1", "ip", f"-{family}", "route", "flush", "proto", str(protocol))

    eventually(lambda: ways_out(routed, "n1"), lambda found: found == before)
    converges(routed)
    assert routed.agent("n1") == agent


def test_link_that_flaps(routed: RoutedLab) -> None:
    """The kernel takes the link's routes along, and its IPv6 addresses, which their owner gives back."""
    before, agents = ways_out(routed, "n1"), [routed.agent(node) for node in ("n1", "n2")]
    with open_rtnl(routed.node("n1")) as rtnl:
        rtnl.set_down("eth0")
    routed.up()

    eventually(lambda: ways_out(routed, "n1"), lambda found: found == before, within_s=_LIMIT_S)
    converges(routed)
    assert [routed.agent(node) for node in ("n1", "n2")] == agents


def test_changed_address_of_a_node(routed: RoutedLab) -> None:
    """The Node says another address, and its link has it: there and back again."""
    agents = [routed.agent(node) for node in ("n1", "n2")]
    before = ways_out(routed, "n1")
    node = next(node for node in routed.topology["nodes"] if node["name"] == "n2")
    prefix = "172.30.0" if "segments" not in routed.topology else "172.30.1"
    prefix6 = "fd00:172:30:" if "segments" not in routed.topology else "fd00:172:30:1:"
    for address in (f"{prefix}.77,{prefix6}:77", None):
        node["address"] = address
        write_topology(routed)
        routed.up()
        converges(routed)

    eventually(lambda: ways_out(routed, "n1"), lambda found: found == before, within_s=_LIMIT_S)
    assert [routed.agent(node) for node in ("n1", "n2")] == agents
