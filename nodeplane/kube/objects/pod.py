"""Pod: its containers' ports, its addresses and whether it is ready."""

import msgspec

from nodeplane.kube.objects.base import Object, Port, Protocol, Value


class ContainerPort(Value, frozen=True):
    """A port that a container names."""

    container_port: Port
    name: str = ""
    protocol: Protocol = "TCP"


class Container(Value, frozen=True):
    """A container, as far as its ports go."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = None


class PodSpec(Value, frozen=True):
    """What the pod asked for."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""


class PodIP(Value, frozen=True):
    """One address of a pod."""

    ip: str


class PodCondition(Value, frozen=True):
    """One condition, e.g. Ready."""

    type: str
    status: str


class PodStatus(Value, frozen=True):
    """What became of the pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=None)
    conditions: tuple[PodCondition, ...] | None = None


class Pod(Object, frozen=True):
    """A pod (v1)."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
