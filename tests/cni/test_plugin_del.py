"""DELs of `nodeplane-cni`: as many as a runtime likes, late ones, and what they know too little about."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cni.attachment import Attachment
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from tests.cni.conftest import POD_ARGS, WAYS, Answer, Node, address_of, held
from tests.netns_fixture import answers, eventually, namespace

pytestmark = pytest.mark.netns

GATEWAY = "169.254.1.1"
WEB = Attachment("c1", "eth0", None, "default", "web-0")
HOST_LINK = WEB.host_link


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run everything here in process and through both shims."""
    kind: str = request.param
    return kind


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


def test_del_of_an_unknown_container(node: Node, pod: Path) -> None:
    """With a datastore in which it is not, and before that without one."""
    path = node.datastore.removeprefix("sqlite://")
    told = f"nodeplane-ipam: {path}: there is no datastore: nothing to free for never-seen/eth0\n"
    assert node.call("DEL", pod, container="never-seen", stderr=told) == Answer(0, None)

    node.add(pod)
    assert node.call("DEL", "", container="never-seen", args="") == Answer(0, None)


def test_a_pods_second_sandbox_takes_over_and_the_firsts_del_leaves_it(node: Node, pod: Path) -> None:
    with namespace("second") as second:
        node.add(pod)
        result = node.add(second, container="c2")

        assert node.call("DEL", pod) == Answer(0, None)

        assert node.links() == {HOST_LINK}
        assert held(node) == {("c2", "eth0", address_of(result))}
        eventually(lambda: answers(second, GATEWAY), bool)
