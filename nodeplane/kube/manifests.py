"""Cluster state from a directory of YAML or JSON manifests, read once and watched with inotify.

Decides what counts as a good file. A file that is wrong when the program starts is an error, since there
is no good version of it to keep; later, its last good version stays in force and the error is logged.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from inotify_simple import INotify, flags

from nodeplane.errors import ConfigError
from nodeplane.inotify import next_names
from nodeplane.kube.objects import CLUSTER_SCOPED, KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch, Change
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

_SUFFIXES = {".yaml", ".yml", ".json"}
# A file counts when its writer closes it or moves it into place, never while it is being written.
_EVENTS = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ONLYDIR
_REOPEN_S = 1.0

log = logging.getLogger(__name__)

Objects = Mapping[ObjectKey, Object]


class ManifestDirectory:
    """A `Source` over the manifests in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, Objects] = {}
        self._owner: dict[ObjectKey, str] = {}

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the directory's objects, then what changes; see `Source`."""
        wanted = frozenset(kinds)
        notify = self._open()
        try:
            # Watched first, read second: a change between the two is seen twice, never missed.
            yield _select(self._refresh(self._list(), strict=True), wanted)
            while True:
                names = await next_names(notify)
                if names is None:
                    notify.close()
                    log.warning(
                        "manifest directory lost, last state stays in force directory=%s", self._directory
                    )
                    notify = await self._reopen()
                    names = self._list() | self._files.keys()
                changed = _select(self._refresh(names, strict=False), wanted)
                if changed:
                    yield changed
        finally:
            notify.close()

    def read(self) -> list[Object]:
        """Read the directory once.

        Raises:
            ConfigError: a file is wrong, or the directory can't be read.
        """
        self._refresh(self._list(), strict=True)
        return [item for objects in self._files.values() for item in objects.values()]

    def _open(self) -> INotify:
        notify = INotify(nonblocking=True)
        try:
            notify.add_watch(self._directory, _EVENTS)
        except OSError as exc:
            notify.close()
            raise ConfigError(str(self._directory), "", f"expected a directory: {exc.strerror}") from exc
        return notify

    async def _reopen(self) -> INotify:
        while True:
            try:
                return self._open()
            except ConfigError:
                await asyncio.sleep(_REOPEN_S)

    def _list(self) -> set[str]:
        try:
            return {entry.name for entry in self._directory.iterdir()}
        except OSError as exc:
            raise ConfigError(str(self._directory), "", f"expected a directory: {exc.strerror}") from exc

    def _refresh(self, names: Iterable[str], *, strict: bool) -> Batch:
        """Read the named files again and say what changed; a bad file keeps its last good version."""
        fresh: dict[str, Objects] = {}
        for name in sorted(name for name in names if _is_manifest(name)):
            path = self._directory / name
            try:
                fresh[name] = read_manifest(path) if path.exists() else {}
                self._refuse_duplicates(name, fresh)
            except ConfigError as exc:
                if strict:
                    raise
                fresh.pop(name, None)
                log.error("manifest refused, its last good version stays in force error=%r", str(exc))
        return self._take(fresh)

    def _refuse_duplicates(self, name: str, fresh: Mapping[str, Objects]) -> None:
        holders = {key: other for other, objects in fresh.items() if other != name for key in objects}
        for key in fresh[name]:
            other = holders.get(key) or self._owner.get(key, name)
            if other != name and key in fresh.get(other, self._files.get(other, {})):
                raise ConfigError(
                    str(self._directory / name), str(key), f"expected each object once, {other} has it too"
                )

    def _take(self, fresh: Mapping[str, Objects]) -> Batch:
        old = {key: item for name in fresh for key, item in self._files.get(name, {}).items()}
        new = {key: item for objects in fresh.values() for key, item in objects.items()}
        for name, objects in fresh.items():
            for key in self._files.get(name, {}):
                self._owner.pop(key, None)
            if objects:
                self._files[name] = objects
            else:
                self._files.pop(name, None)
        self._owner.update({key: name for name, objects in fresh.items() for key in objects})
        gone = [Change(key, item, None) for key, item in old.items() if key not in new]
        moved = [Change(key, old.get(key), item) for key, item in new.items() if old.get(key) != item]
        return (*gone, *moved)


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
    for where in _items(document, at):
        item = _decode(document, where)
        if item is not None:
            yield where, item


def _items(document: YamlDocument, at: FieldPath) -> Iterator[FieldPath]:
    value = document.at(at)
    if not isinstance(value, dict):
        raise document.error(at, "expected a Kubernetes object (a mapping)")
    kind = value.get("kind")
    if isinstance(kind, str) and kind.endswith("List"):
        items = value.get("items") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise document.error((*at, "items"), "expected a list of objects")
        yield from ((*at, "items", index) for index in range(len(items)))
        return
    yield at


def _decode(document: YamlDocument, where: FieldPath) -> Object | None:
    value = document.at(where)
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), str):
            raise document.error((*where, name), "expected a text")
    kind = KINDS.get((value["apiVersion"], value["kind"]))
    if kind is None:
        log.debug("kind not used place=%s kind=%s", document.file, value["kind"])
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
