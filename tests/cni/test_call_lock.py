"""One call at a time for a container: between threads, between processes, and after a kill."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni.call_lock import exclusive, find_socket, lock_file, locked
from nodeplane.cniresult import Result
from nodeplane.cnispec import CniError, Request
from nodeplane.errors import KernelError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "cni.lock"


@pytest.mark.parametrize(
    ("held", "wanted", "is_free"),
    [
        pytest.param("c1", "c2", True, id="another container"),
        pytest.param("c1", "c1", False, id="the same"),
        pytest.param("c1", "", False, id="all while one is held"),
        pytest.param("", "c1", False, id="one while all are held"),
        pytest.param("", "", False, id="all twice"),
    ],
)
@pytest.mark.parametrize("where", ["thread", "process"])
def test_who_waits(path: Path, held: str, wanted: str, is_free: bool, where: str) -> None:
    ask = in_a_thread if where == "thread" else in_a_process
    with locked(path, held):
        assert ask(lambda: can_have(path, wanted)) == is_free
    assert ask(lambda: can_have(path, wanted))


def can_have(path: Path, container_id: str) -> bool:
    try:
        with locked(path, container_id, wait_s=0.0):
            return True
    except CniError:
        return False


def in_a_thread(ask: Callable[[], bool]) -> bool:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(ask).result()


def in_a_process(ask: Callable[[], bool]) -> bool:
    child = multiprocessing.get_context("fork").Process(target=lambda: os._exit(0 if ask() else 3))
    child.start()
    child.join()
    assert child.exitcode in {0, 3}
    return child.exitcode == 0


@pytest.mark.parametrize(("container", "owner"), [("c1", "container c1"), ("", "a container")])
def test_the_wait_has_an_end(path: Path, container: str, owner: str) -> None:
    with locked(path, "c1"), pytest.raises(CniError) as caught, locked(path, container, wait_s=0.05):
        pass

    assert (caught.value.code, caught.value.msg) == (11, f"another call for {owner} goes on")


def test_a_waiter_gets_it_when_it_is_free(path: Path) -> None:
    holding, free = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path, "c1"):
            holding.set()
            free.wait()

    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(hold)
        holding.wait()
        threading.Timer(0.02, free.set).start()
        with locked(path, "c1"):
            assert free.is_set()
        done.result()


def test_a_killed_holder_leaves_nothing(path: Path) -> None:
    def die_holding() -> None:
        with locked(path, "c1"):
            os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=die_holding)
    child.start()
    child.join()

    assert can_have(path, "c1")


def test_the_file_holds_nothing_and_is_roots(path: Path) -> None:
    with locked(path, "c1"):
        found = path.stat()
    assert (found.st_size, found.st_mode & 0o777) == (0, 0o600)


def test_a_folder_that_can_not_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KernelError) as caught, locked(tmp_path / "file" / "cni.lock", "c1"):
        pass

    assert str(caught.value).startswith(f"lock {tmp_path}/file/cni.lock: ")


@pytest.mark.parametrize(
    ("name", "is_held"), [("ADD", True), ("DEL", True), ("CHECK", True), ("GC", True), ("STATUS", False)]
)
def test_commands_hold_the_lock(path: Path, name: str, is_held: bool) -> None:
    seen: list[tuple[bool, bool]] = []

    def command(request: Request) -> Result | None:
        seen.append((in_a_thread(lambda: can_have(path, "c1")), in_a_thread(lambda: can_have(path, "c2"))))
        return None

    exclusive({name: command}, path)[name](Request(name, b"", container_id="c1"))

    assert seen == [(not is_held, name != "GC")]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/run/nodeplane/cni.lock"),
        ({"NODEPLANE_CNI_SOCKET": ""}, "/run/nodeplane/cni.lock"),
        ({"NODEPLANE_CNI_SOCKET": "/x/a.sock"}, "/x/cni.lock"),
    ],
)
def test_the_lock_lies_beside_the_socket(environ: dict[str, str], expected: str) -> None:
    assert lock_file(find_socket(environ)) == Path(expected)
