"""A directory of manifests as it is read, and as it changes."""

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from nodeplane.errors import ConfigError, KernelError
from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch
from tests.kube.manifest_folder import LIMIT_S, Folder, watching
from tests.kube.objects import keyed, manifest, namespace, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"


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
            lambda folder: ((folder / "b/c").mkdir(parents=True), (folder / "b/c/a.yaml").write_text("{")),
            "/b/c/a.yaml:2: expected YAML: did not find expected node content",
            id="half-written, in a directory below",
        ),
        pytest.param(
            lambda folder: (
                (folder / "b/c").mkdir(parents=True),
                [(folder / name).write_text(SERVICE) for name in ("b/c/a.yaml", "b/b.yaml")],
            ),
            "/b/c/a.yaml: Service/default/web: expected each object once, b/b.yaml has it too",
            id="object in two files, in directories",
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

    monkeypatch.setattr("nodeplane.kube.watches.INotify", refuse)

    with pytest.raises(KernelError) as caught:
        asyncio.run(first_batch(ManifestDirectory(folder.path)))

    assert str(caught.value) == f"watch {folder.path}: Too many open files (EMFILE)"


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
