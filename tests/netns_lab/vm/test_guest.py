"""The real guest: few starts, each of which shows many facts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netns_lab.commands import program_folder
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

NETNS_LAB = str(program_folder() / "netns-lab")

# The emulated processor shares a slow machine with other tests.
_LIMIT_S = 280

# Each line is a fact: its name, and what was seen.
FACTS = r"""
fact() { name=$1; shift; echo "$name: $("$@" 2>&1 | tail -n 1)"; }
host=$1 precious=$2
fact kernel sh -c 'uname -r | cut -d. -f1'
fact directory pwd
fact environment printenv COLOUR
fact input cat
fact ip_vs sh -c 'head -n 1 /proc/net/ip_vs | cut -d" " -f1-4'
fact schedulers sh -c 'modprobe ip_vs_rr && lsmod | grep -c "^ip_vs_rr"'
fact dummy sh -c 'ip link add d0 type dummy && ip -brief link show d0 | cut -d" " -f1'
fact wireguard sh -c 'ip link add w0 type wireguard && ip -brief link show w0 | cut -d" " -f1'
fact netem sh -c 'tc qdisc replace dev lo root netem delay 50ms && tc qdisc show dev lo | cut -d" " -f2'
fact nft sh -c 'nft add table inet t && nft list tables'
fact netns sh -c 'ip netns add n1 && ip netns list'
fact ours sh -c 'kubeproxy --version | cut -d" " -f1,2'
fact again sh -c 'mkdir /mnt/again && mount -t 9p -o trans=virtio,rw host /mnt/again 2>&1 | grep -c busy'
rm -rf "$precious" && echo gone >"$host/new" && rm -f /etc/hostname
fact removed sh -c "ls $host"
echo aside >&2
exit 7
"""

EXPECTED = {
    "kernel": "6",
    "environment": "blå",
    "input": "from the host",
    "ip_vs": "IP Virtual Server version",
    "schedulers": "1",
    "dummy": "d0",
    "wireguard": "w0",
    "netem": "netem",
    "nft": "table inet t",
    "netns": "n1",
    "ours": "kubeproxy, version",
    # Past the memory that is laid over them nobody gets.
    "again": "1",
    "removed": "new",
}


def test_a_command_in_the_guest(tmp_path: Path) -> None:
    """The kernel has what this one lacks, the command is as at home, and the host's files can't be harmed."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    hostname = Path("/etc/hostname").read_text()

    done = subprocess.run(
        (NETNS_LAB, "vm", "--module", "ip_vs", "--", "sh", "-c", FACTS, "sh", str(tmp_path), str(precious)),
        input="from the host",
        env={**os.environ, "COLOUR": "blå"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )

    facts = dict(line.partition(": ")[::2] for line in done.stdout.splitlines())
    assert {name: facts.get(name) for name in EXPECTED} == EXPECTED, done
    assert facts["directory"] == str(tmp_path)
    assert (done.returncode, done.stderr) == (7, "aside\n")
    assert (precious.read_text(), Path("/etc/hostname").read_text()) == ("kept", hostname)
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]


def _guests(of: int) -> list[int]:
    """Return the QEMU processes that a process has started."""
    children = Path(f"/proc/{of}/task/{of}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_guest_ends_with_its_command(number: signal.Signals) -> None:
    """Also while it still starts; by SIGKILL the kernel ends it."""
    with subprocess.Popen((NETNS_LAB, "vm", "--", "sleep", "60"), stdout=subprocess.PIPE) as command:
        (guest,) = eventually(lambda: _guests(command.pid), lambda found: len(found) == 1)
        # QEMU by now, and no more setpriv on the way to it: what the parent's end does to it is arranged.
        eventually(lambda: Path(f"/proc/{guest}/comm").read_text(), lambda name: name.startswith("qemu"))
        command.send_signal(number)
        assert command.wait(60) == (-9 if number == signal.SIGKILL else 130)

    eventually(lambda: Path(f"/proc/{guest}").exists(), lambda exists: not exists)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param((), "vm: CMD: expected a command", id="no command"),
        pytest.param(
            ("--memory", "1", "true"),
            "Invalid value for '--memory': 1 is not in the range x>=256.",
            id="memory",
        ),
        pytest.param(
            ("--timeout", "nan", "true"),
            "Invalid value for '--timeout': expected a number of seconds, got 'nan'",
            id="time",
        ),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], text: str) -> None:
    done = subprocess.run(
        (NETNS_LAB, "vm", *arguments), capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (2, f"netns-lab: {text}\n")


def test_a_missing_program_names_its_package(tmp_path: Path) -> None:
    kernel = tmp_path / "cache/linux-image-1_1"
    (kernel / "lib/modules/1").mkdir(parents=True)

    done = subprocess.run(
        (sys.executable, NETNS_LAB, "vm", "--cache", str(tmp_path / "cache"), "--", "true"),
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    text = "netns-lab: qemu-system-x86_64: expected in PATH; apt-get install qemu-system-x86\n"
    assert (done.returncode, done.stderr) == (2, text)
