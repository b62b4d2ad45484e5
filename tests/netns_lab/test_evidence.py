"""From what the client says and what the links show to the evidence."""

from ipaddress import IPv4Address

import pytest

from netns_lab.capture import Packet
from netns_lab.evidence import ClientResult, Connection, Stage, build_evidence, build_stage, find_pair
from netns_lab.judge import Evidence, Share
from tests.netns_lab.samples import CLIENT, TOPOLOGY, held, service

ADDRESSES = {
    "clients/client": (IPv4Address("10.0.0.1"),),
    "default/web-1": (IPv4Address("10.0.0.2"),),
    "default/web-2": (IPv4Address("10.0.1.2"),),
}
WEB_1 = Share("default/web-1", "n1", "10.0.0.2", 8080)
WEB_2 = Share("default/web-2", "n2", "10.0.1.2", 8080)
STAGE = Stage(
    client=CLIENT,
    client_address=IPv4Address("10.0.0.1"),
    name="web.default.svc.cluster.local",
    cluster_ip="10.96.209.100",
    port=80,
    backends=(WEB_1, WEB_2),
    watched_node="n2",
)

BEFORE = Packet("10.0.0.1", 4000, "10.96.209.100", 80, "S", 77)
AFTER = Packet("10.0.0.1", 4000, "10.0.1.2", 8080, "S", 77)
OTHER = Packet("10.0.0.1", 4001, "10.96.209.100", 80, "S", 5)
LATER = Packet("10.0.0.1", 4000, "10.0.1.2", 8080, "S", 78)


def test_build_stage() -> None:
    stage = build_stage(
        TOPOLOGY,
        ADDRESSES,
        held(TOPOLOGY, ADDRESSES, service(), ports={"": 8080}),
        "clients/client",
        ("default", "web"),
    )

    assert stage == STAGE
    assert stage.watched_pods == {"default/web-2"}


def answered(port: int, pod: str) -> Connection:
    """Return a connection that a pod answered."""
    return Connection(port, answer={"namespace": "default", "pod": pod, "node": "n"})


@pytest.mark.parametrize(
    ("connections", "errors", "strangers", "counts", "pair"),
    [
        pytest.param([], (), (), (0, 0), (None, None), id="no connections"),
        pytest.param(
            [answered(4001, "web-1"), answered(4000, "web-2")],
            (),
            (),
            (1, 1),
            (BEFORE, AFTER),
            id="both backends",
        ),
        pytest.param(
            [answered(4001, "web-1")] * 3, (), (), (3, 0), (None, None), id="none to the watched node"
        ),
        pytest.param(
            [Connection(error="timed out")], ("timed out",), (), (0, 0), (None, None), id="an error"
        ),
        pytest.param(
            [answered(4000, "z"), answered(4001, "z")],
            (),
            ("default/z", "default/z"),
            (0, 0),
            (None, None),
            id="a stranger, twice",
        ),
    ],
)
def test_build_evidence(
    connections: list[Connection],
    errors: tuple[str, ...],
    strangers: tuple[str, ...],
    counts: tuple[int, int],
    pair: tuple[Packet | None, Packet | None],
) -> None:
    result = ClientResult(("10.96.209.100",), tuple(connections))

    assert build_evidence(STAGE, result, [OTHER, BEFORE], [AFTER]) == Evidence(
        name=STAGE.name,
        answers=("10.96.209.100",),
        cluster_ip="10.96.209.100",
        port=80,
        connections=len(connections),
        errors=errors,
        strangers=strangers,
        shares=(
            Share("default/web-1", "n1", "10.0.0.2", 8080, counts[0]),
            Share("default/web-2", "n2", "10.0.1.2", 8080, counts[1]),
        ),
        before=pair[0],
        after=pair[1],
    )


@pytest.mark.parametrize(
    ("client_side", "node_side", "pair"),
    [
        pytest.param([OTHER, BEFORE], [AFTER], (BEFORE, AFTER), id="the one that is on both"),
        pytest.param([BEFORE], [LATER], (BEFORE, LATER), id="no match"),
        pytest.param([OTHER], [], (None, None), id="none of these connections"),
        pytest.param([BEFORE], [], (BEFORE, None), id="lost on the way"),
        pytest.param([], [AFTER], (None, AFTER), id="never seen before"),
    ],
)
def test_find_pair(
    client_side: list[Packet], node_side: list[Packet], pair: tuple[Packet | None, Packet | None]
) -> None:
    assert find_pair([4000], client_side, node_side) == pair
