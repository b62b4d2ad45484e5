"""The laws of the reconciler in mode ipvs, on fakes: what is written, in which order, and what is left."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.drain import Drain
from kubeproxy.ipvs.family import IpvsFamily
from kubeproxy.ipvs.layout import LINK, VIRTUAL_SERVICES, encode_service
from kubeproxy.ipvs.leftover import Leftover
from kubeproxy.ipvs.skeleton import TABLE_MAPS, build_skeleton, is_ipvs
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import CLUSTER_IPS, encode_frontend
from nodeplane.datapath.ipvs.fake import FakeIpvs
from nodeplane.datapath.ipvs.service import (
    DeleteService,
    NewServer,
    NewService,
    RealServer,
    ServerKey,
    ServiceKey,
    ServiceOptions,
)
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.table import ElementChange, Table
from nodeplane.datapath.rtnl import Change
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.errors import KernelError
from nodeplane.kube.objects import Object, ServicePort
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.object_states import State, states
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service

WEB = service()
BACKING = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", node="n2"))
FEWER = endpoint_slice(endpoint("10.244.0.1"))
VIP = ServiceKey("ip", 6, ip_address("10.96.0.1").packed, 80)
A, B = (ServerKey(ip_address(text).packed, 8080) for text in ("10.244.0.1", "10.244.0.2"))
NODE_IP = ip_address("192.0.2.1").packed


class Node:
    """The kernel's part, and proxiers over it."""

    def __init__(self) -> None:
        self.table, self.ipvs, self.rtnl = FakeTable(), FakeIpvs(), FakeRtnl()
        self.now_s = 0.0

    def proxier(self, *items: Object, family: Family = "ip", **more: Any) -> Proxier:
        """Build one, give it objects and sync it."""
        balancer = self.balancer(family, **more)
        proxier = Proxier("n1", [IpvsFamily(family, self.table, balancer, clock=lambda: self.now_s)])
        proxier.set_own_ips([NODE_IP])
        proxier.take(additions(*items))
        proxier.sync(full=True)
        return proxier

    def balancer(self, family: Family = "ip", **more: Any) -> Balancer:
        return Balancer(family, self.ipvs, AddressLink(family, self.rtnl), drain=Drain(100), **more)

    @property
    def writes(self) -> int:
        return self.table.batches + self.ipvs.writes + self.rtnl.writes

    def addresses(self) -> set[str]:
        # The link stays when its last address goes.
        return {str(each.ip) for each in self.rtnl.addresses_by_link().get(LINK, ())}

    def held(self) -> dict[str, dict[str, int]]:
        """Return the weights of real servers by virtual service, all as text."""
        return {
            str(key): {str(server): use.server.weight for server, use in self.ipvs.servers(key).items()}
            for key in self.ipvs.services()
        }

    def refused(self) -> set[str]:
        """Return the addresses whose other ports the table refuses."""
        state = self.table.read(build_skeleton("ip"))
        assert state is not None
        return {str(ip_address(address)) for address in state.elements[CLUSTER_IPS]}

    def signature(self) -> str:
        """Return the table's comment."""
        state = self.table.read(build_skeleton("ip"))
        assert state is not None
        return state.signature

    def whole(self) -> tuple[object, ...]:
        """Return all that is there."""
        state = self.table.read(build_skeleton("ip"))
        assert state is not None
        elements = {name: state.elements[name] for name in TABLE_MAPS}
        return elements, self.ipvs.services(), self.held(), self.addresses()


def change(proxier: Proxier, before: Object, after: Object | None) -> None:
    proxier.take(diff_objects({before.key: before}, {after.key: after} if after else {}))
    proxier.sync(full=False)


def test_publishes_everywhere() -> None:
    """A virtual service for each frontend; node ports at the node's addresses, the others on the link."""
    node = Node()
    node.proxier(
        service(
            ports=(ServicePort(80, "http", node_port=30080),),
            ingress=("198.51.100.7",),
            raw_external_ips=("198.51.100.8", "192.0.2.1"),
        ),
        BACKING,
    )
    both = {"10.244.0.1:8080": 1, "10.244.0.2:8080": 1}

    assert node.held() == {
        "TCP 10.96.0.1:80": both,
        "TCP 198.51.100.7:80": both,
        "TCP 198.51.100.8:80": both,
        # One of the node's own stays on its link.
        "TCP 192.0.2.1:80": both,
        "TCP 192.0.2.1:30080": both,
    }
    assert node.addresses() == {"10.96.0.1", "198.51.100.7", "198.51.100.8"}


def test_policy_local_has_a_mark_for_the_inside() -> None:
    """Clients from outside get this node's endpoints, this node and its pods all of them."""
    node = Node()
    node.proxier(service(ingress=("198.51.100.7",), external_traffic_policy="Local"), BACKING)
    held = node.held()
    (mark,) = (key for key in held if "mark" in key)

    assert held == {
        "TCP 10.96.0.1:80": {"10.244.0.1:8080": 1, "10.244.0.2:8080": 1},
        "TCP 198.51.100.7:80": {"10.244.0.1:8080": 1},
        mark: {"10.244.0.1:8080": 1, "10.244.0.2:8080": 1},
    }


