"""The watch over a file: what ends the wait, and what does not."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeplane.errors import ConfigError
from nodeplane.file_watch import FileWatch


def read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as exc:
        raise ConfigError(str(path), "", "expected a number") from exc


def in_place(file: Path) -> None:
    file.write_text("2")


def moved(file: Path) -> None:
    fresh = file.with_name("fresh")
    fresh.write_text("2")
    fresh.rename(file)


def as_a_volume(file: Path) -> None:
    """As the kubelet updates a ConfigMap: a link is moved in place, the file's own link stays."""
    folder = file.parent / "..v2"
    folder.mkdir()
    (folder / "config").write_text("2")
    (file.parent / "..tmp").symlink_to("..v2")
    (file.parent / "..tmp").rename(file.parent / "..data")


@pytest.mark.parametrize("change", [in_place, moved, as_a_volume])
def test_change_ends_the_wait(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A file that says something else ends the wait, however it comes there."""
    (tmp_path / "..v1").mkdir()
    (tmp_path / "..v1" / "config").write_text("1")
    (tmp_path / "..data").symlink_to("..v1")
    file = tmp_path / "config"
    file.symlink_to("..data/config")

    async def scenario() -> int:
        waiting = asyncio.create_task(FileWatch(file, read_number, 1).until_changed())
        await asyncio.sleep(0)
        change(file)
        async with asyncio.timeout(30):
            return await waiting

    assert asyncio.run(scenario()) == 2


def test_changed_before_the_watch(tmp_path: Path) -> None:
    """What changed between reading and watching is seen."""
    file = tmp_path / "config"
    file.write_text("2")

    assert asyncio.run(FileWatch(file, read_number, 1).until_changed()) == 2


def test_one_change_after_another(tmp_path: Path) -> None:
    """What was returned is what the next change is measured by."""
    file = tmp_path / "config"
    file.write_text("2")
    watch = FileWatch(file, read_number, 1)

    async def scenario() -> list[int]:
        first = await watch.until_changed()
        waiting = asyncio.create_task(watch.until_changed())
        await asyncio.sleep(0)
        file.write_text("1")
        async with asyncio.timeout(30):
            return [first, await waiting]

    assert asyncio.run(scenario()) == [2, 1]


def test_wrong_file_stays_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong file is named once and changes nothing; the next good one ends the wait."""
    file = tmp_path / "config"
    file.write_text("1")

    async def scenario() -> int:
        waiting = asyncio.create_task(FileWatch(file, read_number, 1).until_changed())
        await asyncio.sleep(0)
        file.write_text("x")
        async with asyncio.timeout(30):
            while not caplog.messages:
                await asyncio.sleep(0.005)
            # Neither another file nor the same words are news.
            file.with_name("other").write_text("y")
            file.write_text("1")
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            file.write_text("3")
            return await waiting

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(scenario()) == 3
    assert caplog.messages == [
        f"configuration is wrong, the one of before stays in force: {file}: expected a number"
    ]
