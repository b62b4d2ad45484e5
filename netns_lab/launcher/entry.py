"""Which function a command of ours runs, so that a fork can run it in the command's place."""

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import NoReturn

import msgspec

from netns_lab.commands import bare_module, module_of, program_folder


class Entry(msgspec.Struct, frozen=True):
    """A module's function; one `is_bare` that imports little, and is given its words."""

    module: str
    function: str
    words: tuple[str, ...]
    is_bare: bool = False

    def run(self) -> NoReturn:
        """Run it as the main program."""
        # Without the import system, which would take memory, where the module is there.
        module = sys.modules.get(self.module) or import_module(self.module)
        function = getattr(module, self.function)
        sys.argv = [*self.words]
        sys.exit(function(list(self.words[1:])) if self.is_bare else function())


def find_entry(command: Sequence[str]) -> Entry | None:
    """Return what a command runs, None if it is none of the project's own."""
    module = module_of(command)
    if module is not None:
        # Without the folder that it imports from.
        return Entry(module, "main", ("-c", *command[len(bare_module(module)) :]), is_bare=True)
    folder, _, name = command[0].rpartition("/")
    if folder != str(program_folder()):
        return None
    place = _own_scripts().get(name)
    return None if place is None else Entry(*place, tuple(command))


@cache
def _own_scripts() -> dict[str, tuple[str, str]]:
    """Return module and function of each of nodeplane's commands."""
    # Late: it imports what costs each fork memory, see `netns_lab.launcher.preload`.
    from importlib.metadata import distribution

    scripts = distribution("nodeplane").entry_points.select(group="console_scripts")
    return {script.name: (script.module, script.attr) for script in scripts}
