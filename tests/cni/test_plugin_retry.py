"""ADDs of `nodeplane-cni` that are repeated, refused, or killed anywhere: nothing is left half done."""

import json
import multiprocessing
import os
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from cni.attachment import Attachment
from cni.error_codes import INTERFACE_EXISTS
from ipam.datastore import Datastore
from nodeplane.cnispec import ErrorCode, Request, decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, Rtnl, open_rtnl
from tests.cni.conftest import WAYS, Answer, Node, address_of, held
from tests.cni.faults import Countdown
from tests.netns_fixture import answers, eventually, namespace, veth_pair

pytestmark = pytest.mark.netns

GATEWAY = "169.254.1.1"
WEB = Attachment("c1", "eth0", None, "default", "web-0")
HOST_LINK = WEB.host_link


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run everything here in process and through both shims."""
    kind: str = request.param
    return kind


def test_a_repeated_add_answers_the_same(node: Node, pod: Path) -> None:
    first = node.add(pod)

    assert node.add(pod) == first
    assert node.links() == {HOST_LINK}
    assert held(node) == {("c1", "eth0", address_of(first))}


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
        path = node.datastore.removeprefix("sqlite://")
        told = f"nodeplane-ipam: {path}: there is no datastore: nothing to free for c1/eth0\n"
        assert node.call("DEL", pod, stderr=told) == Answer(0, None)
        with open_rtnl(pod) as rtnl:
            assert rtnl.addresses("eth0") == {IPv4Interface("192.0.2.9/24")}
    assert (node.links(), held(node)) == (set(), set())


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


def test_a_full_pool_is_told_and_nothing_is_made(node: Node, pod: Path) -> None:
    pools = [{"name": "tiny", "cidr": "10.244.0.0/32", "blockSize": 32}]
    config = {"ipam": {**node.config["ipam"], "pools": pools}}
    with namespace("other") as other:
        node.add(other, container="c0", args="", config=config)

        answer = node.call("ADD", pod, config=config)

        assert (answer.code, answer.body["code"]) == (1, ErrorCode.TRY_AGAIN_LATER)
        assert "pool tiny is exhausted for node n1" in answer.body["msg"]
        assert HOST_LINK not in node.links()


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

        def __init__(self, namespace: Path | None = None, *, is_brief: bool = False) -> None:
            self._opened = really_open(namespace, is_brief=is_brief)

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
