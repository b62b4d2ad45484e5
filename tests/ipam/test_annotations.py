"""What annotations ask for."""

from ipaddress import ip_address

import pytest

from ipam.annotations import Wishes, decode_annotations
from nodeplane.errors import ConfigError

ADDRESS = ip_address("10.0.0.5")
BOTH = (ADDRESS, ip_address("fd00::5"))


@pytest.mark.parametrize(
    ("pod", "namespace", "expected"),
    [
        pytest.param({}, {}, Wishes(), id="nothing"),
        pytest.param({"other": "[]"}, {"other": "x"}, Wishes(), id="others' annotations"),
        pytest.param({"nodeplane.io/ip-addresses": "10.0.0.5"}, {}, Wishes((ADDRESS,)), id="one address"),
        pytest.param({"nodeplane.io/ip-addresses": " 10.0.0.5, fd00::5 "}, {}, Wishes(BOTH), id="commas"),
        pytest.param({"nodeplane.io/ip-addresses": '["10.0.0.5", "fd00::5"]'}, {}, Wishes(BOTH), id="JSON"),
        pytest.param(
            {"cni.projectcalico.org/ipAddrs": '["10.0.0.5"]'}, {}, Wishes((ADDRESS,)), id="Calico's"
        ),
        pytest.param(
            {"cni.projectcalico.org/ipAddrs": '["10.9.9.9"]', "nodeplane.io/ip-addresses": "10.0.0.5"},
            {},
            Wishes((ADDRESS,)),
            id="ours count first",
        ),
        pytest.param({"nodeplane.io/ip-addresses": "[]"}, {}, Wishes(), id="an empty list"),
        pytest.param(
            {}, {"nodeplane.io/ip-addresses": "10.0.0.5"}, Wishes(), id="a namespace has no address"
        ),
        pytest.param(
            {"nodeplane.io/ipv4-pools": "blue,10.0.0.0/24", "nodeplane.io/ipv6-pools": '["six"]'},
            {},
            Wishes((), ("blue", "10.0.0.0/24"), ("six",)),
            id="pools",
        ),
        pytest.param(
            {"cni.projectcalico.org/ipv6pools": '["six"]'},
            {"cni.projectcalico.org/ipv4pools": '["blue"]', "cni.projectcalico.org/ipv6pools": '["red"]'},
            Wishes((), ("blue",), ("six",)),
            id="pools: the pod's before the namespace's",
        ),
    ],
)
def test_decode(pod: dict[str, str], namespace: dict[str, str], expected: Wishes) -> None:
    assert decode_annotations(pod, namespace, "pod default/web") == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param(
            "nodeplane.io/ip-addresses", "10.0.0", "expected IP addresses, got '10.0.0'", id="no address"
        ),
        pytest.param(
            "cni.projectcalico.org/ipAddrs",
            '["10.0.0.5", 6]',
            "expected a JSON list of strings, got '[\"10.0.0.5\", 6]'",
            id="a number in a list",
        ),
        pytest.param(
            "nodeplane.io/ipv4-pools",
            '["blue"',
            "expected a JSON list of strings, got '[\"blue\"'",
            id="half a list",
        ),
        pytest.param(
            "nodeplane.io/ip-addresses",
            "10.0.0.5,10.0.0.6",
            "expected one address of each family, got '10.0.0.5,10.0.0.6'",
            id="two of one family",
        ),
    ],
)
def test_errors(name: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_annotations({name: value}, {}, "pod default/web")

    assert str(caught.value) == f"pod default/web: {name}: {expected}"
