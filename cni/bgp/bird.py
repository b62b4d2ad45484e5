"""A bird: found running or started, given its configuration, watched.

It is a process of its own, in a session of its own: when the agent ends, however it ends, bird goes on, and
so do its sessions and routes. The next agent finds it by its control socket. When bird ends, the agent starts
it again for a graceful restart (RFC 4724): its neighbours and the kernel keep its routes meanwhile.

    no socket ──start──► running ──ends──► started again, at once, then after a pause
       │                    ▲ └──does not answer──► killed
       └──answers───────────┘

It is started on the configuration that an earlier agent left, if one did: in a container bird ends with the
agent, and what the cluster looks like now may be unknown for long. Its sessions must not wait for that.
"""

import asyncio
import logging
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cni.bgp.account import (
    Account,
    find_account,
    prepare_directory,
    remove_foreign_files,
    share,
    write_secret,
)
from cni.bgp.bird_process import await_end, kill, kill_by_file
from cni.bgp.config import BgpConfig
from cni.bgp.control import BirdError, BirdFrozenError, Control, Reply
from nodeplane.errors import NodeplaneError, SetupError

log = logging.getLogger(__name__)

CONFIG_NAME, PID_NAME, LOG_NAME = "bird.conf", "bird.pid", "bird.log"
_CANDIDATE_NAME = "bird.conf.new"
_PROBE_S = 2.0
# From the start to an answer.
_START_LIMIT_S = 30.0
_START_POLL_S = 0.01
# One that ended so soon, and the next one too, will do so again.
_SHORT_LIFE_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_CONFIGURATION_OK, _RECONFIGURED, _RECONFIGURATION_QUEUED = 20, 3, 5
_RECOVERING = 24
_ACCEPTED = frozenset({_RECONFIGURED, 4, _RECONFIGURATION_QUEUED})


class RefusedError(NodeplaneError):
    """bird does not take a configuration; its words."""


