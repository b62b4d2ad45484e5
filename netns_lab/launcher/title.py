"""What others see of a forked process: its command line and its environment, as if it had been started anew.

`ps` and the lab itself (see `netns_lab.processes`) read both from /proc. The kernel shows the piece of memory
that execve(2) has filled (proc(5)); a process may write over it, and may not move it without CAP_SYS_RESOURCE
(prctl(2), PR_SET_MM), which containers lack. So the parent is started with room in it, see `padding`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_COMMAND_ROOM_BYTES = 4096
_ENVIRONMENT_ROOM_BYTES = 2048
_FILLER = "x"

_STAT = Path("/proc/self/stat")


class Title(NamedTuple):
    """Pieces of memory, each with the place that it is written to, and the process's name."""

    pieces: tuple[tuple[int, bytes], ...]
    name: bytes


def padding() -> tuple[str, dict[str, str]]:
    """Return a last word and a variable that make room for the command lines and environments to come."""
    return _FILLER * _COMMAND_ROOM_BYTES, {"NETNS_LAB_ROOM": _FILLER * _ENVIRONMENT_ROOM_BYTES}


def has_room(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Say whether both fit into what `padding` provides."""
    fits = len(_render(command)) <= _COMMAND_ROOM_BYTES
    return fits and len(_render_variables(environment)) <= _ENVIRONMENT_ROOM_BYTES


def build_title(command: Sequence[str], environment: Mapping[str, str]) -> Title:
    """Return what makes a fork of the calling process seen as this command; both have the same places."""
    # proc(5), fields 48 to 51: arg_start, arg_end, env_start, env_end.
    fields = _STAT.read_bytes().rpartition(b")")[2].split()
    contents = (_render(command), _render_variables(environment))
    starts, ends = (int(fields[45]), int(fields[47])), (int(fields[46]), int(fields[48]))
    pieces = (
        (start, content.ljust(end - start, b"\0"))
        for start, end, content in zip(starts, ends, contents, strict=True)
    )
    # What `ps -o comm` and `top` show; the kernel keeps 15 bytes of it.
    return Title(tuple(pieces), os.fsencode(command[0].rpartition("/")[2]))


def show_title(title: Title) -> None:
    """Be seen under it.

    The libraries' own view of the environment must not be the memory that is written over: they have copies
    of what `os.environ` was given later (putenv(3)).
    """
    # By system calls alone: each object of Python's that a fork uses costs it a page.
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    for start, content in title.pieces:
        os.pwrite(memory, content, start)
    os.close(memory)
    name = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    os.write(name, title.name)
    os.close(name)


def _render(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _render_variables(environment: Mapping[str, str]) -> bytes:
    return _render([f"{name}={value}" for name, value in environment.items()])
