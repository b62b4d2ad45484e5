"""The command line of ipamctl: look into the datastore, change its pools, check it, free what was left."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
import time
from collections.abc import Iterable

import click

from ipam.cli_options import (
    datastore_option,
    decode_address,
    decode_attachment,
    open_existing,
    read_known,
)
from ipam.cli_pools import pools
from ipam.cli_upkeep import check, gc
from ipam.datastore import Datastore
from ipam.errors import IpamError, UnreadableError
from ipam.handles import release_allocation, release_handle
from ipam.ledger import Ledger, LedgerReader
from ipam.model import Address, Allocation
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.output import Row, print_report, print_result


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
            snapshot = read_known(datastore)
        use = describe_use(snapshot.pools, snapshot.blocks, snapshot.allocations)
        print_report({"pools": use, "blocks": describe_blocks(snapshot.blocks)}, output)
        return
    with open_existing(url) as datastore:
        if address is not None:
            wanted = decode_address(address)
            found = [datastore.read(lambda ledger: _find(ledger, wanted))]
        elif handle is not None:
            found = _held(read_known(datastore).allocations, handle)
        else:
            found = list(read_known(datastore).allocations)
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
        snapshot = read_known(datastore)
    rows = describe_blocks(snapshot.blocks)
    if is_map:
        out = {pool.name: excluded(pool) for pool in snapshot.pools}
        for row, block in zip(rows, snapshot.blocks, strict=True):
            row["map"] = draw_block(block, out.get(block.pool, ()))
        click.echo(LEGEND, err=True)
    print_result(rows, output)


@program.command()
@click.argument("address", metavar="[IP]", required=False)
@click.option("--handle", default=None, metavar="CONTAINER/INTERFACE", help="All that this handle holds.")
@datastore_option
@output_option
def release(address: str | None, handle: str | None, url: str, output: str) -> None:
    """Free an address, or what a handle holds; whoever still uses it loses it to the next pod.

    An address whose allocation can't be read is freed only by its IP, and when no handle lists it.
    """
    from ipam.report import describe_allocations

    if (address is None) == (handle is None):
        raise ConfigError("", "IP, --handle", "expected exactly one of them")
    with open_existing(url) as datastore:
        if address is not None:
            wanted = decode_address(address)
            rows = [_release(datastore, wanted)]
        else:
            found = _held(read_known(datastore).allocations, handle or "")
            nodes = sorted({item.node for item in found})
            if len(nodes) > 1:
                raise IpamError(f"{handle} holds addresses on nodes {', '.join(nodes)}: name the IP")
            holder = found[0].handle
            freed = datastore.transact(lambda ledger: release_handle(ledger, holder, int(time.time())))
            rows = describe_allocations(freed)
    print_result(rows, output)


def main() -> None:
    """Run the program."""
    run(program, "ipamctl")


def _find(ledger: LedgerReader, address: Address) -> Allocation:
    found = ledger.allocation(address)
    if found is None:
        raise IpamError(f"{address} is not allocated")
    if found.address != address:
        raise UnreadableError(f"the allocation of {address} names {found.address}: run ipamctl check")
    return found


def _held(allocations: Iterable[Allocation], handle: str) -> list[Allocation]:
    """Return what a container's interface holds, on whichever node."""
    attachment = decode_attachment(handle)
    held = [item for item in allocations if (item.handle.container_id, item.handle.interface) == attachment]
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


def _release(datastore: Datastore, address: Address) -> Row:
    from ipam.report import describe_allocations, describe_unreadable
    from ipam.stray_repair import release_unreadable

    now_s = int(time.time())

    def step(ledger: Ledger) -> Allocation | None:
        try:
            found = _find(ledger, address)
        except UnreadableError:
            return None
        release_allocation(ledger, found, now_s)
        return found

    freed = datastore.transact(step)
    if freed is None:
        return describe_unreadable(address, release_unreadable(datastore, address, now_s))
    return describe_allocations([freed])[0]
