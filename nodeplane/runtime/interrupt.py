"""Imported before all else, this lets Ctrl-C end a program that is still being imported without a traceback.

The exit code is the shell's 130, as later: Python ends such a process by the signal itself.
"""

import sys
from types import TracebackType


def _show(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, traceback)


sys.excepthook = _show
