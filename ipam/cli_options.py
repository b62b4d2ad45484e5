"""What the commands of ipamctl share: how the datastore is named and opened, and which node we are."""

import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipam.check import Snapshot, read_snapshot
from ipam.config import DEFAULT_DATASTORE
from ipam.datastore import Datastore, open_datastore
from ipam.model import Address
from nodeplane.errors import ConfigError
from nodeplane.runtime.option_types import NODE_NAME, Seconds

if TYPE_CHECKING:
    from ipam.cluster import Cluster

F = TypeVar("F", bound=Callable[..., Any])


def _datastore_url(_context: click.Context, _parameter: click.Parameter, url: str) -> str:
    if url.startswith("memory:"):
        expected = "expected sqlite:///absolute/path or etcd://host:port[,host:port]/prefix"
        raise ConfigError("", "--datastore", f"{expected}, got {url!r}: it is this process's alone")
    return url


datastore_option = click.option(
    "--datastore",
    "url",
    default=DEFAULT_DATASTORE,
    show_default=True,
    callback=_datastore_url,
    metavar="URL",
    help="Where the addresses are kept: sqlite:///path or etcd://host:port[,host:port]/prefix.",
)

node_option = click.option(
    "--node-name",
    default=None,
    type=NODE_NAME,
    help="The node that we are on, whose network namespaces can be seen; the host name by default.",
)


def grace_options(command: F) -> F:
    """Add `--grace` as `grace_s`, `--observe` as `observe_s` and `--all-gone` as `is_forced`."""
    for option in (
        click.option(
            "--all-gone",
            "is_forced",
            is_flag=True,
            help="Free also when not one network namespace of this boot can be seen.",
        ),
        click.option(
            "--observe",
            "observe_s",
            default=2.0,
            show_default=True,
            type=Seconds(0),
            help="Seconds between the two looks that a leak must be seen by, unchanged.",
        ),
        click.option(
            "--grace",
            "grace_s",
            default=300,
            show_default=True,
            type=click.IntRange(min=0),
            help="Seconds for which a new allocation is left alone, unless it is of an earlier boot.",
        ),
    ):
        command = option(command)
    return command


def open_existing(url: str) -> Datastore:
    """Open a datastore that is there: a mistyped URL must not make one."""
    return open_datastore(url, create=False, place="", field="--datastore")


def read_known(datastore: Datastore) -> Snapshot:
    """Read all that can be read, and say what can't."""
    snapshot = datastore.read(read_snapshot)
    for stray in snapshot.strays:
        click.echo(f"key {stray.key} {stray.problem}: run ipamctl check", err=True)
    return snapshot


def this_node(name: str | None) -> str:
    """Return the name of the node that we are on."""
    return name or os.uname().nodename.lower()


def choose_cluster(
    manifests: Path | None, kubeconfig: Path | None, master: str | None
) -> "Callable[[], Cluster | None]":
    """Return what looks at the cluster that the options name; they name none: None each time."""
    if manifests is None and kubeconfig is None and master is None:
        return lambda: None
    # Late: a YAML parser or an HTTP client.
    from ipam.cluster import read_cluster

    return lambda: read_cluster(manifests, kubeconfig, master)


def decode_address(text: str) -> Address:
    """Decode an IP argument.

    Raises:
        ConfigError: it is none.
    """
    try:
        # A zone names a link of one machine: no address of a pod has one.
        if "%" not in text:
            return ip_address(text)
    except ValueError:
        pass
    raise ConfigError("", "IP", f"expected an IP address, got {text!r}")


def decode_attachment(text: str) -> tuple[str, str]:
    """Decode container id and interface of a handle, as it is printed.

    Raises:
        ConfigError: it is none.
    """
    container_id, slash, interface = text.rpartition("/")
    if not (slash and container_id and interface):
        raise ConfigError("", "--handle", f"expected CONTAINER-ID/INTERFACE, got {text!r}")
    return container_id, interface
