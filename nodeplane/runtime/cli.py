"""The command line that all programs share: common options, and errors as one line and an exit code."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from errno import errorcode
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from nodeplane.errors import NodeplaneError
from nodeplane.runtime.log import setup_logging

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger(__name__)


def _log_option(context: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep how to log; said after the command's name, it comes when the program logs already."""
    if param.name and context.get_parameter_source(param.name) is not ParameterSource.DEFAULT:
        context.ensure_object(dict)[param.name] = value
        if context.parent is not None:
            _start_logging(context)


def common_options(command: F, verbose: Sequence[str] = ("-v", "--verbose")) -> F:
    """Add `--version`, `-v` and `--log-format`; the command itself does not see them.

    `verbose` names `-v` otherwise, for a command that hands its `-v` on.
    """
    for option in (
        # Without the number: click looks for it when it is asked, a start would take 20 ms for it.
        click.version_option(package_name="nodeplane"),
        click.option(
            *verbose, "verbose", count=True, expose_value=False, callback=_log_option, help="Log more."
        ),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            expose_value=False,
            callback=_log_option,
            help="Format of the log on stderr.",
        ),
    ):
        command = option(command)
    return command


def output_option(command: F) -> F:
    """Add `-o table|json|yaml` as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="Format of the result on stdout.",
    )(command)


def start_logging() -> None:
    """Set logging up from the running command's options; the first thing a command does."""
    _start_logging(click.get_current_context())


def run(command: click.Command, name: str) -> None:
    """Run a program's command line and exit: 0 done, 1 failed, 2 wrong usage or bad input.

    The common options of the program are taken after the name of its command too.
    """
    if isinstance(command, click.Group):
        _extend(command)
    try:
        # Not standalone, click returns the code that a command gave to `context.exit`.
        code = command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        sys.exit(2)
    except click.ClickException as exc:
        # One line, as for every other wrong input; click lists choices on lines of their own.
        print(f"{name}: {' '.join(exc.format_message().split())}", file=sys.stderr)
        sys.exit(2)
    except NodeplaneError as exc:
        log.debug("failed", exc_info=exc)
        print(f"{name}: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as exc:
        if exc.errno is None:
            # A TimeoutError, whose limit somebody forgot.
            raise
        log.debug("failed", exc_info=exc)
        _give_up_stdout()
        place = f"{exc.filename}: " if exc.filename is not None else ""
        print(f"{name}: {place}{os.strerror(exc.errno)} ({errorcode.get(exc.errno)})", file=sys.stderr)
        sys.exit(1)
    if code:
        sys.exit(code)


def _give_up_stdout() -> None:
    """Drop what stdout does not take: at its end, Python would try again, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _start_logging(context: click.Context) -> None:
    options = context.ensure_object(dict)
    setup_logging(options.get("log_format", "text"), options.get("verbose", 0))


def _extend(group: click.Group) -> None:
    """Give the commands of a group the common options."""
    for command in group.commands.values():
        if all(each.name != "log_format" for each in command.params):
            common_options(command)
        if isinstance(command, click.Group):
            _extend(command)
