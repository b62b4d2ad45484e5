"""A node and the router of its rack; reflectors and their clients; services from nodes with endpoints."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cni.bgp.bird import CONFIG_NAME, PID_NAME
from cni.bgp.config import BgpConfig, Peer, Reflectors, ServiceRanges, Timers
from cni.bgp.control import ask_once
from nodeplane.datapath.rtnl import Route, open_rtnl
from nodeplane.kube.objects import Endpoint, EndpointConditions, EndpointSlice, Metadata, Object, Service
from nodeplane.kube.objects.endpoint_slice import SERVICE_NAME_LABEL
from nodeplane.kube.objects.service import ServiceSpec
from nodeplane.kube.source import Batch, Change
from tests.cni.bgp.stand import (
    BIRD,
    Stand,
    address,
    block,
    nearly,
    next_hops,
    open_stand,
    since,
    wait_for_hops,
    wait_for_route,
    wait_until_up,
)
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.netns

TOR, SECOND_TOR = 200, 201
CLUSTER_IPS, EXTERNAL_IPS = ip_network("10.96.0.0/16"), ip_network("203.0.113.0/24")
LOCAL_IP = "203.0.113.7"


def router_text(number: int, version: int, nodes: Collection[int], password: str = "") -> str:
    """Return what a plain router of the rack has: one session for each node, and a default route for them."""
    everywhere = "0.0.0.0/0" if version == 4 else "::/0"
    sessions = "".join(
        f"""
        protocol bgp n{node}_{version} {{
          local {address(number, version)} as 65001;
          neighbor {address(node, version)} as 64512;
          {f'password "{password}";' if password else ""}
          connect delay time 1; connect retry time 1; error wait time 1, 5;
          ipv{version} {{ import all; export where source = RTS_STATIC; }};
        }}"""
        for node in nodes
    )
    return f"""
        protocol static default{version} {{ ipv{version}; route {everywhere} blackhole; }}
        protocol kernel kernel{version} {{
          ipv{version} {{ export where source = RTS_BGP; }};
          metric 32;
          merge paths on;
        }}
        {sessions}"""


def router(number: int, nodes: Collection[int], password: str = "") -> str:
    """Return a plain router's configuration for both families."""
    parts = "".join(router_text(number, version, nodes, password) for version in (4, 6))
    return f"protocol device {{ }}\nprotocol direct {{ ipv4; ipv6; }}\n{parts}"


def peers(number: int, password_file: Path | None = None) -> tuple[Peer, ...]:
    """Return the rack's router as the nodes' peers, one for each family."""
    return tuple(
        Peer(
            name=f"tor-{number}-ipv{version}",
            address=ip_address(address(number, version)),
            as_number=65001,
            node_selector='rack == "a"',
            communities=((64512, 7), (64512, 1, 2)),
            timers=Timers(password_file=password_file),
        )
        for version in (4, 6)
    )


def test_rack_with_two_routers(tmp_path: Path) -> None:
    """Nodes of a rack announce their own blocks to its routers, with communities, and use both as way out."""
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    config = BgpConfig(
        as_number=64512,
        communities=((ip_network("10.244.0.0/16"), ((65535, 65281),)),),
        peers=(*peers(TOR, password), *peers(SECOND_TOR, password)),
    )
    with open_stand(tmp_path) as stand:
        first, second = stand.add_node(1, config, {"rack": "a"}), stand.add_node(2, config, {"rack": "b"})
        routers = [stand.add_router(number, router(number, [1], "s3cret")) for number in (TOR, SECOND_TOR)]
        stand.start()
        wait_until_up([first], 6)
        wait_until_up([second], 2)
        for version in (4, 6):
            first.announce(block(1, version))
            second.announce(block(2, version))
            for path, _ in routers:
                wait_for_hops(path, block(1, version), address(1, version))
            wait_for_route(first, block(2, version), address(2, version))
            # Two equal ways out.
            everywhere = "0.0.0.0/0" if version == 4 else "::/0"
            wait_for_route(first, everywhere, address(TOR, version), address(SECOND_TOR, version))
            # Each node speaks for itself: what came from others is not handed on.
            assert next_hops(routers[0][0], block(2, version)) == []
            assert second.next_hops(everywhere) == []
        [reply] = ask_once(routers[0][1], (f"show route all {block(1)}",))
        text = "\n".join(line for _, line in reply.lines)
        assert "BGP.as_path: 64512\n" in text
        assert "BGP.community: (64512,7) (65535,65281)" in text
        assert "BGP.large_community: (64512, 1, 2)" in text


