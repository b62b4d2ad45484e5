"""The types of options that several programs have, which refuse what click would take.

An unset variable in a script is no choice: `--manifests "$DIR"` with DIR unset would be the current
directory, which has no manifests: an empty cluster. And nobody waits for `inf` or `nan` seconds.
"""

import math
import os
from pathlib import Path
from typing import Any

import click

from nodeplane.dnsname import is_subdomain

_DAY_S = 86400.0


class _FilePath(click.Path):
    """A path that is not empty."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Return the path.

        Raises:
            click.BadParameter: the text is empty.
        """
        if not os.fspath(value):
            self.fail("expected a path, got ''", param, ctx)
        return super().convert(value, param, ctx)


class _NodeName(click.types.StringParamType):
    """The name of a Node object."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name.

        Raises:
            click.BadParameter: no Node can have this name.
        """
        if not is_subdomain(value):
            words = "expected a DNS subdomain name (lower case, digits, '-')"
            self.fail(f"{words}, got {value!r}", param, ctx)
        return value


class Seconds(click.FloatRange):
    """A number of seconds of at least `min_s`, and of a day at most."""

    name = "seconds"

    def __init__(self, min_s: float) -> None:
        super().__init__(min=min_s, max=_DAY_S)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds.

        Raises:
            click.BadParameter: it is no number, or out of range.
        """
        seconds = super().convert(value, param, ctx)
        # Compared with a limit, it is within it.
        if math.isnan(seconds):
            self.fail(f"expected a number of seconds, got {value!r}", param, ctx)
        return seconds


FILE_PATH = _FilePath(path_type=Path)
"""A file or directory, there or not."""

NODE_NAME = _NodeName()
"""The name of a Node: a DNS subdomain name (RFC 1123)."""
