"""Links to manifests: moved, lost, and a ConfigMap's, which all change at once."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import KINDS, Object, ObjectKey
from nodeplane.kube.source import Batch, Change
from tests.kube.manifest_folder import LIMIT_S, ConfigMapMount, Folder, logged, watching
from tests.kube.manifest_links import DB, WEB, WEB_81, N, Steps, link, put
from tests.kube.objects import keyed, manifest, service


@pytest.mark.parametrize(
    ("lose", "restore"),
    [
        pytest.param(
            lambda p: (p / "else/w").unlink(), lambda p: put(p / "else/w", WEB_81), id="target deleted"
        ),
        pytest.param(
            lambda p: shutil.rmtree(p / "else"),
            lambda p: put(p / "else/w", WEB_81),
            id="its directory deleted",
        ),
        pytest.param(
            lambda p: (p / "else").rename(p / "other"),
            lambda p: (put(p / "other/w", WEB_81), (p / "other").rename(p / "else")),
            id="its directory moved away",
        ),
        pytest.param(
            lambda p: link(p / "manifests/w.yaml", "nowhere"),
            lambda p: (put(p / "3", WEB_81), link(p / "manifests/w.yaml", "../3")),
            id="link to nowhere",
        ),
    ],
)
def test_a_link_that_leads_nowhere(
    lose: Callable[[Path], object], restore: Callable[[Path], object], folder: Folder
) -> None:
    """What is behind it stays in force, with a line in the log, until there is something again."""
    base = folder.path.parent

    async def walk() -> None:
        put(base / "else/w", WEB)
        (folder.path / "w.yaml").symlink_to("../else/w")
        async with watching(folder) as watch:
            with logged("manifest refused") as refused:
                lose(base)
                assert await watch.settle() == keyed(WEB)
                assert refused.is_set()
            restore(base)
            assert await watch.settle() == keyed(WEB_81)

    asyncio.run(walk())


def test_the_directory_of_a_link_is_lost(folder: Folder) -> None:
    """A linked directory without a target keeps its objects; without the link they are gone."""
    base = folder.path.parent

    async def walk() -> list[dict[ObjectKey, Object]]:
        put(base / "else/deep/w.yaml", WEB)
        (folder.path / "a").symlink_to("../else")
        async with watching(folder) as watch:
            found = []
            changes: list[Callable[[], object]] = [
                lambda: shutil.rmtree(base / "else"),
                lambda: put(base / "else/d.yaml", DB),
                lambda: shutil.rmtree(base / "else"),
                (folder.path / "a").unlink,
            ]
            for change in changes:
                change()
                found.append(await watch.settle())
            return found

    assert asyncio.run(walk()) == [keyed(WEB), keyed(DB), keyed(DB), {}]


async def batches_of(folder: Folder, changes: Steps) -> list[Batch]:
    """Return the batch that each change makes."""
    found = []
    source = ManifestDirectory(folder.path, settle_s=0.01)
    async with aclosing(source.batches(KINDS.values())) as batches, asyncio.timeout(LIMIT_S):
        await anext(batches)
        for change in changes:
            change(folder.path)
            found.append(await anext(batches))
    return found


@pytest.mark.parametrize("place", [pytest.param("", id="at the top"), pytest.param("a/m", id="below")])
def test_a_config_map_is_updated_in_one_batch(place: str, tmp_path: Path) -> None:
    """All keys change together, in directories too; nothing is deleted on the way and nothing is logged."""
    folder = Folder(tmp_path / "manifests")
    if place:
        (folder.path / place).parent.mkdir()
    else:
        folder.path.rmdir()
    mount = ConfigMapMount(folder.path / place)
    mount.update({"w.yaml": manifest(WEB), "sub/d.yaml": manifest(DB)})

    def update(*keys: tuple[str, Object]) -> Callable[[Path], object]:
        return lambda _path: mount.update({name: manifest(item) for name, item in keys})

    with logged("") as spoken:
        found = asyncio.run(
            batches_of(
                folder,
                [
                    update(("w.yaml", WEB_81), ("sub/d.yaml", service("db", 81))),
                    update(("w.yaml", WEB_81), ("sub/d.yaml", service("db", 82)), ("n.yaml", N)),
                    update(("x.yaml", WEB_81), ("sub/d.yaml", service("db", 83))),
                    update(("x.yaml", WEB), ("sub/d.yaml", service("db", 83))),
                ],
            )
        )

    db = [service("db", port) for port in (80, 81, 82, 83)]
    assert [{change.key: change for change in batch} for batch in found[:2]] == [
        {WEB.key: Change(WEB.key, WEB, WEB_81), DB.key: Change(DB.key, db[0], db[1])},
        {DB.key: Change(DB.key, db[1], db[2]), N.key: Change(N.key, None, N)},
    ]
    assert found[2] == (Change(DB.key, db[2], db[3]),)
    # The key that was taken out is told when the directory is quiet, so with what comes next or before it.
    assert Change(WEB.key, WEB_81, WEB) in found[3] or found[3] == (Change(N.key, N, None),)
    assert not spoken.is_set()


def test_a_given_link_is_moved(folder: Folder) -> None:
    """A deployment that moves the link it gave us is seen at once, and is one batch."""
    base = folder.path.parent
    put(base / "1/w.yaml", WEB)
    put(base / "1/a/d.yaml", DB)
    put(base / "2/w.yaml", WEB_81)
    put(base / "2/b/n.yaml", N)
    folder.path.rmdir()
    link(base / "way", "1")
    folder.path.symlink_to("way")

    (batch, *_) = asyncio.run(batches_of(folder, [lambda path: link(path.with_name("way"), "2")]))

    assert {change.key: change.new for change in batch} == {WEB.key: WEB_81, N.key: N, DB.key: None}


def test_a_directory_on_the_way_is_moved(tmp_path: Path) -> None:
    """That what is around the directory is moved is noticed without an event inside; nothing is deleted."""
    put(tmp_path / "top/manifests/w.yaml", WEB)
    source = ManifestDirectory(tmp_path / "top/manifests", reopen_interval_s=0.005, settle_s=0.01)

    async def walk() -> Batch:
        async with aclosing(source.batches(KINDS.values())) as batches, asyncio.timeout(LIMIT_S):
            await anext(batches)
            waiting = asyncio.ensure_future(anext(batches))
            with logged("manifest watch lost") as lost:
                (tmp_path / "top").rename(tmp_path / "away")
                await lost.wait()
            put(tmp_path / "top/manifests/w.yaml", WEB_81)
            return await waiting

    assert asyncio.run(walk()) == (Change(WEB.key, WEB, WEB_81),)
