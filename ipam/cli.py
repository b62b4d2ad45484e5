"""The command line of ipamctl: look into the datastore, change its pools, check it, free what was left."""

import time

import click

from ipam.allocator import release_allocation, release_handle
from ipam.check import read_snapshot
from ipam.cli_options import datastore_option, decode_address, decode_handle, open_existing
from ipam.cli_pools import pools
from ipam.cli_upkeep import check, gc
from ipam.errors import IpamError
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Address, Allocation, Handle
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.output import print_report, print_result


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Look into the address datastore, change its pools, check it, and free what was left behind."""
    start_logging()


for command in (pools, check, gc):
    program.add_command(command)


@program.command()
@click.argument("address", metavar="[IP]", required=False)
@click.option("--pod", default=None, metavar="NAMESPACE/NAME", help="The addresses of this pod.")
@click.option("--handle", default=None, metavar="CONTAINER/INTERFACE", help="The addresses of this handle.")
@click.option("--all", "is_all", is_flag=True, help="All addresses in use.")
@datastore_option
@output_option
def show(
    *, address: str | None, pod: str | None, handle: str | None, is_all: bool, url: str, output: str
) -> None:
    """Print how full pools and blocks are; or the addresses in use that are named."""
    from ipam.report import describe_allocations, describe_blocks, describe_use

    if sum((address is not None, pod is not None, handle is not None, is_all)) > 1:
        raise ConfigError("", "IP, --pod, --handle, --all", "expected at most one of them")
    if address is None and pod is None and handle is None and not is_all:
        with open_existing(url) as datastore:
            snapshot = datastore.read(read_snapshot)
        use = describe_use(snapshot.pools, snapshot.blocks, snapshot.allocations)
        print_report({"pools": use, "blocks": describe_blocks(snapshot.blocks)}, output)
        return
    with open_existing(url) as datastore:
        if address is not None:
            wanted = decode_address(address)
            found = [datastore.read(lambda ledger: _find(ledger, wanted))]
        elif handle is not None:
            found = _held(datastore.read(LedgerReader.allocations), decode_handle(handle))
        else:
            found = datastore.read(LedgerReader.allocations)
            found = found if pod is None else _of_pod(found, pod)
    print_result(describe_allocations(found), output)


@program.command()
@click.option(
    "--map", "is_map", is_flag=True, help="Draw each block, a character for an address or for a few."
)
@datastore_option
@output_option
def blocks(*, is_map: bool, url: str, output: str) -> None:
    """Print the blocks, whose they are, and how full."""
    from ipam.block_map import LEGEND, draw_block
    from ipam.pool_space import excluded
    from ipam.report import describe_blocks

    with open_existing(url) as datastore:
        found, known = datastore.read(lambda ledger: (ledger.blocks(), ledger.pools()))
    rows = describe_blocks(found)
    if is_map:
        out = {pool.name: excluded(pool) for pool in known}
        for row, block in zip(rows, found, strict=True):
            row["map"] = draw_block(block, out.get(block.pool, ()))
        click.echo(LEGEND, err=True)
    print_result(rows, output)


@program.command()
@click.argument("address", metavar="[IP]", required=False)
@click.option("--handle", default=None, metavar="CONTAINER/INTERFACE", help="All that this handle holds.")
@datastore_option
@output_option
def release(address: str | None, handle: str | None, url: str, output: str) -> None:
    """Free an address, or what a handle holds; whoever still uses it loses it to the next pod."""
    from ipam.report import describe_allocations

    if (address is None) == (handle is None):
        raise ConfigError("", "IP, --handle", "expected exactly one of them")
    with open_existing(url) as datastore:
        if address is not None:
            wanted = decode_address(address)
            freed = [datastore.transact(lambda ledger: _release(ledger, wanted))]
        else:
            found = _held(datastore.read(LedgerReader.allocations), decode_handle(handle or ""))
            nodes = sorted({item.node for item in found})
            if len(nodes) > 1:
                raise IpamError(f"{handle} holds addresses on nodes {', '.join(nodes)}: name the IP")
            holder = found[0].handle
            freed = datastore.transact(lambda ledger: release_handle(ledger, holder, int(time.time())))
    print_result(describe_allocations(freed), output)


def main() -> None:
    """Run the program."""
    run(program, "ipamctl")


def _find(ledger: LedgerReader, address: Address) -> Allocation:
    found = ledger.allocation(address)
    if found is None:
        raise IpamError(f"{address} is not allocated")
    return found


def _held(allocations: list[Allocation], handle: Handle) -> list[Allocation]:
    """Return what a container's interface holds, on whichever node."""
    held = [item for item in allocations if str(item.handle) == str(handle)]
    if not held:
        raise IpamError(f"{handle} holds no address")
    return held


def _of_pod(allocations: list[Allocation], text: str) -> list[Allocation]:
    namespace, slash, name = text.partition("/")
    if not (slash and namespace and name):
        raise ConfigError("", "--pod", f"expected NAMESPACE/NAME, got {text!r}")
    found = [item for item in allocations if (item.pod.namespace, item.pod.name) == (namespace, name)]
    if not found:
        raise IpamError(f"pod {text} has no address")
    return found


def _release(ledger: Ledger, address: Address) -> Allocation:
    found = _find(ledger, address)
    release_allocation(ledger, found, int(time.time()))
    return found
