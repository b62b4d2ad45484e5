"""What others see of a forked process: its command line and its environment, as if it had been started anew.

`ps` and the lab itself (see `netns_lab.processes`) read both from /proc. The kernel shows the piece of memory
that execve(2) has filled (proc(5)); a process may write over it, and may not move it without CAP_SYS_RESOURCE
(prctl(2), PR_SET_MM), which containers lack. So the parent is started with room in it, see `padding`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_COMMAND_ROOM_BYTES = 4096
_ENVIRONMENT_ROOM_BYTES = 2048
_FILLER = "x"

_OWN = Path("/proc/self")


def padding() -> tuple[str, dict[str, str]]:
    """Return a last word and a variable that make room for the command lines and environments to come."""
    return _FILLER * _COMMAND_ROOM_BYTES, {"NETNS_LAB_ROOM": _FILLER * _ENVIRONMENT_ROOM_BYTES}


def has_room(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Say whether both fit into what `padding` provides."""
    fits = len(_render(command)) <= _COMMAND_ROOM_BYTES
    return fits and len(_render_variables(environment)) <= _ENVIRONMENT_ROOM_BYTES


def become_seen_as(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Take this environment, and show it and this command line in /proc.

    The libraries' own view of the old environment must be gone before its memory is written over: they get
    copies (putenv(3)).
    """
    os.environ.clear()
    os.environ.update(environment)
    # proc(5), fields 48 to 51: arg_start, arg_end, env_start, env_end.
    fields = (_OWN / "stat").read_bytes().rpartition(b")")[2].split()
    starts, ends = (int(fields[45]), int(fields[47])), (int(fields[46]), int(fields[48]))
    contents = (_render(command), _render_variables(environment))
    with (_OWN / "mem").open("r+b", buffering=0) as memory:
        for start, end, content in zip(starts, ends, contents, strict=True):
            memory.seek(start)
            memory.write(content.ljust(end - start, b"\0"))
    # What `ps -o comm` and `top` show; the kernel keeps 15 bytes of it.
    (_OWN / "comm").write_text(command[0].rpartition("/")[2])


def _render(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _render_variables(environment: Mapping[str, str]) -> bytes:
    return _render([f"{name}={value}" for name, value in environment.items()])
