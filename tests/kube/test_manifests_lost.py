"""What a deletion means: that there is no such object, or that the directory is lost."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch, Change
from tests.kube.manifest_folder import LIMIT_S, Folder, Watch, logged, watching
from tests.kube.objects import keyed, namespace, service

WEB, WEB_81, DB = service("web"), service("web", 81), service("db")


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
# Long enough for a slow machine to do two things in a row, and short enough to wait for.
SETTLE_S = 2.0
MARK = namespace("mark")


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
        async with watching(folder, settle_s=SETTLE_S) as watch:
            await delete_first_file(folder, watch)
            step = asyncio.ensure_future(watch.step())
            with logged("manifest watch lost") as lost:
                folder.remove("b.yaml")
                folder.remove("mark.yaml")
                folder.path.rmdir()
                make_again(folder.path)
                async with asyncio.timeout(LIMIT_S):
                    await lost.wait()
            assert not step.done()
            folder.path.mkdir(exist_ok=True)
            for name, item in (("a.yaml", WEB), ("b.yaml", DB), ("c.yaml", namespace("n"))):
                folder.write(name, item)
                # The reader has its turn, and finds the directory half filled.
                await asyncio.sleep(0)
            assert await step == keyed(WEB, DB, namespace("n"))
            assert watch.batches == 3

    asyncio.run(delete_and_create())


async def delete_first_file(folder: Folder, watch: Watch) -> None:
    """Return once the reader has learned of the deletion: of what is written after it, it tells at once."""
    folder.remove("a.yaml")
    folder.write("mark.yaml", MARK)
    assert await watch.step() == keyed(WEB, DB, MARK)


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
        async with watching(folder, settle_s=SETTLE_S) as watch:
            await delete_first_file(folder, watch)
            folder.remove("b.yaml")
            folder.remove("mark.yaml")
            return await watch.step(), watch.batches

    assert asyncio.run(delete()) == ({}, 3)


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
