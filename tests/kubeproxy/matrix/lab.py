"""The proxy on the node of the topology: it is put into one state after another, asked, and foretold."""

import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path

from kubeproxy.backend import Backend
from kubeproxy.config.complete import complete
from kubeproxy.config.model import DetectLocal, KubeProxyConfiguration, NFTables
from kubeproxy.config.settings import build_settings
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.node_port_ips import pack_all, place_node_ports
from kubeproxy.own_node import pod_networks
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options, build_options
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from kubeproxy.trace.packet import Packet
from kubeproxy.trace.result import Trace
from kubeproxy.trace.walk import Balancer, trace
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.listing import TableListing
from nodeplane.datapath.routing import KernelRouting
from nodeplane.kube.objects import EndpointSlice, NodeSpec, Object
from nodeplane.kube.store import diff_objects
from tests.kubeproxy import objects
from tests.kubeproxy.matrix.asking import Protocol, Told, ask
from tests.kubeproxy.matrix.echo import FAMILY, servers
from tests.kubeproxy.matrix.shapes import (
    SERVICE_CIDRS,
    SHAPES,
    balancer_ip,
    build_service,
    build_slices,
    cluster_ip,
    external_ip,
    free_ip,
    node_port,
)
from tests.kubeproxy.matrix.topology import (
    ENDPOINTS,
    LAN,
    NODE_POD_NETWORKS,
    POD_NETWORKS,
    address_of,
    build_namespaces,
    node_address,
    node_addresses,
    node_link,
)
from tests.kubeproxy.matrix.witness import Witness, witness

_BY_CLUSTER = ",".join(POD_NETWORKS.values())
STATES = {
    "no-detector": KubeProxyConfiguration(),
    "cluster-cidr": KubeProxyConfiguration(detect_local_mode="ClusterCIDR", cluster_cidr=_BY_CLUSTER),
    "node-cidr": KubeProxyConfiguration(detect_local_mode="NodeCIDR"),
    "bridge": KubeProxyConfiguration(
        detect_local_mode="BridgeInterface", detect_local=DetectLocal(bridge_interface="cni0")
    ),
    "prefix": KubeProxyConfiguration(
        detect_local_mode="InterfaceNamePrefix", detect_local=DetectLocal(interface_name_prefix="cni")
    ),
    "masquerade-all": KubeProxyConfiguration(
        cluster_cidr=_BY_CLUSTER, nftables=NFTables(masquerade_all=True, masquerade_bit=20)
    ),
    "lan-ports": KubeProxyConfiguration(cluster_cidr=_BY_CLUSTER, node_port_addresses=(*LAN.values(),)),
    "hashes": KubeProxyConfiguration(cluster_cidr=_BY_CLUSTER),
    "primary-ports": KubeProxyConfiguration(cluster_cidr=_BY_CLUSTER, node_port_addresses=("primary",)),
}
"""The configurations that the matrix is walked under."""
WITH_LARGE = "hashes"
"""The state that has the large Services too."""

BuildFamilies = Callable[[Mapping[Family, KernelTable], Options], Sequence[Backend]]


