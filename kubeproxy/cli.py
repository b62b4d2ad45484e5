"""The command line of kubeproxy."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from kubeproxy.config.fields import FieldError, read_networks
from kubeproxy.config.flags import MIN_SYNC_INTERVAL, Given, config_flags, keep_given
from kubeproxy.config.resolve import (
    Resolved,
    resolve,
    resolve_kubeconfig,
    resolve_node_name,
    write_config,
)
from kubeproxy.host_settings import apply_oom_score_adj
from kubeproxy.ipvs.layout import LINK
from kubeproxy.kernel_edges import KernelEdges, clean_up_ipvs, set_up_machine
from kubeproxy.kernel_version import SKIP_CHECK, expect_kernel
from kubeproxy.node_port_ips import pack_all, pack_own, place_node_ports
from kubeproxy.own_node import find_node, pod_networks
from kubeproxy.proxier import WATCHED, Proxier, selectors
from kubeproxy.rule_inputs import Options, build_options, read_until_known
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from kubeproxy.show import show_command
from kubeproxy.trace.command import trace_command
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.errors import ApiError, ConfigError
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Source
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.event_loop import run_async
from nodeplane.runtime.loading import begin_loading
from nodeplane.runtime.log import setup_logging
from nodeplane.runtime.option_types import FILE_PATH, NODE_NAME, Seconds
from nodeplane.runtime.output import print_result
from nodeplane.runtime.source_options import source_options

if TYPE_CHECKING:
    from nodeplane.kube.event_writer import EventWriter

F = TypeVar("F", bound=Callable[..., Any])

# `once` and `plan` don't wait for an API server for ever.
_SNAPSHOT_WITHIN_S = 60.0
# The verbosity at which klog's users expect debug output.
_DEBUG_VERBOSITY = 4


class Inputs(msgspec.Struct, frozen=True):
    """What the options of `run`, `once` and `plan` come to."""

    node_name: str
    resolved: Resolved
    flags: Given
    manifests: Path | None
    kubeconfig: Path | None
    master: str | None

    def open_source(self, *, within_s: float | None = None) -> Source:
        """Open the source of cluster state.

        Raises:
            ConfigError: what the user chose is wrong, as far as that shows without asking a server.
        """
        if self.kubeconfig is not None and self.manifests is None:
            from nodeplane.kube.kubeconfig import read_target

            read_target(self.kubeconfig, self.master)
        return open_source(
            self.manifests,
            self.kubeconfig,
            self.master,
            selectors(self.node_name),
            snapshot_within_s=within_s,
        )

    def open_events(self) -> "EventWriter | None":
        """Open what writes events, where there is an API server to write them to."""
        if self.kubeconfig is None:
            return None
        from nodeplane.kube.connection import Connection
        from nodeplane.kube.event_writer import EventWriter

        connection = Connection.from_kubeconfig(self.kubeconfig, self.master)
        return EventWriter(connection, "kube-proxy", self.node_name)


def _input_options(command: F) -> F:
    for option in (
        click.option(
            "--node-name",
            "--hostname-override",
            "node_name",
            type=NODE_NAME,
            help="This node's name in the cluster; else the file's hostnameOverride, else the host name.",
        ),
        source_options,
        click.option(
            "--config",
            "config_file",
            type=FILE_PATH,
            help="KubeProxyConfiguration file; beside it of the flags below only addresses and mode count.",
        ),
        config_flags,
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Program the service VIPs of this network namespace into nftables, or into IPVS."""
    start_logging()


@program.command("run")
@_input_options
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
        write_config(_resolve(options).config, write_config_to)
        return
    resolved = _resolve(options)
    settings = resolved.settings
    if init_only:
        set_up_machine(settings)
        return
    # Late: what only a daemon needs, and `show` and `plan` do without.
    from kubeproxy.program import Setup, run_program
    from nodeplane.datapath.local_addresses import KernelAddresses

    inputs = _inputs(resolved, options)
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
    with _kernel(inputs, terminate_removed=terminate_removed) as kernel:

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
@_input_options
def once(**options: Any) -> None:
    """Sync once and exit."""
    with _loaded_proxier(options) as proxier:
        proxier.sync(full=True)
        run_async(proxier.clean_flows())
        proxier.drain()


@program.command()
@_input_options
@output_option
def plan(*, output: str, **options: Any) -> None:
    """Print what `once` would change in the kernel; write nothing."""
    with _loaded_proxier(options) as proxier:
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


def _resolve(options: dict[str, Any]) -> Resolved:
    """Put file and flags together; the file says how to log where the command line does not."""
    resolved = resolve(options["config_file"], options.get("flags", {}))
    said = click.get_current_context().ensure_object(dict)
    logging_ = resolved.config.logging
    setup_logging(
        said.get("log_format") or ("json" if logging_.format == "json" else "text"),
        said.get("verbose") or int(logging_.verbosity >= _DEBUG_VERBOSITY),
    )
    return resolved


def _inputs(resolved: Resolved, options: dict[str, Any]) -> Inputs:
    manifests = options["manifests"]
    return Inputs(
        resolve_node_name(options["node_name"], resolved.config),
        resolved,
        options.get("flags", {}),
        manifests,
        resolve_kubeconfig(manifests, options["kubeconfig"], resolved.config),
        options["master"],
    )


@contextmanager
def _kernel(inputs: Inputs, *, terminate_removed: bool = False) -> Iterator[KernelEdges]:
    """Open the kernel's edges."""
    if SKIP_CHECK not in os.environ:
        expect_kernel(os.uname().release)
    with ExitStack() as stack:
        yield KernelEdges(
            stack, inputs.node_name, inputs.resolved.settings, terminate_removed=terminate_removed
        )


@contextmanager
def _loaded_proxier(options: dict[str, Any]) -> Iterator[Proxier]:
    """Yield a proxier that has taken the snapshot in."""
    inputs = _inputs(_resolve(options), options)
    begin_loading()
    source = inputs.open_source(within_s=_SNAPSHOT_WITHIN_S)
    with _kernel(inputs) as kernel:
        yield run_async(_load(inputs, source, kernel.build_proxier))


async def _load(inputs: Inputs, source: Source, build_proxier: Callable[[Options], Proxier]) -> Proxier:
    from nodeplane.datapath.local_addresses import KernelAddresses

    settings = inputs.resolved.settings
    async with aclosing(source.batches(WATCHED)) as batches:
        try:
            async with asyncio.timeout(_SNAPSHOT_WITHIN_S):
                held = await read_until_known(batches, inputs.node_name, settings)
        except TimeoutError as exc:
            raise ApiError(f"not known within {_SNAPSHOT_WITHIN_S:.0f} s: what mode NodeCIDR needs") from exc
    node = find_node(held, inputs.node_name)
    proxier = build_proxier(build_options(settings, pod_networks(node)))
    for batch in held:
        proxier.take(batch)
    interface_ips = KernelAddresses(without=LINK).read()
    proxier.set_own_ips(pack_own(interface_ips))
    proxier.set_node_port_ips(pack_all(place_node_ports(settings, node, interface_ips)))
    return proxier


def main() -> None:
    """Run the program."""
    run(program, "kubeproxy")
