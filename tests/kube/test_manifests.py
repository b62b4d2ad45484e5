"""Manifests as people write them, and a directory of them as it changes."""

import asyncio
import errno
import logging
import os
import shutil
import tempfile
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ConfigError, KernelError
from nodeplane.kube.manifest_file import read_manifest
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import (
    KINDS,
    Endpoint,
    EndpointSlice,
    Metadata,
    Namespace,
    Node,
    Object,
    ObjectKey,
)
from nodeplane.kube.source import Batch, Change
from tests.kube.changes import apply
from tests.kube.objects import keyed, manifest, namespace, service
from tests.kube.recordings import RECORDINGS, recorded_items

LIMIT_S = 60
WEB, WEB_81, DB = service("web"), service("web", 81), service("db")
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        pytest.param("", (), id="empty"),
        pytest.param(SERVICE, (WEB,), id="one, in namespace default"),
        pytest.param(
            f"{SERVICE}---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n}}\n",
            (WEB, namespace("n")),
            id="documents, one of them empty",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n1}}\n"
            "- {apiVersion: apps/v1, kind: Deployment}\n"
            "- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n",
            (Node(Metadata("n1")), namespace("n")),
            id="kubectl's List",
        ),
        pytest.param(
            "apiVersion: v1\nkind: NamespaceList\nitems: [{metadata: {name: a}}, {metadata: {name: b}}]",
            (namespace("a"), namespace("b")),
            id="an API server's list: the head says the kind",
        ),
        pytest.param("apiVersion: v1\nkind: List\nitems:\n", (), id="list of nothing"),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: [\n"
            "  {apiVersion: v1, kind: NamespaceList, items: [{metadata: {name: n}}]}]}\n",
            (namespace("n"),),
            id="lists in a list",
        ),
        pytest.param(
            f"{SERVICE}".replace("{name: web}", "{name: web, namespace: , labels: }"),
            (WEB,),
            id="blank fields",
        ),
        pytest.param("apiVersion: v1\nkind: ServiceList\n", (), id="list without items"),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nspec: 5\n", (), id="unknown kind, not looked into"
        ),
        pytest.param("apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n", (), id="another version"),
        pytest.param(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, namespace: b}\n"
            "addressType: IPv4\nports: null\n"
            "endpoints: [{addresses: [10.0.0.1], conditions: {ready: null}}]\n",
            (EndpointSlice(Metadata("a", "b"), "IPv4", (Endpoint(("10.0.0.1",)),)),),
            id="nulls",
        ),
        pytest.param(manifest(WEB, DB), (WEB, DB), id="JSON"),
        pytest.param(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
            (Namespace(Metadata("a", "b")),),
            id="namespace of a cluster-scoped object",
        ),
    ],
)
def test_read_manifest(text: str, objects: tuple[Object, ...], tmp_path: Path) -> None:
    """A file holds any number of objects; kinds that nodeplane does not use are left out."""
    path = tmp_path / "a.yaml"
    path.write_text(text)

    assert read_manifest(path) == keyed(*objects)


