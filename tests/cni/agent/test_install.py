"""Programs and configuration in a runtime's folders: written once, kept, and put back."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from cni.agent.conflist import NAME
from cni.agent.install import File, build_files, install, keep_installed, rivals
from nodeplane.errors import KernelError

LIMIT_S = 60.0


@pytest.fixture
def files(tmp_path: Path) -> tuple[File, ...]:
    return build_files(
        tmp_path / "bin", tmp_path / "conf", {"b": b"#!/bin/b\n", "a": b"#!/bin/a\n"}, b'{"name": "x"}\n'
    )


def folders(tmp_path: Path) -> None:
    for name in ("bin", "conf"):
        (tmp_path / name).mkdir()


def state(files: Sequence[File]) -> list[tuple[bytes, int]]:
    return [(file.path.read_bytes(), file.path.stat().st_mode & 0o7777) for file in files]


def expected(files: Sequence[File]) -> list[tuple[bytes, int]]:
    return [(file.content, file.mode) for file in files]


def test_the_configuration_comes_last(tmp_path: Path, files: tuple[File, ...]) -> None:
    """Once it is there a runtime calls the programs."""
    assert [(file.path, file.mode) for file in files] == [
        (tmp_path / "bin/a", 0o755),
        (tmp_path / "bin/b", 0o755),
        (tmp_path / "conf" / NAME, 0o644),
    ]


def test_install(tmp_path: Path, files: tuple[File, ...]) -> None:
    """What is right is not touched; drafts do not stay."""
    folders(tmp_path)

    assert install(files) == [file.path for file in files]
    identities = [file.path.stat().st_ino for file in files]
    assert install(files) == []

    assert state(files) == expected(files)
    assert [file.path.stat().st_ino for file in files] == identities
    assert sorted(os.listdir(tmp_path / "bin")) == ["a", "b"]
    assert os.listdir(tmp_path / "conf") == [NAME]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def kill_a_writer(path: Path) -> None:
    path.unlink()
    path.with_name(f".{path.name}.draft").write_text("half")


DAMAGES = [
    pytest.param(Path.unlink, id="deleted"),
    pytest.param(cut, id="cut off"),
    pytest.param(change, id="changed"),
    pytest.param(lambda path: path.chmod(0o600), id="mode"),
    pytest.param(link, id="a link"),
    pytest.param(kill_a_writer, id="an earlier agent was killed"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_repair(tmp_path: Path, files: tuple[File, ...], damage: Callable[[Path], None]) -> None:
    folders(tmp_path)
    install(files)
    damage(files[-1].path)

    assert install(files) == [files[-1].path]

    assert state(files) == expected(files)


def test_what_cannot_be_written(tmp_path: Path, files: tuple[File, ...]) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "conf").write_text("")

    with pytest.raises(KernelError, match=f"read {files[-1].path}: Not a directory"):
        install(files)


@pytest.mark.parametrize(
    ("names", "before"),
    [
        pytest.param((), [], id="none"),
        pytest.param(("87-podman.conflist", "README"), [], id="after ours, or none"),
        pytest.param(
            ("05-a.conf", "00-b.conflist", "09-c.json", "01-d.bak"),
            ["00-b.conflist", "05-a.conf", "09-c.json"],
            id="before ours",
        ),
    ],
)
def test_rivals(tmp_path: Path, names: tuple[str, ...], before: list[str]) -> None:
    for name in (*names, NAME):
        (tmp_path / name).write_text("")

    assert rivals(tmp_path) == before


def keep(files: Sequence[File], scenario: Callable[[list[bool]], Awaitable[None]]) -> list[bool]:
    """Run a scenario while files are kept; return what was told."""
    told: list[bool] = []

    async def main() -> None:
        task = asyncio.create_task(keep_installed(files, told.append))
        async with asyncio.timeout(LIMIT_S):
            await scenario(told)
        task.cancel()

    asyncio.run(main())
    return told


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def is_right(files: Sequence[File]) -> bool:
    try:
        return state(files) == expected(files)
    except (FileNotFoundError, NotADirectoryError):
        return False


def test_keep(tmp_path: Path, files: tuple[File, ...]) -> None:
    """Folders are made; damage to a file or a folder is repaired; the end removes nothing."""

    async def scenario(told: list[bool]) -> None:
        await until(lambda: bool(told))
        assert state(files) == expected(files)
        files[0].path.unlink()
        await until(lambda: is_right(files))
        (tmp_path / "conf" / NAME).unlink()
        (tmp_path / "conf").rmdir()
        await until(lambda: is_right(files))

    assert set(keep(files, scenario)) == {True}
    assert state(files) == expected(files)


def test_keep_tries_again(tmp_path: Path, files: tuple[File, ...]) -> None:
    obstacle = tmp_path / "conf"
    obstacle.write_text("")

    async def scenario(told: list[bool]) -> None:
        await until(lambda: bool(told))
        obstacle.unlink()
        await until(lambda: told[-1])

    told = keep(files, scenario)
    assert (told[0], told[-1]) == (False, True)
    assert state(files) == expected(files)
