"""Calls that one process serves, as the agent's does: each goes by its own configuration."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipam import plugin
from ipam.warm_store import keeping_open
from nodeplane.cnispec import Request
from nodeplane.errors import ConfigError


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
