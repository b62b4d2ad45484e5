"""`nodeplane-cni` DEL: what it frees and leaves, after whatever came before."""

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from ipam.datastore import Datastore
from nodeplane.cnispec import Request, decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Rtnl, open_rtnl
from tests.cni.conftest import POD_ARGS, Answer, Node, address_of
from tests.cni.faults import Countdown
from tests.cni.plugin_node import GATEWAY, HOST_LINK, held, netns_test
from tests.netns_fixture import answers, eventually, namespace


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
def test_del_of_an_unknown_container(node: Node, pod: Path) -> None:
    assert node.call("DEL", pod, container="never-seen") == Answer(0, None)


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
