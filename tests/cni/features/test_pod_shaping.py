"""Limits of bandwidth in the kernel: made, changed, taken away, and what they do to what is really sent."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cni.attachment import Attachment
from cni.features.bandwidth import Limits, build_limits, decode_bandwidth, ifb_name
from cni.features.pod_shaping import remove_orphans
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.shaping import Shape, open_shaper
from tests.cni.conftest import POD_ARGS, WAYS, Answer, Node
from tests.cni.features.test_bandwidth import config
from tests.netns_fixture import answers, eventually, namespace, run_in

pytestmark = pytest.mark.netns

LINK = Attachment("c1", "eth0", None, "default", "web-0").host_link
IFB = ifb_name("c1/eth0")
RATE = 10_000_000
CRI_BURST = 2**32 - 1
GATEWAY = "169.254.1.1"
BOTH = {"ingressRate": RATE, "ingressBurst": CRI_BURST, "egressRate": 2 * RATE, "egressBurst": 1_600_000}
OTHER = {"ingressRate": 3 * RATE, "egressRate": 3 * RATE}
RECEIVE = {"ingressRate": RATE}
SEND = {"egressRate": RATE}
SENT_BYTES = 1_000_000
BURST_BYTES = 80_000


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", WAYS[0])
    return kind


def asked(**bandwidth: int) -> dict[str, Any]:
    return {"runtimeConfig": {"bandwidth": bandwidth}}


def limits(**bandwidth: int) -> Limits:
    return build_limits(decode_bandwidth(config(**bandwidth)), 1500)


def read(node: Node) -> tuple[Shape, Shape | None]:
    """Return what the pod's link and its ifb have."""
    with netns.inside(node.path), open_shaper() as shaper:
        return shaper.read(LINK), shaper.read(IFB) if IFB in ifbs(node) else None


def ifbs(node: Node) -> set[str]:
    with open_rtnl(node.path) as rtnl:
        return {link.name for link in rtnl.links().values() if link.kind == "ifb"}


def expected(**bandwidth: int) -> tuple[Shape, Shape | None]:
    wanted = limits(**bandwidth)
    if wanted.egress is None:
        return Shape(wanted.ingress), None
    return Shape(wanted.ingress, IFB), Shape(wanted.egress)


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_from_add_to_del(node: Node, pod: Path) -> None:
    result = node.add(pod, config=asked(**BOTH))

    assert read(node) == expected(**BOTH)
    with open_rtnl(node.path) as rtnl:
        assert (rtnl.link(IFB).alias, rtnl.link(IFB).mtu_bytes) == ("c1/eth0 nodeplane default/web-0", 1500)
    eventually(lambda: answers(pod, GATEWAY), bool)
    checked = {**asked(**BOTH), "prevResult": result}
    assert node.call("CHECK", pod, config=checked) == Answer(0, None)
    for _ in range(2):
        assert node.call("DEL", pod) == Answer(0, None)
        assert (node.links(), ifbs(node)) == (set(), set())


@pytest.mark.parametrize("first", [{}, BOTH, RECEIVE, SEND], ids=["none", "both", "receive", "send"])
def test_an_add_that_asks_for_something_else(node: Node, pod: Path, first: dict[str, int]) -> None:
    node.add(pod, config=asked(**first))
    assert read(node) == expected(**first)
    for next_one in (OTHER, RECEIVE, SEND, {}):
        node.add(pod, config=asked(**next_one))
        assert read(node) == expected(**next_one)
        node.add(pod, config=asked(**first))
        assert read(node) == expected(**first)


def test_check_names_what_differs(node: Node, pod: Path) -> None:
    result = node.add(pod, config=asked(**BOTH))
    checked = {**asked(**BOTH), "prevResult": result}
    run_in(node.path, "tc", "qdisc", "del", "dev", LINK, "root")
    run_in(node.path, "tc", "qdisc", "del", "dev", LINK, "ingress")

    answer = node.call("CHECK", pod, config=checked)

    assert (answer.code, answer.body["code"]) == (1, 102)
    wanted = f"{LINK} has no limit, not a limit of {RATE} bit/s, 1000000 ticks, 111250 bytes; "
    assert answer.body["details"] == f"{wanted}{LINK} is not redirected to {IFB}"
    node.add(pod, config=asked(**BOTH))
    assert node.call("CHECK", pod, config=checked) == Answer(0, None)


