"""A bird by itself: when it is started, on which configuration, as whom."""

import asyncio
import grp
import os
import pwd
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from cni.bgp.bird import CONFIG_NAME, LOG_NAME, PID_NAME, Bird, RefusedError
from cni.bgp.config import BgpConfig
from nodeplane.errors import SetupError
from tests.cni.bgp.stand import BIRD
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns

FIRST, SECOND = "router id 192.0.2.1;\nprotocol device {}\n", "router id 192.0.2.2;\nprotocol device {}\n"
# CAP_NET_BIND_SERVICE, NET_BROADCAST, NET_ADMIN, NET_RAW (linux/capability.h).
NEEDED = 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13
_LIMIT_S = 60.0


class Place:
    """A node's namespace and directory, in which one bird after the other runs."""

    def __init__(self, config: BgpConfig) -> None:
        self.config = config

    def file(self, name: str) -> Path:
        return self.config.directory / name

    @property
    def pid(self) -> int:
        file = self.file(PID_NAME)
        return int(file.read_text() or 0) if file.exists() else 0

    def leave(self, text: str) -> None:
        """Leave what an earlier agent's bird leaves when both are killed."""
        self.config.directory.mkdir()
        self.file(CONFIG_NAME).write_text(text)
        self.file(CONFIG_NAME).chmod(0o600)
        self.file(PID_NAME).write_text("999999\n")

    @asynccontextmanager
    async def bird(self) -> AsyncIterator[Bird]:
        """Run one; it outlives this, as it does an agent."""
        bird = Bird(self.config, lambda: None, lambda: None)
        task = asyncio.create_task(bird.run())
        try:
            yield bird
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def end(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with namespace("bird") as path:
        program = tmp_path / "bird"
        program.write_text(f'#!/bin/sh\nexec nsenter --net={path} {BIRD} "$@"\n')
        program.chmod(0o755)
        built = Place(BgpConfig(as_number=64512, bird=program, directory=tmp_path / "run"))
        try:
            yield built
        finally:
            built.end()


async def name_of(bird: Bird) -> str:
    """Return what the bird that runs calls itself."""
    lines = (await bird.ask("show status")).lines
    return next(text.split()[-1] for _, text in lines if text.startswith("Router ID"))


async def until(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not ask():
            await asyncio.sleep(0.01)


def go(work: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await work()

    asyncio.run(run())


def test_a_left_configuration_is_taken_at_once(place: Place) -> None:
    """Nobody has to say anything first; and it is a restart, for which neighbours keep its routes."""
    place.leave("graceful restart wait 1;\n" + FIRST)

    async def work() -> None:
        async with place.bird() as bird:
            await until(lambda: bird.is_running)
            assert await name_of(bird) == "192.0.2.1"
            assert b"-R" in Path(f"/proc/{place.pid}/cmdline").read_bytes().split(b"\0")
            # It may end again before anybody knows more.
            before = place.pid
            os.kill(before, signal.SIGKILL)
            await until(lambda: bird.is_running and place.pid not in {0, before})
            await bird.configure(SECOND)
            assert await name_of(bird) == "192.0.2.2"

    go(work)


def test_a_left_configuration_that_is_wrong_waits_for_a_right_one(place: Place) -> None:
    place.leave("nonsense;\n")

    async def work() -> None:
        async with place.bird() as bird:
            await bird.configure(FIRST)
            await until(lambda: bird.is_running)
            assert await name_of(bird) == "192.0.2.1"

    go(work)


def test_without_one_it_waits(place: Place) -> None:
    """A node's first bird has nothing to say before the cluster is known."""

    async def work() -> None:
        async with place.bird() as bird:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await until(lambda: bird.is_running)
            await bird.configure(FIRST)
            await until(lambda: bird.is_running)

    go(work)


def test_the_next_agent_finds_it(place: Place) -> None:
    async def work() -> None:
        async with place.bird() as bird:
            await bird.configure(FIRST)
            await until(lambda: bird.is_running)
        before = place.pid
        async with place.bird() as bird:
            await until(lambda: bird.is_running)
            assert place.pid == before
            with pytest.raises(RefusedError, match="syntax error"):
                await bird.configure("nonsense;\n")
            assert place.file(CONFIG_NAME).read_text() == FIRST

    go(work)


@pytest.mark.parametrize("user", ["bird", "root"])
def test_whom_it_runs_as(place: Place, user: str) -> None:
    """It has given up root, keeps what it needs of it, and may not touch its own configuration."""
    place.config = msgspec.structs.replace(place.config, user=user)
    account = pwd.getpwnam(user)
    logged = f'log "{place.file(LOG_NAME)}" all;\n'

    async def work() -> None:
        async with place.bird() as bird:
            await bird.configure(logged + FIRST)
            await until(lambda: bird.is_running)
            lines = Path(f"/proc/{place.pid}/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            assert status["Uid"].split() == [str(account.pw_uid)] * 4
            if user != "root":
                assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == NEEDED
            held = place.file(CONFIG_NAME).stat()
            group = grp.getgrgid(held.st_gid).gr_name
            modes = (held.st_mode & 0o777, place.config.directory.stat().st_mode & 0o7777)
            assert (held.st_uid, group, *modes) == (
                (0, "root", 0o600, 0o700) if user == "root" else (0, "bird", 0o640, 0o1770)
            )
            assert place.file(LOG_NAME).owner() == user

    go(work)


def test_another_users_files_are_no_hindrance(place: Place) -> None:
    """Those of an earlier version's bird, which was root."""
    place.leave(f'log "{place.file(LOG_NAME)}" all;\n' + FIRST)
    place.file(LOG_NAME).write_text("of root's bird\n")

    async def work() -> None:
        async with place.bird() as bird:
            await until(lambda: bird.is_running and place.file(LOG_NAME).owner() == "bird")

    go(work)


def test_no_such_user() -> None:
    with pytest.raises(SetupError, match=r"^expected a user 'nobody-here' for bird"):
        Bird(BgpConfig(as_number=64512, user="nobody-here"), lambda: None, lambda: None)
