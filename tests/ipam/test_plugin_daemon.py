"""Calls that one process serves, as the agent's does: each goes by its own configuration."""

import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipam import plugin
from ipam.log_sync import syncing_later
from ipam.request_stats import RequestStats
from ipam.warm_store import keeping_open
from nodeplane.cnispec import Request
from nodeplane.errors import ConfigError
from tests.netns_fixture import eventually


def ask(container: str, path: Path, pool: str, **fields: Any) -> str:
    """Return the address that an ADD gets."""
    ipam = {"datastore": f"sqlite://{path}", "pools": [{"name": "p", "cidr": pool, "blockSize": 30}]}
    config = {"cniVersion": "1.1.0", "name": "net", "nodeName": "n1", "ipam": ipam, **fields}
    request = Request(
        command="ADD",
        container_id=container,
        netns="/nowhere",
        interface="eth0",
        config=msgspec.json.encode(config),
    )
    (ip,) = plugin.add(request).ips
    return str(ip.address)


def test_each_call_goes_by_its_own_configuration(tmp_path: Path) -> None:
    one, other = tmp_path / "one.sqlite", tmp_path / "other.sqlite"
    with keeping_open():
        assert ask("c1", one, "10.0.0.0/30") == "10.0.0.0/32"
        assert ask("c2", one, "10.0.0.0/30") == "10.0.0.1/32"
        assert ask("c1", other, "10.1.0.0/30") == "10.1.0.0/32"
        assert ask("c3", one, "10.0.0.0/30", runtimeConfig={"ips": ["10.0.0.3"]}) == "10.0.0.3/32"
        assert ask("c4", one, "10.0.0.0/30") == "10.0.0.2/32"
        with pytest.raises(ConfigError, match="it has 1 blocks in use"):
            ask("c5", one, "10.0.0.0/24")
        assert ask("c1", one, "10.0.0.0/30") == "10.0.0.0/32"


def test_what_a_request_took_ends_with_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the call goes on while the disk works."""
    told: list[RequestStats] = []
    is_free = threading.Event()
    monkeypatch.setattr(plugin, "send_stats", told.append)
    with keeping_open():
        ask("c0", tmp_path / "ipam.sqlite", "10.0.0.0/30")
        told.clear()
        monkeypatch.setattr(os, "fdatasync", lambda _: is_free.wait(60))
        with syncing_later():
            ask("c1", tmp_path / "ipam.sqlite", "10.0.0.0/30")
            assert told == []
            is_free.set()
        eventually(lambda: len(told), lambda count: count == 1)
    assert [(each.operation, each.outcome, each.transactions) for each in told] == [("ADD", "ok", 1)]
