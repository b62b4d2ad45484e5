"""EndpointSlices as an API server sends them, and Kubernetes' defaults for what it leaves out."""

import json
from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import (
    Endpoint,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    Metadata,
)

NAME = Metadata("a", "b")


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param({"endpoints": None, "ports": None}, EndpointSlice(NAME, "IPv4"), id="nulls"),
        pytest.param({}, EndpointSlice(NAME, "IPv4"), id="nothing"),
        pytest.param(
            {"ports": [{}]},
            EndpointSlice(NAME, "IPv4", raw_ports=(EndpointPort(),)),
            id="port without number",
        ),
        pytest.param(
            {"ports": [{"name": None, "port": None}]},
            EndpointSlice(NAME, "IPv4", raw_ports=(EndpointPort(),)),
            id="port with nulls",
        ),
        pytest.param(
            {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": None}, "zone": None}]},
            EndpointSlice(NAME, "IPv4", (Endpoint(("10.0.0.1",)),)),
            id="endpoint with nulls",
        ),
    ],
)
def test_slice_defaults(wire: dict[str, Any], expected: EndpointSlice) -> None:
    """Null, empty and absent are the same, as Go's encoder makes no difference."""
    text = json.dumps({"metadata": {"name": "a", "namespace": "b"}, "addressType": "IPv4", **wire})
    piece = msgspec.json.decode(text, type=EndpointSlice)

    assert (piece.endpoints, piece.ports) == (expected.endpoints, expected.ports)
    assert piece.service_name == ""


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        pytest.param({}, True, True, False, id="none: ready"),
        pytest.param({"ready": None, "serving": None, "terminating": None}, True, True, False, id="nulls"),
        pytest.param({"ready": True}, True, True, False, id="ready: serving"),
        pytest.param({"ready": False}, False, False, False, id="not ready: not serving"),
        pytest.param(
            {"ready": False, "serving": True, "terminating": True}, False, True, True, id="draining"
        ),
        pytest.param({"ready": True, "serving": False}, True, False, False, id="serving has the last word"),
    ],
)
def test_conditions(
    conditions: dict[str, bool | None], ready: bool, serving: bool, terminating: bool
) -> None:
    """Unknown is ready, serving is what ready is, not terminating (k/k pkg/apis/discovery/types.go)."""
    endpoint = msgspec.convert({"addresses": ["10.0.0.1"], "conditions": conditions}, Endpoint)

    assert (endpoint.is_ready, endpoint.is_serving, endpoint.is_terminating) == (ready, serving, terminating)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"hints": None}, None, id="null"),
        pytest.param({"hints": {}}, EndpointHints(), id="empty"),
        pytest.param(
            {"hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}, {"name": "n2"}]}},
            EndpointHints((Hint("z1"),), (Hint("n1"), Hint("n2"))),
            id="zones and nodes",
        ),
    ],
)
def test_hints(wire: dict[str, Any], expected: EndpointHints | None) -> None:
    """An endpoint says which zones and nodes it is meant for."""
    assert msgspec.convert({"addresses": ["10.0.0.1"], **wire}, Endpoint).hints == expected
