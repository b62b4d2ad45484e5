"""Which IPAM plugins can be asked, and what is taken for an answer."""

from ipaddress import IPv4Address, ip_interface

import pytest

from cni.ipam_delegate import find_ipam, pod_address
from ipam import plugin as nodeplane_ipam
from nodeplane.cniresult import Ip, Result
from nodeplane.cnispec import CniError
from nodeplane.errors import ConfigError


def test_ours_is_called_in_this_process() -> None:
    found = find_ipam("nodeplane-ipam")

    assert (found.add, found.delete) == (nodeplane_ipam.add, nodeplane_ipam.delete)


def test_another_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        find_ipam("dhcp")
    assert str(caught.value) == "network configuration: ipam.type: expected nodeplane-ipam, got 'dhcp'"


def test_pod_address() -> None:
    assert pod_address(Result(ips=(Ip(ip_interface("10.244.0.5/32")),))) == IPv4Address("10.244.0.5")


@pytest.mark.parametrize(
    ("addresses", "details"),
    [
        pytest.param([], "got none", id="none"),
        pytest.param(["2001:db8::5/128"], "got 2001:db8::5/128", id="IPv6"),
        pytest.param(["10.244.0.5/32", "10.244.0.6/32"], "got 10.244.0.5/32, 10.244.0.6/32", id="two"),
    ],
)
def test_no_such_address(addresses: list[str], details: str) -> None:
    with pytest.raises(CniError) as caught:
        pod_address(Result(ips=tuple(Ip(ip_interface(text)) for text in addresses)))
    assert (caught.value.code, caught.value.msg) == (7, "ipam: expected one IPv4 address")
    assert caught.value.details == details
