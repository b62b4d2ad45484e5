"""The edge of a scenario: requests and commands in a lab's places, and objects at its API server."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from netns_lab.cluster_delta import key_of
from netns_lab.commands import bare_module, program_folder
from netns_lab.execute import find_place, place_command, place_namespace
from netns_lab.faults.overlay import expected
from netns_lab.faults.record import read_faults
from netns_lab.lab_server import load_remote
from netns_lab.names import fabric_namespace
from netns_lab.processes import MARK
from netns_lab.programs import environment
from netns_lab.quantities import parse_duration
from netns_lab.scenarios.request import Outcome
from netns_lab.scenarios.scenario import ProbeStep, TrafficStep
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import CLUSTER_SCOPED, ObjectKey

# As a person's: what the lab has made and a scenario changes, `up` puts back.
_MANAGER = "netns-lab-scenario"
_END_LIMIT_S = 30.0


class NotEndedError(NodeplaneError):
    """What was begun in a place took longer than it may."""


class Traffic:
    """Requests that go on beside a scenario's steps, and what has become of them so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes that there are."""
        return read_outcomes(self._log)

    def stop(self) -> None:
        """End it after the request that is under way.

        Raises:
            NodeplaneError: it had ended by itself.
        """
        if self._process.poll() not in {None, 0}:
            raise NodeplaneError(f"traffic ended with exit code {self._process.returncode}; see {self._log}")
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stage:
    """A lab that is up, as a scenario's steps see it."""

    def __init__(self, state: StateDirectory, topology: Topology) -> None:
        self._state = state
        self._asked = topology
        self._folder = state.path / "scenario"
        self._folder.mkdir(exist_ok=True)

    @property
    def topology(self) -> Topology:
        """The topology with the faults that are in force."""
        return expected(self._asked, read_faults(self._state))

    def run(
        self, place: str, command: Sequence[str], limit_s: float, what: str = "the command"
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a place to its end; `what` it is called if it has none.

        Raises:
            NotEndedError: it does not end in time.
            NodeplaneError: it can't be started.
        """
        found = find_place(self.topology, place)
        with netns.inside(netns.NETNS_DIR / place_namespace(self._state.lab, found)):
            try:
                return subprocess.run(
                    place_command(self._state, found, tuple(command)),
                    env=_guest(self._state.lab),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=limit_s,
                    start_new_session=True,
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise NotEndedError(f"{what} has not ended") from exc
            except OSError as exc:
                raise NodeplaneError(f"can't start {command[0]}: {exc.strerror}") from exc

    def probe(self, step: ProbeStep, limit_s: float) -> list[Outcome]:
        """Send a step's requests and return what became of them.

        Raises:
            NotEndedError: they take too long.
            NodeplaneError: they can't be sent.
        """
        command = bare_module("netns_lab.scenarios.traffic", step.to, "0", str(step.count), "0")
        done = self.run(step.from_, command, limit_s, f"the probe of {step.to}")
        if done.returncode != 0:
            raise NodeplaneError(f"probe: {done.stderr.rstrip().rpartition(chr(10))[2]}")
        return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]

    def begin_traffic(self, step: TrafficStep) -> Traffic:
        """Begin requests that go on until they are stopped."""
        found = find_place(self.topology, step.from_)
        log = self._folder / f"{step.name}.jsonl"
        pause = str(parse_duration(step.every))
        command = bare_module("netns_lab.scenarios.traffic", step.to, pause, "0", str(step.held))
        with (
            log.open("wb") as output,
            log.with_suffix(".err").open("wb") as errors,
            netns.inside(netns.NETNS_DIR / place_namespace(self._state.lab, found)),
        ):
            process = subprocess.Popen(
                place_command(self._state, found, command),
                env=_guest(self._state.lab),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        return Traffic(process, log)

    def apply(self, objects: Iterable[dict[str, Any]]) -> None:
        """Apply objects as a person would.

        Raises:
            ApiError: the server can't be reached, or refuses.
        """
        values = list(objects)

        async def work() -> None:
            async with self._writer() as writer:
                for value in values:
                    key = key_of(value)
                    namespace = key.namespace or ("" if key.kind in CLUSTER_SCOPED else "default")
                    await writer.apply(ObjectKey(key.kind, namespace, key.name), value)

        self._at_server(work())

    def delete(self, keys: Iterable[ObjectKey]) -> None:
        """Delete objects; what is not there is fine.

        Raises:
            ApiError: as `apply`.
        """
        wanted = list(keys)

        async def work() -> None:
            async with self._writer() as writer:
                for key in wanted:
                    found = await writer.get(key)
                    if found is not None:
                        await writer.delete(key, found["metadata"]["uid"])

        self._at_server(work())

    def _writer(self) -> Any:
        from netns_lab.cluster_api import open_writer

        remote = load_remote(self._state)
        kubeconfig = self._state.kubeconfig if remote is None else Path(remote.kubeconfig)
        return open_writer(kubeconfig, is_direct=remote is None, manager=_MANAGER)

    def _at_server(self, work: Any) -> None:
        is_own = load_remote(self._state) is None
        place = netns.NETNS_DIR / fabric_namespace(self._state.lab) if is_own else None
        with netns.inside(place):
            asyncio.run(work)


def _guest(lab: str) -> dict[str, str]:
    """Return the environment of a process that is no part of the lab: what bears a mark, `up` ends."""
    whole = environment(lab, "scenario")
    # nodeplane's own programs are found, as by `netns-lab exec`.
    path = os.pathsep.join([whole["PATH"], str(program_folder())])
    return {**{name: value for name, value in whole.items() if name != MARK}, "PATH": path}


def read_outcomes(log: Path) -> list[Outcome]:
    """Read the outcomes of a log that may still grow: its last line may be half written."""
    lines = log.read_text().split("\n")[:-1]
    return [Outcome(**json.loads(line)) for line in lines]
