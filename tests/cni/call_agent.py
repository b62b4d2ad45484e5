"""The agent's server for CNI calls in a process of its own, without the rest of the agent."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from prometheus_client import CollectorRegistry

from cni import plugin
from cni.call_lock import lock_file
from cni.calls.metrics import CallMetrics
from cni.calls.server import CallServer
from cni.features.node_table import keeping_sockets
from ipam.warm_store import keeping_open
from nodeplane.datapath import netns
from tests.netns_fixture import eventually


def prepare_nothing() -> None:
    """Serve as the agent does."""


@contextmanager
def call_agent(
    node: Path, path: Path, prepare: Callable[[], None] = prepare_nothing
) -> Iterator[BaseProcess]:
    """Serve the calls of a node at a socket; `prepare` runs first, in the server's process."""
    # One that a killed server left would be taken for the new one's.
    path.unlink(missing_ok=True)
    child = multiprocessing.get_context("fork").Process(target=_serve, args=(node, path, prepare))
    child.start()
    try:
        eventually(path.is_socket, bool)
        yield child
    finally:
        child.kill()
        child.join()


def _serve(node: Path, path: Path, prepare: Callable[[], None]) -> None:
    prepare()
    answer = partial(plugin.answer, lock=lock_file(path))
    with netns.inside(node), keeping_open(), keeping_sockets():
        asyncio.run(CallServer(path, answer, CallMetrics(CollectorRegistry())).run())
