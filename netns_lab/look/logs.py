"""What the lab's programs have logged."""

import os
from pathlib import Path

from netns_lab.faults.targets import find_program
from netns_lab.names import NODE_PROGRAMS, node_program
from netns_lab.state import StateDirectory
from netns_lab.topology import Topology
from nodeplane.errors import NodeplaneError
from nodeplane.runtime.output import Row

# More than any line that is worth reading, from the end of a file that may be large.
_LINE_BYTES = 1024


def find_logs(state: StateDirectory, topology: Topology, name: str) -> dict[str, Path]:
    """Return the log files of a program, or of a node's programs, by the program's name.

    Raises:
        ConfigError: there is none of that name.
        NodeplaneError: it has not logged anything yet.
    """
    if name in {node.name for node in topology.nodes}:
        programs = [node_program(name, program) for program in NODE_PROGRAMS]
    else:
        programs = [find_program(topology, name)]
    files = {program: state.log_file(program) for program in programs}
    there = {program: file for program, file in files.items() if file.exists()}
    if not there:
        raise NodeplaneError(f"{name}: no log yet")
    return there


def log_rows(state: StateDirectory, topology: Topology, name: str, lines: int) -> list[Row]:
    """Return the last lines of each log.

    Raises:
        ConfigError, NodeplaneError: as `find_logs`.
    """
    return [
        {"program": program, "line": line}
        for program, file in find_logs(state, topology, name).items()
        for line in last_lines(file, lines)
    ]


def last_lines(file: Path, count: int) -> list[str]:
    """Return the last lines of a file without reading all of it."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = min(size, _LINE_BYTES * (count + 1))
        while True:
            stream.seek(size - length)
            lines = stream.read(length).decode(errors="replace").splitlines()
            # The first one may have begun before what was read.
            if length == size or len(lines) > count:
                return lines[len(lines) - count :] if count else []
            length = min(size, length * 4)


def follow_logs(state: StateDirectory, topology: Topology, name: str, lines: int) -> None:
    """Become tail(1), which follows a file also when its program starts anew.

    Raises:
        ConfigError, NodeplaneError: as `find_logs`.
    """
    files = [str(file) for file in find_logs(state, topology, name).values()]
    os.execvp("tail", ["tail", "-n", str(lines), "-F", *files])  # noqa: S606 - to become it is the purpose
