"""The addresses and node ports of Services: which are taken, and what a Service gets.

It follows k8s.io/kubernetes/pkg/registry/core/service: families first, then addresses, then ports. What an
earlier version of the Service had and the new one does not mention stays.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import msgspec

from netns_lab.apiserver.history import Event, ObjectName
from netns_lab.apiserver.resources import SERVICES
from netns_lab.apiserver.service_spec import (
    HEADLESS,
    assign_families,
    carry_over,
    is_address,
    node_port_causes,
)
from netns_lab.apiserver.status import Cause, FieldPath, internal_error, invalid, invalid_value
from netns_lab.apiserver.wire import Item, Json

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_RANDOM_TRIES = 20


class ServiceRanges(msgspec.Struct, frozen=True):
    """What Services get their addresses (one range for each family, the primary first) and ports from."""

    cidrs: tuple[Network, ...] = (IPv4Network("10.96.0.0/16"),)
    first_node_port: int = 30000
    last_node_port: int = 32767

    @property
    def families(self) -> tuple[str, ...]:
        """The families that Services may have, the default first."""
        return tuple(f"IPv{cidr.version}" for cidr in self.cidrs)

    @property
    def server_address(self) -> str:
        """The address of the Service `kubernetes`: the first one (KubernetesServiceIP)."""
        return str(self.cidrs[0][1])


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    node_port: int = 0


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    cluster_ips: tuple[str, ...] = msgspec.field(name="clusterIPs", default=())
    ports: tuple[_Port, ...] | None = ()
    health_check_node_port: int = 0


class _Service(msgspec.Struct, frozen=True):
    spec: _Spec


_decode = msgspec.json.Decoder(_Service).decode


class ServiceAddresses:
    """What the Services of the state hold; `observe` keeps it in step."""

    def __init__(self, ranges: ServiceRanges) -> None:
        self._ranges = ranges
        self._addresses: dict[str, ObjectName] = {}
        self._ports: dict[int, ObjectName] = {}

    def load(self, item: Item) -> None:
        """Take in a Service that is there when the server starts."""
        self._hold(item)

    def observe(self, event: Event) -> None:
        """Take in a step of a Service."""
        if event.old is not None:
            spec = _decode(event.old.body).spec
            for address in spec.cluster_ips:
                self._addresses.pop(address, None)
            for port in _held_ports(spec):
                self._ports.pop(port, None)
        if event.new is not None:
            self._hold(event.new)

    @contextmanager
    def assigned(self, value: Json, old: Json | None, *, dry_run: bool = False) -> Iterator[None]:
        """Fill in the addresses and ports of a Service that has its defaults, in place, and hold them.

        Nobody else gets them while the body writes the Service. If that fails they are let go.

        Raises:
            StatusError: 422, what it asks for is taken or out of range; 500, nothing is left.
        """
        self._assign(value, old)
        owner = (value["metadata"]["namespace"], value["metadata"]["name"])
        spec = msgspec.convert(value["spec"], _Spec)
        addresses = [text for text in spec.cluster_ips if text != HEADLESS and text not in self._addresses]
        ports = [number for number in _held_ports(spec) if number not in self._ports]
        if not dry_run:
            self._addresses.update((text, owner) for text in addresses)
            self._ports.update((number, owner) for number in ports)
        try:
            yield
        except BaseException:
            for text in addresses:
                self._addresses.pop(text, None)
            for number in ports:
                self._ports.pop(number, None)
            raise

    def _assign(self, value: Json, old: Json | None) -> None:
        spec = value["spec"]
        if spec["type"] == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(name, None)
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
            return
        owner = (value["metadata"]["namespace"], value["metadata"]["name"])
        before = old["spec"] if old is not None and old["spec"]["type"] != "ExternalName" else {}
        carry_over(spec, before)
        causes = [*assign_families(spec, self._ranges.families), *node_port_causes(spec)]
        if not causes:
            causes += self._assign_addresses(spec, before, owner)
            causes += self._assign_ports(spec, owner)
        if causes:
            raise invalid(SERVICES, value["metadata"]["name"], causes)

    def _hold(self, item: Item) -> None:
        owner = (item.namespace, item.name)
        spec = _decode(item.body).spec
        self._addresses.update((address, owner) for address in spec.cluster_ips if address != HEADLESS)
        self._ports.update((port, owner) for port in _held_ports(spec))

    def _assign_addresses(self, spec: Json, before: Json, owner: ObjectName) -> Iterator[Cause]:
        if spec.get("clusterIP") == HEADLESS:
            spec["clusterIPs"] = [HEADLESS]
            return
        asked = spec.get("clusterIPs") or []
        held = set(before.get("clusterIPs") or ())
        addresses = []
        for index, family in enumerate(spec["ipFamilies"]):
            if index >= len(asked):
                addresses.append(self._free_address(family))
                continue
            text = asked[index]
            addresses.append(text)
            if text not in held:
                problem = self._address_problem(text, family, owner)
                if problem:
                    yield invalid_value(
                        ("spec", "clusterIPs"), asked, f"failed to allocate IP {text}: {problem}"
                    )
        spec["clusterIPs"] = addresses
        spec["clusterIP"] = addresses[0]

    def _address_problem(self, text: str, family: str, owner: ObjectName) -> str:
        cidr = self._cidr(family)
        if not is_address(text) or ip_address(text) not in cidr:
            return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {cidr}"
        if self._addresses.get(text, owner) != owner:
            return "provided IP is already allocated"
        return ""

    def _cidr(self, family: str) -> Network:
        return next(cidr for cidr in self._ranges.cidrs if f"IPv{cidr.version}" == family)

    def _free_address(self, family: str) -> str:
        """Pick an address at random; the lower band is left to those who ask for one (KEP-3070)."""
        cidr = self._cidr(family)
        # Neither the network's address nor, in IPv4, the broadcast address.
        last = cidr.num_addresses - (2 if cidr.version == 4 else 1)
        band = min(max(16, cidr.num_addresses // 16), 256) if cidr.num_addresses > 32 else 0
        for _ in range(_RANDOM_TRIES):
            text = str(cidr[random.randint(min(band + 1, last), last)])
            if text not in self._addresses:
                return text
        # So full that guessing does not help: look at each, the upper band first.
        for offset in (*range(band + 1, min(last, 1 << 20) + 1), *range(1, band + 1)):
            text = str(cidr[offset])
            if text not in self._addresses:
                return text
        raise internal_error("failed to allocate a serviceIP: range is full")

    def _assign_ports(self, spec: Json, owner: ObjectName) -> Iterator[Cause]:
        wanted = spec["type"] == "NodePort" or (
            spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
        )
        taken: dict[int, set[str]] = {}
        ports = spec.get("ports") or [] if spec["type"] != "ClusterIP" else []
        for index, port in enumerate(ports):
            number = port.get("nodePort") or 0
            if number:
                yield from self._port_causes(("spec", "ports", index, "nodePort"), number, owner)
                if port["protocol"] in taken.get(number, ()):
                    detail = "provided port is already allocated"
                    yield invalid_value(("spec", "ports", index, "nodePort"), number, detail)
                taken.setdefault(number, set()).add(port["protocol"])
        for port in ports:
            if wanted and not port.get("nodePort"):
                # A port of two protocols (DNS) has one number for both.
                twin = next(
                    (
                        other["nodePort"]
                        for other in ports
                        if other.get("nodePort")
                        and other["port"] == port["port"]
                        and port["protocol"] not in taken[other["nodePort"]]
                    ),
                    0,
                )
                port["nodePort"] = twin or self._free_port(taken)
                taken.setdefault(port["nodePort"], set()).add(port["protocol"])
        yield from self._assign_health_port(spec, owner, taken)

    def _assign_health_port(
        self, spec: Json, owner: ObjectName, taken: dict[int, set[str]]
    ) -> Iterator[Cause]:
        if spec["type"] != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
            spec.pop("healthCheckNodePort", None)
        elif spec.get("healthCheckNodePort"):
            yield from self._port_causes(("spec", "healthCheckNodePort"), spec["healthCheckNodePort"], owner)
        else:
            spec["healthCheckNodePort"] = self._free_port(taken)

    def _port_causes(self, path: FieldPath, number: int, owner: ObjectName) -> Iterator[Cause]:
        first, last = self._ranges.first_node_port, self._ranges.last_node_port
        if not first <= number <= last:
            detail = f"provided port is not in the valid range. The range of valid ports is {first}-{last}"
            yield invalid_value(path, number, detail)
        elif self._ports.get(number, owner) != owner:
            yield invalid_value(path, number, "provided port is already allocated")

    def _free_port(self, taken: dict[int, Any]) -> int:
        every = range(self._ranges.first_node_port, self._ranges.last_node_port + 1)
        for _ in range(_RANDOM_TRIES):
            number = random.choice(every)
            if number not in self._ports and number not in taken:
                return number
        for number in every:
            if number not in self._ports and number not in taken:
                return number
        raise internal_error("failed to allocate a nodePort: range is full")


def _held_ports(spec: _Spec) -> Iterator[int]:
    yield from (port.node_port for port in spec.ports or () if port.node_port)
    if spec.health_check_node_port:
        yield spec.health_check_node_port
