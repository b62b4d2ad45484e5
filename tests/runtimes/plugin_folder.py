"""A runtime's CNI folders, the plugin of this tree in several forms, and a log of its calls."""

import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from cni.calls.shims import build, find_compiler

_TREE = Path(__file__).parents[2]
_REFERENCE = Path("/usr/lib/cni")
_MAIN = "import sys; from cni.plugin import main; sys.exit(main())"


class Call(NamedTuple):
    """A call of the plugin by a runtime."""

    command: str
    container: str
    has_netns: bool
    code: int


class PluginFolders(NamedTuple):
    """`bin` and `conf` as runtimes know them; the reference plugins are there from the start."""

    top: Path

    @property
    def bin(self) -> Path:
        return self.top / "bin"

    @property
    def conf(self) -> Path:
        return self.top / "conf"

    def calls(self) -> list[Call]:
        """Return what was called, in the order of the answers."""
        lines = (self.top / "calls").read_text().splitlines()
        words = [line.split(" ") for line in lines]
        return [Call(command, container, bool(netns), int(code)) for command, container, netns, code in words]

    def write_in_process(self) -> Path:
        """Write the plugin that does its work itself, from this tree."""
        command = f"{shlex.quote(sys.executable)} -c {shlex.quote(_MAIN)}"
        return _write(self.top / "in-process", f"PYTHONPATH={shlex.quote(str(_TREE))} exec {command}")

    def write_through_agent(self) -> Path:
        """Write the quickest plugin that asks the agent, and can't do without."""
        return build(self.top, self.top / "nothing", find_compiler())[0]

    def write_logged(self, program: Path) -> Path:
        """Write a program that runs another and logs the call."""
        words = "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $code"
        calls = shlex.quote(str(self.top / "calls"))
        text = f'{shlex.quote(str(program))}\ncode=$?\necho "{words}" >>{calls}\nexit $code'
        return _write(self.top / "logged", text)


def plugin_folders(top: Path) -> PluginFolders:
    """Make the folders; of the reference plugins `loopback` is containerd's own need."""
    folders = PluginFolders(top)
    for folder in (top, folders.bin, folders.conf):
        folder.mkdir()
    for program in _REFERENCE.iterdir():
        (folders.bin / program.name).symlink_to(program)
    return folders


def _write(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
