"""A lab of a scenario that is up: its pods' addresses, sockets in them, captures on their links."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.utils import rdpcap

from netns_lab.capture import capture
from netns_lab.processes import Process
from netns_lab.programs import ProgramRecord
from nodeplane.datapath import netns
from tests.lab.labs import LabUnderTest
from tests.routing.scenarios import SCENARIOS, Scenario, named

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)
LAYERS = {4: IP, 6: IPv6}

_SOCKET_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_TIMEOUT_S = 30.0
# Headers of IPv6 in VXLAN over IPv6 have 132.
_HEAD_BYTES = 192


class RoutedLab(LabUnderTest):
    """A lab that is up, of a scenario."""

    def __init__(self, scenario: str, folder: Path) -> None:
        name = f"t{os.getpid():x}{secrets.token_hex(3)}"
        super().__init__(folder / "lab.yaml", named(scenario, name))
        self.scenario: Scenario = SCENARIOS[scenario]
        self._addresses: dict[str, dict[int, str]] = {}

    def address(self, pod: str, family: Family) -> str:
        """Return a pod's address."""
        return self._addresses[pod][family]

    def bring_up(self) -> None:
        """Bring the lab up and learn its addresses."""
        self.up()
        for row in self.status()["pods"]:
            texts = row["address"].split(",")
            self._addresses[row["pod"]] = {6 if ":" in text else 4: text for text in texts}

    def open(self, place: Path, kind: socket.SocketKind, family: Family) -> socket.socket:
        """Open a socket in a namespace; it stays there."""
        with netns.inside(place):
            opened = socket.socket(_SOCKET_FAMILIES[family], kind)
        opened.settimeout(_TIMEOUT_S)
        return opened

    def agent(self, node: str) -> int:
        """Return the process id of a node's cni-agent."""
        return self.process(f"nodes/{node}/cni-agent").pid

    def process(self, program: str) -> Process:
        """Return the process of a program of the lab's."""
        record = self.state.load_record(f"programs/{program}", ProgramRecord)
        assert record is not None
        return record.process


@contextmanager
def routed_lab(scenario: str, folder: Path) -> Iterator[RoutedLab]:
    """Yield a lab of a scenario that is up, under a new name; remove it afterwards."""
    lab = RoutedLab(scenario, folder)
    try:
        lab.bring_up()
        yield lab
    finally:
        lab.down()


class Watched:
    """What passes one link of a lab."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def frames(self) -> list[Any]:
        """Return the frames seen so far, decoded."""
        return list(rdpcap(str(self.file)))


@contextmanager
def watch(lab: RoutedLab, place: Path, link: str, folder: Path, expression: str) -> Iterator[Watched]:
    """Capture a link of the lab."""
    file = folder / f"{place.name}-{link}-{secrets.token_hex(2)}.pcap"
    with capture(lab.name, place.name, link, expression, file, head_bytes=_HEAD_BYTES):
        yield Watched(file)


def write_topology(lab: RoutedLab) -> None:
    """Write the topology of a lab again after a test has changed it."""
    lab.file.write_text(yaml.safe_dump(lab.topology))