def test_a_restart_writes_nothing() -> None:
    node = Node()
    node.proxier(WEB, BACKING)
    before = node.writes
    node.proxier(WEB, BACKING)

    assert node.writes == before


def test_all_goes() -> None:
    """Without connections nothing has to wait: no service, no address."""
    node = Node()
    proxier = node.proxier(WEB, BACKING)
    change(proxier, WEB, None)

    assert (node.held(), node.addresses(), proxier.is_draining) == ({}, set(), False)


def test_connections_are_waited_for() -> None:
    """Of an endpoint, then of the service; its address stays as long."""
    node = Node()
    proxier = node.proxier(WEB, BACKING)
    node.ipvs.connect(VIP, A, active=1)
    node.ipvs.connect(VIP, B, active=0, inactive=1)
    change(proxier, BACKING, FEWER)
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 1, "10.244.0.2:8080": 0}}

    node.now_s = 50
    change(proxier, WEB, None)
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 0, "10.244.0.2:8080": 0}}
    node.now_s = 100
    proxier.drain()
    assert (node.held(), node.addresses()) == ({"TCP 10.96.0.1:80": {"10.244.0.1:8080": 0}}, {"10.96.0.1"})
    node.ipvs.connect(VIP, A, active=0)
    proxier.drain()
    assert (node.held(), node.addresses(), proxier.is_draining) == ({}, set(), False)


def test_an_address_that_stays_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for connections, the link has it: new ones must not reach the node's own sockets."""
    node = Node()
    balancer_ip = ip_address("198.51.100.7")
    web = service(ingress=(str(balancer_ip),))
    proxier = node.proxier(web, BACKING)
    node.ipvs.connect(ServiceKey("ip", 6, balancer_ip.packed, 80), A, active=1)
    seen: list[set[str]] = []
    update = node.table.update

    def spy(skeleton: Table, changes: Mapping[str, ElementChange]) -> None:
        update(skeleton, changes)
        seen.append(node.refused())

    monkeypatch.setattr(node.table, "update", spy)
    change(proxier, web, None)
    assert (node.addresses(), node.refused()) == ({str(balancer_ip)}, {str(balancer_ip)})
    # The other address is free when the link has it no more; this one was not, not for a moment.
    assert seen == [{str(balancer_ip), "10.96.0.1"}, {str(balancer_ip)}]

    # A restart, and a Service elsewhere, change nothing about it.
    other = service("own", "10.96.0.2")
    restarted = node.proxier(other, BACKING)
    assert node.refused() == {str(balancer_ip), "10.96.0.2"}
    before = node.writes
    assert restarted.sync(full=True).elements == 0
    assert node.writes == before

    node.ipvs.connect(ServiceKey("ip", 6, balancer_ip.packed, 80), A, active=0)
    restarted.drain()
    assert (node.addresses(), node.refused()) == ({"10.96.0.2"}, {"10.96.0.2"})
    assert not restarted.is_disturbed()


@pytest.mark.parametrize("before", ["nothing", "nftables"])
def test_an_address_that_comes_is_refused(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """Before the link has it, a table says what its other ports are; mode nftables serves to the end."""
    node = Node()
    web = service(ingress=("198.51.100.7",))
    if before == "nftables":
        proxier = Proxier("n1", [FamilyProxier("ip", node.table)])
        proxier.take(additions(web, BACKING))
        proxier.sync(full=True)
    seen: list[tuple[set[str], bool]] = []
    apply = node.rtnl.apply

    def spy(changes: Sequence[Change]) -> Mapping[int, KernelError]:
        seen.append((node.refused(), is_ipvs(node.signature())))
        return apply(changes)

    monkeypatch.setattr(node.rtnl, "apply", spy)
    proxier = node.proxier(web, BACKING)
    proxier.take(additions(service("own", "10.96.0.2")))
    proxier.sync(full=False)

    two = {"10.96.0.1", "198.51.100.7"}
    assert seen == [(two, before == "nothing"), ({*two, "10.96.0.2"}, True)]
    assert not proxier.is_disturbed()


def test_what_is_killed_is_found() -> None:
    """The link is there before the first virtual service: by it mode nftables sees what has to go."""
    node = Node()
    balancer = node.balancer()
    balancer.read()
    key = encode_frontend(VIP.address, "TCP", 80)
    data = encode_service(ServiceOptions("rr"), [])
    balancer.bring(balancer.plan({VIRTUAL_SERVICES: ElementChange(add={key: data})}))

    assert node.rtnl.find_link(LINK) is not None


def test_time_runs_on_while_the_kernel_is_compared() -> None:
    """A look for damage in between does not begin it anew, and one that has gone meanwhile is no error."""
    node = Node()
    proxier = node.proxier(WEB, BACKING)
    node.ipvs.connect(VIP, B, active=1)
    change(proxier, BACKING, FEWER)
    for node.now_s in (50, 99):
        proxier.sync(full=True)
        proxier.drain()
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 1, "10.244.0.2:8080": 0}}
    node.now_s = 100
    proxier.sync(full=True)
    proxier.drain()
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 1}}

    node.ipvs.connect(VIP, A, active=1)
    change(proxier, WEB, None)
    node.ipvs.apply([DeleteService(VIP)])
    proxier.sync(full=True)
    assert (node.held(), node.addresses(), proxier.is_draining) == ({}, set(), False)


