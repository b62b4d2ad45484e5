"""Stale flows go, all others stay: with a table in memory, and with packets."""

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Interface, ip_address, ip_network

import pytest
from msgspec.structs import replace

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.proxier import Proxier
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions, SourceInterface, SourceNetwork
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.routing import FakeRouting
from nodeplane.errors import KernelError, kernel_error
from nodeplane.kube.objects import EndpointPort, EndpointSlice, Object, ObjectKey, Service, ServicePort
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import DRAINING, UNREADY, endpoint, endpoint_slice, service

DNS = ServicePort(port=53, name="dns", protocol="UDP", node_port=30053)
HTTP = ServicePort(port=80, name="http")
BACKING = (EndpointPort("dns", "UDP", 5353), EndpointPort("http", "TCP", 8080))

SERVICE = service("dns", "10.96.0.10", ports=(DNS, HTTP))
ROUTING = FakeRouting(
    {"eth0": (IPv4Interface("192.0.2.1/24"),), "cni0": (IPv4Interface("10.244.0.254/24"),)},
    ("eth0", ip_address("192.0.2.254").packed),
)
POD, OUTSIDE, NODE = "10.244.0.9", "198.51.100.7", "192.0.2.1"


def local(item: Service) -> Service:
    spec = replace(item.spec, external_traffic_policy="Local")
    return replace(item, spec=spec)


def pods(*numbers: int) -> EndpointSlice:
    """Return a slice of ready endpoints; odd ones are on this node."""
    return endpoint_slice(
        *(endpoint(f"10.244.0.{number}", node=f"n{2 - number % 2}") for number in numbers),
        name="dns-1",
        of="dns",
        ports=BACKING,
    )


def udp(
    source: str, to: int | None, destination: str = "10.96.0.10", port: int = 53, to_port: int = 5353
) -> Flow:
    target = destination if to is None else f"10.244.0.{to}"
    # Flows of one client to one endpoint differ in the client's port.
    source_port = 1000 + 300 * (port % 100) + ip_address(destination).packed[-1]
    return Flow(
        *(UDP, ip_address(source).packed, source_port, ip_address(destination).packed, port),
        *(ip_address(target).packed, port if to is None else to_port),
    )


def at_node(source: str, to: int | None, destination: str = NODE) -> Flow:
    return udp(source, to, destination, 30053)


def all_of(table: FakeConntrack, protocol: int) -> list[Flow]:
    return [flow for part in table.find(FlowFilter("ip", protocol)) for flow in part]


class World:
    """A proxier and a cleaner over fakes."""

    def __init__(self, *flows: Flow, options: RuleOptions = DEFAULT_OPTIONS, terminate: bool = False) -> None:
        self.table = FakeTable()
        self.conntrack = FakeConntrack()
        self._flows = [self.conntrack.add(flow) for flow in flows]
        self.options = options
        self._terminate = terminate
        self._objects: dict[ObjectKey, Object] = {}
        self.start()

    def start(self) -> None:
        """Begin as a new process."""
        self._objects = {}
        self._family = FamilyProxier("ip", self.table, self.options)
        self._proxier = Proxier("n1", [self._family])
        self.cleaner = FlowCleaner(
            "ip", self.conntrack, ROUTING, self.options, terminate_removed=self._terminate
        )
        state = self.table.read(self._family.skeleton)
        self.cleaner.learn(state.elements if state else {})
        self._is_first = True

    def show(self, *items: Object) -> int:
        """Let these be all objects; return how many flows went."""
        self.change(*items)
        return self.clean()

    @property
    def desired(self) -> DesiredElements:
        """What should be in the table."""
        return self._family.desired

    def clean(self) -> int:
        """Return how many flows went."""
        return asyncio.run(self.cleaner.clean(self._family.desired)).deleted

    def change(self, *items: Object) -> None:
        """Let these be all objects, and write that; the flows are looked at by whoever does."""
        now = {item.key: item for item in items}
        self._proxier.take(diff_objects(self._objects, now))
        self._objects = now
        self._proxier.sync(full=self._is_first)
        self._is_first = False

    def serve_at(self, *addresses: str) -> int:
        """Let node ports be at these addresses; return how many flows went."""
        self._proxier.set_node_port_ips(ip_address(address).packed for address in addresses)
        self._proxier.sync(full=False)
        return self.clean()

    def left(self) -> list[Flow]:
        """Return the flows of the start that are left."""
        found = {*all_of(self.conntrack, UDP), *all_of(self.conntrack, TCP)}
        return [replace(flow, id=0) for flow in self._flows if flow in found]


