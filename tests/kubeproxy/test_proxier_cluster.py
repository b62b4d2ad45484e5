"""The node's address and zone, and what a cluster's ranges change."""

from ipaddress import ip_network

import pytest

from kubeproxy.rules.layout import (
    FRONTENDS,
    SERVICE_CIDRS,
    STATE_MAPS,
    encode_service_cidr,
)
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import additions, node, service_cidr
from tests.kubeproxy.proxiers import (
    FULL,
    WEB,
    WEB_SLICE,
    assert_nft_prints,
    changed,
    elements_in,
    ipv4,
    kernel_tables,
    proxier_on,
    walk,
)


def test_a_wrong_address_of_the_node(caplog: pytest.LogCaptureFixture) -> None:
    """It is named once, however often the Node is written; all else goes on (an API server takes any)."""
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    wrong = node("n1", "host.example", "192.0.2.1")
    for batch in (additions(WEB, WEB_SLICE, wrong), changed(wrong, node("n1", "host.example"))):
        proxier.take(batch)
        proxier.sync(full=True)

    assert len(elements_in(ipv4(edge))["ip"][FRONTENDS]) == 1
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "left out of our own Node node=n1 "
        "error=\"status.addresses[0].address: expected an IP address, got 'host.example'\""
    ]


@pytest.mark.parametrize(
    ("texts", "expected", "errors"),
    [
        pytest.param(["10.97.0.0/16"], ["10.97.0.0/16"], 0, id="another"),
        pytest.param(["10.97.0.1/16"], ["10.97.0.0/16"], 0, id="with host bits"),
        pytest.param(["010.97.0.0/16"], ["10.97.0.0/16"], 0, id="with leading zeros"),
        pytest.param(["10.97.0.0/33"], ["10.96.0.0/16"], 1, id="none: the last version stays"),
        pytest.param(None, [], 0, id="gone"),
    ],
)
def test_service_cidr(
    texts: list[str] | None, expected: list[str], errors: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no network is logged and skipped."""
    edge = FakeTable()
    proxier = proxier_on(ipv4(edge))
    before = service_cidr("kubernetes", "10.96.0.0/16")
    proxier.take(additions(WEB, WEB_SLICE, before))
    proxier.take(
        diff_objects({before.key: before}, {})
        if texts is None
        else changed(before, service_cidr("kubernetes", *texts))
    )
    proxier.sync(full=True)

    assert set(elements_in(ipv4(edge))["ip"].get(SERVICE_CIDRS, ())) == {
        encode_service_cidr(ip_network(text)) for text in expected
    }
    assert [record.levelname for record in caplog.records].count("ERROR") == errors


@pytest.mark.netns
def test_every_map_is_in_use() -> None:
    """The state of these tests has elements in all maps but one, and nft prints it."""
    with kernel_tables() as (ns, edges):
        walk(proxier_on(edges), [FULL])
        assert_nft_prints(ns)
        content = elements_in(edges)["ip"]

    assert {name for name in STATE_MAPS if not content[name]} == {"node-ports", "node-port-ips"}
