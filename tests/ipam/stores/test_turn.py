"""Who was refused waits for its turn; nothing depends on it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipam.stores import turn
from ipam.stores.turn import Turn

# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 60


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(turn, "_DIRECTORY", str(tmp_path))
    return tmp_path


def test_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE_S", LIMIT_S)
    inside: list[int] = []

    def work(number: int) -> None:
        with Turn("name").taken() as is_mine:
            inside.append(number)
            assert is_mine
            assert inside == [number]
            inside.remove(number)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(40)))


def test_who_does_not_get_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PATIENCE_S", 0.0)

    with Turn("name").taken() as first, Turn("name").taken() as second:
        assert (first, second) == (True, False)
    with Turn("name").taken() as again:
        assert again


def test_it_ends_with_its_block(directory: Path) -> None:
    with pytest.raises(LookupError), Turn("name").taken():
        raise LookupError
    with Turn("name").taken() as is_mine:
        assert is_mine


def test_few_files_for_any_number_of_names(directory: Path) -> None:
    for number in range(200):
        with Turn(f"name {number}").taken():
            pass

    assert len(os.listdir(directory)) == 16


def test_nowhere_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_DIRECTORY", "/nonexistent")

    with Turn("name").taken() as is_mine:
        assert not is_mine
