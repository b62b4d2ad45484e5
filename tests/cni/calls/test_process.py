"""The process that answers calls: beside the agent, started again when it dies, gone when the agent is."""

import asyncio
import errno
import os
import signal
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cni.calls.listener import inode, listen
from cni.calls.metrics import CallMetrics
from cni.calls.process import keep_serving_calls
from cni.calls.protocol import DECLINED, decode_answer, render_call
from cni.calls.worker import serve_calls
from nodeplane.errors import KernelError

VERSION = {"CNI_COMMAND": "VERSION"}
WRONG = {"CNI_COMMAND": "NONE"}
_WITHIN_S = 60.0
_COUNT = min(2, len(os.sched_getaffinity(0)))


class Served:
    """A socket that is served."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = CollectorRegistry()
        self.task = asyncio.ensure_future(keep_serving_calls(path, CallMetrics(self.registry)))

    def count(self, command: str, code: int) -> float:
        """Return how many calls were counted."""
        labels = {"command": command, "code": str(code)}
        return self.registry.get_sample_value("nodeplane_cni_requests_total", labels) or 0.0

    async def ask(self, environ: dict[str, str]) -> int:
        """Make a call; return the verdict."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(render_call(environ, b"{}"))
        answer = await reader.read()
        writer.close()
        return decode_answer(answer)[0]

    def workers(self) -> set[int]:
        """Return the processes that we have started and that run."""
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return {int(pid) for pid in children if _is_worker(pid)}


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _is_worker(pid: str) -> bool:
    return "cni.calls.worker" in _command_of(int(pid))


def _is_at_work(pid: int) -> bool:
    """Say whether a process has begun to take calls: it has a thread for them."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


def _is_frozen(pid: int) -> bool:
    """Say whether all threads of a process are stopped (proc(5), stat: state T)."""
    stats = (each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(_WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[Served]:
    there = Served(path)
    try:
        await until(path.is_socket)
        yield there
    finally:
        there.task.cancel()
        with suppress(asyncio.CancelledError):
            await there.task


def run(path: Path, test: Callable[[Served], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with served(path) as there:
            await test(there)

    asyncio.run(all_of_it())


def test_calls_are_answered_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"

    async def test(there: Served) -> None:
        assert await there.ask(VERSION) == 0
        assert await there.ask(WRONG) == 1
        await until(lambda: (there.count("VERSION", 0), there.count("other", 4)) == (1.0, 1.0))

    run(path, test)
    assert not path.exists()


def test_a_process_that_dies_is_followed_by_another(tmp_path: Path) -> None:
    async def test(there: Served) -> None:
        await until(lambda: len(there.workers()) == _COUNT)
        assert await there.ask(VERSION) == 0
        first = there.workers()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: len(there.workers() - first) == _COUNT)
        assert await there.ask(VERSION) == 0

    run(tmp_path / "cni.sock", test)


def test_one_that_dies_leaves_the_socket_to_the_other(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"

    async def test(there: Served) -> None:
        await until(lambda: len(there.workers()) == _COUNT)
        made_ns = path.stat().st_ctime_ns
        first = there.workers()
        os.kill(min(first), signal.SIGKILL)
        await until(lambda: min(first) not in there.workers())
        assert await there.ask(VERSION) == 0
        await until(lambda: len(there.workers() - {min(first)}) == _COUNT)
        assert (there.workers() >= first - {min(first)}, path.stat().st_ctime_ns) == (True, made_ns)

    run(path, test)


def test_one_that_ends_takes_the_socket_and_the_other_along(tmp_path: Path) -> None:
    """As when the agent ends: shims do the work themselves until there is a new socket."""
    path = tmp_path / "cni.sock"

    async def test(there: Served) -> None:
        await until(lambda: sum(map(_is_at_work, there.workers())) == _COUNT)
        made_ns, first = path.stat().st_ctime_ns, there.workers()
        os.kill(min(first), signal.SIGTERM)
        await until(lambda: path.is_socket() and path.stat().st_ctime_ns != made_ns)
        await until(lambda: not (there.workers() & first))
        assert await there.ask(VERSION) == 0

    run(path, test)


def test_processes_that_hang_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the shims' patience ends: who called them meanwhile is answered."""
    monkeypatch.setattr("cni.calls.process._SILENT_LOOKS", 2)
    monkeypatch.setattr("cni.calls.process._START_LOOKS", 20)

    async def test(there: Served) -> None:
        await until(lambda: sum(map(_is_at_work, there.workers())) == _COUNT)
        frozen = there.workers()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        # One that has a call goes down with it.
        await until(lambda: all(map(_is_frozen, frozen)))
        assert await asyncio.wait_for(there.ask(VERSION), _WITHIN_S) == 0
        await until(lambda: not (there.workers() & frozen))

    run(tmp_path / "cni.sock", test)


