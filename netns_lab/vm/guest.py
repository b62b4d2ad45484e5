"""Starts the guest for one command, and ends it whatever happens."""

import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from netns_lab.commands import bare_module
from netns_lab.tools import Tool, find_tool
from netns_lab.vm.console import Console
from netns_lab.vm.frames import Request
from netns_lab.vm.initramfs import build_initramfs
from netns_lab.vm.kernel_cache import Kernel
from netns_lab.vm.qemu import PORT, PROGRAM, Machine, render_command
from netns_lab.vm.session import Session, Streams

_QEMU = Tool(PROGRAM, "qemu-system-x86")
_BUSYBOX = Tool("busybox", "busybox-static")
_MODPROBE = Tool("modprobe", "kmod")
_SETPRIV = Tool("setpriv", "util-linux")
TOOLS = (_QEMU, _BUSYBOX, _MODPROBE, _SETPRIV)
"""What the host must have; the guest uses the host's modprobe."""


def run_in_guest(
    kernel: Kernel, machine: Machine, request: Request, streams: Streams, timeout_s: float | None = None
) -> int:
    """Run a command in a guest of its own and return its exit code; the guest is gone then.

    Raises:
        SetupError: the machine lacks a program.
        GuestError: the command could not be started, or the guest ended before it.
    """
    programs = {tool: find_tool(tool) for tool in TOOLS}
    settings = {
        "host": os.uname().nodename,
        "modules": str(kernel.modules),
        "port": PORT,
        "agent": shlex.join(bare_module("netns_lab.vm.agent", PORT)),
    }
    image = build_initramfs(programs[_BUSYBOX], kernel.modules, kernel.release, settings)
    with _guest(kernel, machine, image) as (port, console):
        return Session(port, console, request, streams, timeout_s).run()


@contextmanager
def _guest(kernel: Kernel, machine: Machine, image: bytes) -> Iterator[tuple[socket.socket, Console]]:
    """Yield our end of a guest's port, and its console; end the guest afterwards."""
    initramfs = os.memfd_create("initramfs")
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    with ours, os.fdopen(reader, "rb"):
        with os.fdopen(initramfs, "wb") as file, theirs, os.fdopen(writer, "wb") as console:
            file.write(image)
            file.flush()
            # A session of its own: Ctrl-C at the terminal is for the command, through us, and not for QEMU.
            qemu = subprocess.Popen(
                render_command(machine, kernel.image, initramfs, theirs.fileno()),
                pass_fds=(initramfs, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with qemu:
            try:
                yield ours, Console(reader)
            finally:
                # Nothing in it is worth keeping, so it need not shut down.
                qemu.kill()
