"""`cni-agent routes`: this node's routes to pods, and what each is for."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import FILE_PATH, NODE_NAME
from nodeplane.runtime.output import Row, print_result

if TYPE_CHECKING:
    from cni.agent.config import AgentConfig
    from cni.bgp.learned import Way
    from nodeplane.datapath.rtnl import Address, Rtnl

_ANSWER_WITHIN_S = 1.0


@click.command("routes")
@click.option(
    "--config",
    "config_file",
    type=FILE_PATH,
    help="The agent's configuration, which names the datastore; the defaults without.",
)
@click.option("--node-name", default=None, type=NODE_NAME, help="This node's name; the host name by default.")
@click.option("--all", "has_pods", is_flag=True, help="Also the routes to this node's own pods.")
@output_option
def routes_command(config_file: Path | None, node_name: str | None, has_pods: bool, output: str) -> None:
    """Print this node's routes to pods: what each is for, its mode and next hop, and whether it works.

    Read from the kernel and the datastore, so that it works without the agent, which only knows for how long
    a route has been there. A block that has no route is `missing`; a tunnel without a neighbour or forwarding
    entry is `unresolved`; bird's routes have the state of their session.
    """
    from cni.agent.config import AgentConfig, read_agent_config
    from ipam.cli_options import this_node

    config = AgentConfig() if config_file is None else read_agent_config(config_file)
    rows = read_rows(config, this_node(node_name), has_pods=has_pods)
    if output == "table":
        rows = [{**row, "age_s": "" if row["age_s"] is None else row["age_s"]} for row in rows]
    print_result(rows, output)


def read_rows(config: "AgentConfig", node: str, *, has_pods: bool) -> list[Row]:
    """Read what there is.

    Raises:
        DatastoreError: the datastore can't be read, or there is none.
        KernelError: the routes can't be read.
    """
    from cni.routing.listing import Known, describe_routes
    from ipam.watch import read_now
    from nodeplane.datapath.rtnl import open_rtnl

    found = read_now(config.datastore, "", "datastore")
    with open_rtnl() as rtnl:
        routes = [*rtnl.routes(), *rtnl.routes(family=6)]
        resolved = _read_resolved(rtnl)
    known = Known(
        node=node,
        pools=found.pools or (),
        blocks=tuple(block for block in found.blocks.values() if block is not None),
        tunnels=tuple(tunnel for tunnel in found.tunnels.values() if tunnel is not None),
        resolved=resolved,
        sessions=_read_sessions(config),
        written_s=_read_written(config),
    )
    return describe_routes(routes, known, time.time(), has_pods=has_pods)


def _read_resolved(rtnl: "Rtnl") -> "frozenset[Address]":
    """Return the gateways that packets into tunnels find."""
    from cni.routing.vxlan import FAMILIES, LINK_NAMES

    found = set()
    for version in FAMILIES:
        name = LINK_NAMES[version]
        if rtnl.find_vxlan(name) is not None:
            macs = {entry.mac for entry in rtnl.fdb(name)}
            found |= {item.address for item in rtnl.neighbours(name, version) if item.mac in macs}
    return frozenset(found)


def _read_sessions(config: "AgentConfig") -> "Mapping[Way, frozenset[str]]":
    if config.bgp is None:
        return {}
    from cni.bgp.control import BirdError, ask_once
    from cni.bgp.learned import COMMAND, name_states, parse_learned
    from cni.bgp.state import COMMANDS, parse_sessions

    with suppress(BirdError):
        *replies, routes = ask_once(config.bgp.control_socket, (*COMMANDS, COMMAND))
        return name_states(parse_learned(routes), parse_sessions(replies))
    return {}


def _read_written(config: "AgentConfig") -> Mapping[str, float]:
    """Ask the agent when it wrote which route; nothing if none answers."""
    if config.metrics is None:
        return {}
    from http.client import HTTPConnection, HTTPException

    host = "127.0.0.1" if config.metrics.is_everywhere else config.metrics.host
    connection = HTTPConnection(host, config.metrics.port, timeout=_ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/routes")
        answer = connection.getresponse()
        found = json.loads(answer.read()) if answer.status == 200 else {}
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}
