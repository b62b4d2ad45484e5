"""What belongs to a directory of manifests: what is below it, and what is behind links."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeplane.kube.manifests import ManifestDirectory
from nodeplane.kube.objects import Object, ObjectKey
from tests.kube.manifest_folder import ConfigMapMount, Folder, watching
from tests.kube.manifest_links import DB, WEB, WEB_81, N, Steps, link, put
from tests.kube.objects import keyed, manifest, namespace, service


def clear(path: Path) -> Path:
    """Delete a directory; return where it was."""
    shutil.rmtree(path)
    return path


@pytest.mark.parametrize(
    ("make", "objects"),
    [
        pytest.param(lambda p: put(p / "a/b/c/d/w.yaml", WEB), (WEB,), id="nested"),
        pytest.param(lambda p: put(p / "a.yaml/w.yaml", WEB), (WEB,), id="directory named like a file"),
        pytest.param(lambda p: put(p / "/".join(400 * "d") / "w.yaml", WEB), (WEB,), id="400 levels"),
        pytest.param(
            lambda p: (put(p / ".git/w.yaml", WEB), put(p / "a/.w.yaml", WEB), put(p / "a/w", WEB)),
            (),
            id="hidden, and no manifest",
        ),
        pytest.param(
            lambda p: (put(p / "../else/w.yaml", WEB), (p / "a").symlink_to("../else")),
            (WEB,),
            id="link to a directory",
        ),
        pytest.param(
            lambda p: (put(p / "../else/w.txt", WEB), (p / "w.yaml").symlink_to("../else/w.txt")),
            (WEB,),
            id="link to a file of another name",
        ),
        pytest.param(
            lambda p: (put(p / "a/w.yaml", WEB), (p / "a/up").symlink_to(".."), (p / "a/me").symlink_to(".")),
            (WEB,),
            id="links that lead back",
        ),
        pytest.param(
            lambda p: (
                put(p / "w.yaml", WEB),
                (p / "above").symlink_to("../.."),
                (p / "all").symlink_to("/"),
            ),
            (WEB,),
            id="links to what is around it",
        ),
        pytest.param(
            lambda p: (put(p / "w.yaml", WEB), (p / "x").symlink_to("y"), (p / "y").symlink_to("x")),
            (WEB,),
            id="links to each other",
        ),
        pytest.param(
            lambda p: ConfigMapMount(p / "m").update({"w.yaml": manifest(WEB), "sub/d.yaml": manifest(DB)}),
            (WEB, DB),
            id="a mounted ConfigMap, counted once",
        ),
    ],
)
def test_what_belongs_to_it(
    make: Callable[[Path], object], objects: tuple[Object, ...], folder: Folder
) -> None:
    """All manifests below the directory, through links as well; nothing hidden, nothing twice."""
    make(folder.path)

    assert keyed(*ManifestDirectory(folder.path).read()) == keyed(*objects)


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        pytest.param(
            [lambda p: put(p / "x/y/d.yaml", DB), lambda p: put(p / "x/y/z/n.yaml", N)],
            [keyed(WEB, DB), keyed(WEB, DB, N)],
            id="new directories",
        ),
        pytest.param([lambda p: put(p / "a/w.yaml", WEB_81)], [keyed(WEB_81)], id="file below changed"),
        pytest.param([lambda p: (p / "a/w.yaml").unlink()], [{}], id="file below deleted"),
        pytest.param([lambda p: shutil.rmtree(p / "a")], [{}], id="directory deleted"),
        pytest.param([lambda p: (p / "a").rename(p / "../gone")], [{}], id="directory moved out"),
        pytest.param([lambda p: (p / "a").rename(p / ".a")], [{}], id="directory hidden"),
        pytest.param(
            [lambda p: (p / "a").rename(p / "../gone"), lambda p: (p / "../gone").rename(p / "b")],
            [{}, keyed(WEB)],
            id="out and in again",
        ),
        pytest.param(
            [lambda p: (p / "a").rename(p / "b"), lambda p: put(p / "b/w.yaml", WEB_81)],
            [keyed(WEB), keyed(WEB_81)],
            id="renamed, and still watched",
        ),
        pytest.param(
            [
                lambda p: ((p / "b").mkdir(), (p / "a").rename(p / "b/a"), put(p / "b/a/d.yaml", DB)),
                lambda p: (p / "b/a").rename(p / "a"),
                lambda p: put(p / "a/w.yaml", WEB_81),
            ],
            [keyed(WEB, DB), keyed(WEB, DB), keyed(WEB_81, DB)],
            id="moved down and up",
        ),
        pytest.param(
            [
                lambda p: (clear(p / "a"), put(p / "a/w.yaml", WEB_81)),
                lambda p: put(p / "a/d.yaml", DB),
            ],
            [keyed(WEB_81), keyed(WEB_81, DB)],
            id="made anew",
        ),
        pytest.param(
            [
                lambda p: (clear(p / "a"), put(p / "a.yaml", DB)),
                lambda p: ((p / "a.yaml").unlink(), put(p / "a.yaml/w.yaml", WEB)),
            ],
            [keyed(DB), keyed(WEB)],
            id="file instead of a directory, and back",
        ),
        pytest.param(
            [
                lambda p: (put(p / "../else/d.yaml", DB), (p / "b").symlink_to("../else")),
                lambda p: put(p / "../else/d.yaml", service("db", 81)),
                lambda p: put(p / "../else/deep/n.yaml", N),
                lambda p: (p / "b").unlink(),
            ],
            [
                keyed(WEB, DB),
                keyed(WEB, service("db", 81)),
                keyed(WEB, service("db", 81), N),
                keyed(WEB),
            ],
            id="linked directory",
        ),
        pytest.param(
            [
                lambda p: (put(p / "../1/d.yaml", DB), put(p / "../2/n.yaml", N), link(p / "b", "../1")),
                lambda p: link(p / "b", "../2"),
            ],
            [keyed(WEB, DB), keyed(WEB, N)],
            id="link to another directory",
        ),
        pytest.param(
            [
                lambda p: (put(p / "../else/d", DB), link(p / "d.yaml", "../else/d")),
                lambda p: put(p / "../else/d", service("db", 81)),
                lambda p: (
                    put(p / "../else/new", service("db", 82)),
                    (p / "../else/new").rename(p / "../else/d"),
                ),
            ],
            [keyed(WEB, DB), keyed(WEB, service("db", 81)), keyed(WEB, service("db", 82))],
            id="target of a link written, and replaced",
        ),
        pytest.param(
            [
                lambda p: (
                    put(p / "../1/2/d", DB),
                    link(p / "../chain", "1"),
                    link(p / "d.yaml", str(p / "../chain/2/../2/d")),
                ),
                lambda p: (put(p / "../3/2/d", N), link(p / "../chain", "3")),
                lambda p: (
                    put(p / "../3/4/d", DB),
                    (p / "../3/2").rename(p / "../3/5"),
                    (p / "../3/4").rename(p / "../3/2"),
                ),
            ],
            [keyed(WEB, DB), keyed(WEB, N), keyed(WEB, DB)],
            id="a link on the way, and a directory on the way, replaced",
        ),
    ],
)
def test_changes(steps: Steps, states: list[dict[ObjectKey, Object]], folder: Folder) -> None:
    """The state follows what is below the directory and what its links lead to."""

    async def walk() -> list[dict[ObjectKey, Object]]:
        put(folder.path / "a/w.yaml", WEB)
        async with watching(folder) as watch:
            found = []
            for step in steps:
                step(folder.path)
                found.append(await watch.settle())
            return found

    assert asyncio.run(walk()) == states


def test_a_new_directory_that_is_being_filled(folder: Folder) -> None:
    """A file in it counts when its writer closes it, never half of it."""

    async def fill() -> list[dict[ObjectKey, Object]]:
        async with watching(folder, settle_s=0.3) as watch:
            (folder.path / "a").mkdir()
            with (folder.path / "a/w.yaml").open("w") as file:
                file.write(manifest(WEB))
                file.flush()
                (folder.path / "d.yaml").write_text(manifest(DB))
                found = [dict(await watch.step())]
                file.write(manifest(N))
            return [*found, await watch.step()]

    assert asyncio.run(fill()) == [keyed(DB), keyed(WEB, DB, N)]


def test_one_change_reads_one_file(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its neighbours nor other directories are read again, nor what lies beside a link's target."""
    read: list[str] = []
    opener = os.open

    def open_and_note(path: str, *arguments: int) -> int:
        read.append(os.path.relpath(path, folder.path))
        return opener(path, *arguments)

    for number in range(3):
        put(folder.path / f"a/{number}.yaml", namespace(f"a{number}"))
        put(folder.path / f"b/{number}.yaml", namespace(f"b{number}"))
    put(folder.path / "../else/w", WEB)
    (folder.path / "w.yaml").symlink_to("../else/w")

    async def change() -> None:
        async with watching(folder) as watch:
            monkeypatch.setattr("nodeplane.yamldoc.os.open", open_and_note)
            put(folder.path / "../else/beside", DB)
            put(folder.path / "a/1.yaml", N)
            await watch.settle()
            put(folder.path / "../else/w", WEB_81)
            await watch.settle()

    asyncio.run(change())

    assert [name for name in read if not name.startswith("mark")] == ["a/1.yaml", "w.yaml"]


def test_watches_are_given_up(folder: Folder) -> None:
    """What is no longer there, or no longer led to, is not watched."""

    def watches() -> int:
        found = 0
        for entry in Path("/proc/self/fdinfo").iterdir():
            try:
                found += entry.read_text().count("inotify wd:")
            except FileNotFoundError:
                # The listing's own descriptor.
                continue
        return found

    async def walk() -> list[int]:
        mount = ConfigMapMount(folder.path / "m")
        mount.update({"w.yaml": manifest(WEB)})
        async with watching(folder) as watch:
            await watch.settle()
            counts = [watches()]
            for port in range(81, 85):
                put(folder.path / "x/y/d.yaml", DB)
                mount.update({"w.yaml": manifest(service("web", port))})
                await watch.settle()
                shutil.rmtree(folder.path / "x")
                await watch.settle()
                counts.append(watches())
            return counts

    counts = asyncio.run(walk())

    assert counts == [counts[0]] * 5
