"""What an API server would refuse of an EndpointSlice."""

from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import EndpointSlice
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import Problem
from tests.kube.expectations import NOWHERE, REACHABLE


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        pytest.param({"forZones": [{"name": "eu-1a"}, {"name": "eu-1b"}]}, [], id="zones"),
        pytest.param({"forNodes": [{"name": "n1.example.org"}]}, [], id="node"),
        pytest.param({"forZones": None, "forNodes": None}, [], id="nulls"),
        pytest.param(
            {"forZones": [{"name": "a b"}]},
            [(("forZones", 0, "name"), "expected the name of a zone")],
            id="no zone",
        ),
        pytest.param(
            {"forZones": [{"name": "a" * 64}]},
            [(("forZones", 0, "name"), "expected the name of a zone")],
            id="zone too long",
        ),
        pytest.param(
            {"forNodes": [{"name": "A"}]},
            [(("forNodes", 0, "name"), "expected the name of a node")],
            id="no node",
        ),
        pytest.param(
            {"forZones": [{"name": "a"}, {"name": "a"}]},
            [(("forZones", 1, "name"), "expected each name once")],
            id="zone twice",
        ),
        pytest.param(
            {"forNodes": [{"name": f"n{number}"} for number in range(9)]},
            [(("forNodes",), "expected at most 8")],
            id="too many",
        ),
    ],
)
def test_hints(hints: dict[str, Any], expected: list[Problem]) -> None:
    """Hints name zones and nodes."""
    item = msgspec.convert(
        {
            "metadata": {"name": "web-1", "namespace": "a"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}],
        },
        EndpointSlice,
    )

    assert [*problems(item)] == [(("endpoints", 0, "hints", *path), words) for path, words in expected]


@pytest.mark.parametrize(
    ("family", "addresses", "expected"),
    [
        pytest.param("IPv4", [["10.0.0.1"], ["10.0.0.2"]], [], id="IPv4"),
        pytest.param("IPv6", [["fd00::1"]], [], id="IPv6"),
        pytest.param("FQDN", [["example.org"]], [], id="names are not looked at"),
        pytest.param("IPv4", [], [], id="no endpoints"),
        pytest.param(
            "IPv4",
            [["10.0.0.1"], []],
            [(("endpoints", 1, "addresses"), "expected at least one address")],
            id="no address",
        ),
        pytest.param(
            "IPv4",
            [["10.0.0.1", "fd00::1"]],
            [(("endpoints", 0, "addresses", 1), "expected an IPv4 address")],
            id="another family",
        ),
        pytest.param(
            "IPv6",
            [["fe80::1%eth0"]],
            [(("endpoints", 0, "addresses", 0), "expected an IPv6 address")],
            id="with an interface",
        ),
        pytest.param(
            "IPv6",
            [["::ffff:10.0.0.1"]],
            [(("endpoints", 0, "addresses", 0), "expected an IPv6 address")],
            id="IPv4-mapped",
        ),
        *(
            pytest.param(family, [[text]], [(("endpoints", 0, "addresses", 0), REACHABLE)], id=text)
            for family, text in (
                *(("IPv4", each) for each in (NOWHERE, "127.0.0.1", "169.254.1.1", "224.0.0.1")),
                *(("IPv6", each) for each in ("::", "::1", "fe80::1", "ff02::1")),
            )
        ),
    ],
)
def test_slice(family: str, addresses: list[list[str]], expected: list[Problem]) -> None:
    """The addresses of a slice are of its type."""
    item = msgspec.convert(
        {
            "metadata": {"name": "web-1", "namespace": "a"},
            "addressType": family,
            "endpoints": [{"addresses": each} for each in addresses],
        },
        EndpointSlice,
    )

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["a", "b", ""], [], id="apart"),
        pytest.param(
            ["a", "a"], [(("ports", 1, "name"), "expected each port name once")], id="one name twice"
        ),
        pytest.param(
            [None, ""], [(("ports", 1, "name"), "expected each port name once")], id="two without a name"
        ),
    ],
)
def test_slice_ports(names: list[str | None], expected: list[Problem]) -> None:
    """The names of a slice's ports tell them apart."""
    ports = [{"name": name, "port": 80} for name in names]
    item = msgspec.convert(
        {"metadata": {"name": "web-1", "namespace": "a"}, "addressType": "IPv4", "ports": ports},
        EndpointSlice,
    )

    assert [*problems(item)] == expected