TO_1, TO_2, ODD = udp(POD, 1), udp(OUTSIDE, 2), udp(NODE, None)


@pytest.mark.parametrize(
    ("flows", "steps", "expected"),
    [
        pytest.param([TO_1, TO_2], [(SERVICE, pods(1, 2))], [TO_1, TO_2], id="nothing is stale"),
        pytest.param(
            [TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE, pods(1, 3))], [TO_1], id="endpoint replaced"
        ),
        pytest.param(
            [TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE, pods())], [], id="scale to zero, empty slice"
        ),
        pytest.param([TO_1, TO_2], [(SERVICE, pods(1, 2)), (SERVICE,)], [], id="scale to zero, no slice"),
        pytest.param([TO_1, TO_2, at_node(POD, 1)], [(SERVICE, pods(1, 2)), ()], [], id="service deleted"),
        pytest.param(
            [TO_1, udp(POD, None, port=54)],
            [(SERVICE, pods(1)), (service("dns", "10.96.0.10", ports=(HTTP,)), pods(1))],
            [udp(POD, None, port=54)],
            id="port removed",
        ),
        pytest.param([ODD], [(), (SERVICE, pods(1))], [], id="older than the service"),
        pytest.param([ODD], [(), (SERVICE,)], [], id="older than the service, which refuses"),
        pytest.param([ODD], [()], [ODD], id="no service"),
        pytest.param(
            [TO_2],
            [
                (SERVICE, pods(1, 2)),
                (
                    SERVICE,
                    endpoint_slice(
                        endpoint("10.244.0.1"),
                        endpoint("10.244.0.2", DRAINING),
                        name="dns-1",
                        of="dns",
                        ports=BACKING,
                    ),
                ),
            ],
            [TO_2],
            id="terminates beside a ready one, and still serves",
        ),
        pytest.param(
            [TO_2],
            [
                (SERVICE, pods(2)),
                (
                    SERVICE,
                    endpoint_slice(endpoint("10.244.0.2", DRAINING), name="dns-1", of="dns", ports=BACKING),
                ),
            ],
            [TO_2],
            id="drains, the last one",
        ),
        pytest.param(
            [TO_1, udp(POD, 1, "10.96.0.11"), udp(POD, 1, port=54)],
            [(SERVICE, pods(1)), (SERVICE, pods(2))],
            [udp(POD, 1, "10.96.0.11"), udp(POD, 1, port=54)],
            id="what others lead to the same pod",
        ),
        pytest.param(
            [TO_1],
            [(SERVICE, pods(1)), (SERVICE, service("a", "10.96.0.10", ports=(DNS,)), pods(1))],
            [],
            id="frontend taken by another service",
        ),
        pytest.param(
            [TO_1, udp(POD, None, "10.96.0.20")],
            [
                (SERVICE, pods(1), service("a", "10.96.0.10", ports=(DNS,))),
                (SERVICE, pods(1)),
            ],
            [udp(POD, None, "10.96.0.20")],
            id="never led here by the one who had it",
        ),
        pytest.param(
            [at_node(POD, None), at_node(POD, None, "192.0.2.9"), at_node(POD, None, "127.0.0.1")],
            [(), (SERVICE, pods(1))],
            [at_node(POD, None, "192.0.2.9"), at_node(POD, None, "127.0.0.1")],
            id="older than the node port",
        ),
        pytest.param(
            [at_node(OUTSIDE, 1), at_node(OUTSIDE, 77, "192.0.2.9"), at_node(POD, 2)],
            [(SERVICE, pods(1, 2)), (SERVICE, pods(2))],
            [at_node(OUTSIDE, 77, "192.0.2.9"), at_node(POD, 2)],
            id="node port, and another's translation of its number",
        ),
        pytest.param(
            [at_node(OUTSIDE, 1), at_node("198.51.100.8", 2), at_node(NODE, 2), at_node(POD, 2)],
            [(SERVICE, pods(1, 2)), (local(SERVICE), pods(1, 2))],
            [at_node(OUTSIDE, 1), at_node(NODE, 2), at_node(POD, 2)],
            id="flip to Local",
        ),
    ],
)
def test_clean(flows: list[Flow], steps: list[tuple[Object, ...]], expected: list[Flow]) -> None:
    """After each sync the flows that go where their frontend leads are left, and those of others."""
    world = World(*flows, options=RuleOptions(local_detector=SourceNetwork(ip_network("10.244.0.0/24"))))
    deleted = sum(world.show(*items) for items in steps)

    assert world.left() == expected
    assert deleted == len(flows) - len(expected)


