"""Results as text: of every version, and chained."""

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from cni.prev_result import PrevResult, append_result, decode_result
from nodeplane.cniresult import Dns, Interface, Ip, Result, Route, render_result
from nodeplane.cnispec import SUPPORTED_VERSIONS
from nodeplane.errors import ConfigError

OURS = Result(
    interfaces=(Interface("npl1"), Interface("eth0", sandbox="/run/netns/pod")),
    ips=(Ip(ip_interface("10.244.0.5/32"), ip_address("169.254.1.1"), interface=1),),
    routes=(Route(ip_network("0.0.0.0/0"), ip_address("169.254.1.1")),),
)


def decode(text: str | bytes) -> Result:
    return decode_result(msgspec.json.decode(text, type=PrevResult))


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param("{}", OURS, id="nothing before us"),
        pytest.param(
            '{"interfaces": null, "ips": null, "routes": null, "dns": {"nameservers": null}}',
            OURS,
            id="nulls, as Go writes",
        ),
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
    assert append_result(decode(previous), OURS) == expected


FULL = Result(
    interfaces=(
        Interface("npl1", "ee:ee:ee:ee:ee:ee", mtu_bytes=1450, socket_path="/run/s", pci_id="0000:00:1f.6"),
        Interface("eth0", "02:00:00:00:00:01", mtu_bytes=1450, sandbox="/run/netns/p"),
    ),
    ips=(
        Ip(ip_interface("10.0.0.2/32"), ip_address("169.254.1.1"), interface=1),
        Ip(ip_interface("2001:db8::2/128"), ip_address("fe80::1"), interface=1),
    ),
    routes=(
        Route(
            ip_network("0.0.0.0/0"),
            ip_address("169.254.1.1"),
            mtu_bytes=1400,
            advmss_bytes=1360,
            priority=5,
            table=0,
            scope=0,
        ),
        Route(ip_network("::/0"), ip_address("fe80::1")),
    ),
    dns=Dns(nameservers=("10.96.0.10",), domain="cluster.local", search=("a.b",), options=("ndots:5",)),
)
FULL_1_0 = Result(
    interfaces=(
        Interface("npl1", "ee:ee:ee:ee:ee:ee"),
        Interface("eth0", "02:00:00:00:00:01", sandbox="/run/netns/p"),
    ),
    ips=FULL.ips,
    routes=(Route(ip_network("0.0.0.0/0"), ip_address("169.254.1.1")), FULL.routes[1]),
    dns=FULL.dns,
)
FULL_0_2 = msgspec.structs.replace(
    FULL_1_0,
    interfaces=(),
    ips=tuple(msgspec.structs.replace(ip, interface=None) for ip in FULL.ips),
)


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_round_trip(version: str) -> None:
    """What a version can carry comes back whole."""
    carried = {"1.1.0": FULL, "0.1.0": FULL_0_2, "0.2.0": FULL_0_2}.get(version, FULL_1_0)

    assert decode(render_result(FULL, version)) == carried
    assert render_result(carried, version) == render_result(FULL, version)


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
        pytest.param('{"ip4": {"ip": ""}}', "prevResult.ip4.ip", id="address, old"),
        pytest.param(
            '{"ip6": {"ip": "::1/128", "routes": [{"dst": "::/0", "gw": "x"}]}}',
            "prevResult.ip6.routes[0].gw",
            id="route, old",
        ),
    ],
)
def test_refuse(previous: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(previous)
    assert caught.value.field == field
