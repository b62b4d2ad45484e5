"""What the verbs of the command line share: which lab, as root, and what an interrupted one says."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from netns_lab.names import LAB_NAME_WORDS, is_lab_name
from nodeplane.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from netns_lab.state import StateDirectory
    from netns_lab.topology import Topology

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE = "NETNS_LAB_NAME"

# The lab's other modules are imported where they are used: rtnetlink alone costs 0.2 s, which `--help` and
# the shell's completion need not pay.


def lab_name(context: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Take a lab's name, and nothing that could lead elsewhere."""
    if value is not None and not is_lab_name(value):
        raise ConfigError(_place(context, param), value, LAB_NAME_WORDS)
    return value


def _place(context: click.Context, param: click.Parameter) -> str:
    """Return where a lab was named: an option, the argument or the variable."""
    if param.name and context.get_parameter_source(param.name) is ParameterSource.ENVIRONMENT:
        return _VARIABLE
    return param.opts[0] if isinstance(param, click.Option) else "LAB"


def complete_lab(_context: click.Context, _param: click.Parameter, text: str) -> "list[CompletionItem]":
    """Offer the labs that there are."""
    from click.shell_completion import CompletionItem

    from netns_lab.state import saved_labs

    return [CompletionItem(name) for name in sorted(saved_labs()) if name.startswith(text)]


def complete_place(context: click.Context, _param: click.Parameter, text: str) -> "list[CompletionItem]":
    """Offer the nodes, routers, clients and pods of the lab."""
    from click.shell_completion import CompletionItem

    from netns_lab.state import StateDirectory, saved_labs

    lab = context.params.get("lab")
    found = {lab} if lab else saved_labs()
    topology = StateDirectory(found.pop()).load_topology() if len(found) == 1 else None
    names = [] if topology is None else place_names(topology)
    return [CompletionItem(name) for name in names if name.startswith(text)]


def place_names(topology: "Topology") -> list[str]:
    """Return the names of all places that a command can run in."""
    return [
        *(host.name for host in topology.hosts),
        *(router.name for router in topology.routers),
        *(pod.key for pod in topology.pods),
    ]


def _lab_option(variable: str) -> Callable[[F], F]:
    return click.option(
        "--lab",
        variable,
        callback=lab_name,
        envvar=_VARIABLE,
        shell_complete=complete_lab,
        help=f"The lab; may be left out while there is one. The variable {_VARIABLE} says it too.",
    )


lab_option = _lab_option("lab")


def lab_argument(command: F) -> F:
    """Let a verb take a lab and nothing else: as its argument, or as the verbs that take more do."""

    @wraps(command)
    def with_one(*arguments: Any, lab: str | None, named: str | None, **options: Any) -> Any:
        source = click.get_current_context().get_parameter_source("named")
        if source is ParameterSource.COMMANDLINE and lab not in {None, named}:
            raise ConfigError("--lab", "", f"expected the same lab as in the argument, {lab}; got {named}")
        return command(*arguments, lab=lab or named, **options)

    argument = click.argument("lab", required=False, callback=lab_name, shell_complete=complete_lab)
    return cast("F", argument(_lab_option("named")(with_one)))


def is_lab_typed() -> bool:
    """Say whether the running verb's own words name its lab: what a variable says gives way to them."""
    sources = map(click.get_current_context().get_parameter_source, ("lab", "named"))
    return ParameterSource.COMMANDLINE in sources


def choose_lab(lab: str | None) -> "StateDirectory":
    """Return the directory of the lab that is named, or of the only one; needs root.

    Raises:
        ConfigError: there is no such lab, or more than one.
    """
    from netns_lab.presence import labs
    from netns_lab.state import StateDirectory

    need_root()
    found = labs()
    if lab is None:
        return StateDirectory(only_lab(found))
    if lab not in found:
        # A variable may have been set long ago.
        place = "" if is_lab_typed() else _VARIABLE
        words = f"expected the name of a lab that is up: {', '.join(sorted(found)) or 'none is'}"
        raise ConfigError(place, lab, words)
    return StateDirectory(lab)


def open_lab(lab: str | None) -> "tuple[StateDirectory, Topology]":
    """Return the directory of a lab and what there is to look at: what it was asked for, and added nodes.

    Raises:
        ConfigError: there is no such lab, more than one, or no `up` of it came far enough.
    """
    from netns_lab.faults.present import load_present

    state = choose_lab(lab)
    topology = load_present(state)
    if topology is None:
        raise ConfigError(state.lab, "", "expected a lab that is up")
    return state, topology


def only_lab(found: set[str]) -> str:
    """Return the one lab there is."""
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none is up"
        raise ConfigError("LAB", "", f"expected the name of a lab: {names}")
    return next(iter(found))


def need_root() -> None:
    """Refuse to go on as somebody else."""
    if os.geteuid() != 0:
        raise SetupError("must run as root: network namespaces need it")


@contextmanager
def said_when_interrupted(advice: str) -> Iterator[None]:
    """End a command that was interrupted with one line and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as exc:
        click.echo(f"netns-lab: interrupted: {advice}", err=True)
        raise click.exceptions.Exit(130) from exc


def fail_if(has_failed: bool) -> None:
    """End with exit code 1 where the result that was printed is a failure."""
    if has_failed:
        raise click.exceptions.Exit(1)