def test_a_service_that_comes_back_is_used_again() -> None:
    node = Node()
    proxier = node.proxier(WEB, BACKING)
    node.ipvs.connect(VIP, A, active=1)
    change(proxier, WEB, None)
    proxier.take(additions(WEB))
    proxier.sync(full=False)
    node.now_s = 1000
    proxier.drain()

    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 1, "10.244.0.2:8080": 1}}
    assert node.addresses() == {"10.96.0.1"}
    assert node.ipvs.servers(VIP)[A].active == 1


def test_others_are_left_alone() -> None:
    """Marks that are not ours, and what excludeCIDRs says; all else is taken for ours, and goes."""
    node = Node()
    foreign = ServiceKey("ip", mark=7)
    excluded = ServiceKey("ip", 6, ip_address("203.0.113.9").packed, 80)
    stray = ServiceKey("ip", 6, ip_address("203.0.113.99").packed, 80)
    for key in (foreign, excluded, stray):
        node.ipvs.apply([NewService(key, ServiceOptions("rr")), NewServer(key, A, RealServer())])
    node.proxier(WEB, BACKING, excluded=[ip_network("203.0.113.8/31")])

    assert {*node.held()} == {"TCP 10.96.0.1:80", "ip mark 0x7", "TCP 203.0.113.9:80"}


def test_damage_is_repaired() -> None:
    """What somebody has changed a full sync puts right, and nothing else."""
    node = Node()
    proxier = node.proxier(WEB, BACKING)
    whole = node.whole()
    node.ipvs.apply([NewServer(VIP, ServerKey(A.address, 81), RealServer())])
    node.rtnl.delete_link(LINK)
    proxier.sync(full=True)

    assert node.whole() == whole


@pytest.mark.parametrize("annotation", ["mh", "lblc"])
def test_a_scheduler_that_is_not_there(annotation: str) -> None:
    """One Service's wish does not stop the others: it gets the default."""
    node = Node()
    node.ipvs = FakeIpvs(schedulers=("rr",))
    proxier = node.proxier(service(annotations={"nodeplane.io/scheduler": annotation}), BACKING)

    assert node.ipvs.services() == {VIP: ServiceOptions("rr", 8 if annotation == "mh" else 0)}
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 1, "10.244.0.2:8080": 1}}
    # Nor is it damage, each time that the kernel is compared.
    assert proxier.sync(full=True).elements == 0


def test_what_is_left_in_mode_nftables() -> None:
    """It waits for the connections, and then even the link is gone."""
    node = Node()
    node.proxier(WEB, BACKING)
    node.ipvs.connect(VIP, A, active=1)
    leftover = Leftover([node.balancer()], AddressLink("ip", node.rtnl), clock=lambda: node.now_s)
    leftover.drain()
    assert node.held() == {"TCP 10.96.0.1:80": {"10.244.0.1:8080": 0}}
    node.now_s = 100
    leftover.drain()

    assert (node.held(), node.rtnl.find_link(LINK), leftover.is_draining) == ({}, None, False)


@given(st.lists(states(), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_path_does_not_matter(path: list[State]) -> None:
    """The kernel's state depends on the last desired state alone (law 1)."""
    node, fresh = Node(), Node()
    proxier = node.proxier()
    before: State = {}
    for state in path:
        proxier.take(diff_objects(before, state))
        proxier.sync(full=False)
        before = state
    fresh.proxier(*before.values())

    assert node.whole() == fresh.whole()


def test_one_refusal_does_not_stop_the_others() -> None:
    """What the kernel refuses is an error, and everything else is written."""
    node = Node()
    balancer = node.balancer(default_scheduler="npt-none")
    proxier = Proxier("n1", [IpvsFamily("ip", node.table, balancer, scheduler="npt-none")])
    other = service("own", "10.96.0.2", annotations={"nodeplane.io/scheduler": "lc"})
    proxier.take(additions(WEB, BACKING, other))
    with pytest.raises(KernelError, match="npt-none"):
        proxier.sync(full=True)

    assert {*node.held()} == {"TCP 10.96.0.2:80"}
    assert node.addresses() == {"10.96.0.1", "10.96.0.2"}
    assert node.table.batches == 1
