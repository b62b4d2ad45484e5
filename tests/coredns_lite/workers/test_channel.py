"""Messages between the program and its workers, and a worker that does not hear them."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable

import pytest

from coredns_lite.kept import Label, token
from coredns_lite.query_log import LogRule, ResponseClass
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.listen import open_udp
from coredns_lite.server.mmsg import IPV6_PACKET_INFO, ReturnPath
from coredns_lite.tally import IPV6, Sums
from coredns_lite.workers import channel
from coredns_lite.workers.channel import (
    Ask,
    Counted,
    Forget,
    FromWorker,
    Leave,
    Ready,
    Remember,
    Serve,
    ToWorker,
    give,
    hear_program,
    hear_worker,
    make_pair,
    say,
    suggest,
    take_socket,
)
from coredns_lite.workers.crew import Crew

PATH = ReturnPath(("fd00::1", 4000, 0, 2), ((41, 50, bytes(20)),))
RULE = LogRule(("example.",), "{common}", frozenset({ResponseClass.ERROR}))


@pytest.mark.parametrize(
    "message",
    [
        Ready(),
        Ask(Origin(PATH, IPV6, 4096, 1.5), bytes(4096)),
        Counted(Counters(received=3), (((7, IPV6, 1, 2, 3), Sums(3, 0.5, 120, 300)),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_a_worker_says(message: FromWorker) -> None:
    ours, theirs = make_pair()
    with ours, theirs:
        assert say(theirs, message)
        assert hear_worker(ours) == message


@pytest.mark.parametrize(
    "message",
    [
        Remember(b"query", (b"first" + Label(token("x"), 1, 40).pack(), b"second")),
        Forget((token(b"x"), token(None))),
        Forget(None),
        Leave(),
    ],
    # Not their text: the tokens are other numbers in each process.
    ids=["remember", "forget", "forget all", "leave"],
)
def test_what_the_program_says(message: ToWorker) -> None:
    ours, theirs = make_pair()
    with ours, theirs:
        assert say(ours, message)
        assert hear_program(theirs) == message


def test_a_socket_goes_along() -> None:
    ours, theirs = make_pair()
    order = Serve(IPV6_PACKET_INFO, {"example.": (RULE,)}, logs_errors=True, is_counted=False)
    served = open_udp("127.0.0.1", 0).socket
    with ours, theirs, served:
        assert give(ours, order, served)
        taken = take_socket(theirs)
        assert taken
        with taken[1] as sock:
            assert (taken[0], sock.getsockname()) == (order, served.getsockname())


def test_there_is_always_room_for_an_order_to_forget() -> None:
    """However much there was to keep; and it does not wait behind more than a worker soon has heard."""
    reply = Remember(bytes(60), (bytes(120),))
    ours, theirs = make_pair()
    with ours, theirs:
        said = 0
        while suggest(ours, reply):
            said += 1
        assert 100 < said < 2000
        for _ in range(1000):
            assert say(ours, Forget((1,)))
        for _ in range(said):
            assert hear_program(theirs) == reply
        assert hear_program(theirs) == Forget((1,))
        # Some were heard.
        assert suggest(ours, reply)


@pytest.mark.parametrize("hear", [hear_worker, hear_program, take_socket], ids=lambda hear: hear.__name__)
def test_the_end(hear: Callable[[socket.socket], object]) -> None:
    """Also where something was left unheard, which is a reset."""
    for says in (False, True):
        ours, theirs = make_pair()
        with theirs:
            if says:
                say(theirs, Ready())
            ours.close()
            assert hear(theirs) is None
            assert not say(theirs, Ready())


def test_a_worker_that_hears_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It might answer what is no longer true: with no room for what it has to forget, it is killed."""
    monkeypatch.setattr(channel, "_BUFFER_BYTES", 4096)

    async def main() -> None:
        crew = Crew(1)
        is_ready = asyncio.Event()
        keeping = asyncio.ensure_future(crew.keep_running(is_ready.set))
        async with asyncio.timeout(60):
            await is_ready.wait()
            (seat,) = crew._seats
            assert seat.process
            os.kill(seat.process.pid, signal.SIGSTOP)
            while seat.process.poll() is None:
                crew.forget([b"x" * 100])
                await asyncio.sleep(0)
            assert seat.process.returncode == -signal.SIGKILL
        keeping.cancel()
        await asyncio.wait({keeping})

    asyncio.run(main())
