"""What of a network configuration is taken, and what refused."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipam.config
from cni.network_config import (
    CALICO_HOST_MAC,
    IpamSection,
    NetworkConfig,
    check_args,
    decode_ipam_type,
    decode_network,
)
from cni.prev_result import IpText, PrevResult, RouteText, decode_result, decode_routes
from ipam.config import build_supply
from nodeplane.cniresult import Dns
from nodeplane.cnispec import CniError, decode_config
from nodeplane.errors import ConfigError

IPAM = {"type": "nodeplane-ipam", "pools": []}
OURS = IpamSection("nodeplane-ipam")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"ipam": IPAM}, NetworkConfig(OURS), id="least"),
        pytest.param(
            {"ipam": {"type": "host-local"}, "mtu": 1400, "capabilities": {"portMappings": True}},
            NetworkConfig(IpamSection("host-local"), mtu_bytes=1400),
            id="mtu, and fields of others",
        ),
        pytest.param({"ipam": IPAM, "mtu": 0}, NetworkConfig(OURS), id="mtu of the uplink"),
        pytest.param(
            {"ipam": IPAM, "encapsulation": "vxlan", "hostMAC": "", "routes": [{"dst": "192.0.2.0/24"}]},
            NetworkConfig(OURS, encapsulation="vxlan", host_mac="", routes=(RouteText("192.0.2.0/24"),)),
            id="encapsulation, MAC, routes",
        ),
        pytest.param(
            {"ipam": IPAM, "routes": None, "dns": None, "runtimeConfig": None, "args": {"cni": None}},
            NetworkConfig(OURS, args=decode_network(b'{"ipam":{"type":"a"},"args":{}}').args),
            id="nulls, as Go writes",
        ),
        pytest.param(
            {
                "ipam": IPAM,
                "prevResult": {"ips": [{"address": "192.0.2.1/24", "version": "4"}], "routes": None},
            },
            NetworkConfig(OURS, prev_result=PrevResult(ips=(IpText("192.0.2.1/24"),))),
            id="prevResult",
        ),
        pytest.param(
            {
                "cniVersion": "1.1.0",
                "cniVersions": ["1.0.0", "1.1.0"],
                "disableCheck": True,
                "disableGC": True,
                "loadOnlyInlinedPlugins": True,
                "ipam": IPAM,
                "runtimeConfig": {
                    "cgroupPath": "/kubepods/pod1",
                    "deviceID": "0000:00:1f.6",
                    "infinibandGUID": "c2:11:22:33:44:55:66:77",
                    "aliases": {"net": ["web"]},
                    "ips": ["10.244.0.5/32"],
                    "ipRanges": [[{"subnet": "10.244.0.0/24"}]],
                    "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}],
                    "bandwidth": {"ingressRate": 1000, "ingressBurst": 1000},
                },
            },
            NetworkConfig(
                OURS,
                runtime_config=decode_network(b'{"ipam":{"type":"a"},"runtimeConfig":{}}').runtime_config,
            ),
            id="what is the runtime's, the IPAM plugin's, a feature's or nobody's",
        ),
    ],
)
def test_decode(config: dict[str, Any], expected: NetworkConfig) -> None:
    assert decode_network(json.dumps(config).encode()) == expected


def test_calicos_mac_is_the_default() -> None:
    assert decode_network(json.dumps({"ipam": IPAM}).encode()).host_mac == CALICO_HOST_MAC


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({}, "ipam: expected, but missing", id="no ipam"),
        pytest.param({"ipam": {}}, "ipam.type: expected, but missing", id="no ipam.type"),
        pytest.param({"ipam": [1]}, "ipam: expected `object`, got `array`", id="ipam is a list"),
        pytest.param(
            {"ipam": IPAM, "mtu": 67},
            "mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 67",
            id="mtu too small",
        ),
        pytest.param({"ipam": IPAM, "mtu": "1500"}, "mtu: expected `int`, got `str`", id="mtu is text"),
        pytest.param(
            {"ipam": IPAM, "encapsulation": "gre"},
            "encapsulation: invalid enum value 'gre'",
            id="encapsulation",
        ),
        pytest.param(
            {"ipam": IPAM, "hostMAC": "ff:ff:ff:ff:ff:ff"},
            "hostMAC: expected the Ethernet address of one interface, such as 02:00:00:00:00:01, "
            "got 'ff:ff:ff:ff:ff:ff'",
            id="a group's MAC",
        ),
        pytest.param({"ipam": IPAM, "routes": [{}]}, "routes[0].dst: expected, but missing", id="route"),
        pytest.param(
            {"ipam": IPAM, "routes": [{"dst": "::/0", "priority": -1}]},
            "routes[0].priority: expected `int` >= 0",
            id="a metric below zero",
        ),
        pytest.param(
            {"ipam": IPAM, "routes": [{"dst": "::/0", "scope": 256}]},
            "routes[0].scope: expected `int` <= 255",
            id="a scope that no route has",
        ),
    ],
)
def test_refuse(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_network(json.dumps(config).encode())
    assert str(caught.value) == f"network configuration: {message}"


ANNOTATIONS = "io.kubernetes.cri.pod-annotations"


@pytest.mark.parametrize(
    ("config", "args", "expected"),
    [
        pytest.param({}, {}, "", id="any"),
        pytest.param({}, {"MAC": "02:00:00:00:00:0A"}, "02:00:00:00:00:0a", id="CNI_ARGS"),
        pytest.param(
            {"args": {"cni": {"mac": "02:00:00:00:00:02"}}},
            {"MAC": "02:00:00:00:00:01"},
            "02:00:00:00:00:02",
            id="args before CNI_ARGS",
        ),
        pytest.param(
            {"runtimeConfig": {ANNOTATIONS: {"cni.projectcalico.org/hwAddr": "02:00:00:00:00:03"}}},
            {},
            "02:00:00:00:00:03",
            id="Calico's annotation",
        ),
        pytest.param(
            {
                "runtimeConfig": {
                    ANNOTATIONS: {
                        "cni.projectcalico.org/hwAddr": "02:00:00:00:00:03",
                        "nodeplane.io/mac": "02:00:00:00:00:04",
                    }
                }
            },
            {},
            "02:00:00:00:00:04",
            id="ours before Calico's",
        ),
        pytest.param(
            {
                "args": {"cni": {"mac": "02:00:00:00:00:02"}},
                "runtimeConfig": {"mac": "02:00:00:00:00:05"},
            },
            {},
            "02:00:00:00:00:05",
            id="the capability before all",
        ),
    ],
)
def test_pod_mac(config: dict[str, Any], args: dict[str, str], expected: str) -> None:
    assert decode_network(json.dumps({"ipam": IPAM, **config}).encode()).pod_mac(args) == expected


@pytest.mark.parametrize(
    ("mac", "args", "message"),
    [
        ("01:00:00:00:00:01", {}, "network configuration: runtimeConfig.mac: expected the Ethernet address"),
        ("00:00:00:00:00:00", {}, "network configuration: runtimeConfig.mac: expected the Ethernet address"),
        ("02:00:00:00:00", {}, "network configuration: runtimeConfig.mac: expected the Ethernet address"),
        ("", {"MAC": "here"}, "invalid CNI_ARGS; MAC: expected the Ethernet address"),
    ],
)
def test_no_such_mac(mac: str, args: dict[str, str], message: str) -> None:
    network = decode_network(json.dumps({"ipam": IPAM, "runtimeConfig": {"mac": mac}}).encode())

    with pytest.raises((ConfigError, CniError)) as caught:
        network.pod_mac(args)
    assert str(caught.value).startswith(message)


IPAM_DNS = Dns(("192.0.2.1",))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, IPAM_DNS, id="the IPAM plugin's"),
        pytest.param({"dns": {}}, IPAM_DNS, id="an empty one is none"),
        pytest.param(
            {"dns": {"nameservers": ["192.0.2.2"], "domain": "a.b", "search": ["c.d"]}},
            Dns(("192.0.2.2",), "a.b", ("c.d",)),
            id="the configuration's",
        ),
        pytest.param(
            {
                "dns": {"nameservers": ["192.0.2.2"]},
                "runtimeConfig": {
                    "dns": {"servers": ["192.0.2.3"], "searches": ["e.f"], "options": ["ndots:5"]}
                },
            },
            Dns(("192.0.2.3",), "", ("e.f",), ("ndots:5",)),
            id="the runtime's",
        ),
    ],
)
def test_dns(config: dict[str, Any], expected: Dns) -> None:
    assert decode_network(json.dumps({"ipam": IPAM, **config}).encode()).result_dns(IPAM_DNS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="none"),
        pytest.param("[]", [], id="an empty list"),
        pytest.param('["192.0.2.0/24", "2001:db8::/32"]', ["192.0.2.0/24", "2001:db8::/32"], id="both"),
        pytest.param('["192.0.2.9"]', ["192.0.2.9/32"], id="one address"),
    ],
)
def test_allowed_sources(text: str, expected: list[str]) -> None:
    """Calico's annotation; without it, and with the check on, the kernel looks too (rp_filter)."""
    network = annotated(text)

    assert [str(each) for each in network.allowed_sources()] == expected
    assert network.is_route_back_needed is (not expected)
    assert annotated(text, sourceCheck=False).is_route_back_needed is False