def test_pods_by_interface() -> None:
    """A pod of this node may be told by the link that leads to it."""
    flows = [at_node(OUTSIDE, 2), at_node(POD, 2)]
    world = World(*flows, options=RuleOptions(local_detector=SourceInterface("cni", is_prefix=True)))
    world.show(SERVICE, pods(1, 2))
    world.show(local(SERVICE), pods(1, 2))

    assert world.left() == [at_node(POD, 2)]


BALANCER = "203.0.113.1"
AT_BALANCER = udp(OUTSIDE, 1, BALANCER), udp("192.0.2.77", 1, BALANCER), udp(POD, 1)


def restricted(*ranges: str) -> Service:
    return service(
        "dns", "10.96.0.10", ports=(DNS, HTTP), ingress=(BALANCER,), load_balancer_source_ranges=ranges
    )


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        pytest.param([(), ("192.0.2.0/24",)], AT_BALANCER[1:], id="ranges given"),
        pytest.param([("0.0.0.0/0",), ("192.0.2.0/24",)], AT_BALANCER[1:], id="no longer all"),
        pytest.param(
            [("192.0.2.0/24", "198.51.100.0/24"), ("192.0.2.0/24",)], AT_BALANCER[1:], id="one range less"
        ),
        pytest.param([("192.0.2.0/24",), ("2001:db8::/32",)], AT_BALANCER[2:], id="nobody of this family"),
        pytest.param([("198.51.100.7/32", "192.0.2.0/24"), ()], AT_BALANCER, id="open to all"),
    ],
)
def test_source_ranges(ranges: Sequence[tuple[str, ...]], expected: Sequence[Flow]) -> None:
    """A client that is not let in any more loses its flow to the load balancer, and no other."""
    world = World(*AT_BALANCER)
    for each in ranges:
        world.show(restricted(*each), pods(1))

    assert world.left() == [*expected]


def test_source_ranges_after_a_restart() -> None:
    """A new process removes the flows of those who were shut out meanwhile."""
    world = World(*AT_BALANCER)
    world.show(restricted(), pods(1))
    world.start()
    world.show(restricted("192.0.2.0/24"), pods(1))

    assert world.left() == [*AT_BALANCER[1:]]


LAN = "192.0.2.9"


