"""An ADD or DEL with limits and a source check that ends anywhere: the next call completes or undoes it."""

import json
import multiprocessing
from pathlib import Path

import pytest

from cni import plugin
from cni.features.bandwidth import ifb_name
from cni.features.source_check import elements_of
from cni.features.source_rules import LINKS
from cni.features.source_state import list_names, read_senders
from nodeplane.cnispec import Request, decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.errors import KernelNotFoundError
from tests.cni.conftest import Node
from tests.cni.faults import KILLED, die_at
from tests.cni.features.test_pod_shaping import BOTH, asked, expected, ifbs, read

pytestmark = pytest.mark.netns

SETS = (LINKS, "sources-ip", "sources-ip6")


def request(node: Node, command: str, pod: Path) -> Request:
    config = json.dumps({**node.config, **asked(**BOTH)}).encode()
    return decode_request(node.environ(command, pod), config)


def call(node: Node, command: str, pod: Path) -> None:
    with netns.inside(node.path):
        plugin.commands()[command](request(node, command, pod))


def is_killed(node: Node, command: str, pod: Path, steps: int) -> bool:
    """Do a call in a process that ends after some steps; False when it got through."""
    child = multiprocessing.get_context("fork").Process(
        target=_call_and_die, args=(node, command, pod, steps)
    )
    child.start()
    child.join()
    assert child.exitcode in {0, KILLED}
    return child.exitcode == KILLED


def _call_and_die(node: Node, command: str, pod: Path, steps: int) -> None:
    die_at(steps)
    call(node, command, pod)


def keys(node: Node) -> dict[str, set[bytes]]:
    """Return what our table has of the source check; without a table nothing."""
    with netns.inside(node.path), KernelTable("inet", "nodeplane-cni") as table:
        try:
            return {name: {use.key for use in table.read_uses(name)} for name in SETS}
        except KernelNotFoundError:
            return {name: set() for name in SETS}


def assert_whole(node: Node, folder: Path) -> None:
    assert read(node) == expected(**BOTH)
    (sender,) = read_senders(folder)
    assert keys(node) == {name: part.keys() for name, part in elements_of(sender).items()}


def assert_nothing(node: Node, folder: Path) -> None:
    assert (node.links(), ifbs(node), list_names(folder)) == (set(), set(), [])
    assert keys(node) == {name: set() for name in SETS}


def test_add_killed_at_any_step(node: Node, pod: Path, agent_socket: Path) -> None:
    folder, steps = agent_socket.parent, 0
    while is_killed(node, "ADD", pod, steps):
        call(node, "ADD", pod)
        assert_whole(node, folder)
        call(node, "DEL", pod)
        assert_nothing(node, folder)

        assert is_killed(node, "ADD", pod, steps)
        call(node, "DEL", pod)
        assert_nothing(node, folder)
        steps += 1
    assert steps > 30


def test_del_killed_at_any_step(node: Node, pod: Path, agent_socket: Path) -> None:
    """The runtime calls again."""
    folder, steps = agent_socket.parent, 0
    while True:
        call(node, "ADD", pod)
        is_over = not is_killed(node, "DEL", pod, steps)
        call(node, "DEL", pod)
        assert_nothing(node, folder)
        if is_over:
            break
        steps += 1
    assert ifb_name("c1/eth0") not in ifbs(node)
    assert steps > 6