@pytest.mark.parametrize(
    "text", ["192.0.2.0/24", '"192.0.2.0/24"', '["192.0.2.1/24"]', '["a"]', "[5]", "{}"], ids=str
)
def test_no_such_sources(text: str) -> None:
    with pytest.raises(ConfigError, match="allowedSourcePrefixes: expected a JSON list of prefixes such as"):
        annotated(text).allowed_sources()


def annotated(text: str, **fields: Any) -> NetworkConfig:
    annotations = {"cni.projectcalico.org/allowedSourcePrefixes": text}
    config = {"ipam": {"type": "x"}, "runtimeConfig": {ANNOTATIONS: annotations}, **fields}
    return decode_network(json.dumps(config).encode())


@pytest.mark.parametrize("ignore", ["1", "true", "True", "t"])
def test_known_args(ignore: str) -> None:
    check_args({"IP": "10.0.0.1", "MAC": "02:00:00:00:00:01", "K8S_POD_UID": "u", "K8S_POD_NAME": "n"})
    check_args({"IgnoreUnknown": ignore, "FOO": "bar"})


@pytest.mark.parametrize("ignore", [{}, {"IgnoreUnknown": "0"}, {"IgnoreUnknown": "yes"}])
def test_unknown_args(ignore: dict[str, str]) -> None:
    with pytest.raises(CniError) as caught:
        check_args({"FOO": "bar", "B": "c", **ignore})
    assert (caught.value.code, str(caught.value)) == (
        4,
        "unknown CNI_ARGS; without IgnoreUnknown=1: B=c, FOO=bar",
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            b'{"ipam": {"type": "host-local"}, "mtu": "?", "prevResult": []}', "host-local", id="it alone"
        ),
        pytest.param(b'{"ipam": {}}', "", id="no type any more"),
        pytest.param(b'{"ipam": null}', "", id="null"),
        pytest.param(b"{}", "", id="no ipam any more"),
    ],
)
def test_del_needs_the_ipam_type_alone(config: bytes, expected: str) -> None:
    assert decode_ipam_type(config) == expected


