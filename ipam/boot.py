"""Which machine this is, and which boot of it: no network namespace outlives a boot."""

import os
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_READ_BYTES = 256


@cache
def read_boot_id() -> str:
    """Return the kernel's random name for this boot (proc(5)); empty where there is none to read."""
    return _read(_BOOT_ID)


def read_machine_id() -> str:
    """Return the machine's own name, the same at each boot (machine-id(5)); empty where there is none."""
    return _read(_MACHINE_ID)


def _read(path: Path) -> str:
    try:
        # System calls and not a file object: each request waits for them.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _READ_BYTES).decode(errors="replace").strip()
        finally:
            os.close(descriptor)
    except OSError:
        return ""
