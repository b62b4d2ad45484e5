"""The types of options that must not be empty: an unset variable in a script is no choice.

`--manifests "$DIR"` with DIR unset would be the current directory, which has no manifests: an empty cluster.
"""

import os
from pathlib import Path
from typing import Any

import click

from nodeplane.dnsname import is_subdomain


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


FILE_PATH = _FilePath(path_type=Path)
"""A file or directory, there or not."""

NODE_NAME = _NodeName()
"""The name of a Node: a DNS subdomain name (RFC 1123)."""
