"""`kubeproxy run` in mode ipvs, and into and out of it: real packets, and files that change under it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from kubeproxy.ipvs.layout import LINK
from tests.kubeproxy.ipvs.forked import run, running
from tests.kubeproxy.ipvs.world import (
    ADDRESSES,
    CLIENT,
    NODE,
    PORT,
    TARGET,
    VIP,
    World,
    build_world,
    exchange,
    reset,
)
from tests.netns_fixture import eventually

pytestmark = pytest.mark.ipvs

_NODE_PORT = 30080
# Of a guest that is emulated, on a busy machine.
_WITHIN_S = 240


def write(manifests: Path, *names: str) -> None:
    """Write the Service and its endpoints, as `kubectl get -o json` has them."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {
                "type": "NodePort",
                "clusterIP": VIP,
                "ports": [{"name": "http", "port": PORT, "nodePort": _NODE_PORT}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": TARGET}],
            "endpoints": [{"addresses": [ADDRESSES[name]], "nodeName": "n1"} for name in names],
        },
    ]
    fresh = manifests / ".fresh"
    fresh.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    fresh.rename(manifests / "web.json")


def ask(world: World, host: str, port: int) -> str:
    """Open a connection and return who answers; it is reset, else IPVS remembers it for two minutes."""
    connection = world.connect(host, port)
    try:
        return exchange(connection)
    finally:
        reset(connection)


def state(world: World) -> list[str]:
    """Return all that the program writes; the handles of the ruleset tell whether it was written anew."""
    commands = (("ipvsadm", "-Sn"), ("nft", "-a", "list", "ruleset"), ("ip", "-o", "address"))
    return [world.run(*command) for command in commands]


def test_run(tmp_path: Path) -> None:
    """It serves, drains, ends, finds what it left, gives way to mode nftables, and comes back."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, "one", "two")
    inputs = ("--node-name", "n1", "--manifests", str(manifests), "--proxy-mode")
    with build_world() as world:
        node = world.paths["node"]
        with running(node, tmp_path, *inputs, "ipvs") as program:
            for host, port in ((VIP, PORT), (NODE, _NODE_PORT)):
                assert Counter(ask(world, host, port) for _ in range(4)) == {"one": 2, "two": 2}
            _drain(world, manifests, node)
        assert program.code == 0, program.log
        assert "synced full=True" in program.log
        assert {ask(world, VIP, PORT) for _ in range(2)} == {"one", "two"}
        written = state(world)

        with running(node, tmp_path, *inputs, "ipvs") as program:
            assert "synced" not in program.log
            assert state(world) == written
            connection = world.connect()
            name = exchange(connection)
        with running(node, tmp_path, *inputs, "nftables") as program:
            assert exchange(connection) == name
            assert {ask(world, VIP, PORT) for _ in range(40)} == {"one", "two"}
            assert set(world.weights().values()) == {0}
            reset(connection)
            eventually(lambda: world.run("ip", "-o", "link"), lambda text: LINK not in text, _WITHIN_S, 0.5)
            assert world.run("ipvsadm", "-Sn") == ""
            connection = world.connect()
            name = exchange(connection)
        with running(node, tmp_path, *inputs, "auto") as program:
            assert exchange(connection) == name
            assert Counter(ask(world, VIP, PORT) for _ in range(4)) == {"one": 2, "two": 2}
            assert world.weights() == {"one": 1, "two": 1}
            reset(connection)
        assert program.code == 0, program.log


def _drain(world: World, manifests: Path, node: Path) -> None:
    """Take an endpoint away that has a connection, ask the program what it sees, and bring it back."""
    connection = world.connect()
    name = exchange(connection)
    (other,) = {"one", "two"} - {name}
    write(manifests, other)
    eventually(world.weights, lambda weights: weights == {name: 0, other: 1}, _WITHIN_S, 0.2)
    assert exchange(connection) == name
    assert {ask(world, VIP, PORT) for _ in range(3)} == {other}

    show = run(node, "show", "-o", "json")
    trace = run(node, "trace", CLIENT, "tcp", f"{VIP}:{PORT}", "-o", "json")
    assert (show.returncode, trace.returncode) == (0, 0), show.stderr + trace.stderr
    (row,) = (row for row in json.loads(show.stdout) if row["frontend"] == f"TCP {VIP}:{PORT}")
    weights = dict(zip(row["endpoints"], row["weights"], strict=True))
    assert weights.pop(f"{ADDRESSES[other]}:{TARGET}") == "1"
    # Those of before, which were closed, IPVS counts for a while.
    assert [text.partition("has ")[0] for text in weights.values()] == ["0, "]
    outcomes = json.loads(trace.stdout)["outcomes"]
    assert [each["endpoint"] for each in outcomes] == [f"{ADDRESSES[other]}:{TARGET}"]

    reset(connection)
    eventually(world.weights, lambda weights: weights == {other: 1}, _WITHIN_S, 0.5)
    write(manifests, "one", "two")
    eventually(world.weights, lambda weights: weights == {"one": 1, "two": 1}, _WITHIN_S, 0.2)
