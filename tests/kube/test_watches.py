"""Which names an event concerns."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodeplane.kube.watches import ANY_ENTRY, ITSELF, Watches

LIMIT_S = 60


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A directory with files and directories in it."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/f").touch()
    return tmp_path


@pytest.fixture
def watches(base: Path) -> Iterator[Watches]:
    """Names that depend on it in all ways."""
    made = Watches()
    made.add("tree", str(base / "a"), ANY_ENTRY)
    made.add("link", str(base / "a"), "f")
    made.add("other link", str(base / "a"), "f")
    made.add("way", str(base / "a/b"), ITSELF)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param(lambda a: (a / "f").write_text("x"), {"tree/f", "link", "other link"}, id="written"),
        pytest.param(lambda a: (a / "g").touch(), {"tree/g"}, id="new"),
        pytest.param(
            lambda a: (a / "f").rename(a / "g"), {"tree/f", "tree/g", "link", "other link"}, id="moved"
        ),
        pytest.param(lambda a: (a / "d").mkdir(), {"tree/d"}, id="new directory"),
        pytest.param(lambda a: (a / "b/x").touch(), set(), id="inside of what is only on the way"),
        pytest.param(lambda a: (a / "b").rename(a / "c"), {"tree/b", "tree/c", "way"}, id="way moved"),
        pytest.param(
            lambda a: a.rename(a.with_name("z")), {"tree", "link", "other link"}, id="directory itself moved"
        ),
    ],
)
def test_names(change: Callable[[Path], object], names: set[str], base: Path, watches: Watches) -> None:
    """All that depend on what has changed, and no others."""

    async def read() -> set[str]:
        change(base / "a")
        # Marks the end; there may be nothing else.
        (base / "a" if (base / "a").exists() else base / "z").joinpath("end").touch()
        async with asyncio.timeout(LIMIT_S):
            seen = await watches.next(None)
        assert seen is not None
        return set(seen.names)

    assert asyncio.run(read()) - {"tree/end"} == names


def test_half_a_file_is_none(base: Path, watches: Watches) -> None:
    """A file counts when its writer closes it."""

    async def read() -> list[set[str]]:
        found = []
        with (base / "a/g").open("w"):
            (base / "a/end").touch()
            seen = await watches.next(None)
            found.append(set(seen.names if seen else ()))
        seen = await watches.next(None)
        return [*found, set(seen.names if seen else ())]

    assert asyncio.run(read()) == [{"tree/end"}, {"tree/g"}]


def test_forgotten(base: Path, watches: Watches) -> None:
    """What a name depended on concerns it no longer; what others depend on goes on."""

    async def read() -> set[str]:
        watches.forget("link")
        watches.forget("way")
        watches.forget("nobody")
        (base / "a/b").rename(base / "c")
        (base / "a/f").write_text("x")
        seen = await watches.next(None)
        return set(seen.names if seen else ())

    assert asyncio.run(read()) == {"tree/b", "tree/f", "other link"}


def test_nothing_happens(watches: Watches) -> None:
    """The wait has an end."""

    async def read() -> bool:
        seen = await watches.next(asyncio.get_running_loop().time() + 0.01)
        return seen is not None and seen.is_quiet

    assert asyncio.run(read())
