"""ipamctl, run in this process over a datastore of two allocations, and what it prints of them."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ipam import cli
from ipam.datastore import open_datastore
from ipam.model import Pool
from tests.ipam.values import network

# n1 starts at the pool's first block (crc32 % 4 == 0).
POOL = Pool("default", network("10.0.0.0/28"), 30, (network("10.0.0.15/32"),))
FIRST = {
    "address": "10.0.0.0",
    "pod": "default/web-1",
    "node": "n1",
    "pool": "default",
    "block": "10.0.0.0/30",
    "handle": "c0/eth0",
    "use": "pod",
    "network": "",
    "netns": "/",
    "assigned": "2023-11-14T22:13:20+00:00",
}
SECOND = {**FIRST, "address": "10.0.0.1", "handle": "c1/eth0", "netns": "/nowhere"}
LEAK = {**SECOND, "reason": "its network namespace /nowhere is gone"}
BLOCK = {
    "block": "10.0.0.0/30",
    "pool": "default",
    "node": "n1",
    "size": 4,
    "used": 2,
    "free": 2,
    "lent": 0,
}
NOW = ("--grace", "0", "--observe", "0")
MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {nodeName: n1, containers: [{name: a}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: same}
spec: {nodeName: n1, containers: [{name: a}]}
status: {podIP: 10.0.0.9}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1}
spec: {nodeName: n3, containers: [{name: a}]}
"""


class Run:
    """Runs ipamctl; returns its exit code, stdout and stderr."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.url = f"sqlite://{path}"
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["ipamctl", *arguments, "--datastore", self.url])
        code: object = 0
        try:
            cli.main()
        except SystemExit as exc:
            code = exc.code or 0
        captured = self.capsys.readouterr()
        assert isinstance(code, int)
        return code, captured.out, captured.err

    def rows(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "-o", "json")
        assert (code, err) == (0, "")
        return json.loads(out)


def lose_allocation(run: Run) -> None:
    with open_datastore(run.url) as datastore:
        datastore.transact(lambda ledger: ledger.delete_allocation(ip_address("10.0.0.0")))