@pytest.mark.parametrize("name", ["endpointslices", "services", "namespaces", "nodes", "pods"])
def test_a_recorded_list_is_a_manifest(name: str) -> None:
    """What `kubectl get --raw` prints can be used as it is."""
    objects = read_manifest(RECORDINGS / f"list-{name}.json")

    assert [key.name for key in objects] == [
        item["metadata"]["name"] for item in recorded_items(f"list-{name}.json")
    ]
    assert {key.kind for key in objects} <= set(KINDS.values())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("kind: [\n", ":2: expected YAML: did not find expected node content", id="no YAML"),
        pytest.param("web\n", ":1: expected a Kubernetes object (a mapping), got 'web'", id="no mapping"),
        pytest.param("# c\nkind: Service\n", ":2: apiVersion: expected a text", id="no apiVersion"),
        pytest.param("apiVersion: v1\nkind: 5\n", ":2: kind: expected a text, got '5'", id="no kind"),
        pytest.param(
            f"{SERVICE}---\napiVersion: v1\nkind: Service\n", ":6: metadata: expected a value", id="second"
        ),
        pytest.param(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n"
            "  ports:\n  - port: 80\n  - port: 99999\n",
            ":7: spec.ports[1].port: expected `int` <= 65535, got '99999'",
            id="port out of range",
        ),
        pytest.param(
            SERVICE.replace("port: 80", "port: 80, protocol: tcp"),
            ":4: spec.ports[0].protocol: expected one of SCTP, TCP, UDP, got 'tcp'",
            id="protocol",
        ),
        pytest.param(
            SERVICE.replace("name: web", "name: Web"),
            ":3: metadata.name: expected a DNS label (lower case, digits, '-'), got 'Web'",
            id="what an API server would refuse",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n"
            "- {apiVersion: v1,\n   kind: Service, metadata: {name: a, namespace: A_B}}\n",
            ":6: items[1].metadata.namespace: expected a DNS label (lower case, digits, '-'), got 'A_B'",
            id="in a list",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems: 5\n",
            ":3: items: expected a list of objects, got '5'",
            id="no list",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- a\n",
            ":4: items[0]: expected a Kubernetes object (a mapping), got 'a'",
            id="no object in a list",
        ),
        pytest.param(
            "apiVersion: v1\nkind: List\nitems:\n- {metadata: {name: a}}\n",
            ":4: items[0].kind: expected a text",
            id="a List says nothing of its items",
        ),
        pytest.param(
            f"{SERVICE}---\n{SERVICE}",
            ":8: metadata.name: expected each object once, Service/default/web is here twice, got 'web'",
            id="object twice",
        ),
    ],
)
def test_refused(text: str, error: str, tmp_path: Path) -> None:
    """The first thing that is wrong, in one line: file, line, field and what is expected."""
    path = tmp_path / "a.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read_manifest(path)

    assert (str(caught.value), caught.value.exit_code) == (f"{path}{error}", 2)


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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty directory."""
    return Folder(tmp_path / "manifests")


def test_read(folder: Folder) -> None:
    """All manifests of a directory count, and nothing else that lies there."""
    folder.write("a.yaml", WEB)
    folder.write("b.yml", DB)
    folder.write("c.json", namespace("n"))
    for name in (".d.yaml", "e.yaml~", "README.md", "yaml", ".yaml"):
        (folder.path / name).write_text("{")

    assert keyed(*ManifestDirectory(folder.path).read()) == keyed(WEB, DB, namespace("n"))


async def first_batch(source: ManifestDirectory) -> Batch:
    """Return the snapshot."""
    async with aclosing(source.batches(KINDS.values())) as batches:
        return await anext(batches)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(ManifestDirectory.read, id="once"),
        pytest.param(lambda source: asyncio.run(first_batch(source)), id="watched"),
    ],
)
@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(
            lambda folder: folder.rmdir(), ": expected a directory: No such file or directory", id="none"
        ),
        pytest.param(
            lambda folder: (folder.rmdir(), folder.touch()),
            ": expected a directory: Not a directory",
            id="a file",
        ),
        pytest.param(
            lambda folder: (folder / "a.yaml").write_text("kind: ["),
            "/a.yaml:2: expected YAML: did not find expected node content",
            id="half-written",
        ),
        pytest.param(
            lambda folder: [(folder / name).write_text(SERVICE) for name in ("b.yaml", "a.yaml")],
            "/b.yaml: Service/default/web: expected each object once, a.yaml has it too",
            id="object in two files",
        ),
        pytest.param(
            lambda folder: (folder / "a.yaml").mkdir(),
            "/a.yaml: expected a readable file: Is a directory",
            id="directory that looks like a manifest",
        ),
        pytest.param(
            lambda folder: (folder / "a.yaml").symlink_to("nowhere"),
            "/a.yaml: expected a readable file: No such file or directory",
            id="link to nowhere",
        ),
        pytest.param(
            lambda folder: os.mkfifo(folder / "a.yaml"), "/a.yaml: expected a regular file", id="pipe"
        ),
    ],
)
def test_a_bad_start(
    read: Callable[[ManifestDirectory], object], make: Callable[[Path], object], error: str, folder: Folder
) -> None:
    """At the start there is no good version to keep: what is wrong is said and nothing is delivered."""
    make(folder.path)

    with pytest.raises(ConfigError) as caught:
        read(ManifestDirectory(folder.path))

    assert str(caught.value) == f"{folder.path}{error}"


def test_no_more_watches(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the kernel refuses to watch is not the fault of the directory."""

    def refuse(**_options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("nodeplane.kube.manifests.INotify", refuse)

    with pytest.raises(KernelError) as caught:
        asyncio.run(first_batch(ManifestDirectory(folder.path)))

    assert str(caught.value) == f"watch {folder.path}: Too many open files (EMFILE)"


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


def test_a_half_written_file(folder: Folder) -> None:
    """What is being written does not count before its writer closes it, however long it takes."""

    async def write() -> None:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            with (folder.path / "a.yaml").open("w") as file:
                file.write(manifest(WEB_81))
                file.flush()
                assert await watch.settle() == keyed(WEB)
            assert await watch.settle() == keyed(WEB_81)

    asyncio.run(write())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("kind: [", "/a.yaml:2: expected YAML: did not find expected node content", id="cut off"),
        pytest.param(
            f"{SERVICE.replace('80', '99999')}---\n{SERVICE.replace('web', 'db')}",
            "/a.yaml:4: spec.ports[0].port: expected `int` <= 65535, got '99999'",
            id="one of two objects",
        ),
    ],
)
def test_a_bad_file_keeps_its_last_good_version(
    text: str, error: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """All of the file stays as it was, the rest goes on; the log says file, line and field."""

    async def break_and_mend() -> None:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            (folder.path / "a.yaml").write_text(text)
            folder.write("b.yaml", DB)
            assert await watch.settle() == keyed(WEB, DB)
            folder.write("a.yaml", WEB_81)
            assert await watch.settle() == keyed(WEB_81, DB)

    asyncio.run(break_and_mend())

    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        f"manifest refused, its last good version stays in force error={f'{folder.path}{error}'!r}"
    ]


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        pytest.param([lambda f: f.write("b.yaml", DB)], [keyed(WEB, DB)], id="new file"),
        pytest.param([lambda f: f.move_in("a.yaml", WEB_81)], [keyed(WEB_81)], id="renamed into place"),
        pytest.param([lambda f: f.remove("a.yaml")], [{}], id="deleted"),
        pytest.param([lambda f: f.write("a.yaml")], [{}], id="emptied"),
        pytest.param([lambda f: f.write("a.yaml", WEB, DB)], [keyed(WEB, DB)], id="one object more"),
        pytest.param([lambda f: f.rename("a.yaml", "a.txt")], [{}], id="renamed out of sight"),
        pytest.param([lambda f: f.rename("a.yaml", "../a.yaml")], [{}], id="renamed out of the directory"),
        pytest.param([lambda f: f.rename("a.yaml", "b.yaml")], [keyed(WEB)], id="renamed"),
        pytest.param(
            [lambda f: f.write("0.yaml", WEB_81), lambda f: f.remove("a.yaml")],
            [keyed(WEB_81), keyed(WEB_81)],
            id="object to an earlier file, new one written first",
        ),
        pytest.param(
            [lambda f: f.write("z.yaml", WEB_81), lambda f: f.write("a.yaml", DB)],
            [keyed(WEB), keyed(WEB_81, DB)],
            id="object to a later file, new one written first",
        ),
        pytest.param(
            [lambda f: f.write("0.yaml", WEB_81), lambda f: f.write("a.yaml", service("web", 82))],
            [keyed(WEB_81), keyed(WEB_81)],
            id="object in two files: the first by name, not who had it first",
        ),
        pytest.param(
            [
                lambda f: f.write("../elsewhere", WEB_81),
                lambda f: (f.remove("a.yaml"), (f.path / "a.yaml").symlink_to("../elsewhere")),
            ],
            [keyed(WEB), keyed(WEB_81)],
            id="file becomes a symbolic link",
        ),
        pytest.param(
            [
                lambda f: f.write("../elsewhere", DB),
                lambda f: (f.path / "b.yaml").symlink_to("../elsewhere"),
            ],
            [keyed(WEB), keyed(WEB, DB)],
            id="new symbolic link",
        ),
        pytest.param(
            [
                lambda f: f.write("../elsewhere", DB),
                lambda f: (f.path / "b.yaml").hardlink_to(f.path / "../elsewhere"),
            ],
            [keyed(WEB), keyed(WEB, DB)],
            id="new hard link",
        ),
        pytest.param(
            [lambda f: os.mkfifo(f.path / "b.yaml"), lambda f: f.write("c.yaml", DB)],
            [keyed(WEB), keyed(WEB, DB)],
            id="a pipe does not stop the reader",
        ),
    ],
)
def test_changes(
    steps: list[Callable[[Folder], None]], states: list[dict[ObjectKey, Object]], folder: Folder
) -> None:
    """What a directory holds is what its files say, also on the way of an object between files."""

    async def walk() -> list[dict[ObjectKey, Object]]:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            found = []
            for step in steps:
                step(folder)
                found.append(await watch.settle())
            return found

    assert asyncio.run(walk()) == states


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("a.yaml", "b.yaml", id="to a later file"),
        pytest.param("b.yaml", "a.yaml", id="to an earlier"),
    ],
)
def test_an_object_moves_without_a_gap(old: str, new: str, folder: Folder) -> None:
    """Both files changed at once: the object, unchanged, is not even mentioned."""

    async def move() -> Batch:
        folder.write(old, WEB, DB)
        source = ManifestDirectory(folder.path)
        async with aclosing(source.batches(KINDS.values())) as batches:
            await anext(batches)
            folder.write(new, WEB, namespace("n"))
            folder.write(old, DB)
            async with asyncio.timeout(LIMIT_S):
                return await anext(batches)

    assert [change.key for change in asyncio.run(move())] == [namespace("n").key]


