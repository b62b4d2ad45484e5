"""`nodeplane-cni`: wrong calls answered by exact JSON, and real links, routes and packets in namespaces."""

import io
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from cni.attachment import Attachment
from cni.error_codes import INTERFACE_EXISTS
from ipam.datastore import Datastore, open_datastore
from nodeplane.cnispec import ErrorCode, Request, decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.conftest import POD_ARGS, WAYS, Answer, Node, address_of, network_config
from tests.cni.faults import Countdown
from tests.netns_fixture import add_default_route, answers, eventually, namespace, veth_pair

netns_test = pytest.mark.netns


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run everything here in process and through both shims."""
    kind: str = request.param
    return kind


WEB = Attachment("c1", "eth0", None, "default", "web-0")
HOST_LINK = WEB.host_link

CONFIG = network_config(Path("/nowhere/ipam.sqlite"))
ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/npt-never-made",
    "CNI_IFNAME": "eth0",
}
GATEWAY = "169.254.1.1"
OWN_NETNS = "/proc/self/ns/net"


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in CONFIG.items() if key != field}


WRONG_CALLS: list[tuple[str, dict[str, str], Any, dict[str, Any]]] = [
    (
        "no ipam",
        ADD,
        without("ipam"),
        {"code": 7, "msg": "network configuration: ipam: expected, but missing"},
    ),
    (
        "ipam without a type",
        ADD,
        {**CONFIG, "ipam": {}},
        {"code": 7, "msg": "network configuration: ipam.type: expected, but missing"},
    ),
    (
        "an ipam plugin that is nowhere",
        {**ADD, "CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_PATH": "/nowhere"},
        {**CONFIG, "ipam": {"type": "host-local"}},
        {
            "code": 7,
            "msg": "network configuration: ipam.type: expected a plugin in CNI_PATH (/nowhere), "
            "found no 'host-local'",
        },
    ),
    (
        "an ipam plugin by its path",
        {**ADD, "CNI_COMMAND": "DEL", "CNI_NETNS": ""},
        {**CONFIG, "ipam": {"type": "/bin/sh"}},
        {"code": 7, "msg": "network configuration: ipam.type: expected a file name, got '/bin/sh'"},
    ),
    (
        "an MTU that no link has",
        ADD,
        {**CONFIG, "mtu": 70000},
        {
            "code": 7,
            "msg": "network configuration: mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 70000",
        },
    ),
    (
        "no network name",
        ADD,
        without("name"),
        {"code": 7, "msg": "network configuration: name: expected the network's name"},
    ),
    (
        "a version from the future",
        ADD,
        {**CONFIG, "cniVersion": "2.0.0"},
        {
            "code": 1,
            "msg": "incompatible CNI versions",
            "details": "config is '2.0.0', plugin supports 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0",
        },
    ),
    (
        "no interface",
        {**ADD, "CNI_IFNAME": ""},
        CONFIG,
        {"code": 4, "msg": "required env variables [CNI_IFNAME] missing"},
    ),
    (
        "an interface name that Linux refuses",
        {**ADD, "CNI_IFNAME": "a/b"},
        CONFIG,
        {
            "code": 4,
            "msg": "invalid CNI_IFNAME",
            "details": "expected 1 to 15 characters without '/', ':' and spaces, not '.' or '..', got 'a/b'",
        },
    ),
    (
        "an encapsulation that we don't know",
        ADD,
        {**CONFIG, "encapsulation": "gre"},
        {"code": 7, "msg": "network configuration: encapsulation: invalid enum value 'gre'"},
    ),
    (
        "no MAC",
        ADD,
        {**CONFIG, "hostMAC": "here"},
        {
            "code": 7,
            "msg": "network configuration: hostMAC: expected the Ethernet address of one interface, such as "
            "02:00:00:00:00:01, got 'here'",
        },
    ),
    (
        "a network name that is no name",
        ADD,
        {**CONFIG, "name": "a/b"},
        {
            "code": 7,
            "msg": "network configuration: name: expected letters, digits, '_', '.', '-', the first a letter "
            "or a digit, got 'a/b'",
        },
    ),
    (
        "a container id that is none",
        {**ADD, "CNI_CONTAINERID": "a/b"},
        CONFIG,
        {
            "code": 4,
            "msg": "invalid CNI_CONTAINERID",
            "details": "expected letters, digits, '_', '.', '-', the first a letter or a digit, got 'a/b'",
        },
    ),
    (
        "nothing of what ADD needs",
        {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""},
        CONFIG,
        {"code": 4, "msg": "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"},
    ),
    (
        "CNI_ARGS that are no pairs",
        {**ADD, "CNI_ARGS": "K8S_POD_NAME"},
        CONFIG,
        {"code": 4, "msg": "invalid CNI_ARGS", "details": "expected KEY=VALUE;KEY=VALUE, got 'K8S_POD_NAME'"},
    ),
    (
        "CNI_ARGS that nobody knows",
        {**ADD, "CNI_ARGS": "FOO=bar;K8S_POD_NAME=web-0"},
        CONFIG,
        {"code": 4, "msg": "unknown CNI_ARGS", "details": "without IgnoreUnknown=1: FOO=bar"},
    ),
    (
        "CHECK in a version that has none",
        {**ADD, "CNI_COMMAND": "CHECK"},
        {**CONFIG, "cniVersion": "0.3.1"},
        {
            "cniVersion": "0.3.1",
            "code": 1,
            "msg": "config version does not allow CHECK",
            "details": "config is '0.3.1', CHECK came with 0.4.0",
        },
    ),
    (
        "GC in a version that has none",
        {"CNI_COMMAND": "GC"},
        {**CONFIG, "cniVersion": "1.0.0"},
        {
            "cniVersion": "1.0.0",
            "code": 1,
            "msg": "config version does not allow GC",
            "details": "config is '1.0.0', GC came with 1.1.0",
        },
    ),
    (
        "STATUS in a version that has none",
        {"CNI_COMMAND": "STATUS"},
        {**CONFIG, "cniVersion": "1.0.0"},
        {
            "cniVersion": "1.0.0",
            "code": 1,
            "msg": "config version does not allow STATUS",
            "details": "config is '1.0.0', STATUS came with 1.1.0",
        },
    ),
    (
        "CHECK without a result",
        {**ADD, "CNI_COMMAND": "CHECK"},
        CONFIG,
        {"code": 7, "msg": "network configuration: prevResult: expected, but missing"},
    ),
    (
        "CHECK without its namespace",
        {**ADD, "CNI_COMMAND": "CHECK"},
        {**CONFIG, "prevResult": {}},
        {
            "code": 8,
            "msg": "expected CNI_NETNS to be a network namespace",
            "details": "got /run/netns/npt-never-made",
        },
    ),
    (
        "GC that does not say what is valid",
        {"CNI_COMMAND": "GC"},
        CONFIG,
        {"code": 7, "msg": "network configuration: cni.dev/valid-attachments: expected, but missing"},
    ),
    (
        "STATUS of a wrong configuration",
        {"CNI_COMMAND": "STATUS"},
        {**CONFIG, "mtu": 1},
        {
            "code": 7,
            "msg": "network configuration: mtu: expected 68 to 65535 bytes, or 0 for the uplink's, got 1",
        },
    ),
    (
        "a command that does not exist",
        {**ADD, "CNI_COMMAND": "MOVE"},
        CONFIG,
        {"code": 4, "msg": "unknown CNI_COMMAND: MOVE"},
    ),
    (
        "a namespace that is not there",
        ADD,
        CONFIG,
        {
            "code": 8,
            "msg": "expected CNI_NETNS to be a network namespace",
            "details": "got /run/netns/npt-never-made",
        },
    ),
    (
        "a file that is no namespace",
        {**ADD, "CNI_NETNS": "/etc/hostname"},
        CONFIG,
        {"code": 8, "msg": "expected CNI_NETNS to be a network namespace", "details": "got /etc/hostname"},
    ),
    (
        "the plugin's own namespace",
        {**ADD, "CNI_NETNS": OWN_NETNS},
        CONFIG,
        {"code": 8, "msg": "CNI_NETNS is the plugin's own namespace", "details": f"got {OWN_NETNS}"},
    ),
]


@pytest.mark.parametrize(
    ("environ", "config", "expected"),
    [pytest.param(environ, config, error, id=row) for row, environ, config, error in WRONG_CALLS],
)
def test_wrong_calls(
    environ: dict[str, str],
    config: Any,
    expected: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(config).encode())))

    assert plugin.main() == 1

    shown = capsysbinary.readouterr()
    assert json.loads(shown.out) == {"cniVersion": "1.1.0", **expected}
    assert shown.err == b""


def test_nothing_slow_is_loaded_that_a_pod_does_not_need() -> None:
    """Pod start-up waits for these imports; pyroute2 itself comes with the first kernel call."""
    code = (
        "import sys, cni.plugin; print(*sorted({'click', 'pyroute2', 'rich', 'yaml'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@netns_test
def test_version_needs_nothing(node: Node, pod: Path) -> None:
    assert node.call("VERSION", pod) == Answer(
        0,
        {
            "cniVersion": "1.1.0",
            "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        },
    )


@netns_test
def test_add_makes_what_it_reports(node: Node, pod: Path) -> None:
    result = node.add(pod)

    address = address_of(result)
    with open_rtnl(node.path) as host_rtnl, open_rtnl(pod) as pod_rtnl:
        host, inside = host_rtnl.link(HOST_LINK), pod_rtnl.link("eth0")
        assert result == {
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": HOST_LINK, "mac": host.mac, "mtu": 1500},
                {"name": "eth0", "mac": inside.mac, "mtu": 1500, "sandbox": str(pod)},
            ],
            "ips": [{"address": f"{address}/32", "gateway": "169.254.1.1", "interface": 1}],
            "routes": [{"dst": "169.254.1.1/32", "scope": 253}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        }
        assert (host.alias, host.is_up, inside.is_up) == ("c1/eth0 nodeplane default/web-0", True, True)
        assert (host.mtu_bytes, inside.mtu_bytes) == (1500, 1500)
        assert pod_rtnl.addresses("eth0") == {IPv4Interface(address)}
        assert host_rtnl.addresses(HOST_LINK) == set()
    assert node.routes() == [
        f"{address} dev {HOST_LINK} scope link",
        "local 169.254.1.1 dev lo scope host",
    ]
    sysctls = KernelSysctls(node.path)
    assert {
        name: sysctls.read(name.format(HOST_LINK))
        for name in (
            "net.ipv4.conf.{}.proxy_arp",
            "net.ipv4.conf.{}.forwarding",
            "net.ipv4.conf.{}.rp_filter",
            "net.ipv4.neigh.{}.proxy_delay",
        )
    } == {
        "net.ipv4.conf.{}.proxy_arp": "1",
        "net.ipv4.conf.{}.forwarding": "1",
        "net.ipv4.conf.{}.rp_filter": "1",
        "net.ipv4.neigh.{}.proxy_delay": "0",
    }


@netns_test
@pytest.mark.parametrize("has_default_route", [False, True], ids=["no default route", "a default route"])
@pytest.mark.parametrize("arp_ignore", [0, 1], ids=["ARP as it comes", "strict ARP"])
def test_a_pod_reaches_its_node(node: Node, pod: Path, has_default_route: bool, arp_ignore: int) -> None:
    """The gateway 169.254.1.1 resolves with any routing and any ARP policy of the node."""
    KernelSysctls(node.path).write("net.ipv4.conf.all.arp_ignore", arp_ignore)
    with (
        namespace("peer") as peer,
        veth_pair(node.path, "eth0", peer, "eth0", address_a="192.0.2.1/24", address_b="192.0.2.2/24"),
    ):
        if has_default_route:
            add_default_route(node.path, "192.0.2.2")

        address = address_of(node.add(pod))

        eventually(lambda: answers(pod, "192.0.2.1"), bool)
        eventually(lambda: answers(node.path, address), bool)
        # Under strict ARP the gateway is a proxied address, which is nobody's to answer a ping.
        assert arp_ignore or answers(pod, GATEWAY)


@netns_test
def test_two_pods_of_a_node_reach_each_other(node: Node, pod: Path) -> None:
    with namespace("other") as other:
        one = address_of(node.add(pod))
        two = address_of(node.add(other, container="c2", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1"))

        assert one != two
        eventually(lambda: answers(pod, two), bool)
        eventually(lambda: answers(other, one), bool)
        # And not by an address that is not theirs.
        with open_rtnl(pod) as rtnl:
            rtnl.add_address("eth0", IPv4Interface("10.244.99.99/32"))
            rtnl.replace_route(
                Route(
                    IPv4Network(two),
                    gateway=IPv4Address(GATEWAY),
                    link="eth0",
                    source=IPv4Address("10.244.99.99"),
                )
            )
        assert not answers(pod, two, within_s=0.5)


@netns_test
@pytest.mark.parametrize(
    ("config", "uplink_mtu_bytes", "expected"),
    [
        pytest.param({"mtu": 1350}, 9000, 1350, id="as configured"),
        pytest.param({}, 9000, 9000, id="the uplink's"),
    ],
)
def test_mtu(node: Node, pod: Path, config: dict[str, Any], uplink_mtu_bytes: int, expected: int) -> None:
    with (
        namespace("peer") as peer,
        veth_pair(node.path, "eth0", peer, "eth0", address_a="192.0.2.1/24"),
        open_rtnl(node.path) as host_rtnl,
        open_rtnl(pod) as pod_rtnl,
    ):
        host_rtnl.set_mtu("eth0", uplink_mtu_bytes)

        result = node.add(pod, config=config)

        assert [interface["mtu"] for interface in result["interfaces"]] == [expected, expected]
        assert host_rtnl.link(HOST_LINK).mtu_bytes == pod_rtnl.link("eth0").mtu_bytes == expected


@netns_test
def test_a_repeated_add_answers_the_same(node: Node, pod: Path) -> None:
    first = node.add(pod)

    assert node.add(pod) == first
    assert node.links() == {HOST_LINK}
    assert held(node) == {("c1", "eth0", address_of(first))}


@netns_test
def test_del_as_often_as_a_runtime_likes(node: Node, pod: Path) -> None:
    """containerd sends three for a pod, two of them without a namespace."""
    node.add(pod)

    for where in (str(pod), "", "", "/run/netns/npt-never-made"):
        assert node.call("DEL", where) == Answer(0, None)
        assert (node.links(), held(node)) == (set(), set())
    with open_rtnl(pod) as rtnl:
        assert rtnl.links().keys() == {"lo"}


def forget_namespace(pod: Path) -> None:
    netns.remove(pod.name)


def delete_interface(pod: Path) -> None:
    with open_rtnl(pod) as rtnl:
        rtnl.delete_link("eth0")


def nothing(pod: Path) -> None:
    """Leave the pod as it is."""


@netns_test
@pytest.mark.parametrize(
    ("happens", "has_netns"),
    [
        pytest.param(nothing, True, id="nothing special"),
        pytest.param(nothing, False, id="no CNI_NETNS while the pod lives"),
        pytest.param(forget_namespace, True, id="namespace gone"),
        pytest.param(forget_namespace, False, id="namespace gone, no CNI_NETNS"),
        pytest.param(delete_interface, True, id="interface gone"),
    ],
)
def test_del_frees_the_address(
    node: Node, pod: Path, happens: Callable[[Path], None], has_netns: bool
) -> None:
    node.add(pod)
    happens(pod)

    assert node.call("DEL", pod if has_netns else "") == Answer(0, None)
    assert held(node) == set()
    # A namespace ends in the background (cleanup_net), and its end of the pair with it.
    eventually(node.links, lambda links: not links)


@netns_test
@pytest.mark.parametrize(
    ("add_args", "del_args", "has_netns"),
    [
        pytest.param(POD_ARGS, "", True, id="DEL without them"),
        pytest.param(POD_ARGS, "", False, id="DEL without them and CNI_NETNS"),
        pytest.param("", POD_ARGS, True, id="ADD without them"),
        pytest.param(POD_ARGS, "K8S_POD_NAMESPACE=default;K8S_POD_NAME=other", True, id="another pod's"),
    ],
)
def test_del_with_other_cni_args(
    node: Node, pod: Path, add_args: str, del_args: str, has_netns: bool
) -> None:
    """The link goes with the address: a pod that kept one would share it with the next."""
    with namespace("other") as other:
        node.add(pod, args=add_args)
        kept = node.add(other, container="c2", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1")

        answer = node.call("DEL", pod if has_netns else "", args=del_args)

        assert answer == Answer(0, None)
        assert (len(node.links()), held(node)) == (1, {("c2", "eth0", address_of(kept))})
        with open_rtnl(pod) as rtnl:
            assert rtnl.links().keys() == {"lo"}


@netns_test
def test_the_longest_names(node: Node, pod: Path) -> None:
    """A pod's name has up to 253 characters and its namespace's 63, a container's id in practice 64."""
    args = f"K8S_POD_NAMESPACE={'n' * 63};K8S_POD_NAME={'p' * 253}"

    first = node.add(pod, container="f" * 64, args=args)

    assert node.add(pod, container="f" * 64, args=args) == first
    assert node.call("DEL", pod, container="f" * 64, args=args) == Answer(0, None)
    assert (node.links(), held(node)) == (set(), set())


