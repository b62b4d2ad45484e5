"""A lab in the hand of a test: driven by the command itself, so a test can do what a person can."""

import json
import subprocess
from pathlib import Path
from typing import Any

from netns_lab.commands import program_path
from netns_lab.topology import Topology
from nodeplane.errors import NodeplaneError

LIMIT_S = 300.0


class LabHandle:
    """A lab that is up, under a name that nobody else has."""

    def __init__(self, topology: Topology, file: Path) -> None:
        self.topology = topology
        self.name = topology.name
        self.file = file
        """The topology as it was brought up; a changed one is applied by `up`."""

    def up(self, *options: str) -> dict[str, Any]:
        """Bring the lab up, repair it, or apply its changed file; return the report."""
        return self._json("up", str(self.file), "-o", "json", *options)

    def down(self) -> None:
        """Remove the lab."""
        self.command("down", self.name)

    def status(self) -> dict[str, Any]:
        """Return what `netns-lab status` says."""
        report: dict[str, Any] = json.loads(self._run("status", self.name, "-o", "json").stdout)
        return report

    def execute(
        self, place: str, *words: str, check: bool = True, stdin: str = "", timeout_s: float = LIMIT_S
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a node, router, client or pod.

        Raises:
            NodeplaneError: it failed, and `check` is on.
        """
        done = self._run("exec", "--lab", self.name, place, "--", *words, stdin=stdin, timeout_s=timeout_s)
        if check:
            _require(done, f"{place}: {' '.join(words)}")
        return done

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl on the lab's API server and return what it prints."""
        return _require(self._run("kubectl", "--lab", self.name, *words, stdin=stdin), f"kubectl {words[0]}")

    def apply(self, manifest: str) -> str:
        """Apply objects, given as YAML or JSON."""
        return self.kubectl("apply", "-f", "-", stdin=manifest)

    def command(self, verb: str, *words: str) -> str:
        """Run any other verb of netns-lab (`fault`, `trace`, `curl`, …); `--lab` is up to the caller."""
        return _require(self._run(verb, *words), f"netns-lab {verb}")

    def _json(self, *words: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(_require(self._run(*words), f"netns-lab {words[0]}"))
        return report

    def _run(
        self, *words: str, stdin: str = "", timeout_s: float = LIMIT_S
    ) -> "subprocess.CompletedProcess[str]":
        command = (program_path("netns-lab"), *words)
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )


def _require(done: "subprocess.CompletedProcess[str]", what: str) -> str:
    if done.returncode != 0:
        raise NodeplaneError(f"{what} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
