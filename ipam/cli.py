"""The command line of ipamctl: look into the datastore, check it, free what was left behind."""

import os
import time
from ipaddress import ip_address

import click

from ipam.allocator import release_allocation
from ipam.check import Finding, find_contradictions, read_snapshot
from ipam.config import DEFAULT_DATASTORE
from ipam.datastore import Datastore, open_datastore
from ipam.errors import IpamError
from ipam.leaks import find_leaks, netns_exists
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Address, Allocation
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.option_types import NODE_NAME
from nodeplane.runtime.output import print_result

_datastore_option = click.option(
    "--datastore",
    "url",
    default=DEFAULT_DATASTORE,
    show_default=True,
    metavar="URL",
    help="Where the addresses are kept: sqlite:///path.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Look into the address datastore, check it, and free what was left behind."""
    start_logging()


@program.command()
@click.argument("address", metavar="[IP]", required=False)
@_datastore_option
@output_option
def show(address: str | None, url: str, output: str) -> None:
    """Print the addresses in use, or the one that is named."""
    from ipam.report import describe_allocations

    wanted = None if address is None else _decode_address(address)
    with _open(url) as datastore:
        if wanted is None:
            found = datastore.read(LedgerReader.allocations)
        else:
            found = [datastore.read(lambda ledger: _find(ledger, wanted))]
    print_result(describe_allocations(found), output)


@program.command()
@_datastore_option
@output_option
def pools(url: str, output: str) -> None:
    """Print the pools, how full they are, and the space that no node has claimed."""
    from ipam.report import describe_pools

    with _open(url) as datastore:
        snapshot = datastore.read(read_snapshot)
    print_result(describe_pools(snapshot.pools, snapshot.blocks), output)


@program.command()
@_datastore_option
@output_option
def blocks(url: str, output: str) -> None:
    """Print the blocks, whose they are, and how full."""
    from ipam.report import describe_blocks

    with _open(url) as datastore:
        found = datastore.blocks()
    print_result(describe_blocks(found), output)


@program.command()
@_datastore_option
@output_option
@click.pass_context
def check(context: click.Context, url: str, output: str) -> None:
    """Hold all records against one another; exit 1 when something is wrong."""
    from ipam.report import describe_findings

    with _open(url) as datastore:
        findings = [Finding("file", problem) for problem in datastore.verify()]
        snapshot = datastore.read(read_snapshot)
    findings += find_contradictions(snapshot)
    print_result(describe_findings(findings), output)
    click.echo(
        f"checked {len(snapshot.pools)} pools, {len(snapshot.blocks)} blocks, "
        f"{len(snapshot.allocations)} allocations, {len(snapshot.handles)} handles: {len(findings)} findings",
        err=True,
    )
    context.exit(1 if findings else 0)


@program.command()
@click.argument("address", metavar="IP")
@_datastore_option
@output_option
def release(address: str, url: str, output: str) -> None:
    """Free an address; whoever still uses it loses it to the next pod."""
    from ipam.report import describe_allocations

    wanted = _decode_address(address)
    with _open(url) as datastore:
        freed = datastore.transact(lambda ledger: _release(ledger, wanted))
    print_result(describe_allocations([freed]), output)


@program.command()
@click.option(
    "--node-name",
    default=None,
    type=NODE_NAME,
    help="The node whose pods are looked at; the host name by default.",
)
@click.option(
    "--grace",
    "grace_s",
    default=300,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seconds for which a new allocation is left alone.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be freed; free nothing.")
@_datastore_option
@output_option
def gc(node_name: str | None, grace_s: int, dry_run: bool, url: str, output: str) -> None:
    """Free the addresses of this node's pods whose network namespace is gone, and print them."""
    from ipam.report import describe_allocations

    node = node_name or os.uname().nodename.lower()
    now_s = int(time.time())
    with _open(url) as datastore:
        leaks = find_leaks(datastore.read(LedgerReader.allocations), node, now_s - grace_s, netns_exists)
        freed = leaks if dry_run else datastore.transact(lambda ledger: _release_all(ledger, leaks, now_s))
    print_result(describe_allocations(freed), output)


def main() -> None:
    """Run the program."""
    run(program, "ipamctl")


def _open(url: str) -> Datastore:
    # A mistyped URL must not make a datastore.
    return open_datastore(url, create=False, place="", field="--datastore")


def _decode_address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise ConfigError("", "IP", f"expected an IP address, got {text!r}") from exc


def _find(ledger: LedgerReader, address: Address) -> Allocation:
    found = ledger.allocation(address)
    if found is None:
        raise IpamError(f"{address} is not allocated")
    return found


def _release(ledger: Ledger, address: Address) -> Allocation:
    found = _find(ledger, address)
    release_allocation(ledger, found, int(time.time()))
    return found


def _release_all(ledger: Ledger, leaks: list[Allocation], now_s: int) -> list[Allocation]:
    return [item for item in leaks if release_allocation(ledger, item, now_s)]
