"""Service: its virtual addresses and ports, how its traffic is to be spread; and ServiceCIDR."""

from typing import Literal

import msgspec

from nodeplane.kube.objects.base import Object, Port, PortOrNone, Protocol, Value

DEFAULT_AFFINITY_TIMEOUT_S = 10800
"""Three hours, what the API server fills in (core/v1 DefaultClientIPServiceAffinitySeconds)."""


class ServicePort(Value, frozen=True):
    """One port of a Service; `targetPort` is a number or the name of a container's port."""

    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: int | str | None = None
    node_port: PortOrNone | None = None


class ClientIPConfig(Value, frozen=True):
    """How long a client stays with its endpoint after its last new connection."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(Value, frozen=True):
    """The settings of `sessionAffinity: ClientIP`."""

    client_ip: ClientIPConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(Value, frozen=True):
    """How a Service is published."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    raw_cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    raw_ports: tuple[ServicePort, ...] | None = msgspec.field(name="ports", default=None)
    selector: dict[str, str] | None = None
    external_name: str = ""
    raw_external_ips: tuple[str, ...] | None = msgspec.field(name="externalIPs", default=None)
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    health_check_node_port: PortOrNone | None = None

    @property
    def affinity_timeout_s(self) -> int:
        """Seconds that a client stays with its endpoint; 0 without session affinity."""
        if self.session_affinity != "ClientIP":
            return 0
        config = self.session_affinity_config
        timeout_s = config.client_ip.timeout_seconds if config and config.client_ip else None
        return timeout_s or DEFAULT_AFFINITY_TIMEOUT_S

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        """The ports; none is an empty tuple."""
        return self.raw_ports or ()

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """The addresses to publish: none for a headless or ExternalName Service."""
        if self.type == "ExternalName" or self.cluster_ip in {"", "None"}:
            return ()
        return self.raw_cluster_ips or (self.cluster_ip,)


class LoadBalancerIngress(Value, frozen=True):
    """One address of a load balancer; with `ipMode: Proxy` its packets come to us addressed otherwise."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Value, frozen=True):
    """Where a load balancer can be reached."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Value, frozen=True):
    """What others have done for the Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(Object, frozen=True):
    """A name and a virtual address for a set of pods (v1)."""

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def is_headless(self) -> bool:
        """Whether names lead straight to the endpoints (`clusterIP: None`)."""
        return self.spec.type != "ExternalName" and self.spec.cluster_ip == "None"


class ServiceCIDRSpec(Value, frozen=True):
    """The networks that Services' addresses come from."""

    cidrs: tuple[str, ...] | None = None


class ServiceCIDR(Object, frozen=True):
    """Networks of Services' addresses (networking.k8s.io/v1)."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()