def test_what_is_not_json_is_a_decoding_failure() -> None:
    with pytest.raises(CniError) as caught:
        decode_network(b"{")
    assert caught.value.code == 6


def test_the_example_is_valid() -> None:
    conflist = json.loads((Path(__file__).parents[2] / "deploy/cni/10-nodeplane.conflist").read_text())
    [entry] = conflist["plugins"]

    # What a runtime makes of the entry (SPEC section 3, "Deriving request configuration").
    config = json.dumps({"cniVersion": conflist["cniVersion"], "name": conflist["name"], **entry}).encode()

    assert decode_network(config) == NetworkConfig(OURS)
    [pool] = build_supply(decode_config(config, ipam.config.NetworkConfig)).pools
    assert str(pool.network) == "10.244.0.0/16"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["::/0", "10.0.0.1/8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("ipam", "mtu", "encapsulation", "hostMAC", "routes", "dns", "runtimeConfig", "args", "prevResult")
ROUTE_FIELDS = ("dst", "gw", "mtu", "advmss", "priority", "table", "scope")


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.dictionaries(st.sampled_from(ROUTE_FIELDS), JSON),
    st.dictionaries(st.sampled_from(["ips", "routes", "interfaces", "dns", "ip4", "ip6"]), JSON),
)
def test_garbage_is_taken_or_refused_with_its_field(
    config: dict[str, Any], route: dict[str, Any], previous: dict[str, Any]
) -> None:
    whole = {"ipam": IPAM, "routes": [route], "prevResult": previous, **config}

    with contextlib.suppress(ConfigError, CniError):
        network = decode_network(json.dumps(whole).encode())
        network.pod_mac({})
        network.result_dns(Dns())
        list(decode_routes(network.routes, "routes"))
        decode_result(network.prev_result or PrevResult())
