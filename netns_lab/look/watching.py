"""`netns-lab status --watch`: the status again and again."""

import json
import time
from typing import Any

import click

from netns_lab.state import StateDirectory
from netns_lab.status import read_status
from nodeplane.runtime.output import print_report

_PAUSE_S = 1.0
# ECMA-48: cursor to the first place, and nothing behind it.
_CLEAR = "\x1b[H\x1b[2J"


def watch_status(state: StateDirectory, output: str) -> None:
    """Print a lab's status whenever it has changed, for people over the one before; ends on Ctrl-C."""
    last: dict[str, Any] | None = None
    try:
        while True:
            report = read_status(state)
            if report != last:
                last = report
                _print(report, output)
            time.sleep(_PAUSE_S)
    except KeyboardInterrupt:
        return


def _print(report: dict[str, Any], output: str) -> None:
    if output == "json":
        # A line for each, so that a reader knows where one ends.
        click.echo(json.dumps(report))
        return
    if output == "yaml":
        click.echo("---")
    else:
        click.echo(_CLEAR, nl=False)
    print_report(report, output)
