"""The fork servers of one command: which of them a program is forked from, if any."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from netns_lab.launcher.client import ForkServer
from netns_lab.launcher.entry import find_entry
from netns_lab.launcher.messages import Start
from netns_lab.launcher.preload import Kind

# For fewer a server's own start takes longer than it saves: time for programs, memory for workloads.
_MANY: Mapping[Kind, int] = {"programs": 3, "workloads": 20}


class Forked(NamedTuple):
    """A program that was started; `exit_code` waits for its end."""

    pid: int
    exit_code: Callable[[], int]


class ForkServers:
    """Servers that are started when there is enough to fork, and end with the `with` block."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._servers: dict[Kind, ForkServer] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "ForkServers":
        """Return them."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let them end."""
        self._stack.close()

    def expect(self, commands: Collection[Sequence[str]]) -> None:
        """Prepare for starting these, while something else is done."""
        entries = [entry for command in commands if (entry := find_entry(command)) is not None]
        numbers: dict[Kind, int] = {
            # All of them: pods are attached by forks of this one.
            "programs": len(entries),
            "workloads": sum(entry.is_bare for entry in entries),
        }
        for kind, number in numbers.items():
            if number >= _MANY[kind]:
                server = ForkServer(self._environment, kind)
                self._servers[kind] = self._stack.enter_context(server)

    def start(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        namespace: str,
        log: Path,
        streams: Sequence[int] = (),
    ) -> Forked | None:
        """Start a program; None if it has to be started in the usual way."""
        entry = find_entry(command) if self._servers else None
        if entry is None:
            return None
        server = self._servers.get("workloads") if entry.is_bare else None
        server = server or self._servers.get("programs")
        if server is None:
            return None
        pid = server.start(Start(entry, command, dict(environment), namespace, str(log)), streams)
        return None if pid is None else Forked(pid, partial(server.exit_code, pid))

    def call(
        self,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        namespace: str,
        stdin: bytes,
        log: Path,
    ) -> tuple[int, bytes] | None:
        """Run a command to its end, return its exit code and output; None as `start`."""
        stdin_end, to_stdin = os.pipe()
        from_stdout, stdout_end = os.pipe()
        with os.fdopen(to_stdin, "wb") as given, os.fdopen(from_stdout, "rb") as taken:
            try:
                forked = self.start(command, environment, namespace, log, (stdin_end, stdout_end))
            finally:
                os.close(stdin_end)
                os.close(stdout_end)
            if forked is None:
                return None
            with suppress(BrokenPipeError):
                given.write(stdin)
                given.close()
            output = taken.read()
        return forked.exit_code(), output
