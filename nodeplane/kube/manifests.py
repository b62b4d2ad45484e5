"""Cluster state from a directory of YAML or JSON manifests, read once and watched with inotify.

Decides what counts as a good file. A file that is wrong when the program starts is an error, since there
is no good version of it to keep; later, its last good version stays in force and the error is logged.
Change a file by writing it or by moving it into place; what changes behind a symbolic link is not seen.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from inotify_simple import INotify, flags

from nodeplane.errors import ConfigError, NodeplaneError, kernel_error
from nodeplane.inotify import next_names
from nodeplane.kube.manifest_set import ManifestSet, Objects
from nodeplane.kube.objects import CLUSTER_SCOPED, KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

_SUFFIXES = {".yaml", ".yml", ".json"}
# A file counts when its writer closes it or moves it into place, never while it is being written.
_EVENTS = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    # Deployments swap whole directories by renaming them.
    | flags.MOVE_SELF
    | flags.ONLYDIR
)

log = logging.getLogger(__name__)


class ManifestDirectory:
    """A `Source` over the manifests in one directory.

    A directory that goes away keeps its last state in force; every `reopen_interval_s` it is looked for.
    """

    def __init__(self, directory: Path, *, reopen_interval_s: float = 1.0) -> None:
        self._directory = directory
        self._reopen_interval_s = reopen_interval_s

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the directory's objects, then what changes; see `Source`."""
        wanted = frozenset(kinds)
        known = ManifestSet()
        notify, names = self._open()
        try:
            yield _select(self._refresh(known, names, strict=True), wanted)
            while True:
                changed = await next_names(notify)
                if changed is None:
                    log.warning("manifest watch lost, last state in force directory=%s", self._directory)
                    notify.close()
                    notify, names = await self._reopen()
                    changed = names | known.files
                batch = _select(self._refresh(known, changed, strict=False), wanted)
                if batch:
                    yield batch
        finally:
            notify.close()

    def read(self) -> list[Object]:
        """Read the directory once.

        Raises:
            ConfigError: a file is wrong, or the directory can't be read.
        """
        with _directory_errors(self._directory):
            names = self._list()
        batch = self._refresh(ManifestSet(), names, strict=True)
        return [change.new for change in batch if change.new is not None]

    def _open(self) -> tuple[INotify, set[str]]:
        """Watch the directory, then list it: a change in between is seen twice, never missed."""
        with _directory_errors(self._directory):
            notify = INotify(nonblocking=True)
            try:
                notify.add_watch(self._directory, _EVENTS)
                return notify, self._list()
            except OSError:
                notify.close()
                raise

    async def _reopen(self) -> tuple[INotify, set[str]]:
        while True:
            try:
                return self._open()
            except NodeplaneError as exc:
                # Asked for, not watched for: any directory on the way may be gone as well.
                log.debug("manifest directory not back error=%r", str(exc))
                await asyncio.sleep(self._reopen_interval_s)

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
                if not path.exists() and self._directory.exists():
                    # The file is gone. If all of the directory is, nothing is deleted: the watch will tell.
                    fresh[name] = {}
                elif strict:
                    raise
                else:
                    log.error("manifest refused, its last good version stays in force error=%r", str(exc))
        batch = known.take(fresh)
        for key, holder, other in known.rivals(fresh):
            error = ConfigError(
                str(self._directory / other), str(key), f"expected each object once, {holder} has it too"
            )
            if strict:
                raise error
            log.error("object refused, the other file's stays in force error=%r", str(error))
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


def read_manifest(path: Path) -> dict[ObjectKey, Object]:
    """Read the objects of one file, `List` kinds unpacked; kinds that nodeplane does not use are left out.

    Raises:
        ConfigError: the file is not YAML, or an object is not what Kubernetes would take.
    """
    objects: dict[ObjectKey, Object] = {}
    for document in read_documents(path):
        for where, item in decode_objects(document):
            if item.key in objects:
                raise document.error(
                    (*where, "metadata", "name"), f"expected each object once, {item.key} is here twice"
                )
            objects[item.key] = item
    return objects


def decode_objects(document: YamlDocument, at: FieldPath = ()) -> Iterator[tuple[FieldPath, Object]]:
    """Yield the object at `at` in a document, or those of the List there, each with its path.

    Kinds that nodeplane does not use are left out.

    Raises:
        ConfigError: an object is not what Kubernetes would take; names file, line and field.
    """
    value = document.at(at)
    if not isinstance(value, dict):
        raise document.error(at, "expected a Kubernetes object (a mapping)")
    kind = value.get("kind")
    if not isinstance(kind, str) or not kind.endswith("List"):
        items, outer = [at], {}
    else:
        # An API server's ServiceList says in its head what kind its items are; in kubectl's List each does.
        outer = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List") or None}
        if not isinstance(value.get("items") or [], list):
            raise document.error((*at, "items"), "expected a list of objects")
        items = [(*at, "items", index) for index in range(len(value.get("items") or []))]
    for where in items:
        item = _decode(document, where, outer)
        if item is not None:
            yield where, item


def _decode(document: YamlDocument, where: FieldPath, outer: Mapping[str, Any]) -> Object | None:
    """Decode one object; `outer` is what the list around it says of its kind."""
    value = document.at(where)
    if not isinstance(value, dict):
        raise document.error(where, "expected a Kubernetes object (a mapping)")
    named: dict[str, Any] = {name: value.get(name, outer.get(name)) for name in ("apiVersion", "kind")}
    for name, text in named.items():
        if not isinstance(text, str):
            raise document.error((*where, name), "expected a text")
    kind = KINDS.get((named["apiVersion"], named["kind"]))
    if kind is None:
        log.debug("kind not used place=%s kind=%s", document.file, named["kind"])
        return None
    item = document.convert(kind, where)
    if kind not in CLUSTER_SCOPED and not item.metadata.namespace:
        metadata = msgspec.structs.replace(item.metadata, namespace="default")
        item = msgspec.structs.replace(item, metadata=metadata)
    for path, expected in problems(item):
        raise document.error((*where, *path), expected)
    return item


def _is_manifest(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix in _SUFFIXES


def _select(batch: Batch, wanted: frozenset[type[Object]]) -> Batch:
    return tuple(change for change in batch if change.key.kind in wanted)
