"""`netns-lab vm`: a command under a guest kernel that has what this machine's lacks."""

import os
from pathlib import Path

import click

from nodeplane.errors import ConfigError
from nodeplane.runtime.option_types import FILE_PATH, Seconds

_MIN_MEMORY_MIB = 256
_MIN_TIMEOUT_S = 0.1


@click.command("vm", context_settings={"allow_interspersed_args": False})
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="Load this module first; may be repeated.",
)
@click.option(
    "--memory",
    "memory_mib",
    type=click.IntRange(min=_MIN_MEMORY_MIB),
    default=1024,
    show_default=True,
    help="The guest's memory in MiB; what the command writes to files is in it too.",
)
@click.option(
    "--cpus", type=click.IntRange(min=1), default=2, show_default=True, help="The guest's processors."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(_MIN_TIMEOUT_S),
    help="End the command after so many seconds, the guest's start not counted; exit code 124.",
)
@click.option(
    "--accel",
    "accelerator",
    type=click.Choice(["tcg", "kvm"]),
    default="tcg",
    show_default=True,
    help="tcg runs everywhere; kvm is many times faster where /dev/kvm works.",
)
@click.option(
    "--fetch", is_flag=True, help="Fetch Debian's newest kernel first, if it is not the cached one."
)
@click.option(
    "--cache",
    type=FILE_PATH,
    envvar="NETNS_LAB_VM_CACHE",
    help="Folder of the kernels.  [default: /var/cache/nodeplane/vm, or the user's own]",
)
@click.argument("command", metavar="[--] CMD...", nargs=-1, type=click.UNPROCESSED)
def vm(
    *,
    modules: tuple[str, ...],
    memory_mib: int,
    cpus: int,
    timeout_s: float | None,
    accelerator: str,
    fetch: bool,
    cache: Path | None,
    command: tuple[str, ...],
) -> None:
    """Run a command under Debian's kernel, in an emulated machine that starts for it and is gone afterwards.

    It sees this machine's files, in the same directory, with the same environment, as root; what it writes to
    them is gone with the guest. It has a loopback and no network. Output, exit code and signals are the
    command's. The first start fetches the kernel with apt, and without a command `--fetch` does only that.
    """
    from netns_lab.commands import program_folder
    from netns_lab.vm.frames import Request
    from netns_lab.vm.guest import run_in_guest
    from netns_lab.vm.kernel_cache import default_cache, find_kernel
    from netns_lab.vm.qemu import Machine
    from netns_lab.vm.session import Streams
    from netns_lab.vm.terminal import size_of

    if not command and not fetch:
        raise ConfigError("vm", "CMD", "expected a command")
    kernel = find_kernel(cache or default_cache(), newest=fetch)
    if not command:
        return
    environment = dict(os.environb)
    # nodeplane's own programs too, as `exec` has them.
    folders = [environment.get(b"PATH", os.fsencode(os.defpath)), os.fsencode(program_folder())]
    environment[b"PATH"] = os.fsencode(os.pathsep).join(folders)
    request = Request(
        os.getcwdb(),
        [os.fsencode(word) for word in command],
        [name + b"=" + value for name, value in environment.items()],
        [os.fsencode(name) for name in modules],
        # A person at both ends gets a terminal.
        size_of(0) if os.isatty(0) and os.isatty(1) else None,
    )
    machine = Machine(memory_mib, cpus, accelerator)
    raise click.exceptions.Exit(run_in_guest(kernel, machine, request, Streams(), timeout_s))
