"""An ADD in a process that keeps its datastore open answers when the disk has the address, and not before."""

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni import plugin
from ipam.warm_store import keeping_open
from nodeplane.datapath import netns
from tests.cni.conftest import Node, address_of, held
from tests.netns_fixture import eventually

pytestmark = pytest.mark.netns

# The node's, for all pods.
GATEWAY_ROUTE = "local 169.254.1.1 dev lo scope host"


def add(node: Node, pod: Path, lock: Path) -> tuple[int, bytes]:
    with netns.inside(node.path):
        return plugin.answer(node.environ("ADD", pod), json.dumps(node.config).encode(), lock)


def test_add_waits_for_the_disk(
    node: Node, pod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is made meanwhile."""
    is_free = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: is_free.wait(60))
    with keeping_open(), ThreadPoolExecutor() as threads:
        adding = threads.submit(add, node, pod, tmp_path / "lock")
        (route,) = eventually(node.routes, lambda routes: len(routes) == 2)[:1]
        is_done = adding.done()
        is_free.set()
        code, stdout = adding.result()

    assert (is_done, code, route.split()[0]) == (False, 0, address_of(json.loads(stdout)))


def test_add_of_an_address_that_no_disk_takes(
    node: Node, pod: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", refuse)
    with keeping_open():
        code, stdout = add(node, pod, tmp_path / "lock")

    answer = json.loads(stdout)
    assert (code, answer["code"]) == (1, 5)
    assert answer["msg"].endswith("ipam.sqlite-wal: Input/output error")
    assert (node.links(), node.routes(), held(node)) == (set(), [GATEWAY_ROUTE], set())
