"""Random cluster states: all that a Service can say, of so few names and addresses that they meet."""

from hypothesis import strategies as st

from nodeplane.kube.objects import (
    ClientIPConfig,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    Object,
    ObjectKey,
    Service,
    ServicePort,
    SessionAffinityConfig,
)
from tests.kubeproxy.collisions import COLLIDING
from tests.kubeproxy.objects import (
    DRAINING,
    READY,
    UNREADY,
    endpoint,
    endpoint_slice,
    node,
    service,
    service_cidr,
)

State = dict[ObjectKey, Object]

_NAMES = ("a", "b", "web")
_PORTS = (
    (ServicePort(80, "http"),),
    (ServicePort(80, "http", node_port=30080),),
    (ServicePort(80, "http", node_port=30081), ServicePort(53, "dns", "UDP", node_port=30080)),
    (ServicePort(81, "http"), ServicePort(80, "other")),
)
_BACKING = (
    (EndpointPort("http", "TCP", 8080),),
    (EndpointPort("http", "TCP", 8080), EndpointPort("dns", "UDP", 8080), EndpointPort("other", "TCP", 81)),
)
_LB, _LB6 = "192.0.2.1", "2001:db8::1"
_ANNOTATIONS = (
    None,
    {"nodeplane.io/lb": "maglev"},
    {"nodeplane.io/lb": "source-hash", "nodeplane.io/weights": "pod-1=2"},
    {"nodeplane.io/weights": "pod-0=3,10.244.0.2=0"},
    {"nodeplane.io/weights": "pod-0=17"},
)
# Around the borders of a pool's sizes.
_COUNTS = (0, 1, 2, 3, 5, 15, 16, 17, 21, 22)
_MANY = [f"10.244.0.{number}" for number in range(1, 12)]


@st.composite
def _services(draw: st.DrawFn, name: str) -> Service:
    def pick(*values: object) -> object:
        return draw(st.sampled_from(values))

    ips = draw(
        st.sampled_from(
            [
                *(("10.96.0.1",), ("10.96.0.2",), ("10.96.0.3",), ("10.96.0.1", "fd00:96::1")),
                *(("fd00:96::2", "10.96.0.4"), ("None",)),
            ]
        )
    )
    timeout = draw(st.sampled_from([None, 1, 10, 86400]))
    config = SessionAffinityConfig(ClientIPConfig(timeout)) if timeout else None
    return service(
        name,
        *ips,
        ports=draw(st.sampled_from(_PORTS)),
        labels=draw(st.sampled_from([None] * 7 + [{"service.kubernetes.io/service-proxy-name": "x"}])),
        annotations=draw(st.sampled_from(_ANNOTATIONS)),
        ingress=draw(
            st.sampled_from(
                [(), (_LB,), (_LB, _LB6), (LoadBalancerIngress(_LB, ip_mode="Proxy"), "192.0.2.2")]
            )
        ),
        raw_external_ips=pick(None, ("203.0.113.1",), (_LB, "2001:db8::2")),
        session_affinity=pick("None", "ClientIP"),
        session_affinity_config=config,
        internal_traffic_policy=pick(None, "Cluster", "Local"),
        external_traffic_policy=pick(None, "Cluster", "Local"),
        load_balancer_source_ranges=pick(
            None,
            ("10.0.0.0/8",),
            ("10.0.0.0/9", "192.168.0.0/16"),
            ("0.0.0.0/0",),
            ("10.1.0.0/16", "fd00::/8"),
        ),
    )


@st.composite
def _slices(draw: st.DrawFn, name: str) -> list[EndpointSlice]:
    count = draw(st.sampled_from(_COUNTS))
    addresses = (draw(st.sampled_from([COLLIDING, _MANY])) + _MANY + COLLIDING)[:count]
    conditions = draw(
        st.sampled_from([(READY,), (READY, UNREADY), (DRAINING, UNREADY), (READY, DRAINING, READY)])
    )
    nodes = draw(st.sampled_from([("n1",), ("n1", "n2"), ("n2",), (None, "n1")]))
    hints = draw(st.sampled_from([((), ()), (("z1",), ()), (("z2",), ()), (("z1", "z2"), ("n1",))]))

    def backends(texts: list[str]) -> tuple[Endpoint, ...]:
        return tuple(
            endpoint(
                text,
                conditions[index % len(conditions)],
                nodes[index % len(nodes)],
                pod=f"pod-{index}",
                zones=hints[0],
                nodes=hints[1] if index % 2 else (),
            )
            for index, text in enumerate(texts)
        )

    ports = draw(st.sampled_from(_BACKING))
    pieces = [endpoint_slice(*backends(addresses), name=f"{name}-1", of=name, ports=ports)]
    if draw(st.booleans()):
        # A second slice that repeats some of the first with other conditions.
        pieces.append(endpoint_slice(*backends(addresses[1:4]), name=f"{name}-2", of=name, ports=ports))
    if draw(st.booleans()):
        pieces.append(
            endpoint_slice(
                *backends(["fd00:1::1", "fd00:1::2"]), name=f"{name}-6", of=name, family="IPv6", ports=ports
            )
        )
    return pieces


@st.composite
def states(draw: st.DrawFn) -> State:
    """Draw all objects of a small cluster at one moment."""
    items: list[Object] = []
    for name in _NAMES:
        # Mostly both: what comes and goes as a whole is the simpler case.
        if draw(st.sampled_from([True, True, True, False])):
            items.append(draw(_services(name)))
        if draw(st.sampled_from([True, True, True, False])):
            items += draw(_slices(name))
    zone, ip = draw(st.sampled_from([("", "172.30.0.1"), ("z1", "10.0.0.1"), ("z2", "10.200.0.1")]))
    items.append(node("n1", ip, "fd00:30::1", zone=zone))
    items += [
        service_cidr(f"cidr-{number}", *cidrs)
        for number, cidrs in enumerate(
            draw(
                st.sampled_from(
                    [
                        (),
                        (("10.96.0.0/16", "fd00:96::/108"),),
                        (("10.96.0.0/24",), ("10.96.0.0/16", "10.97.0.0/16")),
                    ]
                )
            )
        )
    ]
    return {item.key: item for item in items}