class Lab:
    """The namespaces, and the proxy's two tables in one of them."""

    def __init__(
        self,
        paths: dict[str, Path],
        edges: dict[Family, KernelTable],
        routing: KernelRouting,
        witness: Witness,
        build_families: BuildFamilies,
    ) -> None:
        self.paths = paths
        self.state = ""
        self.shapes: Collection[str] = SHAPES.keys()
        """The Services that there are."""
        self._edges = edges
        self._routing = routing
        self._build_families = build_families
        self.look_up: Callable[[], Balancer] | None = None
        """Returns what the walker asks about IPVS, in that mode."""
        self.witness = witness
        self._listings: dict[Family, TableListing] = {}
        self._balancer: Balancer | None = None
        self._slices: dict[str, list[EndpointSlice]] = {}

    @property
    def node(self) -> Path:
        """The node's namespace."""
        return self.paths["node"]

    def enter(self, state: str) -> None:
        """Configure the proxy as a state says, with all Services; nothing happens if it is so already."""
        if self.state == state:
            return
        settings = build_settings(complete(STATES[state]))
        node = objects.node("n1", *(node_address("far", version) for version in (4, 6)), zone="z1")
        node = type(node)(node.metadata, NodeSpec((*NODE_POD_NETWORKS.values(),)), node.status)
        options = build_options(settings, pod_networks(node))
        self._proxier = Proxier("n1", self._build_families(self._edges, options))
        shapes = {
            name: shape
            for name, shape in SHAPES.items()
            if name in self.shapes and (not shape.is_large or state == WITH_LARGE)
        }
        self._slices = {name: build_slices(shape) for name, shape in shapes.items()}
        items: list[Object] = [node, objects.service_cidr("kubernetes", *SERVICE_CIDRS)]
        for name, shape in shapes.items():
            items += [build_service(shape), *self._slices[name]]
        self._proxier.take(objects.additions(*items))
        here = [ip_address(text) for version in (4, 6) for text in node_addresses(version)]
        self._proxier.set_own_ips(address.packed for address in here)
        placed = place_node_ports(settings, node, [*here, ip_address("127.0.0.1"), ip_address("::1")])
        self._proxier.set_node_port_ips(pack_all(placed))
        self._proxier.sync(full=True)
        self._forget()
        self.state = state

    def change(self, shape: str, endpoints: str) -> None:
        """Let a Service have other endpoints."""
        before = {item.key: item for item in self._slices[shape]}
        self._slices[shape] = build_slices(SHAPES[shape], endpoints)
        self._proxier.take(diff_objects(before, {item.key: item for item in self._slices[shape]}))
        self._proxier.sync(full=False)
        self._forget()

    def _forget(self) -> None:
        """Forget what the walker was told: it is of before."""
        self._listings = {}
        self._balancer = None

    def door(self, shape: str, name: str, version: int) -> tuple[str, int]:
        """Return the address and port behind a word of the table: `lb`, or with another port `lb:81`."""
        place, _, port = name.partition(":")
        host = {
            "cluster": cluster_ip(shape, version),
            "external": external_ip(shape, version),
            "lb": balancer_ip(shape, version),
            "wan": node_address("client", version),
            "lan": node_address("far", version),
            "cni": node_address("pod", version),
            "loopback": "127.0.0.1" if version == 4 else "::1",
            "free": free_ip(version, is_inside=True),
            "outside": free_ip(version, is_inside=False),
        }[place]
        is_node_port = place in {"wan", "lan", "cni", "loopback"}
        return host, int(port) if port else node_port(shape) if is_node_port else 80

    def source(self, client: str, host: str, version: int) -> str:
        """Return the address that a client's packets leave it with."""
        with netns.inside(self.paths[client]), socket.socket(FAMILY[version], socket.SOCK_DGRAM) as asked:
            # Only looks the route up.
            asked.connect((host, 9))
            return str(asked.getsockname()[0])

    def predict(
        self,
        client: str,
        protocol: Protocol,
        host: str,
        port: int,
        version: int,
        *,
        source_port: int | None = None,
        is_fresh: bool = False,
    ) -> Trace:
        """Ask the walker; with `is_fresh` about what is in the table now, which packets change."""
        family: Family = "ip" if version == 4 else "ip6"
        if is_fresh or family not in self._listings:
            listing = self._edges[family].read_listing()
            assert listing is not None
            self._listings[family] = listing
        source = ip_address(self.source(client, host, version))
        packet = Packet(source, protocol, ip_address(host), port, source_port, node_link(client))
        with netns.inside(self.node):
            if self.look_up and (is_fresh or self._balancer is None):
                self._balancer = self.look_up()
            return trace(self._listings[family], packet, self._routing, self._balancer)

    def ask(
        self,
        client: str,
        protocol: Protocol,
        host: str,
        port: int,
        version: int,
        *,
        source_port: int = 0,
        patience_s: float = 20,
    ) -> Told:
        """Send a real packet."""
        return ask(
            self.paths[client],
            protocol,
            host,
            port,
            version,
            source_port=source_port,
            patience_s=patience_s,
        )


def names(version: int) -> dict[str, str]:
    """Return who has which address."""
    return {address_of(name, version): name for name in ENDPOINTS}


def nftables_families(edges: Mapping[Family, KernelTable], options: Options) -> list[Backend]:
    """Build the families of mode nftables."""
    return [FamilyProxier(family, edge, options[family]) for family, edge in edges.items()]


@contextmanager
def build_lab(build_families: BuildFamilies = nftables_families) -> Iterator[Lab]:
    """Build everything; the first `enter` programs the node. `build_families` says in which mode."""
    with ExitStack() as stack:
        paths = stack.enter_context(build_namespaces())
        stack.enter_context(servers(paths))
        watcher = stack.enter_context(witness(paths["node"]))
        with netns.inside(paths["node"]):
            edges = {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}
            routing = stack.enter_context(KernelRouting())
        yield Lab(paths, edges, routing, watcher, build_families)
