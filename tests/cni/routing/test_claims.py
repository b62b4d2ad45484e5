"""Nodes that say the same address: one line each time that it comes to be so."""

from ipaddress import ip_address

import pytest

from cni.routing.claims import Claims

A, B = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        pytest.param([("n1", [A]), ("n2", [B])], [], id="each its own"),
        pytest.param([("n1", [A]), ("n2", [A])], [f"{A} is of n1, n2"], id="one for two"),
        pytest.param([("n1", [A]), ("n2", [A]), ("n2", [A])], [f"{A} is of n1, n2"], id="said again"),
        pytest.param([("n1", [A]), ("n1", []), ("n2", [A])], [], id="one after the other"),
        pytest.param(
            [("n1", [A, B]), ("n2", [A]), ("n2", []), ("n2", [B])],
            [f"{A} is of n1, n2", f"{B} is of n1, n2"],
            id="one address, then the other",
        ),
    ],
)
def test_take(steps: list[tuple[str, list[str]]], lines: list[str]) -> None:
    claims = Claims()
    assert [line for name, said in steps for line in claims.take(name, map(ip_address, said))] == lines
