"""Chaining: what the plugins before ours made stays in front."""

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from cni.prev_result import PrevResult, append_result
from nodeplane.cniresult import Dns, Interface, Ip, Result, Route
from nodeplane.errors import ConfigError

OURS = Result(
    interfaces=(Interface("npl1"), Interface("eth0", sandbox="/run/netns/pod")),
    ips=(Ip(ip_interface("10.244.0.5/32"), ip_address("169.254.1.1"), interface=1),),
    routes=(Route(ip_network("0.0.0.0/0"), ip_address("169.254.1.1")),),
)


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param("{}", OURS, id="nothing before us"),
        pytest.param('{"interfaces": null, "ips": null, "routes": null}', OURS, id="nulls, as Go writes"),
        pytest.param(
            """{"cniVersion": "0.4.0",
                "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/pod"}],
                "ips": [{"version": "4", "address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 0},
                        {"version": "6", "address": "2001:db8::7/64"}],
                "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "mtu": 1400, "table": 7}],
                "dns": {"nameservers": ["192.0.2.53"]}}""",
            Result(
                interfaces=(
                    Interface("net1", "02:00:00:00:00:01", sandbox="/run/netns/pod"),
                    Interface("npl1"),
                    Interface("eth0", sandbox="/run/netns/pod"),
                ),
                ips=(
                    Ip(ip_interface("192.0.2.7/24"), ip_address("192.0.2.1"), interface=0),
                    Ip(ip_interface("2001:db8::7/64")),
                    Ip(ip_interface("10.244.0.5/32"), ip_address("169.254.1.1"), interface=2),
                ),
                routes=(
                    Route(ip_network("198.51.100.0/24"), ip_address("192.0.2.1"), mtu_bytes=1400, table=7),
                    *OURS.routes,
                ),
                dns=Dns(nameservers=("192.0.2.53",)),
            ),
            id="one of each, our interface counted on",
        ),
    ],
)
def test_append(previous: str, expected: Result) -> None:
    assert append_result(msgspec.json.decode(previous, type=PrevResult), OURS) == expected


@pytest.mark.parametrize(
    ("previous", "field"),
    [
        pytest.param('{"ips": [{"address": "nowhere"}]}', "prevResult.ips[0].address", id="address"),
        pytest.param(
            '{"ips": [{"address": "192.0.2.7/24", "gateway": "x"}]}',
            "prevResult.ips[0].gateway",
            id="gateway",
        ),
        pytest.param('{"routes": [{"dst": "192.0.2.7/24"}]}', "prevResult.routes[0].dst", id="host bits set"),
    ],
)
def test_refuse(previous: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        append_result(msgspec.json.decode(previous, type=PrevResult), OURS)
    assert caught.value.field == field