@pytest.mark.parametrize(
    ("flows", "addresses", "expected"),
    [
        pytest.param([at_node(OUTSIDE, None)], [(LAN,), (LAN, NODE)], [], id="served here now"),
        pytest.param([at_node(OUTSIDE, 1)], [(LAN, NODE), (LAN,)], [], id="not served here any more"),
        pytest.param([at_node(OUTSIDE, 1)], [(NODE,), (LAN, NODE)], [at_node(OUTSIDE, 1)], id="another one"),
        pytest.param(
            [at_node(OUTSIDE, 77), TO_1, udp(OUTSIDE, None, port=9)],
            [(LAN, NODE), (LAN,)],
            [at_node(OUTSIDE, 77), TO_1, udp(OUTSIDE, None, port=9)],
            id="what is others'",
        ),
    ],
)
def test_node_port_addresses(
    flows: list[Flow], addresses: Sequence[tuple[str, ...]], expected: list[Flow]
) -> None:
    """Flows at an address where node ports begin or cease to be served are stale."""
    world = World(options=RuleOptions(node_port_everywhere=False))
    world.show(SERVICE, pods(1))
    world.serve_at(*addresses[0])
    added = [world.conntrack.add(flow) for flow in flows]
    world.serve_at(*addresses[1])

    found = all_of(world.conntrack, UDP)
    assert [replace(flow, id=0) for flow in added if flow in found] == expected


def test_node_ports_restricted_by_a_restart() -> None:
    """Flows at an address of this node that the last process served, and this one does not."""
    world = World()
    world.show(SERVICE, pods(1))
    for flow in (at_node(OUTSIDE, 1), at_node(OUTSIDE, 1, "192.0.2.9")):
        world.conntrack.add(flow)
    world.options = RuleOptions(node_port_everywhere=False)
    world.start()
    world.show(SERVICE, pods(1))

    left = [replace(flow, id=0) for flow in all_of(world.conntrack, UDP)]
    assert left == [at_node(OUTSIDE, 1, "192.0.2.9")]


class _Busy(FakeConntrack):
    """A table during whose reading something happens, once."""

    happens: Callable[[], object] | None = None

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        for part in super().find(wanted):
            happens, self.happens = self.happens, None
            if happens is not None:
                happens()
            yield part


@pytest.mark.parametrize(
    ("then", "deleted", "expected"),
    [
        pytest.param((SERVICE, pods(1)), [0, 0], [TO_1], id="back again"),
        pytest.param((SERVICE, pods(3)), [0, 1], [], id="to a third one"),
        pytest.param((), [0, 1], [], id="service deleted"),
        pytest.param((SERVICE, pods(2), service("other", "10.96.0.20")), [1, 0], [], id="of no matter"),
    ],
)
def test_changes_in_between(then: tuple[Object, ...], deleted: list[int], expected: list[Flow]) -> None:
    """What changes while flows are looked at is judged anew by the next call."""
    world = World()
    world.conntrack = table = _Busy()
    world.start()
    world.show(SERVICE, pods(1))
    flow = table.add(TO_1)
    world.change(SERVICE, pods(2))
    table.happens = lambda: world.change(*then)

    assert [world.clean(), world.clean()] == deleted
    assert [replace(each, id=0) for each in all_of(table, UDP) if each == flow] == expected