def test_neighbour_can_not_take_a_block(tmp_path: Path) -> None:
    """What a router announces of a node's own block does not stop the node from announcing it."""
    rogue = f"""
        protocol device {{ }}
        protocol static stolen {{ ipv4; route {block(1)} blackhole; }}
        protocol bgp n1 {{
          local {address(TOR)} as 65001;
          neighbor {address(1)} as 64512;
          connect delay time 1;
          ipv4 {{ import none; export all; }};
        }}"""
    with open_stand(tmp_path) as stand:
        first = stand.add_node(1, BgpConfig(as_number=64512, peers=peers(TOR)[:1]), {"rack": "a"})
        second = stand.add_node(2, BgpConfig(as_number=64512))
        stand.add_router(TOR, rogue)
        stand.start()
        wait_until_up([first], 3)
        eventually(first.sessions, lambda sessions: sessions["tor-200-ipv4", 4].imported == 1)
        first.announce(block(1))
        wait_for_route(second, block(1), address(1))
        assert any("unicast" not in line and "*" in line for line in first.ask(f"show route {block(1)}"))


@pytest.mark.parametrize(
    ("limits", "imported", "error"),
    [
        pytest.param({}, {"0.0.0.0/0", "10.8.0.0/16", "10.9.1.0/24"}, "", id="everything"),
        pytest.param(
            {"import_only": (ip_network("0.0.0.0/0"), ip_network("10.9.0.0/16")), "ttl_security": True},
            {"0.0.0.0/0", "10.9.1.0/24"},
            "",
            id="some networks",
        ),
        pytest.param({"max_prefixes": 2}, set(), "Automatic shutdown: Route limit exceeded", id="too many"),
    ],
)
def test_what_a_router_may_announce(
    tmp_path: Path, limits: dict[str, Any], imported: set[str], error: str
) -> None:
    """A peer's routes are all taken, or those that were asked for; more than allowed end the session."""
    routes = "".join(f"route {text} blackhole; " for text in ("0.0.0.0/0", "10.8.0.0/16", "10.9.1.0/24"))
    text = f"""
        protocol device {{ }}
        protocol static many {{ ipv4; {routes} }}
        protocol bgp n1 {{
          local {address(TOR)} as 65001;
          neighbor {address(1)} as 64512;
          {"ttl security on;" if limits.get("ttl_security") else ""}
          connect delay time 1; connect retry time 1; error wait time 1, 5;
          ipv4 {{ import none; export all; }};
        }}"""
    peer = msgspec.structs.replace(peers(TOR)[0], **limits)
    with open_stand(tmp_path) as stand:
        node = stand.add_node(1, BgpConfig(as_number=64512, peers=(peer,)), {"rack": "a"})
        stand.add_router(TOR, text)
        stand.start()
        if error:
            eventually(lambda: node.sessions()["tor-200-ipv4", 4].last_error, lambda words: words == error)
        with open_rtnl(node.path) as rtnl:
            eventually(
                lambda: {str(route.destination) for route in rtnl.routes(12)}, lambda found: found == imported
            )


def test_bird_of_somebody_else(tmp_path: Path) -> None:
    """A bird that others run is configured by its socket, and found again when they have restarted it."""
    with open_stand(tmp_path) as stand:
        control = tmp_path / "theirs.ctl"
        first = stand.add_node(1, BgpConfig(as_number=64512, socket=control))
        second = stand.add_node(2, BgpConfig(as_number=64512))
        start, pid_file = tmp_path / "start.conf", first.directory / PID_NAME
        start.write_text("router id 10.0.0.1;\nprotocol device { }\n")

        def run_bird(config: Path) -> str:
            command = (BIRD, "-c", str(config), "-s", str(control), "-P", str(pid_file))
            return run_in(first.path, *command).stderr

        assert run_bird(start) == ""
        stand.start()
        wait_until_up([first, second], 2)
        pid = first.pid
        first.kill()
        # It reads the file that we have left it.
        # While the old one ends, bird finds "another BIRD running".
        eventually(lambda: run_bird(first.directory / CONFIG_NAME), lambda errors: errors == "")
        eventually(lambda: first.pid, lambda number: number not in {0, pid})
        wait_until_up([first, second], 2)
        first.tell(lambda speaker: speaker.take_announced([ip_network("10.244.2.9/32")]))
        with open_rtnl(first.path) as rtnl:
            rtnl.add_route(Route(ip_network("10.244.2.9/32"), link="eth0", scope="link"))
        wait_for_route(second, "10.244.2.9/32", address(1))


