"""What the kernel's table said, read over and over: nothing that is there may ever be missing or refuse."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kubeproxy.published import read_published
from kubeproxy.report import describe_services
from kubeproxy.rules.layout import TABLE
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable

Services = Mapping[str, frozenset[str]]
"""Endpoints by frontend, as `kubeproxy show` prints them."""

_PAUSE_S = 0.01


class TableWatcher:
    """Reads the table as `kubeproxy show` does; what it finds wrong is in `wrong`, each once.

    `always` are the frontends that must be there with an endpoint, `allowed` all endpoints that may be.
    """

    def __init__(self) -> None:
        self.wrong: dict[str, None] = {}
        self.reads = 0
        self.always: frozenset[str] = frozenset()
        self.allowed: dict[str, frozenset[str]] = {}
        self.latest: Services = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None

    def expect(self, old: Services, new: Services) -> None:
        """Judge from now on by a change from one state of the server to another; it may take its time."""
        with self._lock:
            self.always = frozenset(old.keys() & new.keys())
            self.allowed = {
                frontend: old.get(frontend, frozenset()) | new.get(frontend, frozenset())
                for frontend in old.keys() | new.keys()
            }

    @contextmanager
    def running(self, ns: Path) -> Iterator[None]:
        """Read in a thread of its own, inside of a namespace."""

        def run() -> None:
            try:
                with netns.inside(ns), KernelTable("ip", TABLE) as table:
                    while not self._stop.wait(_PAUSE_S):
                        self._read(table)
            except BaseException as exc:  # noqa: BLE001  # raised where the test is
                self._error = exc

        thread = threading.Thread(target=run, name="watcher")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            if self._error is not None:
                raise self._error

    def _read(self, table: KernelTable) -> None:
        with self._lock:
            before = table.generation()
            state = table.read(build_skeleton("ip"))
            if table.generation() != before:
                # Maps are read one after the other, and a sync came in between: that state never was.
                return
            rows = describe_services(read_published(state.elements), {}) if state else []
            self.latest = {str(row["frontend"]): frozenset(row["endpoints"]) for row in rows}
            self.reads += 1
            for line in judge(self.latest, self.always, self.allowed):
                self.wrong[line] = None


def judge(seen: Services, always: frozenset[str], allowed: Services) -> list[str]:
    """Say what of a table is wrong."""
    missing = [f"{frontend}: missing" for frontend in always if not seen.get(frontend)]
    odd = [
        f"{frontend}: {sorted(endpoints - allowed.get(frontend, frozenset()))} programmed"
        for frontend, endpoints in seen.items()
        if not endpoints <= allowed.get(frontend, frozenset())
    ]
    return sorted(missing) + sorted(odd)