@netns_test
def test_del_of_an_unknown_container(node: Node, pod: Path) -> None:
    assert node.call("DEL", pod, container="never-seen") == Answer(0, None)


@netns_test
def test_a_foreign_interface_is_refused_and_left(node: Node, pod: Path) -> None:
    with namespace("peer") as peer, veth_pair(pod, "eth0", peer, "eth0", address_a="192.0.2.9/24"):
        assert node.call("ADD", pod) == Answer(
            1,
            {
                "cniVersion": "1.1.0",
                "code": INTERFACE_EXISTS,
                "msg": "interface eth0 exists in the container and is not ours",
                "details": f"in {pod}",
            },
        )
        assert node.call("DEL", pod) == Answer(0, None)
        with open_rtnl(pod) as rtnl:
            assert rtnl.addresses("eth0") == {IPv4Interface("192.0.2.9/24")}
    assert (node.links(), held(node)) == (set(), set())


@netns_test
def test_a_pods_second_sandbox_takes_over_and_the_firsts_del_leaves_it(node: Node, pod: Path) -> None:
    with namespace("second") as second:
        node.add(pod)
        result = node.add(second, container="c2")

        assert node.call("DEL", pod) == Answer(0, None)

        assert node.links() == {HOST_LINK}
        assert held(node) == {("c2", "eth0", address_of(result))}
        eventually(lambda: answers(second, GATEWAY), bool)


