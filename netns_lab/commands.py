"""The command lines of the project's own programs and modules."""

import sys
from collections.abc import Sequence
from pathlib import Path

# Python without its site-packages and the user's environment starts in a third of the time.
_BARE_BEGIN = "import sys; sys.path.append(sys.argv.pop(1)); from "
_BARE_END = " import main; main(sys.argv[1:])"


def program_folder() -> Path:
    """Return where nodeplane's programs are: installed beside the running Python."""
    return Path(sys.executable).parent


def program_path(name: str) -> str:
    """Return the path of one of nodeplane's programs."""
    return str(program_folder() / name)


def bare_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module's `main` with the standard library and nodeplane alone."""
    root = str(Path(__file__).parents[1])
    return (sys.executable, "-I", "-S", "-c", f"{_BARE_BEGIN}{module}{_BARE_END}", root, *arguments)


def module_of(command: Sequence[str]) -> str | None:
    """Return the module that a command of `bare_module` runs, None if it is another command."""
    words = [*command[4:5]]
    if not words or not words[0].startswith(_BARE_BEGIN) or not words[0].endswith(_BARE_END):
        return None
    return words[0].removeprefix(_BARE_BEGIN).removesuffix(_BARE_END)