def test_route_reflectors(tmp_path: Path) -> None:
    """Clients speak to reflectors only and learn one another's blocks, next hops kept, from two of them."""
    config = BgpConfig(
        as_number=64512,
        mesh=False,
        route_reflectors=(Reflectors("has(reflector)", IPv4Address("244.0.0.1")),),
    )
    with open_stand(tmp_path) as stand:
        for number in (1, 2, 3, 4):
            stand.add_node(number, config, {"reflector": ""} if number < 3 else {})
        stand.start()
        nodes = stand.nodes
        wait_until_up([nodes[1], nodes[2]], 6)
        wait_until_up([nodes[3], nodes[4]], 4)
        assert {name for name, _ in nodes[3].sessions()} == {"n1", "n2"}
        for version in (4, 6):
            for node in nodes.values():
                node.announce(block(node.number, version))
            for node in nodes.values():
                for other in nodes:
                    if other != node.number:
                        wait_for_route(node, block(other, version), address(other, version))
        # One reflector ends for good; the other goes on.
        nodes[1].stop()
        nodes[1].kill()
        assert nodes[3].next_hops(block(4)) == [address(4)]
        eventually(lambda: nodes[3].states()["n1", 4], lambda state: state != "Established")
        assert nodes[3].next_hops(block(4)) == [address(4)]


class Feed:
    """A source of Services and EndpointSlices whose batches the test makes."""

    def __init__(self) -> None:
        self.batches_of: asyncio.Queue[Batch] = asyncio.Queue()

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield what the test puts in."""
        assert set(kinds) == {Service, EndpointSlice}
        while True:
            yield await self.batches_of.get()


def service(policy: str) -> Service:
    """Return a Service with an address of each kind."""
    spec = ServiceSpec(cluster_ip="10.96.0.9", raw_external_ips=(LOCAL_IP,), external_traffic_policy=policy)
    return Service(metadata=Metadata("web", "default"), spec=spec)


def endpoints(*ready: tuple[str, bool]) -> EndpointSlice:
    """Return the Service's slice: nodes, and whether the endpoint there is ready."""
    return EndpointSlice(
        metadata=Metadata("web-1", "default", labels={SERVICE_NAME_LABEL: "web"}),
        address_type="IPv4",
        raw_endpoints=tuple(
            Endpoint(("10.244.1.5",), EndpointConditions(ready=is_ready), node_name=name)
            for name, is_ready in ready
        ),
    )


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[tuple[Stand, Path]]:
    """Yield two nodes that announce services to a router of their rack, and the router."""
    config = BgpConfig(
        as_number=64512,
        peers=peers(TOR)[:1],
        services=ServiceRanges(cluster_ips=(CLUSTER_IPS,), external_ips=(EXTERNAL_IPS,)),
    )
    with open_stand(tmp_path) as stand:
        for number in (1, 2):
            stand.add_node(number, config, {"rack": "a"})
        path, _ = stand.add_router(TOR, router(TOR, [1, 2]))
        yield stand, path


def test_services(rack: tuple[Stand, Path]) -> None:
    """Ranges come from all nodes; an address with policy Local from nodes with a ready endpoint, as long."""
    stand, path = rack
    feeds = {number: Feed() for number in stand.nodes}

    def tell(batch: Batch) -> None:
        for feed in feeds.values():
            stand.thread.call(partial(feed.batches_of.put_nowait, batch))

    def wait_for(network: str, *numbers: int) -> None:
        wait_for_hops(path, network, *(address(number) for number in numbers))

    web = service("Local")
    tell((Change(web.key, None, web),))
    for number, node in stand.nodes.items():
        node.start(feeds[number])
    for network in (CLUSTER_IPS, EXTERNAL_IPS):
        wait_for(str(network), 1, 2)
    wait_until_up(stand.nodes.values(), 3)
    before = {number: since(node) for number, node in stand.nodes.items()}
    old: EndpointSlice | None = None
    for ready in ([("n1", True)], [("n1", True), ("n2", True)], [("n1", False), ("n2", True)], []):
        new = endpoints(*ready)
        tell((Change(new.key, old, new),))
        old = new
        for address_of_service in (f"{LOCAL_IP}/32", "10.96.0.9/32"):
            wait_for(address_of_service, *(int(name[1:]) for name, is_ready in ready if is_ready))
    # Nobody installs what all have themselves, and nothing of this cost a session.
    for number, node in stand.nodes.items():
        assert node.next_hops(str(CLUSTER_IPS)) == []
        assert since(node) == nearly(before[number])