def test_a_process_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [BlockingIOError(errno.EAGAIN, "no more processes")] * _COUNT
    start = asyncio.create_subprocess_exec

    async def start_or_refuse(*arguments: Any, **options: Any) -> Process:
        if refusals:
            raise refusals.pop()
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_or_refuse)

    async def test(there: Served) -> None:
        assert await asyncio.wait_for(there.ask(VERSION), _WITHIN_S) == 0
        assert not refusals

    run(tmp_path / "cni.sock", test)


def test_the_end_finishes_the_process(tmp_path: Path) -> None:
    workers: set[int] = set()

    async def test(there: Served) -> None:
        await until(lambda: len(there.workers()) == _COUNT)
        assert await there.ask(VERSION) == 0
        workers.update(there.workers())

    run(tmp_path / "cni.sock", test)
    assert len(workers) == _COUNT
    assert not any(map(_command_of, workers))


def test_a_frozen_process_does_not_outlive_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the socket, and every caller waiting."""
    monkeypatch.setattr("cni.calls.process._END_WITHIN_S", 0.1)
    workers: set[int] = set()

    async def test(there: Served) -> None:
        await until(lambda: len(there.workers()) == _COUNT)
        assert await there.ask(VERSION) == 0
        workers.update(there.workers())
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)

    run(tmp_path / "cni.sock", test)
    assert len(workers) == _COUNT
    assert not any(map(_command_of, workers))


def test_a_socket_that_somebody_takes_away_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "cni.sock"

    async def test(there: Served) -> None:
        assert await there.ask(VERSION) == 0
        path.unlink()
        await until(path.is_socket)
        assert await there.ask(VERSION) == 0

    run(path, test)


def test_an_agent_that_is_gone_before_the_process_is_there(tmp_path: Path) -> None:
    """Who called meanwhile is answered or told to do it himself, and whoever comes next finds no socket."""
    path = tmp_path / "cni.sock"

    async def scenario() -> bytes:
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.close()
        with ours, listen(path) as listener, socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(render_call(VERSION, b"{}"))
            await asyncio.wait_for(serve_calls(path, inode(path) or 0, listener, ours), _WITHIN_S)
            return caller.recv(4096)

    assert decode_answer(asyncio.run(scenario()))[0] in {0, DECLINED}
    assert not path.exists()


def test_a_new_agents_socket_stays(tmp_path: Path) -> None:
    """An old agent's process that begins after another agent took the file over has none to take away."""
    path = tmp_path / "cni.sock"

    async def scenario() -> tuple[int | None, int | None]:
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        theirs.close()
        with ours, listen(path) as old:
            before = inode(path) or 0
            with listen(path):
                after = inode(path)
                await asyncio.wait_for(serve_calls(path, before, old, ours), _WITHIN_S)
                return after, inode(path)

    after, found = asyncio.run(scenario())
    assert found == after


def test_an_agent_that_is_killed_takes_the_process_along(tmp_path: Path) -> None:
    """Nobody tells it; it sees the end of the agent's socket."""
    path, parent = tmp_path / "cni.sock", os.fork()
    if parent == 0:
        with suppress(BaseException):
            asyncio.run(keep_serving_calls(path, CallMetrics(CollectorRegistry())))
        os._exit(0)

    async def test() -> None:
        await until(path.is_socket)
        children = Path(f"/proc/{parent}/task/{parent}/children")
        # Before its exec a child has our own command.
        await until(lambda: sum(map(_is_worker, children.read_text().split())) == _COUNT)
        workers = children.read_text().split()
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        await until(lambda: not any(map(_is_worker, workers)))

    asyncio.run(test())
    with socket.socket(socket.AF_UNIX) as caller:
        assert caller.connect_ex(str(path)) in {errno.ECONNREFUSED, errno.ENOENT}


def test_a_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KernelError, match=f"listen on {tmp_path}/file/cni.sock"):
        asyncio.run(keep_serving_calls(tmp_path / "file" / "cni.sock", CallMetrics(CollectorRegistry())))


def test_an_agent_that_left_figures_unread_is_an_end_as_any(tmp_path: Path) -> None:
    """Its socket then ends in a reset (unix(7)), and the calls that came are finished all the same."""

    async def scenario() -> None:
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        path = tmp_path / "cni.sock"
        with ours, listen(path) as listener:
            ours.send(b"figures")
            theirs.close()
            await asyncio.wait_for(serve_calls(path, inode(path) or 0, listener, ours), _WITHIN_S)

    asyncio.run(scenario())
