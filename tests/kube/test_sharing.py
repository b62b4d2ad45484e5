"""Sharing saves memory and changes nothing."""

from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import EndpointSlice, Node, Object, Pod, Service
from nodeplane.kube.sharing import share
from tests.kube.recordings import recorded_items


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(Service, "list-services.json", id="Services"),
        pytest.param(EndpointSlice, "list-endpointslices.json", id="EndpointSlices"),
        pytest.param(Node, "list-nodes.json", id="Nodes"),
        pytest.param(Pod, "list-pods.json", id="Pods"),
    ],
)
def test_an_object_stays_as_it_is(kind: type[Object], name: str) -> None:
    """A shared object is equal to the one before, also without any of its optional parts."""
    values: list[Any] = [*recorded_items(name)]
    if kind is not EndpointSlice:
        values.append({"metadata": {"name": "bare"}})
    for value in values:
        before, after = (msgspec.convert(value, kind) for _ in range(2))
        share(after)
        assert after == before


def test_what_is_alike_is_the_same() -> None:
    """Names, labels, conditions and ports that two slices share are there once."""
    value = recorded_items("list-endpointslices.json")[-1]
    one, other = (msgspec.json.decode(msgspec.json.encode(value), type=EndpointSlice) for _ in range(2))
    share(one)
    share(other)

    def shared(piece: EndpointSlice) -> list[Any]:
        endpoint = piece.endpoints[0]
        target = endpoint.target_ref
        assert target is not None
        parts = (
            piece.metadata.namespace,
            endpoint.node_name,
            endpoint.conditions,
            target.kind,
            piece.raw_ports,
        )
        return [id(each) for each in (*parts, *piece.labels.values())]

    assert shared(one) == shared(other)