@netns_test
def test_a_failed_add_leaves_nothing(node: Node, pod: Path) -> None:
    """Another owner's route is in the way of the last step."""
    with open_rtnl(node.path) as rtnl:
        foreign = Route(IPv4Network("169.254.1.1/32"), link="lo", scope="link", protocol=4)
        rtnl.add_route(foreign)

        answer = node.call("ADD", pod)

        expected = "add route local 169.254.1.1/32 dev lo: File exists (EEXIST)"
        assert answer == Answer(
            1, {"cniVersion": "1.1.0", "code": ErrorCode.IO_FAILURE.value, "msg": expected}
        )
        assert (node.links(), node.routes(), held(node)) == (set(), [], set())
        assert foreign in rtnl.routes(4)
    with open_rtnl(pod) as rtnl:
        assert rtnl.links().keys() == {"lo"}


@netns_test
def test_a_full_pool_is_told_and_nothing_is_made(node: Node, pod: Path) -> None:
    pools = [{"name": "tiny", "cidr": "10.244.0.0/32", "blockSize": 32}]
    config = {"ipam": {**node.config["ipam"], "pools": pools}}
    with namespace("other") as other:
        node.add(other, container="c0", args="", config=config)

        answer = node.call("ADD", pod, config=config)

        assert (answer.code, answer.body["code"]) == (1, ErrorCode.TRY_AGAIN_LATER)
        assert "pool tiny is exhausted for node n1" in answer.body["msg"]
        assert HOST_LINK not in node.links()


