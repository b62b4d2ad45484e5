"""`cni-agent bgp`: the node's sessions, as its bird has them."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import Row, print_result

if TYPE_CHECKING:
    from cni.bgp.state import Session


@click.command("bgp")
@click.option(
    "--config",
    "config_file",
    type=FILE_PATH,
    help="The agent's configuration, which says where bird's control socket is.",
)
@click.option("--socket", type=FILE_PATH, help="bird's control socket.")
@output_option
def bgp_command(config_file: Path | None, socket: Path | None, output: str) -> None:
    """Print this node's BGP sessions: whom it speaks to, since when, and how many prefixes they exchange.

    A session that is not up says why its last one ended. Segments with a wrong or missing password are
    counted for the whole node; without any session to blame they are not shown.
    """
    from cni.bgp.password_failures import read_password_failures
    from cni.bgp.state import read_sessions

    sessions = read_sessions(socket or _find_socket(config_file))
    print_result(describe_sessions(sessions, read_password_failures(), time.time()), output)


def describe_sessions(sessions: Iterable["Session"], password_failures: int, now_s: float) -> list[Row]:
    """Return a row for each session; without BFD its state is empty."""
    return [
        {
            "peer": session.name,
            "role": session.role,
            "address": str(session.address),
            "as": session.as_number,
            "state": session.state,
            "uptime_s": round(max(0.0, now_s - session.since_s)) if session.is_up else 0,
            "imported": session.imported,
            "exported": session.exported,
            "bfd": session.bfd,
            "problem": "" if session.is_up else _describe_problem(session, password_failures),
        }
        for session in sessions
    ]


def _describe_problem(session: "Session", password_failures: int) -> str:
    parts = [session.last_error] if session.last_error else []
    if password_failures:
        parts.append(f"{password_failures} segments with a wrong or missing password came to this node")
    # Who connects with a wrong password hears nothing: it is the other end that counts such segments.
    return "; ".join(parts) or "no answer yet (if it is the password, the other end says so)"


def _find_socket(config_file: Path | None) -> Path:
    from cni.bgp.config import DEFAULT_DIRECTORY, SOCKET_NAME

    if config_file is None:
        return Path(DEFAULT_DIRECTORY) / SOCKET_NAME
    from cni.agent.config import read_agent_config
    from nodeplane.errors import ConfigError

    config = read_agent_config(config_file)
    if config.bgp is None:
        raise ConfigError(str(config_file), "bgp", "expected a node that speaks BGP")
    return config.bgp.control_socket
