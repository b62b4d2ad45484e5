"""QEMU's command line."""

from itertools import pairwise
from pathlib import Path

import pytest

from netns_lab.vm.initramfs import render_settings
from netns_lab.vm.qemu import PORT, Machine, render_command

KERNEL = Path("/cache/vmlinux")


def options(machine: Machine) -> list[tuple[str, str]]:
    """Return each option with the word behind it."""
    command = render_command(machine, KERNEL, 7, 8)
    return [*pairwise(command)]


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(
            Machine(), {("-accel", "tcg,thread=multi"), ("-smp", "2"), ("-m", "1024")}, id="default"
        ),
        pytest.param(Machine(512, 1, "kvm"), {("-accel", "kvm"), ("-smp", "1"), ("-m", "512")}, id="chosen"),
    ],
)
def test_the_machine(machine: Machine, expected: set[tuple[str, str]]) -> None:
    given = {("-kernel", "/cache/vmlinux"), ("-initrd", "/dev/fd/7"), ("-chardev", "socket,id=port,fd=8")}

    assert expected | given <= {*options(machine)}


def test_it_can_harm_nothing() -> None:
    """The host's files are read-only in QEMU itself, it ends with us, and there is no network."""
    command = render_command(Machine(), KERNEL, 7, 8)

    assert command[:5] == ("setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64")
    (share,) = (value for name, value in options(Machine()) if name == "-fsdev")
    assert "readonly=on" in share.split(",")
    assert "-nodefaults" in command
    assert not {"-netdev", "-nic", "-drive", "-net"} & {*command}


def test_the_port_is_the_first_device() -> None:
    """Linux numbers vportNpM by the device's index: `PORT` is right for the first virtio device only."""
    devices = [value.partition(",")[0] for name, value in options(Machine()) if name == "-device"]

    assert (PORT, devices[0]) == ("/dev/vport0p1", "virtio-serial-pci")


def test_settings_are_words_of_a_shell() -> None:
    assert render_settings({"host": "a", "agent": "python -c 'a; b' x"}) == (
        "host=a\nagent='python -c '\"'\"'a; b'\"'\"' x'\n"
    )
