"""The programs of a lab: what is to run, what runs as it should, found again by any later command.

A program that runs is described by a record that is written once it is ready. Whatever runs under a lab's
mark without a record that fits (left by a killed command, moved, of an older plan) is ended and started anew.
A pod's command that has ended leaves its exit code (see `netns_lab.job`); with code 0 it has done its work.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import msgspec

from netns_lab.processes import MARK, Process, namespace_id, read_process
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns

RECORDS = "programs"
"""The group of records of programs that have become ready."""


class Program(msgspec.Struct, frozen=True):
    """A program that is to run; its own READY=1 datagram says that it does.

    `inputs` are the contents that it reads only when it starts: with others it has to start again. One that
    `moves_in` is started in the machine's own namespace and goes to its own by itself, before it is ready.
    """

    name: str
    namespace: str
    command: tuple[str, ...]
    inputs: tuple[bytes, ...] = ()
    moves_in: bool = False

    @property
    def digest(self) -> str:
        """Return what two equal programs share."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class ProgramRecord(msgspec.Struct, frozen=True):
    """A program that has become ready."""

    digest: str
    process: Process


def running(
    state: StateDirectory, desired: Iterable[Program], processes: Collection[Process]
) -> Mapping[str, Process]:
    """Return the main process of each program that runs as desired, by the program's name."""
    alive = {(process.pid, process.start_ticks, process.namespace) for process in processes}
    found: dict[str, Process] = {}
    for program in desired:
        record = state.load_record(_record_name(program.name), ProgramRecord)
        if record is None or record.digest != program.digest:
            continue
        if state.exit_file(program.digest).exists():
            continue  # all that its process does any more is to end
        process = record.process
        here = namespace_id(netns.NETNS_DIR / program.namespace)
        if process.namespace == here and (process.pid, process.start_ticks, here) in alive:
            found[program.name] = process
    return found


def exit_codes(state: StateDirectory, desired: Iterable[Program]) -> dict[str, int]:
    """Return the exit code of each pod's command that was run as desired and has ended, by its name."""
    codes: dict[str, int] = {}
    for program in desired:
        with suppress(FileNotFoundError):
            codes[program.name] = int(state.exit_file(program.digest).read_text())
    return codes


def completed(codes: Mapping[str, int]) -> frozenset[str]:
    """Return the names of the commands that have ended well."""
    return frozenset(name for name, code in codes.items() if code == 0)


def missing(desired: Iterable[Program], running: Collection[str], codes: Mapping[str, int]) -> list[str]:
    """Return, in words, each program that should run and does not."""
    absent = (program.name for program in desired if program.name not in {*running, *completed(codes)})
    return [
        f"{name} running" + (f": ended with code {codes[name]}" if name in codes else "") for name in absent
    ]


def to_stop(
    lab: str, kept: Collection[str], processes: Iterable[Process], outliving: Collection[int] = ()
) -> dict[str, list[Process]]:
    """Return the lab's own processes of programs that are not kept, by program.

    A process without the lab's mark is a person's (`netns-lab exec`, `ip netns exec`) and stays; so do those
    that are to outlive the program that has started them, by their process ids.
    """
    unwanted: dict[str, list[Process]] = {}
    for process in processes:
        marked_lab, _, name = process.mark.partition("/")
        if marked_lab == lab and name not in kept and process.pid not in outliving:
            unwanted.setdefault(name, []).append(process)
    return unwanted


def forget(state: StateDirectory, desired: Iterable[Program]) -> None:
    """Drop the records and exit codes of programs that are not desired."""
    desired = list(desired)
    state.keep_exit_files({program.digest for program in desired})
    for name in state.records(RECORDS) - {_record_name(program.name) for program in desired}:
        state.drop_record(name)


def save_record(state: StateDirectory, program: Program, pid: int) -> None:
    """Write down that a program has become ready, as a process."""
    process = read_process(pid)
    # None: it has ended already. Without a record it counts as not running, which is what it is.
    if process is not None:
        state.save_record(_record_name(program.name), ProgramRecord(program.digest, process))


def environment(lab: str, name: str) -> dict[str, str]:
    """Return the environment of a program: its mark, and nothing that depends on who started the lab."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/root", MARK: f"{lab}/{name}"}


def _record_name(program: str) -> str:
    return f"{RECORDS}/{program}"
