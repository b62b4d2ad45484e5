"""Evidence about single packets on the node: whether one came, and whether it left the nat chains again.

Tables beside ours write down source ports, which no two connections of the matrix share. That a slow machine
has not answered yet is told from a drop by it: what was dropped has come and has not gone on.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kubeproxy.trace.packet import PROTOCOLS
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from tests.netns_fixture import eventually, run_in

Fate = Literal["stopped", "passed", "translated"]

_NAME = "witness"
_FLUSH_EVERY = 30
_TABLE = """
table {family} witness {{
    set came {{ type inet_proto . inet_service; size 65535; flags dynamic; }}
    set passed {{ type inet_proto . inet_service; size 65535; flags dynamic; }}
    set translated {{ type inet_proto . inet_service; size 65535; flags dynamic; }}
    chain prerouting {{ type filter hook prerouting priority -300; jump arrival; }}
    chain output {{ type filter hook output priority -300; jump arrival; }}
    chain input {{ type filter hook input priority 50; jump departure; }}
    chain postrouting {{ type filter hook postrouting priority 50; jump departure; }}
    chain arrival {{
        meta l4proto {{ tcp, udp, sctp }} add @came {{ meta l4proto . th sport }}
    }}
    chain departure {{
        ct direction reply return
        ct status dnat meta l4proto {{ tcp, udp, sctp }} add @translated {{ meta l4proto . th sport }} return
        meta l4proto {{ tcp, udp, sctp }} add @passed {{ meta l4proto . th sport }}
    }}
}}
"""


class Witness:
    """The two tables, one for each family."""

    def __init__(self, node: Path, tables: dict[int, KernelTable]) -> None:
        self._node = node
        self._tables = tables
        self._asked = 0

    def fate(self, version: int, protocol: str, source_port: int) -> Fate:
        """Say what became of a connection's first packet, once it has come."""
        key = struct.pack("!B3xH2x", PROTOCOLS[protocol], source_port)
        table = self._tables[version]
        eventually(lambda: _has(table, "came", key), bool)
        # A packet runs through its hooks in one go, on one processor: by now it has been through the last.
        found: Fate = "passed" if _has(table, "passed", key) else "stopped"
        if _has(table, "translated", key):
            found = "translated"
        self._asked += 1
        if self._asked % _FLUSH_EVERY == 0:
            self._forget()
        return found

    def _forget(self) -> None:
        """Empty the sets: nobody asks about rows before, and each question reads all of them."""
        sets = ("came", "passed", "translated")
        flush = "".join(f"flush set {family} {_NAME} {name}\n" for family in ("ip", "ip6") for name in sets)
        done = run_in(self._node, "nft", "-f", "-", stdin=flush)
        assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def witness(node: Path) -> Iterator[Witness]:
    """Write the tables; they end with the namespace."""
    text = "".join(_TABLE.format(family=family) for family in ("ip", "ip6"))
    done = run_in(node, "nft", "-f", "-", stdin=text)
    assert (done.returncode, done.stderr) == (0, "")
    with netns.inside(node):
        tables = {4: KernelTable("ip", _NAME), 6: KernelTable("ip6", _NAME)}
    with tables[4], tables[6]:
        yield Witness(node, tables)


def _has(table: KernelTable, name: str, key: bytes) -> bool:
    return any(use.key == key for use in table.read_uses(name))
