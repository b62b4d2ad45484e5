"""Cluster state from a directory of YAML or JSON manifests, read once and watched with inotify.

Decides which version of a file is in force; what belongs to the directory, and what of it is noticed, also
behind symbolic links, is `manifest_tree`'s business. A file that is wrong when the program starts is an
error, since there is no good version of it to keep; later, its last good version stays in force and the error
is logged.
Change a file by writing it or by moving it into place, or move a link (`..data` of a mounted ConfigMap): what
changes at one time is one batch. A link that leads nowhere, for now, is no deletion.

An object belongs in one file. When two have it at the start, that is an error, since nobody relies on either
yet; later it is logged and the first file by name counts, so that the state depends on the files alone.

`rm -rf` deletes a directory file by file, and what it means is known only at its end: that the directory is
lost, not that the cluster is empty. So additions and changes are delivered at once, deletions only after the
directory has been quiet for a moment and is still there. For the same reason a directory that comes back
counts once it has a manifest and is quiet: before that it is still being filled. So does one that is created
inside; a file in it counts at once when its writer is seen to close it.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nodeplane.errors import ConfigError, NodeplaneError, kernel_error
from nodeplane.kube.held_deletions import HeldDeletions
from nodeplane.kube.manifest_file import read_manifest
from nodeplane.kube.manifest_set import ManifestSet, Objects
from nodeplane.kube.manifest_tree import ManifestTree, is_gone
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch, Shrink, keep_whole

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


class ManifestDirectory:
    """A `Source` over the manifests in a directory and below it.

    A directory that goes away keeps its last state in force; every `reopen_interval_s` it is looked for.
    Deletions are delivered when nothing has happened in the directory for `settle_s`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reopen_interval_s: float = 1.0,
        settle_s: float = 0.2,
        shrink: Shrink = keep_whole,
    ) -> None:
        self._directory = directory
        self._shrink = shrink
        self._reopen_interval_s = reopen_interval_s
        self._settle_s = settle_s

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the directory's objects, then what changes; see `Source`."""
        wanted = frozenset(kinds)
        known, held = ManifestSet(), HeldDeletions()
        tree = self._open()
        try:
            yield _select(self._take_all(known, tree.files), wanted)
            # Files that are not believed before nothing more happens.
            unsettled: set[str] = set()
            settling: _Settling | None = None
            while True:
                changes = await tree.next(settling.until_s if settling else None)
                has_settled = settling is not None and (
                    changes is None or changes.is_quiet or settling.is_over()
                )
                if changes is None:
                    log.warning("manifest watch lost, last state in force directory=%s", self._directory)
                    tree.close()
                    tree = await self._reopen(is_empty_good=not known.files and not held)
                    changed, has_settled = tree.files | known.files, True
                else:
                    changed = changes.files | known.below(changes.trees)
                    unsettled = (unsettled | changes.filling) - changes.files
                if has_settled:
                    changed |= unsettled
                    unsettled = set()
                batch, lost = self._take(known, changed - unsettled, is_settled=has_settled)
                unsettled |= lost
                batch = held.hold(_select(batch, wanted))
                if has_settled:
                    batch += held.release()
                if not held and not unsettled:
                    settling = None
                elif settling is None:
                    settling = _Settling(self._settle_s)
                else:
                    settling.restart()
                if batch:
                    yield batch
        finally:
            tree.close()

    def read(self) -> list[Object]:
        """Read the directory once.

        Raises:
            ConfigError: a file is wrong, or the directory can't be read.
        """
        with closing(self._open()) as tree:
            batch = self._take_all(ManifestSet(), tree.files)
        return [change.new for change in batch if change.new is not None]

    def _open(self) -> ManifestTree:
        with _directory_errors(self._directory):
            return ManifestTree(self._directory)

    async def _reopen(self, *, is_empty_good: bool) -> ManifestTree:
        """Watch the directory again, once it is there, filled, and nothing happens in it."""
        while True:
            try:
                tree = self._open()
            except NodeplaneError as exc:
                # Asked for, not watched for: any directory on the way may be gone as well.
                log.debug("manifest directory not back error=%r", str(exc))
            else:
                try:
                    if (tree.files or is_empty_good) and await self._settle(tree):
                        return tree
                except BaseException:
                    tree.close()
                    raise
                tree.close()
            await asyncio.sleep(self._reopen_interval_s)

    async def _settle(self, tree: ManifestTree) -> bool:
        """Wait until the directory is quiet; return whether it is still there."""
        settling = _Settling(self._settle_s)
        while (changes := await tree.next(settling.until_s)) is not None:
            if changes.is_quiet or settling.is_over():
                return True
            settling.restart()
        return False

    def _take_all(self, known: ManifestSet, names: Iterable[str]) -> Batch:
        """Read files for the first time: nothing may be wrong with them."""
        fresh: dict[str, Objects] = {}
        for name in sorted(names):
            try:
                fresh[name] = self._read(name)
            except ConfigError:
                if not self._is_gone(name):
                    raise
        batch = known.take(fresh)
        for error in self._rivals(known, fresh):
            raise error
        return batch

    def _take(self, known: ManifestSet, names: Iterable[str], *, is_settled: bool) -> tuple[Batch, set[str]]:
        """Read files again; return what changed, and the files behind links that lead nowhere for now.

        A bad file keeps its last good version.
        """
        fresh: dict[str, Objects] = {}
        lost = set()
        for name in sorted(names):
            try:
                fresh[name] = self._read(name)
            except ConfigError as exc:
                if self._is_gone(name):
                    fresh[name] = {}
                elif not is_settled and not (self._directory / name).exists():
                    # Whoever takes a file out of a ConfigMap removes what the link leads to, then the link.
                    lost.add(name)
                else:
                    log.error("manifest refused, its last good version stays in force error=%r", str(exc))
        batch = known.take(fresh)
        for error in self._rivals(known, fresh):
            log.error("object in two files, the first by name is in force error=%r", str(error))
        return batch, lost

    def _read(self, name: str) -> Objects:
        return read_manifest(self._directory / name, self._shrink)

    def _is_gone(self, name: str) -> bool:
        # If all of the directory is gone, nothing is deleted: the watch will tell.
        return is_gone(self._directory, name) and self._directory.exists()

    def _rivals(self, known: ManifestSet, names: Iterable[str]) -> Iterator[ConfigError]:
        for key, holder, other in known.rivals(names):
            yield ConfigError(
                str(self._directory / other), str(key), f"expected each object once, {holder} has it too"
            )


@contextmanager
def _directory_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        place = exc.filename or directory
        if exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES}:
            raise ConfigError(str(place), "", f"expected a directory: {exc.strerror}") from exc
        # For instance EMFILE or ENOSPC: the user has as many inotify instances or watches as allowed.
        raise kernel_error(f"watch {place}", exc.errno or 0) from exc


def _select(batch: Batch, wanted: frozenset[type[Object]]) -> Batch:
    return tuple(change for change in batch if change.key.kind in wanted)
