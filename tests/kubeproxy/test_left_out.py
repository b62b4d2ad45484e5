"""Why an endpoint gets no new connections."""

import pytest

from kubeproxy.desired.endpoints import Place, decode_slice, merge_port
from kubeproxy.left_out import explain_left_out
from nodeplane.kube.objects import Endpoint
from tests.kubeproxy.objects import DRAINING, DYING, UNREADY, at, endpoint, endpoint_slice

A, B = "10.244.0.1", "10.244.0.2"


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        pytest.param([endpoint(A), endpoint(B, node="n2")], {}, id="all in use"),
        pytest.param([endpoint(A), endpoint(B, UNREADY)], {B: "not ready"}, id="unready"),
        pytest.param(
            [endpoint(A), endpoint(B, DRAINING)], {B: "terminates, and others are ready"}, id="draining"
        ),
        pytest.param([endpoint(A, DRAINING), endpoint(B, DYING)], {B: "has terminated"}, id="dying"),
        pytest.param(
            [endpoint(A, zones=("z1",)), endpoint(B, node="n2", zones=("z2", "z3"))],
            {B: "hints mean it for zones z2, z3"},
            id="zones",
        ),
        pytest.param(
            [endpoint(A, nodes=("n1",)), endpoint(B, node="n2", nodes=("n2",))],
            {B: "hints mean it for node n2"},
            id="nodes",
        ),
        pytest.param(
            [endpoint(A, node="n2", zones=("z1",)), endpoint(B, zones=("z2",))],
            {B: "hints mean it for zone z2, but for policy Local it is one of this node's"},
            id="here, and meant for others",
        ),
    ],
)
def test_reasons(endpoints: list[Endpoint], expected: dict[str, str]) -> None:
    """One reason for each endpoint that is not in the pool."""
    backends = merge_port([decode_slice(endpoint_slice(*endpoints))], "http", "TCP")

    assert explain_left_out(backends, Place("n1", "z1")) == {at(end): why for end, why in expected.items()}