@netns_test
def test_a_chain_before_us_stays_in_the_result(node: Node, pod: Path) -> None:
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "sandbox": str(pod)}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
    }

    result = node.add(pod, config={"prevResult": previous})

    assert [interface["name"] for interface in result["interfaces"]] == ["net1", HOST_LINK, "eth0"]
    assert [ip.get("interface") for ip in result["ips"]] == [0, 2]


@netns_test
def test_killed_between_any_two_steps(node: Node, pod: Path) -> None:
    """Whatever a killed ADD leaves, the next ADD completes it and a DEL removes it."""
    steps = 0
    while killed_after(node, pod, steps):
        with netns.inside(node.path):
            result = plugin.add(request(node, "ADD", pod))
        assert (node.links(), held(node)) == ({HOST_LINK}, {("c1", "eth0", str(result.ips[0].address.ip))})
        eventually(lambda: answers(pod, GATEWAY), bool)
        delete_and_find_nothing(node, pod)

        assert killed_after(node, pod, steps)
        delete_and_find_nothing(node, pod)
        steps += 1
    assert steps > 10


def delete_and_find_nothing(node: Node, pod: Path) -> None:
    with netns.inside(node.path):
        plugin.delete(request(node, "DEL", pod))
    assert (node.links(), held(node)) == (set(), set())


