"""The command line of kubeproxy."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
from pathlib import Path
from typing import Any

import click

from kubeproxy.config.fields import FieldError, read_networks
from kubeproxy.config.flags import MIN_SYNC_INTERVAL, keep_given
from kubeproxy.config.resolve import write_config
from kubeproxy.host_settings import apply_oom_score_adj
from kubeproxy.inputs import build_inputs, input_options, resolve_options
from kubeproxy.ipvs.layout import LINK
from kubeproxy.kernel_edges import clean_up_ipvs, set_up_machine
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from kubeproxy.show import show_command
from kubeproxy.snapshot import loaded_proxier, open_kernel
from kubeproxy.trace.command import trace_command
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.event_loop import run_async
from nodeplane.runtime.loading import begin_loading
from nodeplane.runtime.option_types import FILE_PATH, Seconds
from nodeplane.runtime.output import print_result


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Program the service VIPs of this network namespace into nftables, or into IPVS."""
    start_logging()


@program.command("run")
@input_options
@click.option(
    MIN_SYNC_INTERVAL,
    "min_sync_interval",
    expose_value=False,
    callback=keep_given,
    type=Seconds(0),
    help="Seconds between two syncs (0.01); changes in between are written together.",
)
@click.option(
    "--terminate-removed",
    is_flag=True,
    help="End established TCP connections to endpoints that have gone; their clients are reset.",
)
@click.option("--init-only", is_flag=True, help="Set up what needs all of root's rights (sysctls), and exit.")
@click.option(
    "--write-config-to",
    type=FILE_PATH,
    metavar="FILE",
    help="Write the configuration that the options come to, and exit.",
)
def run_command(
    *, terminate_removed: bool, init_only: bool, write_config_to: Path | None, **options: Any
) -> None:
    """Keep the kernel in step with the cluster until SIGTERM; the rules stay in force afterwards."""
    if write_config_to is not None:
        write_config(resolve_options(options).config, write_config_to)
        return
    resolved = resolve_options(options)
    settings = resolved.settings
    if init_only:
        set_up_machine(settings)
        return
    # Late: what only a daemon needs, and `show` and `plan` do without.
    from kubeproxy.program import Setup, run_program
    from nodeplane.datapath.local_addresses import KernelAddresses

    inputs = build_inputs(resolved, options)
    source = inputs.open_source()
    typed = {
        "--node-name": inputs.node_name,
        "--terminate-removed": terminate_removed,
        **{f"--{name.replace('_', '-')}": value for name, value in options.items() if name != "flags"},
        **inputs.flags,
    }
    setup = Setup(
        inputs.node_name,
        resolved.config,
        settings,
        {name: str(value) for name, value in typed.items() if value is not None},
        resolved.watch,
    )
    begin_loading()
    if settings.oom_score_adj is not None:
        apply_oom_score_adj(settings.oom_score_adj)
    with open_kernel(inputs, terminate_removed=terminate_removed) as kernel:

        def build_proxier(rules: Options) -> Proxier:
            # Only now: a wrong source, too, changes nothing on the machine.
            kernel.apply_settings()
            return kernel.build_proxier(rules)

        run_daemon(
            run_program(
                setup,
                build_proxier,
                source,
                KernelAddresses(without=LINK),
                kernel.open_watch,
                events=inputs.open_events(),
                is_ipvs=kernel.is_ipvs,
            )
        )


@program.command()
@input_options
def once(**options: Any) -> None:
    """Sync once and exit."""
    with loaded_proxier(options) as proxier:
        proxier.sync(full=True)
        run_async(proxier.clean_flows())
        proxier.drain()


@program.command()
@input_options
@output_option
def plan(*, output: str, **options: Any) -> None:
    """Print what `once` would change in the kernel; write nothing."""
    with loaded_proxier(options) as proxier:
        print_result([row for change in proxier.plan() for row in change.rows()], output)


program.add_command(show_command)
program.add_command(trace_command)


@program.command()
@click.option(
    "--ipvs-exclude-cidrs",
    "excluded",
    default="",
    metavar="CIDR,…",
    help="CIDRs whose virtual services are somebody else's.",
)
def cleanup(excluded: str) -> None:
    """Remove everything that kubeproxy has written to this network namespace, whatever its mode was."""
    for family in FAMILIES:
        with KernelTable(family, TABLE) as table:
            if table.delete():
                click.echo(f"removed table {family} {TABLE}")
    try:
        networks = read_networks(("--ipvs-exclude-cidrs",), excluded.split(",") if excluded else ())
    except FieldError as exc:
        raise ConfigError(exc.path[0], "", exc.expected) from exc
    for line in clean_up_ipvs(networks):
        click.echo(line)


def main() -> None:
    """Run the program."""
    run(program, "kubeproxy")
