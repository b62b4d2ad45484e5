"""A clock that is wrong: programs started under libfaketime, which tells them another time of day.

What the kernel offers (time namespaces, time_namespaces(7)) shifts the monotonic clocks alone. Those stay as
they are here: a clock that is set does not make timers late.
"""

from pathlib import Path

from nodeplane.errors import SetupError

_LIBRARIES = "*/faketime/libfaketimeMT.so.1"


def with_shift(command: tuple[str, ...], shift_s: float, root: Path = Path("/usr/lib")) -> tuple[str, ...]:
    """Return the command that runs another one with its clock off by so many seconds.

    Raises:
        SetupError: libfaketime is not installed.
    """
    library = next(iter(sorted(root.glob(_LIBRARIES))), None)
    if library is None:
        raise SetupError("clock: libfaketime is missing: install the Debian package faketime")
    settings = (
        f"LD_PRELOAD={library}",
        f"FAKETIME={shift_s:+g}s",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    return ("env", *settings, *command)