def test_what_happens_at_once_is_one_batch(folder: Folder) -> None:
    """Changes that wait together come together, each object once and in its last state."""

    async def change() -> tuple[dict[ObjectKey, Object], int]:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            for port in range(1, 50):
                folder.write("a.yaml", service("web", port))
                folder.write("b.yaml", service("db", port))
            folder.remove("b.yaml")
            return await watch.settle(), watch.batches

    # The snapshot, the changes with the mark, and the mark's deletion.
    assert asyncio.run(change()) == (keyed(service("web", 49)), 3)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(shutil.rmtree, id="deleted"),
        pytest.param(lambda path: path.rename(path.with_name("old")), id="renamed"),
    ],
)
def test_a_lost_directory(lose: Callable[[Path], object], folder: Folder) -> None:
    """The last state stays in force until there is a directory again; then one batch says the difference."""

    async def lose_and_create() -> None:
        folder.write("a.yaml", WEB)
        folder.write("b.yaml", DB)
        async with watching(folder) as watch:
            step = asyncio.ensure_future(watch.step())
            with logged("manifest watch lost") as lost:
                lose(folder.path)
                async with asyncio.timeout(LIMIT_S):
                    await lost.wait()
            assert (step.done(), watch.state) == (False, keyed(WEB, DB))
            # Whole at once, as a deployment would: a directory that is empty for a moment is an empty one.
            fresh = Folder(folder.path.with_name("new"))
            fresh.write("b.yaml", service("db", 81))
            fresh.write("c.yaml", namespace("n"))
            fresh.path.rename(folder.path)
            assert await step == keyed(service("db", 81), namespace("n"))
            # And it is watched.
            folder.write("a.yaml", WEB)
            folder.remove("b.yaml")
            assert await watch.settle() == keyed(WEB, namespace("n"))

    asyncio.run(lose_and_create())


