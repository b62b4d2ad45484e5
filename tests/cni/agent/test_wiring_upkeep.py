"""CHECK, GC and STATUS of pods that are there, and DEL of those whose configuration changed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni import plugin, status
from cni.attachment import Attachment
from nodeplane.cnispec import SUPPORTED_VERSIONS, CniError, Request, decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.errors import kernel_error
from tests.cni.conftest import Answer, Node
from tests.cni.stub_ipam import StubIpam, install_stub
from tests.netns_fixture import namespace

netns_test = pytest.mark.netns

HOST_LINK = Attachment("c1", "eth0", None, "default", "web-0").host_link
ADDRESS, ADDRESS_6 = "10.244.0.5", "2001:db8:5::5"
NOT_AS_ADDED = "the pod's network is not as it was added"
VALID = "cni.dev/valid-attachments"


@pytest.fixture
def stub(tmp_path: Path) -> StubIpam:
    stub = install_stub(tmp_path / "bin")
    stub.give("c1", ADDRESS, ADDRESS_6)
    return stub


def call(node: Node, stub: StubIpam, command: str, pod: Path | str, **fields: Any) -> Answer:
    config = {"ipam": stub.config, **fields.pop("config", {})}
    return node.call(command, pod, config=config, CNI_PATH=str(stub.folder), **fields)


def add(node: Node, stub: StubIpam, pod: Path, **fields: Any) -> Any:
    answer = call(node, stub, "ADD", pod, **fields)
    assert answer.code == 0, answer
    return answer.body


def nothing(host: Rtnl, pod: Rtnl) -> None:
    """Leave all as it is."""


def more_in_the_pod(host: Rtnl, pod: Rtnl) -> None:
    pod.add_address("eth0", ip_interface("192.0.2.9/24"))
    pod.set_mtu("eth0", 1300)


DAMAGES: list[tuple[str, Callable[[Rtnl, Rtnl], None], str | None]] = [
    ("none", nothing, None),
    ("what later plugins may do", more_in_the_pod, None),
    ("no interface", lambda _, pod: pod.delete_link("eth0"), "interface eth0 is missing in the pod"),
    ("interface down", lambda _, pod: pod.set_down("eth0"), "eth0 is down"),
    (
        "address gone",
        lambda _, pod: pod.delete_address("eth0", ip_interface(f"{ADDRESS_6}/128")),
        f"eth0 lacks address {ADDRESS_6}/128",
    ),
    (
        "route of the pod gone",
        lambda _, pod: pod.delete_route(pod.routes(110)[0]),
        "the pod lacks route 0.0.0.0/0 via 169.254.1.1 dev eth0",
    ),
    (
        "route of the node gone",
        lambda host, _: host.delete_route(host.routes(110, link=HOST_LINK)[0]),
        f"the node lacks route {ADDRESS}/32 dev {HOST_LINK}",
    ),
    (
        "another MAC",
        lambda host, _: host.set_mac(HOST_LINK, "02:00:00:00:00:09"),
        f"{HOST_LINK} has MAC 02:00:00:00:00:09, not ee:ee:ee:ee:ee:ee",
    ),
    (
        "another sandbox's link",
        lambda host, _: host.set_alias(HOST_LINK, "c9/eth0 nodeplane default/web-0"),
        f"link {HOST_LINK} is not the other end of eth0",
    ),
]


@netns_test
@pytest.mark.parametrize(
    ("damage", "found"), [pytest.param(damage, found, id=row) for row, damage, found in DAMAGES]
)
def test_check(
    node: Node, pod: Path, stub: StubIpam, damage: Callable[[Rtnl, Rtnl], None], found: str | None
) -> None:
    result = add(node, stub, pod)
    with open_rtnl(node.path) as host, open_rtnl(pod) as inside:
        damage(host, inside)

    answer = call(node, stub, "CHECK", pod, config={"prevResult": result})

    if found is None:
        assert answer == Answer(0, None)
        assert stub.calls() == ["ADD c1", "CHECK c1"]
    else:
        assert answer.code == 1
        assert (answer.body["code"], answer.body["msg"]) == (102, NOT_AS_ADDED)
        assert answer.body["details"].startswith(found)
        # The IPAM plugin is not asked about what is broken anyway.
        assert stub.calls() == ["ADD c1"]


@netns_test
def test_check_of_settings(node: Node, pod: Path, stub: StubIpam) -> None:
    result = add(node, stub, pod)
    setting = f"net.ipv4.conf.{HOST_LINK}.proxy_arp"
    KernelSysctls(node.path).write(setting, 0)

    answer = call(node, stub, "CHECK", pod, config={"prevResult": result})

    assert answer.body["details"] == f"{setting} is 0, not 1"


@netns_test
def test_check_asks_the_ipam_plugin(node: Node, pod: Path, stub: StubIpam) -> None:
    result = add(node, stub, pod)
    stub.refuse("CHECK", code=123, msg="not mine", details="10.244.0.5")

    assert call(node, stub, "CHECK", pod, config={"prevResult": result}) == Answer(
        1, {"cniVersion": "1.1.0", "code": 123, "msg": "not mine", "details": "10.244.0.5"}
    )


@netns_test
@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_every_version(node: Node, pod: Path, stub: StubIpam, version: str) -> None:
    """A result is accepted as prevResult by the CHECK and DEL of the same version."""
    result = add(node, stub, pod, config={"cniVersion": version})

    assert result["cniVersion"] == version
    if version in {"0.1.0", "0.2.0"}:
        found = [result["ip4"]["ip"], result["ip6"]["ip"]]
    else:
        found = [ip["address"] for ip in result["ips"]]
    assert found == [f"{ADDRESS}/32", f"{ADDRESS_6}/128"]
    config = {"cniVersion": version, "prevResult": result}
    if version >= "0.4.0":
        assert call(node, stub, "CHECK", pod, config=config) == Answer(0, None)
    assert call(node, stub, "DEL", pod, config=config) == Answer(0, None)


@netns_test
def test_gc_removes_what_is_not_valid(node: Node, pod: Path, stub: StubIpam) -> None:
    with namespace("other") as other, namespace("third") as third:
        add(node, stub, pod)
        stub.give("c2", "10.244.0.6")
        add(node, stub, other, container="c2", args="")
        stub.give("c3", "10.244.0.7")
        add(node, stub, third, container="c3", args="", config={"name": "another"})
        kept = {HOST_LINK, Attachment("c3", "eth0", None).host_link}
        config = {VALID: [{"containerID": "c1", "ifname": "eth0"}]}

        assert call(node, stub, "GC", "", container="", interface="", args="", config=config) == Answer(
            0, None
        )

        assert node.links() == kept
        assert stub.calls()[-1] == "GC"
        with open_rtnl(other) as rtnl:
            assert rtnl.links().keys() == {"lo"}

        # A null list, as Go writes an empty one: nothing of this network is valid.
        assert call(node, stub, "GC", "", config={VALID: None}) == Answer(0, None)
        assert node.links() == kept - {HOST_LINK}


@netns_test
def test_gc_goes_on_after_an_error(node: Node, pod: Path, stub: StubIpam) -> None:
    add(node, stub, pod)
    stub.refuse("GC", code=11, msg="busy")

    answer = call(node, stub, "GC", "", config={VALID: []})

    assert answer == Answer(1, {"cniVersion": "1.1.0", "code": 11, "msg": "busy"})
    assert node.links() == set()


@netns_test
def test_status(node: Node, pod: Path, stub: StubIpam) -> None:
    assert call(node, stub, "STATUS", "") == Answer(0, None)
    add(node, stub, pod)
    assert call(node, stub, "STATUS", "") == Answer(0, None)
    assert stub.calls() == ["STATUS c1", "ADD c1", "STATUS c1"]

    with open_rtnl(node.path) as rtnl:
        [gateway] = [route for route in rtnl.routes(110) if route.destination == ip_network("169.254.1.1")]
        rtnl.delete_route(gateway)

    assert call(node, stub, "STATUS", "") == Answer(
        1,
        {
            "cniVersion": "1.1.0",
            "code": 51,
            "msg": "the node lost its route to the pods' gateway 169.254.1.1",
            "details": "expected local 169.254.1.1/32 dev lo; cni-agent or an ADD restores it",
        },
    )
    add(node, stub, pod)
    assert call(node, stub, "STATUS", "") == Answer(0, None)


@netns_test
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            {"code": 50, "msg": "pool is full"}, {"code": 50, "msg": "pool is full"}, id="50 is passed on"
        ),
        pytest.param({"code": 51, "msg": "half"}, {"code": 51, "msg": "half"}, id="51 is passed on"),
        pytest.param(
            {"code": 11, "msg": "busy", "details": "later"},
            {"code": 50, "msg": "IPAM plugin stub is not available", "details": "busy; later"},
            id="all else is 50",
        ),
    ],
)
def test_status_asks_the_ipam_plugin(
    node: Node, stub: StubIpam, error: dict[str, Any], expected: dict[str, Any]
) -> None:
    stub.refuse("STATUS", **error)

    assert call(node, stub, "STATUS", "") == Answer(1, {"cniVersion": "1.1.0", **expected})


def test_status_without_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unprivileged(FakeRtnl):
        def set_up(self, name: str) -> None:
            raise kernel_error(f"set link {name} up", 1)

    @contextmanager
    def open_it() -> Iterator[Rtnl]:
        yield Unprivileged.__new__(Unprivileged)

    monkeypatch.setattr(status, "open_rtnl", open_it)

    with pytest.raises(CniError) as caught:
        status.report_status(Request("STATUS", b'{"ipam": {"type": "nodeplane-ipam"}}'))
    assert (caught.value.code, caught.value.msg) == (50, "the kernel does not let us work")
    assert "(EPERM)" in caught.value.details


@netns_test
@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"mtu": "much", "encapsulation": 7, "hostMAC": "here"}, id="wrong fields"),
        pytest.param({"prevResult": {"ips": "none"}}, id="a prevResult that is none"),
        pytest.param({"routes": [{"dst": "nowhere"}], "dns": []}, id="wrong routes and resolver"),
        pytest.param({"name": "renamed"}, id="another network name"),
    ],
)
def test_del_with_a_changed_configuration(
    node: Node, pod: Path, stub: StubIpam, config: dict[str, Any]
) -> None:
    add(node, stub, pod)

    assert call(node, stub, "DEL", pod, config=config) == Answer(0, None)
    assert (node.links(), stub.calls()) == (set(), ["ADD c1", "DEL c1"])


@netns_test
@pytest.mark.parametrize("ipam", [{}, {"ipam": None}, {"ipam": {}}])
def test_del_without_an_ipam_plugin_takes_the_link_away(
    node: Node, pod: Path, stub: StubIpam, ipam: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whose the address was cannot be known any more; GC of the IPAM plugin will find it."""
    add(node, stub, pod)
    config = {"cniVersion": "1.1.0", "name": "nodeplane", "type": "nodeplane-cni", **ipam}

    with netns.inside(node.path):
        plugin.delete(decode_request(node.environ("DEL", pod), json.dumps(config).encode()))

    assert (node.links(), stub.calls()) == (set(), ["ADD c1"])
    assert caplog.messages == ["configuration without IPAM plugin: no address is released container=c1"]


@netns_test
def test_a_failed_ipam_plugin_is_run_with_del(node: Node, pod: Path, stub: StubIpam) -> None:
    stub.refuse("ADD", code=11, msg="no address", details="range is full")

    assert call(node, stub, "ADD", pod) == Answer(
        1, {"cniVersion": "1.1.0", "code": 11, "msg": "no address", "details": "range is full"}
    )
    assert (node.links(), stub.calls()) == (set(), ["ADD c1", "DEL c1"])


@netns_test
@pytest.mark.parametrize(("override", "code"), [("", 8), ("0", 8), ("1", 5), ("true", 5)])
def test_the_plugins_own_namespace(node: Node, stub: StubIpam, override: str, code: int) -> None:
    """Two ends in one namespace meet over 169.254.1.1, so the override brings the kernel's refusal."""
    answer = call(node, stub, "ADD", node.path, CNI_NETNS_OVERRIDE=override)

    assert (answer.code, answer.body["code"]) == (1, code)
    with open_rtnl(node.path) as rtnl:
        assert rtnl.links().keys() == {"lo"}
        assert rtnl.routes() == []
