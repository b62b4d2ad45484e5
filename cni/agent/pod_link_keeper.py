"""When the pods' links are looked after: at the agent's start, after damage, and every ten minutes.

What is to be done is found without keeping any ADD or DEL waiting. Only when there is something are they held
off while it is found once more and done: a link's name is the pod's, and may go over to its next sandbox.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from cni.agent.live_namespaces import read_live
from cni.agent.pod_links import (
    Held,
    Lack,
    PodLink,
    Report,
    build_sides,
    concerns_pods,
    find_lack,
    find_orphans,
    find_unknown,
    is_hurt,
    read_held,
    read_links,
    read_shared,
    repair,
)
from cni.call_lock import locked
from cni.edge import open_edge
from cni.features.source_state import read_loose
from cni.wiring.plan import Side
from ipam.datastore import open_datastore
from nodeplane.datapath.rtnl import Link, Rtnl, open_rtnl
from nodeplane.datapath.rtnl.monitor import AddressEvent, Event, LinkEvent
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelNotFoundError
from nodeplane.reconcile.runner import Runner

# Bounds a fight with somebody who deletes what we write.
_MIN_INTERVAL_S = 0.5
_RESYNC_INTERVAL_S = 600.0
# A namespace may get its name only after its links (a runtime with mounts of its own).
_ORPHAN_AFTER_S = 5.0
_LOCK_WAIT_S = 10.0

_ARP_IGNORE = "net.ipv4.conf.all.arp_ignore"

log = logging.getLogger(__name__)


class PodLinkKeeper:
    """Looks after the links of one node's pods, from when the agent is ready; `lock` is the plugin's."""

    def __init__(self, datastore_url: str, sysctls: Sysctls, lock: Path) -> None:
        self._runner = Runner(
            self._sync, min_interval_s=_MIN_INTERVAL_S, resync_interval_s=_RESYNC_INTERVAL_S
        )
        self._datastore_url = datastore_url
        self._sysctls = sysctls
        self._lock = lock
        self._own_port = 0
        self._refused: frozenset[str] = frozenset()
        self._suspects: dict[int, float] = {}
        self._fallen: set[str] = set()
        self._stripped: set[int] = set()
        self._ended = threading.Event()

    async def run(self, ready: asyncio.Event) -> None:
        """Keep the links for as long as the task lives.

        Raises:
            KernelError: rtnetlink can't be had.
        """
        await ready.wait()
        # A thread of its own: it waits for ADDs and DELs, the routes must not.
        async with open_edge("pods", open_rtnl) as self._kernel:
            try:
                self._own_port = await self._kernel(lambda rtnl: rtnl.port)
                self._runner.trigger(full=True)
                await self._runner.run()
            finally:
                # What is under way in the thread waits for no server any more.
                self._ended.set()

    def take_event(self, event: Event) -> None:
        """Take the kernel's word that something changed."""
        if not concerns_pods(event, self._own_port):
            return
        match event:
            case LinkEvent(name=name):
                self._fallen.add(name)
                self._runner.trigger()
            case AddressEvent(link_index=index):
                self._stripped.add(index)
                self._runner.trigger()
            case _:
                self._runner.trigger(full=True)

    async def _sync(self, full: bool) -> None:
        fallen, self._fallen = self._fallen, set()
        stripped, self._stripped = self._stripped, set()
        if not full and not await self._kernel(lambda rtnl: is_hurt(rtnl, fallen, stripped)):
            return
        report = await self._kernel(self._work)
        if self._suspects:
            asyncio.get_running_loop().call_later(_ORPHAN_AFTER_S, self._look_again)
        for reason in sorted(report.refused - self._refused):
            log.warning("pod link not repaired error=%r", reason)
        self._refused = report.refused
        if report.repaired or report.removed:
            repaired, removed = (",".join(names) or "none" for names in (report.repaired, report.removed))
            log.info("pod links synced repaired=%s removed=%s", repaired, removed)

    def _look_again(self) -> None:
        self._runner.trigger(full=True)

    def _work(self, rtnl: Rtnl) -> Report:
        links = read_links(rtnl)
        held = self._read_held(links)
        unknown = find_unknown(links, held)
        orphans = self._suspect(find_orphans(unknown, read_live(), open_rtnl))
        if not orphans and not self._has_lack(rtnl, links, self._build_sides(links, held)):
            return Report()
        with locked(self._lock, "", _LOCK_WAIT_S):
            links = read_links(rtnl)
            held = self._read_held(links)
            unknown = find_unknown(links, held)
            orphans = [link for link in orphans if link in unknown]
            return repair(rtnl, self._sysctls, links, self._build_sides(links, held), orphans)

    def _suspect(self, orphans: Iterable[Link]) -> list[Link]:
        """Return those that have been orphans for a while; the others will be looked at again."""
        now_s = time.monotonic()
        since = {link: self._suspects.get(link.index, now_s) for link in orphans}
        ripe = [link for link, since_s in since.items() if now_s - since_s >= _ORPHAN_AFTER_S]
        self._suspects = {link.index: since_s for link, since_s in since.items() if link not in ripe}
        return ripe

    def _has_lack(self, rtnl: Rtnl, links: Iterable[PodLink], sides: dict[str, Side]) -> bool:
        shared = read_shared(rtnl) if sides else frozenset()
        there = ((each, sides[each.link.name]) for each in links if each.link.name in sides)
        try:
            return any(find_lack(self._sysctls, each, side, shared) != Lack() for each, side in there)
        except KernelNotFoundError:
            # One has gone meanwhile; the others deserve another look.
            return True

    def _build_sides(self, links: Iterable[PodLink], held: Held) -> dict[str, Side]:
        is_strict = self._sysctls.read(_ARP_IGNORE) != "0"
        # Beside the lock, where the plugin leaves what it knows of its pods.
        loose = read_loose(self._lock.parent)
        return build_sides(links, held, time.time(), is_arp_strict=is_strict, loose=loose)

    def _read_held(self, links: tuple[PodLink, ...]) -> Held:
        if not links:
            return {}
        with open_datastore(self._datastore_url, create=False, ended=self._ended) as datastore:
            return datastore.read(lambda ledger: read_held(ledger, links))
