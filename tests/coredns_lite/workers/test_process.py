"""What must not go wrong between the program and a worker process, whatever is said."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coredns_lite.kept import token
from coredns_lite.kind import KINDS, MALFORMED, OVERLOADED, Kind, KindTable
from coredns_lite.pending import Pending
from coredns_lite.responder import Responder
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.listen import open_udp
from coredns_lite.server.udp_worker import SendLater
from coredns_lite.workers.channel import (
    MAX_TOKENS,
    Counted,
    Forget,
    Serve,
    hear_program,
    hear_worker,
    make_pair,
    say,
)
from coredns_lite.workers.crew import Crew, Way
from coredns_lite.workers.launch import launch
from coredns_lite.workers.process import Asking
from coredns_lite.zones import ZoneTable
from nodeplane.errors import SetupError
from tests.coredns_lite.running import LIMIT_S

FILLER = Counted(Counters(), ())


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        pytest.param(["web"], Forget((token(None), token("web"))), id="one"),
        # A message of them would not be taken whole.
        pytest.param(range(4 * MAX_TOKENS), Forget(None), id="too many for one message"),
    ],
)
def test_an_order_to_forget(about: list[object], expected: Forget) -> None:
    crew = Crew(1)
    ours, theirs = make_pair()
    with ours, theirs:
        crew._seats[0].channel = ours
        crew.forget(about)
        assert hear_program(theirs) == expected


def test_kinds_that_a_worker_counts_by_itself() -> None:
    """They have the same numbers in every process, whatever was counted first."""
    other = KindTable(*KINDS._kinds[:2])
    other.number(Kind("example.", "A", "NOERROR", "file", dnssec_ok=False))
    _, refused = Asking(bytes(12)).refuse()
    assert refused == OVERLOADED
    for kind in (MALFORMED, OVERLOADED):
        assert other.kind(KINDS.number(kind)) == KINDS.kind(other.number(kind)) == kind


def test_the_last_word_waits_for_room() -> None:
    """Where there is none at once, it comes behind what was said before."""
    last = Counted(Counters(received=1))
    ours, theirs = make_pair()
    with ours, theirs:
        while say(theirs, FILLER):
            pass
        assert not say(theirs, last)
        saying = threading.Thread(target=lambda: say(theirs, last, waits=True))
        saying.start()
        while (heard := hear_worker(ours)) != last:
            assert heard == FILLER
        saying.join(LIMIT_S)


def test_a_worker_that_does_not_understand_is_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would not hear what changes any more, and answer what is no longer true."""

    async def main() -> None:
        async with working(1) as crew:
            async with asyncio.timeout(LIMIT_S):
                (seat,) = crew._seats
                first, channel = seat.process, seat.channel
                assert first
                assert channel
                with monkeypatch.context() as broken:
                    # Nor does the first that is to replace it.
                    broken.setattr("sys.executable", "/nowhere/python")
                    channel.send(b"no message")
                    while "worker process not started" not in caplog.text:
                        await asyncio.sleep(0.01)
                while seat.process is first:
                    await asyncio.sleep(0.01)
                assert first.returncode == 1

    asyncio.run(main())


def test_a_worker_that_hangs_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Though nobody has a change to tell it; one that only has nothing to do stays."""

    async def main() -> None:
        async with working(2) as crew:
            stopped, idle = crew._seats
            first, other = stopped.process, idle.process
            assert first
            first.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(LIMIT_S):
                while stopped.process is first:
                    await asyncio.sleep(0.05)
            assert first.returncode == -signal.SIGKILL
            assert idle.process is other

    asyncio.run(main())
    assert caplog.text.count("worker process hangs") == 1


@pytest.mark.parametrize("executable", ["/bin/false", "/nowhere/python"])
def test_a_crew_that_does_not_start_is_not_ready(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the program, which would leave all queries unanswered."""
    monkeypatch.setattr("sys.executable", executable)
    is_ready = threading.Event()
    with pytest.raises(SetupError, match="expected worker processes to start"):
        asyncio.run(Crew(2).keep_running(is_ready.set))
    assert not is_ready.is_set()


def test_a_worker_that_hangs_before_it_is_ready_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else no other would ever be replaced."""
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(hanging))
    monkeypatch.setattr("coredns_lite.workers.launch._READY_WITHIN_S", 0.1)

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S):
            assert await launch() is None

    asyncio.run(main())
    assert f"exit_code={-signal.SIGKILL}" in caplog.text


@asynccontextmanager
async def working(size: int) -> AsyncIterator[Crew]:
    """Have a crew serve sockets."""
    crew = Crew(size)
    is_ready = asyncio.Event()
    keeping = asyncio.ensure_future(crew.keep_running(is_ready.set))
    listening = [open_udp("127.0.0.1", 0) for _ in range(size)]
    try:
        async with asyncio.timeout(LIMIT_S):
            await is_ready.wait()
        way = Way(Serve(None, {}, logs_errors=False, is_counted=False), refuse_to_defer)
        crew.serve(listening, Responder(ZoneTable({})), way)
        running = asyncio.get_running_loop().run_in_executor(None, crew.run)
        yield crew
        crew.stop()
        await running
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        crew.close()
        for each in listening:
            each.socket.close()


def refuse_to_defer(pending: Pending, _origin: Origin, _send: SendLater) -> bool:
    raise AssertionError(f"deferred {pending}")