def test_an_add_that_fails_leaves_nothing(node: Node, pod: Path) -> None:
    answer = node.call("ADD", pod, config=asked(egressBurst=8000))

    assert (answer.code, answer.body["code"]) == (1, 7)
    assert (node.links(), ifbs(node)) == (set(), set())


@pytest.mark.parametrize("args", [POD_ARGS, ""], ids=["by its pod", "by its container"])
def test_del_after_the_link_went(node: Node, pod: Path, args: str) -> None:
    """With the pod's namespace, say."""
    node.add(pod, config=asked(**SEND), args=args)
    with open_rtnl(pod) as rtnl:
        rtnl.delete_link("eth0")
    assert len(ifbs(node)) == 1

    assert node.call("DEL", "", args=args) == Answer(0, None)
    assert ifbs(node) == set()


def test_del_that_does_not_name_the_pod(node: Node, pod: Path) -> None:
    """A DEL need not repeat CNI_ARGS."""
    node.add(pod, config=asked(**SEND))

    assert node.call("DEL", pod, args="") == Answer(0, None)
    assert (node.links(), ifbs(node)) == (set(), set())


def test_a_late_del_leaves_the_next_sandbox_its_limits(node: Node, pod: Path) -> None:
    node.add(pod, container="old", config=asked(**SEND))
    with namespace("next") as other:
        node.add(other, container="new", config=asked(**BOTH))

        assert node.call("DEL", pod, container="old") == Answer(0, None)

        shape, _ = expected(**BOTH)
        assert read(node)[0] == msgspec.structs.replace(shape, target=ifb_name("new/eth0"))
        assert ifbs(node) == {ifb_name("new/eth0")}
        eventually(lambda: answers(other, GATEWAY), bool)


def test_orphans(node: Node, pod: Path) -> None:
    """What a killed ADD or DEL left: gone with the next GC, or with the agent's look."""
    for collect in (False, True):
        node.add(pod, config=asked(**SEND))
        with netns.inside(node.path), open_rtnl() as rtnl, open_shaper() as shaper:
            shaper.add_ifb("npb00000000000", 1500)
            if not collect:
                assert remove_orphans(rtnl) == ["npb00000000000"]
        valid = [{"containerID": "c1", "ifname": "eth0"}]
        assert node.call("GC", "", config={"cni.dev/valid-attachments": valid}) == Answer(0, None)
        assert ifbs(node) == {IFB}
        assert node.call("GC", "", config={"cni.dev/valid-attachments": []}) == Answer(0, None)
        assert (node.links(), ifbs(node)) == (set(), set())


@pytest.mark.parametrize("direction", ["to the pod", "from the pod"])
def test_nothing_goes_faster(node: Node, pod: Path, direction: str) -> None:
    """However fast the machine is, bytes beyond the burst take their time."""
    node.add(pod, config=asked(ingressRate=RATE, egressRate=RATE))
    eventually(lambda: answers(pod, GATEWAY), bool)
    with netns.inside(node.path):
        listener = socket.create_server(("", 0))
    with listener:
        with netns.inside(pod):
            far = socket.create_connection((GATEWAY, listener.getsockname()[1]), timeout=60)
        near, _ = listener.accept()
    sender, receiver = (near, far) if direction == "to the pod" else (far, near)
    with near, far:
        begun_s = time.monotonic()
        thread = threading.Thread(target=sender.sendall, args=(bytes(SENT_BYTES),))
        thread.start()
        left = SENT_BYTES
        while left:
            left -= len(receiver.recv(1 << 16))
        took_s = time.monotonic() - begun_s
        thread.join()

    assert took_s >= (SENT_BYTES - BURST_BYTES) / (RATE / 8)
