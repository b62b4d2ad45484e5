"""How a service port's virtual services choose, and which endpoints they have."""

import pytest

from kubeproxy.desired.annotations import read_balancing
from kubeproxy.desired.endpoints import Place, decode_slice
from kubeproxy.desired.service_port import FamilyView, ServicePort, build_service_ports
from kubeproxy.ipvs.layout import SPARE, VIRTUAL_SERVICES, decode_service
from kubeproxy.ipvs.virtual_services import build_claims, build_options
from nodeplane.datapath.ipvs.service import ServiceFlags, ServiceOptions
from nodeplane.kube.objects import ClientIPConfig, Endpoint, SessionAffinityConfig
from tests.kubeproxy import objects

LB, SCHEDULER, WEIGHTS = "nodeplane.io/lb", "nodeplane.io/scheduler", "nodeplane.io/weights"
PERSISTENT, FALLBACK, BY_PORT = ServiceFlags.PERSISTENT, ServiceFlags.FALLBACK, ServiceFlags.BY_PORT
AFFINE = {
    "session_affinity": "ClientIP",
    "session_affinity_config": SessionAffinityConfig(ClientIPConfig(7)),
}


def build(*endpoints: Endpoint, annotations: dict[str, str] | None = None, **spec: object) -> ServicePort:
    (port,) = build_service_ports(
        objects.service(annotations=annotations, **spec),  # type: ignore[arg-type]
        [decode_slice(objects.endpoint_slice(*endpoints))],
        FamilyView("ip", Place("n1", "z1")),
    )
    return port


@pytest.mark.parametrize(
    ("annotations", "spec", "default", "expected"),
    [
        pytest.param({}, {}, "rr", ServiceOptions("rr"), id="the default"),
        pytest.param({}, {}, "wlc", ServiceOptions("wlc"), id="another default"),
        pytest.param({SCHEDULER: "sed"}, {}, "rr", ServiceOptions("sed"), id="the Service's own"),
        pytest.param({SCHEDULER: "mh"}, {}, "rr", ServiceOptions("mh", FALLBACK), id="hashes fall back"),
        pytest.param({LB: "maglev"}, {}, "rr", ServiceOptions("mh", FALLBACK | BY_PORT), id="maglev"),
        pytest.param({LB: "source-hash"}, {}, "rr", ServiceOptions("mh", FALLBACK), id="source-hash"),
        pytest.param({WEIGHTS: "a=2"}, {}, "rr", ServiceOptions("wrr"), id="weights with rr"),
        pytest.param({WEIGHTS: "a=2"}, {}, "lc", ServiceOptions("wlc"), id="weights with lc"),
        pytest.param({WEIGHTS: "a=2", SCHEDULER: "rr"}, {}, "lc", ServiceOptions("rr"), id="said is said"),
        pytest.param({}, AFFINE, "rr", ServiceOptions("rr", PERSISTENT, 7), id="session affinity"),
    ],
)
def test_options(
    annotations: dict[str, str], spec: dict[str, object], default: str, expected: ServiceOptions
) -> None:
    assert build_options(build(annotations=annotations, **spec), "ip", default) == expected


def test_a_wrong_scheduler_is_left_out() -> None:
    balancing = read_balancing({SCHEDULER: "fastest"})

    assert (balancing.scheduler, len(balancing.problems)) == (None, 1)
    assert balancing.problems[0].startswith(f"{SCHEDULER}: expected rr or wrr")


def test_weights_and_those_that_only_serve_what_they_have() -> None:
    """By pod name; one that terminates beside ready ones is there with no weight of its own."""
    port = build(
        objects.endpoint("10.244.0.1", pod="a"),
        objects.endpoint("10.244.0.2", pod="b"),
        objects.endpoint("10.244.0.3", objects.DRAINING, pod="c"),
        annotations={WEIGHTS: "a=3, b=0"},
    )
    claims = build_claims(port, 0, ServiceOptions("wrr"), (), ())
    (data,) = (data for (name, _), data in claims.items() if name == VIRTUAL_SERVICES)

    assert [*decode_service("ip", data).servers.values()] == [3, 0, SPARE]
