"""A directory of manifests, how it changes, and a reader that follows."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch
from tests.kube.changes import apply
from tests.kube.objects import manifest, namespace

LIMIT_S = 60


class Folder:
    """A directory of manifests, and how its files change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, name: str, *items: Object) -> None:
        """Write a file in place."""
        (self.path / name).write_text(manifest(*items))

    def move_in(self, name: str, *items: Object) -> None:
        """Write a file elsewhere and rename it into place."""
        draft = self.path.with_name("draft")
        draft.write_text(manifest(*items))
        draft.rename(self.path / name)

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        (self.path / old).rename(self.path / new)

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self.path / name).unlink()


class ConfigMapMount:
    """A ConfigMap as kubelet mounts and updates it (k/k pkg/volume/util/atomic_writer.go)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._versions = count()
        self._current: Path | None = None

    def update(self, files: Mapping[str, str]) -> None:
        """Put other files in place of those there; a name may have directories in it."""
        version = self.path / f"..2026_11_21.{next(self._versions)}"
        for name, text in files.items():
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            (version / name).write_text(text)
        version.mkdir(exist_ok=True)
        fresh = self.path / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(self.path / "..data")
        tops = {name.partition("/")[0] for name in files}
        links = {path.name for path in self.path.iterdir() if not path.name.startswith("..")}
        for name in tops - links:
            (self.path / name).symlink_to(f"..data/{name}")
        for name in links - tops:
            (self.path / name).unlink()
        if self._current is not None:
            shutil.rmtree(self._current)
        self._current = version


class Watch:
    """A reader of a directory, with the state that it has been told of."""

    def __init__(self, folder: Folder, next_batch: Callable[[], "asyncio.Future[Batch]"]) -> None:
        self.state = dict[ObjectKey, Object]()
        self.batches = 0
        self._folder = folder
        self._next_batch = next_batch
        self._marks = 0

    async def step(self) -> dict[ObjectKey, Object]:
        """Take the next batch in."""
        async with asyncio.timeout(LIMIT_S):
            apply(self.state, await self._next_batch())
        self.batches += 1
        return self.state

    async def settle(self) -> dict[ObjectKey, Object]:
        """Take in all that has happened: events come in order, so a file of our own marks the end."""
        self._marks += 1
        mark = namespace(f"mark-{self._marks}")
        self._folder.move_in("mark.yaml", mark)
        while mark.key not in await self.step():
            pass
        # Deletions come later than the rest, all together.
        self._folder.remove("mark.yaml")
        while mark.key in await self.step():
            pass
        return dict(self.state)


@asynccontextmanager
async def watching(folder: Folder, settle_s: float = 0.01) -> AsyncIterator[Watch]:
    """Yield a watch that has taken the snapshot."""
    source = ManifestDirectory(folder.path, reopen_interval_s=0.005, settle_s=settle_s)
    async with aclosing(source.batches(KINDS.values())) as batches:
        watch = Watch(folder, lambda: asyncio.ensure_future(anext(batches)))
        await watch.step()
        yield watch


@contextmanager
def logged(text: str) -> Iterator[asyncio.Event]:
    """Yield an event that is set once a line with this text is logged."""
    seen = asyncio.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                seen.set()

    handler = Handler()
    logger = logging.getLogger("nodeplane.kube.manifests")
    logger.addHandler(handler)
    try:
        yield seen
    finally:
        logger.removeHandler(handler)