LONG_S = 3600.0


@pytest.mark.parametrize(
    "make_again",
    [
        pytest.param(lambda folder: folder.mkdir(), id="empty directory in its place"),
        pytest.param(lambda _folder: None, id="no directory"),
    ],
)
def test_a_directory_deleted_file_by_file(make_again: Callable[[Path], object], folder: Folder) -> None:
    """`rm -rf` is the loss of the directory, also while it goes on; nor is one to be filled an empty one."""

    async def delete_and_create() -> None:
        folder.write("a.yaml", WEB)
        folder.write("b.yaml", DB)
        async with watching(folder, settle_s=0.3) as watch:
            step = asyncio.ensure_future(watch.step())
            with logged("manifest watch lost") as lost:
                folder.remove("a.yaml")
                # The reader learns of this deletion before the directory is gone.
                await asyncio.sleep(0.01)
                folder.remove("b.yaml")
                folder.path.rmdir()
                make_again(folder.path)
                async with asyncio.timeout(LIMIT_S):
                    await lost.wait()
            assert not step.done()
            folder.path.mkdir(exist_ok=True)
            for name, item in (("a.yaml", WEB), ("b.yaml", DB), ("c.yaml", namespace("n"))):
                await asyncio.sleep(0.01)
                folder.write(name, item)
            assert await step == keyed(WEB, DB, namespace("n"))
            assert watch.batches == 2

    asyncio.run(delete_and_create())


