"""A worker process: the packet loop over one socket, with the replies that are kept, and no plugins.

   python -P -m coredns_lite.workers.process LOG-FORMAT VERBOSITY

Started by coredns-lite, never by hand. Stdin is the channel to it (`coredns_lite.workers.channel`): what is
not kept is asked there, what changes is heard there, and its end ends us at once. Signals are the program's
affair.

    socket ──► packet loop ──► kept? ──► reply
                                 └ no ─► Ask ──► program: answers the client itself ──► Remember ──► kept
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import msgspec

from coredns_lite.client import Client
from coredns_lite.kept import KeptReplies
from coredns_lite.kind import MALFORMED, OVERLOADED, Kind
from coredns_lite.query_log import build_query_log
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.udp_worker import SendLater, UdpWorker
from coredns_lite.tally import Tally
from coredns_lite.wire.query import is_query
from coredns_lite.wire.reply import Rcode, render_error
from coredns_lite.workers.channel import (
    Ask,
    Counted,
    Forget,
    Leave,
    Ready,
    Remember,
    ToWorker,
    hear_program,
    say,
    take_socket,
)
from nodeplane.errors import KernelError
from nodeplane.runtime.log import LogFormat, setup_logging

KEPT_BYTES = 12 << 20
_REPORT_INTERVAL_S = 1.0
# A change is to get the interpreter between two batches, not after the usual 5 ms.
_SWITCH_INTERVAL_S = 0.0005

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Serve until the program says to leave, or is gone."""
    log_format, verbosity = arguments
    # They come to all processes of a terminal or a unit; the program says what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    setup_logging(cast("LogFormat", log_format), int(verbosity))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with socket.socket(fileno=os.dup(0)) as channel:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        say(channel, Ready())
        taken = take_socket(channel)
        if taken is None:
            return 0
        order, served = taken
        tally = Tally() if order.is_counted else None
        program = Program(channel)
        worker = UdpWorker(
            served,
            program,
            program.ask,
            packet_info=order.packet_info,
            query_log=build_query_log(order.log_rules),
            logs_errors=order.logs_errors,
            tally=tally,
        )
        reports = Reports(channel, worker, tally)
        for task in (lambda: program.obey(worker), reports.keep_reporting):
            threading.Thread(target=task, daemon=True).start()
        with suppress(KernelError):
            worker.run()
        # The last word must get through: it is what the sums are made of.
        reports.report(waits=True)
    return 0


class Asking(msgspec.Struct, frozen=True):
    """A query that the program is to answer."""

    packet: bytes

    def refuse(self) -> tuple[bytes, Kind]:
        """Say that there are too many."""
        return render_error(self.packet, Rcode.SERVFAIL), OVERLOADED


class Program:
    """The program as the packet loop sees it: a responder that is far away, and what of it is here."""

    def __init__(self, channel: socket.socket) -> None:
        self.replies = KeptReplies(KEPT_BYTES)
        self.last_kind = MALFORMED
        self._channel = channel

    def respond(self, packet: bytes, _find_client: Callable[[], Client]) -> Asking | None:
        """Have a query answered by the program; all else gets no reply."""
        return Asking(packet) if is_query(packet) else None

    def ask(self, asking: Asking, origin: Origin, send: SendLater) -> bool:
        """Pass a query on, if there is room for one more."""
        is_said = say(self._channel, Ask(origin, asking.packet))
        if is_said:
            # Settled here: it is not this process that replies.
            send(None, MALFORMED)
        return is_said

    def obey(self, worker: UdpWorker) -> None:
        """Do what the program says; at its end, end at once."""
        try:
            while (order := hear_program(self._channel)) is not None:
                self._do(order, worker)
        except Exception:
            log.exception("defect met, worker process ends")
            os._exit(1)
        # Nobody would learn what a change is about, nor answer what is not kept.
        os._exit(0)

    def _do(self, order: ToWorker, worker: UdpWorker) -> None:
        if isinstance(order, Remember):
            self.replies.put(order.body, order.replies)
        elif isinstance(order, Forget) and order.tokens is not None:
            self.replies.forget(order.tokens)
        elif isinstance(order, Forget):
            self.replies = KeptReplies(KEPT_BYTES)
        elif isinstance(order, Leave):
            worker.stop()


class Reports:
    """Tells the program what was done."""

    def __init__(self, channel: socket.socket, worker: UdpWorker, tally: Tally | None) -> None:
        self._channel = channel
        self._worker = worker
        self._tally = tally
        self._said = Counters()
        self._lock = threading.Lock()

    def keep_reporting(self) -> None:
        """Report once a second."""
        pause = threading.Event()
        while not pause.wait(_REPORT_INTERVAL_S):
            self.report()

    def report(self, *, waits: bool = False) -> None:
        """Say what was done since this was last said; what does not get through is said the next time.

        Also that it was nothing: the program ends whoever is silent.
        """
        with self._lock:
            now = self._worker.counters
            # A batch is counted in one and then in the other.
            slices = self._tally.take() if self._tally else {}
            done = now.minus(self._said)
            if say(self._channel, Counted(done, tuple(slices.items())), waits=waits):
                self._said = now
            elif self._tally:
                self._tally.add(slices)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
