"""Which boot of the machine this is: no network namespace outlives it."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Return the kernel's random name for this boot (proc(5)); empty where there is none to read."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