def test_a_deleted_directory_that_somebody_is_in(folder: Folder) -> None:
    """The kernel does not tell of it, so the directory is looked for before a deletion is believed."""

    async def delete() -> None:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            step = asyncio.ensure_future(watch.step())
            descriptor = os.open(folder.path, os.O_RDONLY)
            try:
                with logged("manifest watch lost") as lost:
                    shutil.rmtree(folder.path)
                    async with asyncio.timeout(LIMIT_S):
                        await lost.wait()
                assert (step.done(), watch.state) == (False, keyed(WEB))
                folder.path.mkdir()
                folder.write("a.yaml", WEB_81)
                assert await step == keyed(WEB_81)
            finally:
                os.close(descriptor)

    asyncio.run(delete())


def test_a_deletion_that_waits_holds_nothing_up(folder: Folder) -> None:
    """Additions and changes come at once, also of what seemed gone: a file replaced is a change."""

    async def delete() -> list[Batch]:
        folder.write("a.yaml", WEB)
        folder.write("b.yaml", DB)
        source = ManifestDirectory(folder.path, settle_s=LONG_S)
        async with aclosing(source.batches(KINDS.values())) as batches, asyncio.timeout(LIMIT_S):
            await anext(batches)
            found = []
            folder.remove("a.yaml")
            folder.remove("b.yaml")
            folder.write("c.yaml", namespace("n"))
            found.append(await anext(batches))
            folder.write("a.yaml", WEB_81)
            found.append(await anext(batches))
            return found

    assert asyncio.run(delete()) == [
        (Change(namespace("n").key, None, namespace("n")),),
        (Change(WEB.key, WEB, WEB_81),),
    ]


def test_all_files_deleted(folder: Folder) -> None:
    """A directory that stays and is emptied says that there is nothing, in one batch."""

    async def delete() -> tuple[dict[ObjectKey, Object], int]:
        folder.write("a.yaml", WEB)
        folder.write("b.yaml", DB)
        async with watching(folder, settle_s=0.3) as watch:
            folder.remove("a.yaml")
            await asyncio.sleep(0.01)
            folder.remove("b.yaml")
            return await watch.step(), watch.batches

    assert asyncio.run(delete()) == ({}, 2)


