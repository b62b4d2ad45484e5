"""A server's processes: kept on one core, and what they use."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def processes(pid: int) -> list[int]:
    """Return a process and those that it started, and they."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in processes(int(child)))]


def pin_all(pid: int, core: int) -> None:
    """Keep a process and those that it started on one core."""
    for found in processes(pid):
        pin(found, core)


def pin(pid: int, core: int) -> None:
    """Keep all threads of a process on one core, if the load can have another."""
    if len(os.sched_getaffinity(0)) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {sorted(os.sched_getaffinity(0))[core]})


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process and those it started have used, user and system (proc(5), stat)."""
    ticks = 0
    for found in processes(pid):
        fields = Path(f"/proc/{found}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Return the memory that a process has in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
