"""Cluster state from a directory of YAML or JSON manifests, read once and watched with inotify.

Decides which version of a file is in force. One that is wrong when the program starts is an error, since
there is no good version of it to keep; later, its last good version stays in force and the error is logged.
Change a file by writing it or by moving it into place; what changes behind a symbolic link is not seen.

An object belongs in one file. When two have it at the start, that is an error, since nobody relies on either
yet; later it is logged and the first file by name counts, so that the state depends on the files alone.

`rm -rf` deletes a directory file by file, and what it means is known only at its end: that the directory is
lost, not that the cluster is empty. So additions and changes are delivered at once, deletions only after the
directory has been quiet for a moment and is still there. For the same reason a directory that comes back
counts once it has a manifest and is quiet: before that it is still being filled.
"""

import asyncio
import errno
import logging
import os
import stat
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from inotify_simple import INotify, flags

from nodeplane.errors import ConfigError, NodeplaneError, kernel_error
from nodeplane.inotify import next_events
from nodeplane.kube.held_deletions import HeldDeletions
from nodeplane.kube.manifest_file import read_manifest
from nodeplane.kube.manifest_set import ManifestSet, Objects
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch

_SUFFIXES = {".yaml", ".yml", ".json"}
# A file counts when its writer closes it or moves it into place, never while it is being written.
_EVENTS = (
    flags.CLOSE_WRITE
    # A link has no writer: all that is told of it is that it is there.
    | flags.CREATE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    # Deployments swap whole directories by renaming them.
    | flags.MOVE_SELF
    | flags.ONLYDIR
)

# A directory in which something happens all the time does not hold deletions back for longer than this.
_LONGEST_SETTLING_S = 5.0

log = logging.getLogger(__name__)


