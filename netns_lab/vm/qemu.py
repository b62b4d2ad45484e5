"""The command line of the machine that the guest runs on: emulated, without disk, network and screen.

The host's files are read-only to it in QEMU itself, whatever the guest does. QEMU ends with us (prctl(2),
PR_SET_PDEATHSIG), and may start no program and gain no right (its seccomp filter).
"""

from pathlib import Path

import msgspec

PORT = "/dev/vport0p1"
"""Where the guest finds the port to the host: the first port of the first virtio-serial device."""

PROGRAM = "qemu-system-x86_64"

# `panic=-1`: restart at once, which -no-reboot turns into the end. What defends a kernel against the errors
# of processors only costs time on an emulated one.
_KERNEL_WORDS = (
    "console=ttyS0", "quiet", "loglevel=4", "panic=-1", "mitigations=off", "random.trust_cpu=on",
)  # fmt: skip

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Machine(msgspec.Struct, frozen=True):
    """What a guest gets."""

    memory_mib: int = 1024
    cpus: int = 2
    accelerator: str = "tcg"


def render_command(machine: Machine, kernel: Path, initramfs: int, port: int) -> tuple[str, ...]:
    """Return the command; `initramfs` and `port` are descriptors that it inherits."""
    accelerator = "tcg,thread=multi" if machine.accelerator == "tcg" else machine.accelerator
    share = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
    return (
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *(PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", _SANDBOX),
        *("-accel", accelerator, "-cpu", "max", "-smp", str(machine.cpus), "-m", str(machine.memory_mib)),
        *("-kernel", str(kernel), "-initrd", f"/dev/fd/{initramfs}", "-append", " ".join(_KERNEL_WORDS)),
        *("-serial", "stdio"),
        *("-chardev", f"socket,id=port,fd={port}"),
        *("-device", "virtio-serial-pci,max_ports=2", "-device", "virtserialport,chardev=port,nr=1"),
        *("-fsdev", share, "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
    )
