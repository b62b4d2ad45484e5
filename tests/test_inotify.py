"""What a watch tells, and how it says that it has ended."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inotify_simple import INotify, flags

from nodeplane.inotify import next_names

LIMIT_S = 60


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory to watch."""
    path = tmp_path / "watched"
    path.mkdir()
    return path


@pytest.fixture
def notify(directory: Path) -> Iterator[INotify]:
    """A watch on it."""
    with INotify(nonblocking=True) as made:
        made.add_watch(directory, flags.CLOSE_WRITE | flags.MOVED_TO | flags.DELETE | flags.MOVE_SELF)
        yield made


def write_and_rename(directory: Path) -> None:
    """Write two files, the second under another name at first."""
    (directory / "a").write_text("")
    (directory / "b").write_text("")
    (directory / "b").rename(directory / "ä")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda path: (path / "a").write_text(""), {"a"}, id="file written"),
        pytest.param(write_and_rename, {"a", "b", "ä"}, id="several at once"),
        pytest.param(lambda path: path.rmdir(), None, id="directory removed"),
        pytest.param(lambda path: path.rename(path.with_name("x")), None, id="directory renamed"),
    ],
)
def test_next_names(
    change: Callable[[Path], object], names: set[str] | None, directory: Path, notify: INotify
) -> None:
    """All names that wait come at once; None says that the directory has to be opened anew."""

    async def read() -> set[str] | None:
        reading = asyncio.ensure_future(next_names(notify))
        await asyncio.sleep(0)
        change(directory)
        async with asyncio.timeout(LIMIT_S):
            return await reading

    assert asyncio.run(read()) == names


def test_waiting_can_be_cancelled(directory: Path, notify: INotify) -> None:
    """A reader that gave up is in nobody's way, and loses no event."""

    async def read() -> set[str] | None:
        reading = asyncio.ensure_future(next_names(notify))
        await asyncio.sleep(0)
        (directory / "a").write_text("")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(LIMIT_S):
            return await next_names(notify)

    assert asyncio.run(read()) == {"a"}