def test_more_events_than_the_kernel_keeps(folder: Folder) -> None:
    """After an overflow of the queue the directory is read anew, so that nothing is missed."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 200_000:
        pytest.skip(f"this machine's administrator lets {limit} events wait (16384 by default)")

    async def overflow() -> dict[ObjectKey, Object]:
        folder.write("a.yaml", WEB)
        async with watching(folder) as watch:
            with logged("manifest watch lost") as lost:
                # Two files in turn: the kernel merges an event with an equal one before it.
                for number in range(limit + 2):
                    (folder.path / f"x{number % 2}").write_bytes(b"")
                folder.write("b.yaml", DB)
                folder.remove("a.yaml")
                while WEB.key in await watch.step():
                    pass
                assert lost.is_set()
            return watch.state

    assert asyncio.run(overflow()) == keyed(DB)


def test_nothing_is_left_open(folder: Folder) -> None:
    """A reader that ends closes its watch."""

    def watches() -> int:
        found = 0
        for link in Path("/proc/self/fd").iterdir():
            # The listing's own descriptor is gone by now.
            with suppress(FileNotFoundError):
                found += os.readlink(link) == "anon_inode:inotify"
        return found

    async def read() -> int:
        async with watching(folder):
            return watches()

    before = watches()

    assert (asyncio.run(read()), watches()) == (before + 1, before)


BAD = ["{", "apiVersion: v1\nkind: Service\nmetadata: {name: w}\nspec: {ports: [{port: 99999}]}\n"]
GOOD = st.dictionaries(st.sampled_from("wxyz"), st.sampled_from([80, 81]), max_size=2).map(
    lambda ports: manifest(*(service(name, port) for name, port in ports.items()))
)
FILES = st.sampled_from(["a.yaml", "b.yaml", "c.yaml"])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), FILES, GOOD | st.sampled_from(BAD)),
    st.tuples(st.just("delete"), FILES, st.just("")),
    st.tuples(st.just("rename"), FILES, FILES),
)


def last_good(operations: list[tuple[str, str, str]]) -> dict[str, str]:
    """Say which text of each file is in force, by the rule that a bad one changes nothing."""
    texts, good = dict[str, str](), dict[str, str]()
    for operation, name, argument in operations:
        if operation == "write":
            texts[name] = argument
            changed = name
        elif name not in texts:
            continue
        elif operation == "delete":
            del texts[name]
            good.pop(name, None)
            continue
        elif name == argument:
            continue
        else:
            texts[argument] = texts.pop(name)
            good.pop(name, None)
            changed = argument
        if texts[changed] not in BAD:
            good[changed] = texts[changed]
    return good


@given(st.lists(OPERATIONS, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_path_does_not_matter(operations: list[tuple[str, str, str]]) -> None:
    """Whatever was done to the files, the state is that of a fresh read of their last good versions."""

    async def walk(folder: Folder) -> dict[ObjectKey, Object]:
        state = dict[ObjectKey, Object]()
        async with watching(folder) as watch:
            for operation, name, argument in operations:
                if operation == "write":
                    (folder.path / name).write_text(argument)
                elif (folder.path / name).exists():
                    folder.remove(name) if operation == "delete" else folder.rename(name, argument)
                # Each version is seen: one that is overwritten before a reader comes was never in force.
                state = await watch.settle()
        return state

    with tempfile.TemporaryDirectory() as scratch:
        state = asyncio.run(walk(Folder(Path(scratch, "walked"))))
        fresh = Folder(Path(scratch, "fresh"))
        for name, text in last_good(operations).items():
            (fresh.path / name).write_text(text)
        versions = [read_manifest(path) for path in sorted(fresh.path.iterdir())]
        if len({key for version in versions for key in version}) == sum(map(len, versions)):
            assert state == keyed(*ManifestDirectory(fresh.path).read())
        else:
            # Two files have one object, which a fresh start refuses: the first by name is in force.
            assert state == dict(ChainMap(*(dict(version) for version in versions)))