def test_others_run_in_between() -> None:
    """Looking at many flows, and removing them, leaves the loop to others again and again."""

    async def run() -> tuple[int, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            counting = tasks.create_task(count())
            report = await world.cleaner.clean(world.desired)
            counting.cancel()
        return report.deleted, turns

    flows = [replace(TO_1, source_port=number) for number in range(1000)]
    world = World(*flows)
    world.change(SERVICE, pods(2))
    deleted, turns = asyncio.run(run())

    assert deleted == 1000
    assert turns >= 1000


def test_weight_zero_keeps() -> None:
    """An endpoint that gets no new connections by its weight keeps those that it has."""
    world = World(TO_1)
    world.show(SERVICE, pods(1, 2))
    metadata = replace(SERVICE.metadata, annotations={"nodeplane.io/weights": "10.244.0.1=0"})
    world.show(replace(SERVICE, metadata=metadata), pods(1, 2))

    assert world.left() == [TO_1]


def test_restart() -> None:
    """A new process finds what went stale while there was none, node ports of ours included."""
    flows = [TO_1, TO_2, at_node(OUTSIDE, 1), at_node(OUTSIDE, 77, "192.0.2.9")]
    world = World()
    world.show(SERVICE, pods(1, 2))
    for flow in flows:
        world.conntrack.add(flow)
    world.start()

    assert world.show(SERVICE, pods(2)) == 2
    left = [replace(flow, id=0) for flow in all_of(world.conntrack, UDP)]
    assert left == [TO_2, at_node(OUTSIDE, 77, "192.0.2.9")]


def test_restart_asks_once() -> None:
    """A restart over a correct state reads the UDP flows once and deletes nothing."""
    world = World(TO_1)
    world.show(SERVICE, pods(1))
    world.start()
    world.conntrack.finds.clear()

    assert world.show(SERVICE, pods(1)) == 0
    assert world.conntrack.finds == [FlowFilter("ip", UDP)]


def test_nothing_is_asked_without_need() -> None:
    """Endpoints that come, and changes of TCP ports, cost no look at the flows (law 5)."""
    world = World(TO_1)
    world.show(SERVICE, pods(1))
    world.conntrack.finds.clear()
    web = service("web", "10.96.0.11")
    world.show(SERVICE, pods(1, 2))
    world.show(SERVICE, pods(1, 2), web)
    world.show(SERVICE, pods(1, 2))

    assert world.conntrack.finds == []


CONNECTION = Flow(
    *(TCP, ip_address(POD).packed, 1000, ip_address("10.96.0.10").packed, 80),
    *(ip_address("10.244.0.1").packed, 8080),
)


@pytest.mark.parametrize(
    ("terminate", "then", "expected"),
    [
        pytest.param(False, (SERVICE, pods(2)), [CONNECTION], id="not asked for"),
        pytest.param(True, (SERVICE, pods(2)), [], id="removed"),
        pytest.param(True, (SERVICE,), [], id="scale to zero"),
        pytest.param(True, (SERVICE, pods(1)), [CONNECTION], id="another one removed"),
        pytest.param(True, (), [CONNECTION], id="service deleted"),
        *(
            pytest.param(
                True,
                (
                    SERVICE,
                    endpoint_slice(
                        *(endpoint("10.244.0.1", conditions), endpoint("10.244.0.2")),
                        name="dns-1",
                        of="dns",
                        ports=BACKING,
                    ),
                ),
                [CONNECTION],
                id=name,
            )
            for name, conditions in (("unready", UNREADY), ("terminates", DRAINING))
        ),
    ],
)
def test_connections(terminate: bool, then: Sequence[Object], expected: list[Flow]) -> None:
    """TCP connections end with their endpoint, where that is asked for."""
    world = World(CONNECTION, terminate=terminate)
    world.show(SERVICE, pods(1, 2))
    world.show(*then)

    assert world.left() == expected


class _Refusing(FakeConntrack):
    """A table that can't be read when `is_broken`."""

    is_broken = False

    def find(self, wanted: FlowFilter) -> Iterator[list[Flow]]:
        if self.is_broken:
            raise kernel_error("find tracked flows", errno.ENOMEM)
        return super().find(wanted)


def test_failure_is_made_good() -> None:
    """What one cleaning could not do the next one does, though nothing has changed since."""
    world = World()
    world.conntrack = table = _Refusing()
    world.start()
    world.show(SERVICE, pods(1))
    table.add(TO_1)
    table.is_broken = True
    with pytest.raises(KernelError):
        world.show(SERVICE, pods(2))
    table.is_broken = False

    assert world.show(SERVICE, pods(2)) == 1


def test_failure_after_a_restart_is_made_good() -> None:
    """A new process that fails at first still knows whose flows there may be."""
    world = World()
    world.conntrack = table = _Refusing()
    world.start()
    world.show(SERVICE, pods(1))
    flow = table.add(at_node(OUTSIDE, 1))
    world.start()
    table.is_broken = True
    with pytest.raises(KernelError):
        world.show(SERVICE, pods(2))
    table.is_broken = False
    state = world.table.read(build_skeleton("ip"))
    assert state is not None
    world.cleaner.learn(state.elements)

    assert world.show(SERVICE, pods(2)) == 1
    assert flow not in all_of(table, UDP)
