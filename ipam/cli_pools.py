"""`ipamctl pools`: which pools the datastore has, and changes to them."""

from pathlib import Path

import click
import msgspec

from ipam.cli_options import datastore_option, open_existing, read_known
from ipam.datastore import open_datastore
from ipam.ledger import Ledger
from ipam.model import Pool
from ipam.pool_record import delete_pool, put_pool
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import print_result


@click.group(invoke_without_command=True)
@datastore_option
@output_option
@click.pass_context
def pools(context: click.Context, url: str, output: str) -> None:
    """Print the pools, how full they are, and the space that no node has claimed; or change them."""
    if context.invoked_subcommand is None:
        _print(url, output)
        return
    # What was given before the subcommand holds for it too, unless it is given again.
    given = {
        name: value
        for name, value in (("url", url), ("output", output))
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    }
    context.default_map = {context.invoked_subcommand: given}


@pools.command("list")
@datastore_option
@output_option
def list_command(url: str, output: str) -> None:
    """Print the pools, how full they are, and the space that no node has claimed."""
    _print(url, output)


@pools.command("apply")
@click.argument("file", type=FILE_PATH)
@datastore_option
@output_option
def apply_command(file: Path, url: str, output: str) -> None:
    """Put the pools of a YAML file into the datastore, or change them: `pools: [...]`, or Calico's IPPools.

    A pool that has blocks can't be moved or cut anew. The datastore is made when there is none.
    """
    from ipam.pool_file import read_pool_file

    wanted = read_pool_file(file)

    def put_all(ledger: Ledger) -> None:
        # Together, so that a file is in force whole or not at all.
        for pool in wanted:
            put_pool(ledger, pool, str(file))

    with open_datastore(url, place="", field="--datastore") as datastore:
        datastore.transact(put_all)
    _print(url, output, {pool.name for pool in wanted})


@pools.command("delete")
@click.argument("name")
@datastore_option
def delete_command(name: str, url: str) -> None:
    """Take a pool that has no blocks out of the datastore."""
    with open_existing(url) as datastore:
        datastore.transact(lambda ledger: delete_pool(ledger, name, "NAME"))


@pools.command("disable")
@click.argument("name")
@datastore_option
@output_option
def disable_command(name: str, url: str, output: str) -> None:
    """Give no more addresses out of a pool; who has one keeps it."""
    _change(name, url, output, disabled=True)


@pools.command("enable")
@click.argument("name")
@datastore_option
@output_option
def enable_command(name: str, url: str, output: str) -> None:
    """Give addresses out of a pool again."""
    _change(name, url, output, disabled=False)


def _change(name: str, url: str, output: str, *, disabled: bool) -> None:
    def change(ledger: Ledger) -> None:
        pool = _find(ledger.pools(), name)
        put_pool(ledger, msgspec.structs.replace(pool, disabled=disabled))

    with open_existing(url) as datastore:
        datastore.transact(change)
    _print(url, output, {name})


def _find(pools: tuple[Pool, ...], name: str) -> Pool:
    for pool in pools:
        if pool.name == name:
            return pool
    known = ", ".join(pool.name for pool in pools) or "none"
    raise ConfigError("", "NAME", f"expected the name of a pool: {known}, got {name!r}")


def _print(url: str, output: str, names: set[str] | None = None) -> None:
    from ipam.report import describe_pools

    with open_existing(url) as datastore:
        snapshot = read_known(datastore)
    found = [pool for pool in snapshot.pools if names is None or pool.name in names]
    print_result(describe_pools(found, snapshot.blocks), output)
