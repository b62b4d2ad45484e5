"""`netns-lab apiserver`: the server as a command."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

import click

from nodeplane.errors import ConfigError
from nodeplane.runtime.option_types import FILE_PATH, Seconds


@click.command("apiserver")
@click.option(
    "--data-dir",
    required=True,
    type=FILE_PATH,
    help="Directory of certificates, token, kubeconfig and, by default, the state.",
)
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, help="ADDRESS:PORT; port 0 picks a free one."
)
@click.option("--advertise", default="", help="The address clients use, if it is not the one to listen on.")
@click.option(
    "--store",
    default=None,
    help="sqlite:///PATH, etcd://HOST:PORT/PREFIX or memory://.  [default: SQLite in the data directory]",
)
@click.option(
    "--service-cidr",
    default="10.96.0.0/16",
    show_default=True,
    help="Addresses of Services; IPv4,IPv6 for both families.",
)
@click.option("--service-node-port-range", default="30000-32767", show_default=True, help="FIRST-LAST.")
@click.option("--controllers", is_flag=True, help="Run the endpoint, node and pod controllers as well.")
@click.option(
    "--cluster-cidr",
    default="10.244.0.0/16",
    show_default=True,
    help="Addresses of pods, shared out to nodes by the controllers; IPv4,IPv6 for both families.",
)
@click.option(
    "--node-grace-s",
    default=40.0,
    show_default=True,
    type=Seconds(0.1),
    help="Seconds without a renewed lease after which a node is not ready.",
)
def apiserver(
    *,
    data_dir: Path,
    listen: str,
    advertise: str,
    store: str | None,
    service_cidr: str,
    service_node_port_range: str,
    controllers: bool,
    cluster_cidr: str,
    node_grace_s: float,
) -> None:
    """Serve the Kubernetes API over HTTPS until SIGTERM; the kubeconfig is in the data directory."""
    from netns_lab.apiserver.controllers.run import ControllerSettings
    from netns_lab.apiserver.serve import ServerConfig, run_server
    from netns_lab.apiserver.service_addresses import ServiceRanges
    from nodeplane.runtime.daemon import run_daemon

    if store == "":
        # An unset variable in a script, most likely: SQLite in the data directory is not what was asked for.
        raise ConfigError("--store", "", "expected sqlite:///PATH, etcd://HOST:PORT/PREFIX or memory://")
    first, last = _ports(service_node_port_range)
    config = ServerConfig(
        directory=data_dir,
        store=store or "",
        listen=_address(listen),
        advertise=_advertised(advertise),
        ranges=ServiceRanges(_networks("--service-cidr", service_cidr), first, last),
        controllers=(
            ControllerSettings(
                pod_cidrs=_networks("--cluster-cidr", cluster_cidr),
                node_grace_s=node_grace_s,
                node_check_interval_s=min(5.0, node_grace_s / 4),
            )
            if controllers
            else None
        ),
    )
    run_daemon(run_server(config))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError("--listen", text, "expected ADDRESS:PORT")
    return host.strip("[]"), int(port)


def _advertised(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError as exc:
        raise ConfigError("--advertise", text, "expected an IP address") from exc


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdigit() or not last.isdigit() or not 0 < int(first) <= int(last) <= 65535:
        raise ConfigError("--service-node-port-range", text, "expected FIRST-LAST, from 1 to 65535")
    return int(first), int(last)


def _networks(option: str, text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        found = tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError as exc:
        raise ConfigError(option, text, f"expected CIDRs: {exc}") from exc
    if len({network.version for network in found}) != len(found):
        raise ConfigError(option, text, "expected at most one CIDR of each family")
    if any(network.num_addresses < 8 for network in found):
        raise ConfigError(option, text, "expected CIDRs of 8 addresses or more")
    return found
