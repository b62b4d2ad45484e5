"""Programs of others that the lab starts, and which Debian package brings each."""

import shutil
from pathlib import Path

import msgspec

from nodeplane.errors import SetupError


class Tool(msgspec.Struct, frozen=True):
    """A program, found on the administrator's PATH, and its Debian package."""

    program: str
    package: str


def find_tool(tool: Tool) -> Path:
    """Return where a program is.

    Raises:
        SetupError: it is not in PATH; names the package.
    """
    found = shutil.which(tool.program)
    if found is None:
        raise SetupError(f"{tool.program}: expected in PATH; apt-get install {tool.package}")
    return Path(found)
