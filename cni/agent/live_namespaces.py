"""Which network namespaces somebody can still mean: those that have a name somewhere, or a process in them.

One that is held by nothing but a socket or an open file is nobody's pod any more, and its links stay for as
long as that holds it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def read_live(proc: Path = _PROC) -> Iterator[Path]:
    """Yield a path to each, once; those that go away meanwhile are left out."""
    seen: set[str] = set()
    for identity, path in (*_mounted(proc), *_of_processes(proc)):
        if identity not in seen:
            seen.add(identity)
            yield path


def _mounted(proc: Path) -> Iterator[tuple[str, Path]]:
    """Yield what is mounted, as `ip netns` and runtimes do, wherever it is (proc_pid_mountinfo(5))."""
    for line in (proc / "self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        # A namespace is its own file system's root: `net:[4026532008]`.
        if len(fields) > 4 and fields[3].startswith("net:["):
            yield fields[3], Path(_unescape(fields[4]))


def _of_processes(proc: Path) -> Iterator[tuple[str, Path]]:
    for name in os.listdir(proc):
        path = proc / name / "ns/net"
        if name.isdecimal():
            try:
                yield os.readlink(path), path
            except OSError:
                # It has ended; a kernel thread or a zombie has none.
                continue


def _unescape(text: str) -> str:
    """Undo mountinfo's escapes of white space: an octal number after a backslash."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
