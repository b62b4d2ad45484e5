"""Labs for tests: names that nobody else has, driven by the real command, gone afterwards."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from netns_lab.loader import DEMO_FILE
from netns_lab.names import node_namespace, pod_namespace
from netns_lab.state import StateDirectory
from netns_lab.topology import PodSpec
from nodeplane.datapath import netns

COMMAND = Path(sys.executable).parent / "netns-lab"

DEMO = DEMO_FILE
TWO_NODES = Path(__file__).parents[2] / "examples" / "two-nodes.yaml"

_LIMIT_S = 240


def run(
    *arguments: str, check: bool = True, stdin: str = "", environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run netns-lab to its end; a failure shows what it said. `environment` is in addition to our own."""
    done = subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert not check or done.returncode == 0, f"{arguments}: {done.returncode}: {done.stderr}"
    return done


class LabUnderTest:
    """A lab with a name of its own and a topology file that a test may change."""

    def __init__(self, file: Path, topology: dict[str, Any]) -> None:
        self.file = file
        self.topology = topology
        self.name: str = topology["name"]
        self.state = StateDirectory(self.name)
        self.write()

    def write(self) -> None:
        """Write the topology file again."""
        self.file.write_text(yaml.safe_dump(self.topology))

    def up(self, *options: str) -> dict[str, Any]:
        """Bring the lab up and return what the command reports."""
        report: dict[str, Any] = json.loads(run("up", str(self.file), "-o", "json", *options).stdout)
        return report

    def down(self) -> None:
        """Remove the lab."""
        run("down", self.name)

    def status(self) -> dict[str, Any]:
        """Return what `netns-lab status` reports."""
        done = run("status", self.name, "-o", "json", check=False)
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if report["state"] == "up" else 1), done.stderr
        return report

    def execute(self, place: str, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command in a node or a pod."""
        return run("exec", "--lab", self.name, place, "--", *command, check=check)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl on the lab's API server and return what it prints."""
        return run("kubectl", "--lab", self.name, *arguments, stdin=stdin).stdout

    def node(self, name: str) -> Path:
        """Return the path of a node's namespace."""
        return netns.NETNS_DIR / node_namespace(self.name, name)

    def pod(self, key: str) -> Path:
        """Return the path of a pod's namespace."""
        namespace, _, name = key.partition("/")
        return netns.NETNS_DIR / pod_namespace(self.name, PodSpec(name, "", namespace))


@contextmanager
def lab_from(topology_file: Path, folder: Path) -> Iterator[LabUnderTest]:
    """Yield a lab of this topology under a new name, not up yet; remove whatever has become of it."""
    topology = yaml.safe_load(topology_file.read_text())
    topology["name"] = f"t{os.getpid():x}{secrets.token_hex(3)}"
    lab = LabUnderTest(folder / "lab.yaml", topology)
    try:
        yield lab
    finally:
        lab.down()


def remains(lab: str) -> list[str]:
    """Return everything on this machine that carries a lab's name."""
    found = [f"namespace {name}" for name in sorted(netns.names()) if name.startswith(f"nl-{lab}-")]
    found += [f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines() if lab in line]
    found += [f"file {path}" for path in Path("/run").rglob(f"*{lab}*")]
    for folder in (entry for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        # The test's own commands name the lab in their arguments, the lab's programs in their environment.
        if f"NETNS_LAB={lab}/".encode() in environment:
            found.append(f"process {folder.name} {command!r}")
    return found


def in_service(lab: LabUnderTest) -> bool:
    """Say whether the client reaches the service by name, and the lab counts as up."""
    answer = lab.execute("client", "getent", "ahostsv4", "web", check=False)
    return answer.returncode == 0 and lab.status()["state"] == "up"
