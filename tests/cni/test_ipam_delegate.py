"""Which IPAM plugins can be asked, and what is taken for an answer."""

from ipaddress import ip_address, ip_interface

import pytest

from cni.ipam_delegate import call_ipam, find_ipam, needs_link, pod_addresses
from ipam import plugin as nodeplane_ipam
from nodeplane.cniresult import Ip, Result
from nodeplane.cnispec import CniError, Request
from nodeplane.errors import ConfigError


def test_ours_is_called_in_this_process() -> None:
    found = find_ipam("nodeplane-ipam")

    assert (found["ADD"], found["DEL"]) == (nodeplane_ipam.add, nodeplane_ipam.delete)


def test_every_other_is_run() -> None:
    request = Request("DEL", b"{}", path=("/nowhere", "/nor-here"))

    with pytest.raises(ConfigError) as caught:
        call_ipam("dhcp", "DEL", request)
    assert str(caught.value) == (
        "network configuration: ipam.type: expected a plugin in CNI_PATH (/nowhere:/nor-here), "
        "found no 'dhcp'"
    )


@pytest.mark.parametrize(
    ("kind", "expected"), [("nodeplane-ipam", False), ("host-local", False), ("dhcp", True)]
)
def test_who_asks_through_the_pods_interface(kind: str, expected: bool) -> None:
    assert needs_link(kind) is expected


def test_a_configuration_without_ipam_has_nothing_to_call() -> None:
    call_ipam("", "DEL", Request("DEL", b"{}"))


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param(["10.244.0.5/32"], ["10.244.0.5"], id="one"),
        pytest.param(["10.22.0.5/16", "2001:db8::5/64"], ["10.22.0.5", "2001:db8::5"], id="of each family"),
    ],
)
def test_pod_addresses(addresses: list[str], expected: list[str]) -> None:
    result = Result(ips=tuple(Ip(ip_interface(text)) for text in addresses))

    assert pod_addresses(result) == tuple(ip_address(text) for text in expected)


@pytest.mark.parametrize(
    ("addresses", "details"),
    [
        pytest.param([], "got none", id="none"),
        pytest.param(["10.0.0.5/32", "10.0.0.5/24"], "got 10.0.0.5, 10.0.0.5", id="one twice"),
    ],
)
def test_no_such_addresses(addresses: list[str], details: str) -> None:
    with pytest.raises(CniError) as caught:
        pod_addresses(Result(ips=tuple(Ip(ip_interface(text)) for text in addresses)))
    assert (caught.value.code, caught.value.msg) == (7, "ipam: expected addresses, each once")
    assert caught.value.details == details