def request(node: Node, command: str, pod: Path) -> Request:
    return decode_request(node.environ(command, pod), json.dumps(node.config).encode())


def killed_after(node: Node, pod: Path, steps: int) -> bool:
    """Run ADD in a process that ends at a call to the kernel or the datastore; False when it got through."""
    child = multiprocessing.get_context("fork").Process(target=add_and_die, args=(node, pod, steps))
    child.start()
    child.join()
    assert child.exitcode in {0, 9}
    return child.exitcode == 9


def add_and_die(node: Node, pod: Path, steps: int) -> None:
    countdown = Countdown(steps, end=lambda: os._exit(9))
    really_open, really_transact = open_rtnl, Datastore.transact

    class Guarded:
        """Opens what `open_rtnl` does, and counts."""

        def __init__(self, namespace: Path | None = None) -> None:
            self._opened = really_open(namespace)

        def __enter__(self) -> Rtnl:
            return countdown.guard(self._opened.__enter__())

        def __exit__(self, *exc: Any) -> None:
            self._opened.__exit__(*exc)

    def transact(self: Datastore, step: Any) -> Any:
        countdown.tick()
        done = really_transact(self, step)
        countdown.tick()
        return done

    with pytest.MonkeyPatch.context() as patch, netns.inside(node.path):
        patch.setattr(plugin, "open_rtnl", Guarded)
        patch.setattr(Datastore, "transact", transact)
        plugin.add(request(node, "ADD", pod))
    os._exit(0)


def held(node: Node) -> set[tuple[str, str, str]]:
    """Return who holds which address in the node's datastore."""
    with open_datastore(node.datastore) as datastore:
        return {
            (item.handle.container_id, item.handle.interface, str(item.address))
            for item in datastore.read(lambda ledger: ledger.allocations())
        }
