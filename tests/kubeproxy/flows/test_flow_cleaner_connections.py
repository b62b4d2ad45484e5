"""TCP connections to endpoints that are gone."""

from collections.abc import Sequence

import pytest

from nodeplane.datapath.conntrack.flow import Flow
from nodeplane.kube.objects import Object
from tests.kubeproxy.flows.cleaner_world import BACKING, CONNECTION, SERVICE, World, pods
from tests.kubeproxy.objects import DRAINING, UNREADY, endpoint, endpoint_slice


@pytest.mark.parametrize(
    ("terminate", "then", "expected"),
    [
        pytest.param(False, (SERVICE, pods(2)), [CONNECTION], id="not asked for"),
        pytest.param(True, (SERVICE, pods(2)), [], id="removed"),
        pytest.param(True, (SERVICE,), [], id="scale to zero"),
        pytest.param(True, (SERVICE, pods(1)), [CONNECTION], id="another one removed"),
        pytest.param(True, (), [CONNECTION], id="service deleted"),
        *(
            pytest.param(
                True,
                (
                    SERVICE,
                    endpoint_slice(
                        *(endpoint("10.244.0.1", conditions), endpoint("10.244.0.2")),
                        name="dns-1",
                        of="dns",
                        ports=BACKING,
                    ),
                ),
                [CONNECTION],
                id=name,
            )
            for name, conditions in (("unready", UNREADY), ("terminates", DRAINING))
        ),
    ],
)
def test_connections(terminate: bool, then: Sequence[Object], expected: list[Flow]) -> None:
    """TCP connections end with their endpoint, where that is asked for."""
    world = World(CONNECTION, terminate=terminate)
    world.show(SERVICE, pods(1, 2))
    world.show(*then)

    assert world.left() == expected
