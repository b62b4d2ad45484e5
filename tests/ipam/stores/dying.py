"""Processes that are killed at a statement of their own, of all that they send to SQLite."""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

_connect = sqlite3.connect


def dies_at(point: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed before its statement of that number; say whether it was."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            Dying.left = point
            sqlite3.connect = partial(_connect, factory=Dying)  # type: ignore[assignment]
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


class Dying(sqlite3.Connection):
    """A connection that counts its statements, each row of a group too."""

    left = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute a statement, or die."""
        self._count()
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        """Execute a statement for each row, unless one of them is the last."""
        for row in rows:
            self._count()
            super().execute(sql, row)
        return self.cursor()

    def _count(self) -> None:
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        Dying.left -= 1