class _Settling:
    """The wait until nothing more happens; times are of the event loop's clock."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._limit_s = _now_s() + max(quiet_s, _LONGEST_SETTLING_S)
        self.until_s = 0.0
        self.restart()

    def restart(self) -> None:
        """Something has happened just now: wait for more."""
        self.until_s = min(_now_s() + self._quiet_s, self._limit_s)

    def is_over(self) -> bool:
        """Say whether to wait no longer, whatever happens."""
        return _now_s() >= self._limit_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class _Watch(NamedTuple):
    """A directory that is watched, its files when that began, and which directory it is."""

    notify: INotify
    names: set[str]
    identity: tuple[int, int]


class ManifestDirectory:
    """A `Source` over the manifests in one directory.

    A directory that goes away keeps its last state in force; every `reopen_interval_s` it is looked for.
    Deletions are delivered when nothing has happened in the directory for `settle_s`.
    """

    def __init__(self, directory: Path, *, reopen_interval_s: float = 1.0, settle_s: float = 0.2) -> None:
        self._directory = directory
        self._reopen_interval_s = reopen_interval_s
        self._settle_s = settle_s

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the directory's objects, then what changes; see `Source`."""
        wanted = frozenset(kinds)
        known, held = ManifestSet(), HeldDeletions()
        watch = self._open()
        try:
            yield _select(self._refresh(known, watch.names, strict=True), wanted)
            settling: _Settling | None = None
            while True:
                events = await next_events(watch.notify, settling.until_s if settling else None)
                has_settled = settling is not None and (not events or settling.is_over())
                if events is None or not self._is_there(watch):
                    log.warning("manifest watch lost, last state in force directory=%s", self._directory)
                    watch.notify.close()
                    watch = await self._reopen(is_empty_good=not known.files and not held)
                    changed, has_settled = watch.names | known.files, True
                else:
                    changed = {name for name, mask in events.items() if self._counts(name, mask)}
                batch = held.hold(_select(self._refresh(known, changed, strict=False), wanted))
                if has_settled:
                    batch += held.release()
                if not held:
                    settling = None
                elif settling is None:
                    settling = _Settling(self._settle_s)
                else:
                    settling.restart()
                if batch:
                    yield batch
        finally:
            watch.notify.close()

    def read(self) -> list[Object]:
        """Read the directory once.

        Raises:
            ConfigError: a file is wrong, or the directory can't be read.
        """
        with _directory_errors(self._directory):
            names = self._list()
        batch = self._refresh(ManifestSet(), names, strict=True)
        return [change.new for change in batch if change.new is not None]

    def _open(self) -> _Watch:
        """Watch the directory, then list it: a change in between is seen twice, never missed."""
        with _directory_errors(self._directory):
            notify = INotify(nonblocking=True)
            try:
                notify.add_watch(self._directory, _EVENTS)
                return _Watch(notify, self._list(), self._identity())
            except OSError:
                notify.close()
                raise

    async def _reopen(self, *, is_empty_good: bool) -> _Watch:
        """Watch the directory again, once it is there, filled, and nothing happens in it."""
        while True:
            try:
                watch = self._open()
            except NodeplaneError as exc:
                # Asked for, not watched for: any directory on the way may be gone as well.
                log.debug("manifest directory not back error=%r", str(exc))
            else:
                try:
                    is_filled = is_empty_good or any(_is_manifest(name) for name in watch.names)
                    if is_filled and await self._settle(watch):
                        return watch
                except BaseException:
                    watch.notify.close()
                    raise
                watch.notify.close()
            await asyncio.sleep(self._reopen_interval_s)

    async def _settle(self, watch: _Watch) -> bool:
        """Wait until the directory is quiet, noting its new files; return whether it is still there."""
        settling = _Settling(self._settle_s)
        while events := await next_events(watch.notify, settling.until_s):
            watch.names.update(events)
            if settling.is_over():
                break
            settling.restart()
        return events is not None and self._is_there(watch)

    def _identity(self) -> tuple[int, int]:
        status = self._directory.stat()
        return status.st_dev, status.st_ino

    def _is_there(self, watch: _Watch) -> bool:
        """Say whether the path still leads to this directory.

        The kernel tells that a directory is deleted when nobody has it open any more, a shell for instance.
        """
        try:
            return self._identity() == watch.identity
        except OSError:
            return False

    def _counts(self, name: str, mask: int) -> bool:
        """Say whether these events are about a complete file, not one whose writer has just begun."""
        if mask & _EVENTS & ~flags.CREATE:
            return True
        try:
            status = (self._directory / name).lstat()
        except OSError:
            return False
        return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1

    def _list(self) -> set[str]:
        return {entry.name for entry in self._directory.iterdir()}

    def _refresh(self, known: ManifestSet, names: Iterable[str], *, strict: bool) -> Batch:
        """Read the named files again and say what changed; a bad file keeps its last good version."""
        fresh: dict[str, Objects] = {}
        for name in sorted(name for name in names if _is_manifest(name)):
            path = self._directory / name
            try:
                fresh[name] = read_manifest(path)
            except ConfigError as exc:
                is_gone = not os.path.lexists(path)
                if is_gone and self._directory.exists():
                    # If all of the directory is gone, nothing is deleted: the watch will tell.
                    fresh[name] = {}
                elif strict:
                    raise
                elif not is_gone:
                    log.error("manifest refused, its last good version stays in force error=%r", str(exc))
        batch = known.take(fresh)
        for key, holder, other in known.rivals(fresh):
            error = ConfigError(
                str(self._directory / other), str(key), f"expected each object once, {holder} has it too"
            )
            if strict:
                raise error
            log.error("object in two files, the first by name is in force error=%r", str(error))
        return batch


@contextmanager
def _directory_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            raise ConfigError(str(directory), "", f"expected a directory: {exc.strerror}") from exc
        # For instance EMFILE or ENOSPC: the user has as many inotify instances or watches as allowed.
        raise kernel_error(f"watch {directory}", exc.errno or 0) from exc


def _is_manifest(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix in _SUFFIXES


def _select(batch: Batch, wanted: frozenset[type[Object]]) -> Batch:
    return tuple(change for change in batch if change.key.kind in wanted)
