"""The edge to the lab's API server: read it, bring it to what is wanted, wait for its controllers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from netns_lab.cluster import MANAGER
from netns_lab.cluster_delta import ClusterDelta, Live, Write, diff_cluster, differences, key_of, unsettled
from netns_lab.loader import Manifest
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import KINDS, Node, Object, ObjectKey, Pod

if TYPE_CHECKING:
    from nodeplane.kube.writer import Writer

_SETTLE_LIMIT_S = 60.0
_PAUSE_S = 0.02

# A pod is forbidden until a controller has given its namespace a service account (ServiceAccount admission).
_FORBIDDEN = 403
_ADMISSION_LIMIT_S = 10.0

# Enough that the server never waits for us; each more is a TLS handshake more.
_CONNECTIONS = 4

log = logging.getLogger(__name__)

Report = Callable[[str, object], None]
T = TypeVar("T")


class ClusterApi:
    """An API server: `kubeconfig` says how it is reached from the namespace `place`, None for our own.

    A lab's own server is reached from a place in the lab, another one from ours.
    """

    def __init__(self, lab: str, kubeconfig: Path, place: Path | None) -> None:
        self._lab = lab
        self._kubeconfig = kubeconfig
        self._place = place

    def compare(
        self, desired: Iterable[Manifest], moving: Collection[ObjectKey] = ()
    ) -> tuple[list[Object], list[str]]:
        """Return all objects of the lab's kinds, and in words how they differ from the desired ones.

        For `moving` see `differences`.

        Raises:
            NodeplaneError: an object is there that is not the lab's.
            ApiError: the server can't be reached, or refuses.
            ConfigError: the kubeconfig is wrong.
            KernelNotFoundError: the place is not there.
        """

        async def work(writer: "Writer") -> tuple[list[Object], list[str]]:
            live = await _read(writer)
            return _typed(live), differences(self._diff(desired, live), live, moving)

        return self._run(work)

    def check(self, desired: Iterable[Manifest]) -> None:
        """Make sure that the server answers and that the desired objects can be made; write nothing.

        Raises:
            NodeplaneError: an object is there that is not the lab's.
            ApiError, ConfigError, KernelNotFoundError: as `compare`.
        """

        async def work(writer: "Writer") -> None:
            self._diff(desired, await _read(writer))

        self._run(work)

    def sync(self, desired: Iterable[Manifest], report: Report) -> list[Object]:
        """Bring the server to the desired objects, wait for the lab's endpoints, return all that there is.

        Raises:
            NodeplaneError: an object is there that is not the lab's; the endpoints do not come.
            ApiError, ConfigError, KernelNotFoundError: as `compare`.
        """
        desired = tuple(desired)

        async def work(writer: "Writer") -> list[Object]:
            await _converge(writer, self._diff(desired, await _read(writer)), report)
            return await _await_endpoints(writer, self._lab)

        return self._run(work)

    def _diff(self, desired: Iterable[Manifest], live: Live) -> ClusterDelta:
        return diff_cluster(self._lab, desired, live, is_own=self._place is not None)

    def _run(self, work: Callable[["Writer"], Awaitable[T]]) -> T:
        async def main() -> T:
            async with open_writer(self._kubeconfig, is_direct=self._place is not None) as writer:
                return await work(writer)

        # Sockets are opened by this thread, in the namespace that it is in then, and stay there.
        with nullcontext() if self._place is None else netns.inside(self._place):
            return asyncio.run(main())


@asynccontextmanager
async def open_writer(
    kubeconfig: Path, *, is_direct: bool, manager: str = MANAGER
) -> AsyncIterator["Writer"]:
    """Open an API server for reading and writing as a manager of fields."""
    # Late: an HTTP client costs 0.1 s to import, which commands that need no server need not pay.
    from nodeplane.kube.connection import Connection
    from nodeplane.kube.writer import Writer

    connection = Connection.from_kubeconfig(kubeconfig, is_direct=is_direct)
    async with await connection.open() as client:
        yield Writer(client, manager)


async def _read(writer: "Writer") -> Live:
    values = [value for kind in KINDS.values() for value in await writer.read(kind)]
    return {key_of(value): value for value in values}


def _typed(live: Live) -> list[Object]:
    objects: list[Object] = []
    for key, value in live.items():
        try:
            objects.append(msgspec.convert(value, key.kind))
        except msgspec.ValidationError as exc:
            # Somebody's, in a form that we do not know: the programs skip it too.
            log.warning("object skipped object=%s error=%r", key, str(exc))
    return objects


async def _converge(writer: "Writer", delta: ClusterDelta, report: Report) -> None:
    # One at a time, in order: what is deleted is mostly nothing.
    for removal in delta.remove:
        await writer.delete(removal.key, removal.uid)
        report("deleted", removal.key)
    limit = asyncio.Semaphore(_CONNECTIONS)

    async def write(entry: Write) -> None:
        async with limit:
            await _apply(writer, entry)

    for group in delta.write:
        await asyncio.gather(*(write(entry) for entry in group))
        for entry in group:
            report("applied", f"{entry.key}{' status' if entry.subresource else ''}")


async def _apply(writer: "Writer", entry: Write) -> None:
    from nodeplane.kube.session import RefusedError

    deadline = time.monotonic() + _ADMISSION_LIMIT_S
    while True:
        try:
            return await _apply_once(writer, entry)
        except RefusedError as exc:
            if entry.key.kind is not Pod or exc.code != _FORBIDDEN or time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE_S)


async def _apply_once(writer: "Writer", entry: Write) -> None:
    addresses = entry.value.get("status", {}).get("addresses", []) if entry.key.kind is Node else []
    if len({address["type"] for address in addresses}) == len(addresses):
        await writer.apply(entry.key, entry.value, entry.subresource)
        return
    # Two InternalIPs can't be applied: a Node's addresses are a map by their type (core/v1, NodeStatus).
    rest = {name: part for name, part in entry.value["status"].items() if name != "addresses"}
    await writer.apply(entry.key, {**entry.value, "status": rest}, entry.subresource)
    await writer.merge(entry.key, {"status": {"addresses": addresses}}, entry.subresource)


async def _await_endpoints(writer: "Writer", lab: str) -> list[Object]:
    deadline = time.monotonic() + _SETTLE_LIMIT_S
    while True:
        live = await _read(writer)
        waiting = unsettled(lab, live)
        if not waiting:
            return _typed(live)
        if time.monotonic() > deadline:
            raise NodeplaneError(
                f"{waiting[0]}: its endpoints do not match its pods after {_SETTLE_LIMIT_S:.0f} s; "
                "does an endpoints controller run on the API server?"
            )
        await asyncio.sleep(_PAUSE_S)
