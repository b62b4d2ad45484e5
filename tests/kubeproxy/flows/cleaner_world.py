"""A flow table, a cleaner and the objects that its tests are about."""

import asyncio
from ipaddress import IPv4Interface, ip_address

from msgspec.structs import replace

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.proxier import Proxier
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.routing import FakeRouting
from nodeplane.kube.objects import EndpointPort, EndpointSlice, Object, ObjectKey, Service, ServicePort
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import endpoint, endpoint_slice, service

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


BALANCER = "203.0.113.1"
AT_BALANCER = udp(OUTSIDE, 1, BALANCER), udp("192.0.2.77", 1, BALANCER), udp(POD, 1)


def restricted(*ranges: str) -> Service:
    return service(
        "dns", "10.96.0.10", ports=(DNS, HTTP), ingress=(BALANCER,), load_balancer_source_ranges=ranges
    )


CONNECTION = Flow(
    *(TCP, ip_address(POD).packed, 1000, ip_address("10.96.0.10").packed, 80),
    *(ip_address("10.244.0.1").packed, 8080),
)
