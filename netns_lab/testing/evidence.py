"""What is added to the report of a test that has failed: the lab's state, and the packets of its time."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from netns_lab.capture import capture
from netns_lab.names import node_namespace
from netns_lab.testing.lab_handle import LabHandle
from nodeplane.errors import NodeplaneError

_LINES = 40
_READ_LIMIT_S = 60.0


@contextmanager
def captured(lab: LabHandle, folder: Path) -> Iterator[list[Path]]:
    """Capture on every node while a test runs; yield the files, one for each node."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                capture(
                    lab.name, node_namespace(lab.name, node.name), "any", "", folder / f"{node.name}.pcap"
                )
            )
            for node in lab.topology.nodes
        ]


def read_state(lab: LabHandle) -> str:
    """Return the lab's state as a person reads it."""
    try:
        return lab.command("status", lab.name)
    except NodeplaneError as exc:
        # Incomplete: the command says so by its exit code, and how on stdout.
        return str(exc)


def read_packets(files: list[Path]) -> str:
    """Return the last packets of each capture, a line for each."""
    return "\n".join(_read(file) for file in files)


def _read(file: Path) -> str:
    command = ("tcpdump", "-nn", "-r", str(file))
    done = subprocess.run(command, capture_output=True, text=True, timeout=_READ_LIMIT_S, check=False)
    lines = done.stdout.splitlines()
    left_out = [f"… {len(lines) - _LINES} before"] if len(lines) > _LINES else []
    return "\n".join([f"{file.stem}: {len(lines)} packets, {file}", *left_out, *lines[-_LINES:]])
