"""`netns-lab cni`: call CNI plugins by hand, as a container runtime does."""

import hashlib
import re
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from netns_lab.cni_tool import Attachment, Tool

F = TypeVar("F", bound=Callable[..., Any])

CACHE = Path("/run/netns-lab-cni")
_DEFAULT_PATH = "/opt/cni/bin:/usr/lib/cni"
_PORT_MAPPING = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?([0-9]+):([0-9]+)(?:/(tcp|udp|sctp))?")
_BANDWIDTH = re.compile(r"([0-9]+)(?::([0-9]+))?")


@click.group("cni")
def cni() -> None:
    """Call the CNI plugins of a configuration list, as a container runtime does, and check their replies.

    Plugins work in the network namespace of the caller: `netns-lab exec NODE -- netns-lab cni add …`.
    """


def _path_option(command: F) -> F:
    for option in (
        click.option(
            "--path",
            envvar="CNI_PATH",
            default=_DEFAULT_PATH,
            show_default=True,
            help="Folders of the plugins, separated by colons; the variable CNI_PATH says it too.",
        ),
        click.option(
            "--cache",
            type=FILE_PATH,
            default=CACHE,
            show_default=True,
            help="Folder where what ADD gave is kept for the calls that follow.",
        ),
    ):
        command = option(command)
    return command


def _attachment_options(command: F) -> F:
    for option in (
        click.argument("netns", metavar="NETNS"),
        click.argument("conflist", type=FILE_PATH),
        click.option("--container-id", default="", help="[default: from the namespace]"),
        click.option("--ifname", envvar="CNI_IFNAME", default="eth0", show_default=True),
        click.option("--args", envvar="CNI_ARGS", default="", help="KEY=VALUE;KEY=VALUE."),
        click.option(
            "--port-mapping",
            "port_mappings",
            multiple=True,
            metavar="[ADDRESS:]HOST:CONTAINER[/tcp|udp|sctp]",
            callback=_port_mappings,
            help="A port of the node that leads to one of the container. Repeatable.",
        ),
        click.option(
            "--bandwidth",
            metavar="INGRESS[:EGRESS]",
            callback=_bandwidth,
            help="Bits a second into the container and out of it.",
        ),
        click.option(
            "--ip", "ips", multiple=True, callback=_ips, help="An address that is wanted. Repeatable."
        ),
        click.option("--mac", default="", help="The MAC that is wanted."),
    ):
        command = option(command)
    return _path_option(command)


def _port_mappings(_context: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[Any]:
    mappings = []
    for text in texts:
        parts = _PORT_MAPPING.fullmatch(text)
        if parts is None or not all(0 < int(parts[number]) < 1 << 16 for number in (2, 3)):
            raise click.BadParameter(f"expected such as 8080:80 or 192.0.2.1:8080:80/udp, got {text!r}")
        address = {"hostIP": parts[1].strip("[]")} if parts[1] else {}
        ports = {"hostPort": int(parts[2]), "containerPort": int(parts[3]), "protocol": parts[4] or "tcp"}
        mappings.append({**ports, **address})
    return mappings


def _bandwidth(_context: click.Context, _param: click.Parameter, text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    parts = _BANDWIDTH.fullmatch(text)
    if parts is None:
        raise click.BadParameter(f"expected such as 1000000 or 1000000:500000, got {text!r}")
    ways = {"ingress": int(parts[1]), "egress": int(parts[2] or parts[1])}
    # CONVENTIONS.md: the burst is in bits, too; a tenth of a second's worth.
    return {f"{way}{what}": value for way, rate in ways.items() for what, value in _rates(rate)}


def _rates(rate: int) -> tuple[tuple[str, int], ...]:
    return ("Rate", rate), ("Burst", max(rate // 10, 1))


def _ips(_context: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> list[str]:
    for text in texts:
        try:
            ip_interface(text)
        except ValueError as exc:
            raise click.BadParameter(f"expected an IP address, got {text!r}") from exc
    return list(texts)


@cni.command("add")
@_attachment_options
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
def add_command(output: str, **options: Any) -> None:
    """Attach NETNS (a path, or a name below /run/netns) to the network of CONFLIST; print the result."""
    tool, attachment, args, capabilities = _prepare(options)
    print_report(tool.add(attachment, args, capabilities), output)


@cni.command("check")
@_attachment_options
def check_command(**options: Any) -> None:
    """Have the plugins look after what ADD has made for NETNS."""
    tool, attachment, args, capabilities = _prepare(options)
    tool.check(attachment, args, capabilities)


@cni.command("del")
@_attachment_options
def delete_command(**options: Any) -> None:
    """Detach NETNS from the network of CONFLIST; what is gone already is fine."""
    tool, attachment, args, capabilities = _prepare(options)
    tool.delete(attachment, args, capabilities)


@cni.command("gc")
@click.argument("conflist", type=FILE_PATH)
@click.argument("namespaces", metavar="[NETNS]...", nargs=-1)
@click.option("--ifname", envvar="CNI_IFNAME", default="eth0", show_default=True)
@_path_option
def gc_command(conflist: Path, namespaces: tuple[str, ...], ifname: str, path: str, cache: Path) -> None:
    """Remove what belongs to the network of CONFLIST and to none of these NETNS."""
    valid = [_attachment(netns, "", ifname) for netns in namespaces]
    _tool(conflist, path, cache).collect(valid)


@cni.command("status")
@click.argument("conflist", type=FILE_PATH)
@click.argument("netns", required=False)
@_path_option
def status_command(conflist: Path, netns: str | None, path: str, cache: Path) -> None:  # noqa: ARG001
    """Ask the plugins of CONFLIST whether they can attach a container; NETNS does not matter."""
    _tool(conflist, path, cache).status()


def _prepare(options: dict[str, Any]) -> "tuple[Tool, Attachment, str, dict[str, Any]]":
    named = {"portMappings": "port_mappings", "bandwidth": "bandwidth", "ips": "ips", "mac": "mac"}
    capabilities = {name: options[option] for name, option in named.items() if options[option]}
    tool = _tool(options["conflist"], options["path"], options["cache"])
    attachment = _attachment(options["netns"], options["container_id"], options["ifname"])
    return tool, attachment, options["args"], capabilities


def _tool(conflist: Path, path: str, cache: Path) -> "Tool":
    from netns_lab.cni_list import read_list
    from netns_lab.cni_tool import Tool

    return Tool(read_list(conflist), [folder for folder in path.split(":") if folder], cache)


def _attachment(netns: str, container_id: str, interface: str) -> "Attachment":
    from netns_lab.cni_tool import Attachment
    from nodeplane.datapath.netns import NETNS_DIR

    path = Path(netns) if "/" in netns else NETNS_DIR / netns
    digest = hashlib.sha1(str(path).encode(), usedforsecurity=False).hexdigest()
    return Attachment(container_id or f"netns-lab-{digest[:20]}", interface, str(path))
