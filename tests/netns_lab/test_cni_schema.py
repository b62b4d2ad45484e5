"""Replies of plugins held against the SPEC: what is one, and which field is wrong."""

import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest

from netns_lab.cni_schema import check_error, check_result
from nodeplane.cniresult import Dns, Interface, Ip, Result, Route, render_result
from nodeplane.cnispec import SUPPORTED_VERSIONS, CniError, render_error
from nodeplane.errors import ProtocolError

RESULT = Result(
    (
        Interface("npl1", "ee:ee:ee:ee:ee:ee", 1500),
        Interface("eth0", "0a:00:00:00:00:01", 1500, "/run/netns/p", "/s", "0000:00:1f.6"),
    ),
    (
        Ip(IPv4Interface("10.0.0.1/32"), IPv4Address("169.254.1.1"), 1),
        Ip(IPv6Interface("fd00::1/128"), IPv6Address("fe80::1"), 1),
    ),
    (
        Route(IPv4Network("0.0.0.0/0"), IPv4Address("169.254.1.1"), 1400, 1360, 5, 0, 253),
        Route(IPv6Network("::/0"), IPv6Address("fe80::1")),
    ),
    Dns(("10.96.0.10",), "x", ("a", "b"), ("ndots:5",)),
)


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
@pytest.mark.parametrize("result", [pytest.param(RESULT, id="full"), pytest.param(Result(), id="empty")])
def test_our_own_results(result: Result, version: str) -> None:
    reply = render_result(result, version)

    assert check_result(reply, version) == json.loads(reply)


IP = {"address": "10.0.0.1/24"}


@pytest.mark.parametrize(
    ("version", "fields", "message"),
    [
        pytest.param(
            "1.1.0", {"ip": []}, "Additional properties are not allowed ('ip' was unexpected)", id="field"
        ),
        pytest.param("1.1.0", {"ips": [{}]}, "ips[0]: 'address' is a required property", id="no address"),
        pytest.param(
            "1.1.0",
            {"ips": [{"address": "10.0.0.1"}]},
            "ips[0].address: '10.0.0.1' is not a 'cidr'",
            id="no length",
        ),
        pytest.param(
            "1.1.0",
            {"ips": [{**IP, "gateway": "10.0.0.300"}]},
            "ips[0].gateway: '10.0.0.300' is not a 'address'",
            id="gateway",
        ),
        pytest.param(
            "1.1.0",
            {"interfaces": [{"name": "eth0"}], "ips": [{**IP, "interface": 1}]},
            "ips[0].interface: expected an index of interfaces, got 1",
            id="no such interface",
        ),
        pytest.param(
            "1.1.0",
            {"interfaces": [{"mac": "0a:00"}]},
            "interfaces[0]: 'name' is a required property",
            id="name",
        ),
        pytest.param(
            "1.0.0",
            {"interfaces": [{"name": "eth0", "mtu": 1500}]},
            "interfaces[0]: Additional properties are not allowed ('mtu' was unexpected)",
            id="newer than the version",
        ),
        pytest.param("0.4.0", {"ips": [IP]}, "ips[0]: 'version' is a required property", id="0.4.0"),
        pytest.param(
            "0.2.0",
            {"ips": []},
            "Additional properties are not allowed ('ips' was unexpected)",
            id="0.2.0",
        ),
        pytest.param(
            "1.1.0",
            {"cniVersion": "1.0.0"},
            "cniVersion: expected '1.1.0', got '1.0.0'",
            id="another version",
        ),
    ],
)
def test_wrong_results(version: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_result(json.dumps({"cniVersion": version, **fields}).encode(), version)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(b"", "expected JSON: Expecting value: line 1 column 1 (char 0)", id="nothing"),
        pytest.param(b"[]", "[] is not of type 'object'", id="a list"),
        pytest.param(b"{}", "'cniVersion' is a required property", id="empty"),
    ],
)
def test_no_results(reply: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_result(reply, "1.1.0")
    assert str(caught.value) == message


def test_our_own_errors() -> None:
    assert check_error(render_error(CniError(7, "x", "y"), "1.1.0"))["code"] == 7


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param(b'{"code": "7", "msg": "x"}', "code: '7' is not of type 'integer'", id="code"),
        pytest.param(b'{"code": 7}', "'msg' is a required property", id="no text"),
    ],
)
def test_wrong_errors(reply: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_error(reply)
    assert str(caught.value) == message