class Bird:
    """The bird of this node: ours, or one that somebody else runs at a socket."""

    def __init__(
        self, config: BgpConfig, on_connected: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Take whom to tell when a bird is there, found or started, and when it has ended.

        The configuration of one that is found may be an older one.

        Raises:
            SetupError: there is no bird on this machine, or no such user.
        """
        if config.socket is None and not os.access(config.bird, os.X_OK):
            raise SetupError(f"expected bird 2 at {config.bird}, a program (Debian: bird2)")
        self._account = find_account(config.user) if config.socket is None else None
        self._program = config.bird
        self._directory = config.directory
        self._socket = config.control_socket
        self._is_ours = config.socket is None
        self._on_connected = on_connected
        self._on_end = on_end
        self._control: Control | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._is_missed = False
        self._has_config = asyncio.Event()
        self._is_left_config_good = True
        self._writing = asyncio.Lock()

    @property
    def log_file(self) -> Path | None:
        """Where our bird writes its log; None for another's, which uses its stderr."""
        return self._directory / LOG_NAME if self._is_ours else None

    @property
    def is_running(self) -> bool:
        """Whether a bird is there and has answered."""
        return self._control is not None

    async def ask(self, command: str) -> Reply:
        """Ask the running bird.

        Raises:
            BirdError: none runs, or it does not answer.
        """
        if self._control is None:
            raise BirdError("bird does not run")
        return await self._control.ask(command)

    async def is_recovering(self) -> bool:
        """Say whether bird, started anew, still waits for its neighbours' routes.

        Raises:
            BirdError: none runs, or it does not answer.
        """
        reply = await self.ask("show status")
        return any(code == _RECOVERING for code, _ in reply.lines)

    async def configure(self, text: str) -> None:
        """Bring a configuration into force; sessions that it does not change stay up.

        Raises:
            RefusedError: bird does not take it; the last one stays in force.
            BirdError: bird can't be reached.
        """
        async with self._writing:
            candidate, target = self._directory / _CANDIDATE_NAME, self._directory / CONFIG_NAME
            try:
                prepare_directory(self._directory, self._account)
                write_secret(candidate, text, self._account)
                await self._check(candidate)
                candidate.rename(target)
            except OSError as exc:
                raise BirdError(f"bird's configuration {target}: {exc.strerror or exc}") from exc
            self._has_config.set()
            if self._control is not None:
                reply = await self._control.ask(f'configure "{target}"')
                if reply.code not in _ACCEPTED:
                    raise RefusedError(f"bird: {reply.message}")

    async def run(self) -> None:
        """Keep a bird running for as long as the task lives; it lives longer."""
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            started_s = loop.time()
            control = await self._find() or await self._start()
            if control is not None:
                self._control = control
                self._on_connected()
                try:
                    await self._watch(control)
                finally:
                    self._control = None
                    control.close()
                await await_end(control.pid)
                self._on_end()
                log.warning("bird has ended, its routes stay in force pid=%d", control.pid)
            if loop.time() - started_s > _SHORT_LIFE_S:
                pause_s = 0.0
            await asyncio.sleep(pause_s)
            longest_s = _LONGEST_PAUSE_S if self._is_ours else _FIRST_PAUSE_S
            pause_s = min(max(pause_s * 2, _FIRST_PAUSE_S), longest_s)

    async def _find(self) -> Control | None:
        """Connect to a bird that runs; None if none does."""
        try:
            control = await Control.open(self._socket)
        except BirdFrozenError as exc:
            log.warning("bird is frozen error=%r", str(exc))
            if self._is_ours:
                kill_by_file(self._directory / PID_NAME, self._program.name)
            return None
        except BirdError as exc:
            if not self._is_ours and not self._is_missed:
                log.warning("no bird, waiting for one error=%r", str(exc))
                self._is_missed = True
            return None
        self._is_missed = False
        log.info("bird found running pid=%d", control.pid)
        return control

    async def _start(self) -> Control | None:
        """Start our bird and connect to it; None if it does not come up."""
        if not self._is_ours:
            return None
        is_left = not self._has_config.is_set() and self._is_left_config_good and self._has_left_config()
        if not is_left:
            await self._has_config.wait()
        pid_file = self._directory / PID_NAME
        # Only one that ran before has routes to hold on to; the directory does not outlive a boot.
        recovery = ["-R"] if pid_file.exists() else []
        command = [
            str(self._program), "-f", *recovery, *_as_user(self._account),
            "-c", str(self._directory / CONFIG_NAME), "-s", str(self._socket), "-P", str(pid_file),
        ]  # fmt: skip
        if self._child is not None:
            self._child.poll()
        try:
            prepare_directory(self._directory, self._account)
            remove_foreign_files(self._directory, self._account)
            share(self._directory / CONFIG_NAME, self._account)
            # Not asyncio's: that one kills its children when the agent ends.
            child = self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as exc:
            log.error("bird did not start error=%r", str(exc))
            return None
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                while child.poll() is None:
                    with suppress(BirdError):
                        control = await Control.open(self._socket)
                        log.info(
                            "bird started pid=%d restart=%s config=%s",
                            child.pid, bool(recovery), "left" if is_left else "new",
                        )  # fmt: skip
                        return control
                    await asyncio.sleep(_START_POLL_S)
        except TimeoutError:
            child.kill()
        # One that it does not take is not tried again: the next one is ours.
        self._is_left_config_good = self._is_left_config_good and not is_left
        log.error("bird did not start exit_code=%s log=%s", child.returncode, self.log_file)
        return None

    def _has_left_config(self) -> bool:
        """Say whether an earlier agent's bird ran on a configuration that is still there."""
        return (self._directory / CONFIG_NAME).exists() and (self._directory / PID_NAME).exists()

    async def _watch(self, control: Control) -> None:
        """Wait until bird ends; end it when it is frozen."""
        while not control.closed.done():
            try:
                async with asyncio.timeout(_PROBE_S):
                    await asyncio.shield(control.closed)
            except TimeoutError:
                try:
                    await control.ask("show status")
                except BirdFrozenError as exc:
                    log.warning("bird is frozen error=%r", str(exc))
                    if not self._is_ours:
                        return
                    kill(control.pid)
                    await control.closed
                except BirdError:
                    return

    async def _check(self, candidate: Path) -> None:
        if self._control is not None:
            reply = await self._control.ask(f'configure check "{candidate}"')
            if reply.code != _CONFIGURATION_OK:
                raise RefusedError(f"bird: {reply.message}")
            return
        if not self._is_ours:
            # It reads the file when it starts.
            return
        child = await asyncio.create_subprocess_exec(
            str(self._program),
            "-p",
            *_as_user(self._account),
            "-c",
            str(candidate),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, errors = await child.communicate()
        if child.returncode:
            raise RefusedError(errors.decode("utf-8", "replace").strip())


def _as_user(account: Account | None) -> list[str]:
    """Return the options by which bird gives up root: it keeps CAP_NET_ADMIN and what sockets need."""
    return [] if account is None else ["-u", account.user, "-g", account.group]
