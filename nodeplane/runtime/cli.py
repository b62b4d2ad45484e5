"""The command line that all programs share: common options, and errors as one line and an exit code."""

import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import click

from nodeplane.errors import NodeplaneError
from nodeplane.runtime.log import setup_logging

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger(__name__)


def _verbosity(context: click.Context, _param: click.Parameter, value: int) -> None:
    context.ensure_object(dict)["verbosity"] = value


def _log_format(context: click.Context, _param: click.Parameter, value: str) -> None:
    context.ensure_object(dict)["log_format"] = value


def common_options(command: F) -> F:
    """Add `--version`, `-v` and `--log-format`; the command itself does not see them."""
    for option in (
        click.version_option(version("nodeplane"), package_name="nodeplane"),
        click.option(
            "-v", "--verbose", count=True, expose_value=False, callback=_verbosity, help="Log more."
        ),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            expose_value=False,
            callback=_log_format,
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
    options = click.get_current_context().ensure_object(dict)
    setup_logging(options.get("log_format", "text"), options.get("verbosity", 0))


def run(command: click.Command, name: str) -> None:
    """Run a program's command line and exit: 0 done, 1 failed, 2 wrong usage or bad input."""
    try:
        command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.Exit as exc:
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        # One line, as for every other wrong input.
        print(f"{name}: {exc.format_message()}", file=sys.stderr)
        sys.exit(2)
    except NodeplaneError as exc:
        log.debug("failed", exc_info=exc)
        print(f"{name}: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)
    except BrokenPipeError:
        sys.exit(1)
