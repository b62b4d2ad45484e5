"""`cni-agent run` once it is ready: plugin installed, condition set, pages served. Before that: nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cni.agent.test_kubeconfig import await_line, started_in
from tests.cni.agent_process import agent
from tests.netns_fixture import eventually, namespace, run_in
from tests.netns_lab.apiserver.in_namespace import LIMIT_S, ServerInNamespace
from tests.ready_process import stop

pytestmark = pytest.mark.netns

NODES = "/api/v1/nodes"
PORT = 6443
HEALTHZ, METRICS = "127.0.0.1:9099", "127.0.0.1:9094"
CONFLIST = {
    "cniVersion": "1.1.0",
    "name": "nodeplane",
    "plugins": [{"type": "nodeplane-cni", "ipam": {"type": "nodeplane-ipam"}}],
}


class World(NamedTuple):
    """A node with a server on its loopback, and the folders of its runtime."""

    node: Path
    server: ServerInNamespace
    config: Path
    runtime: Path

    def installed(self) -> list[str]:
        """Return the files in the runtime's folders."""
        return sorted(
            str(path.relative_to(self.runtime)) for path in self.runtime.rglob("*") if path.is_file()
        )

    def page(self, address: str, path: str) -> tuple[str, int]:
        """Return a page of the agent's and its status; 0 if nobody answers."""
        done = run_in(self.node, "curl", "--silent", "--write-out", "%{http_code}", f"http://{address}{path}")
        return done.stdout[:-3], int(done.stdout[-3:])

    def condition(self) -> dict[str, Any] | None:
        """Return the Node's condition NetworkUnavailable."""
        conditions = self.server.read(f"{NODES}/n1").get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "NetworkUnavailable"), None)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    config, conflist = tmp_path / "agent.yaml", tmp_path / "conflist"
    runtime, program = tmp_path / "runtime", tmp_path / "program"
    conflist.write_text(json.dumps(CONFLIST))
    program.write_text("#!/bin/sh\n")
    install = {
        "conflist": str(conflist),
        "confDir": f"{runtime}/conf",
        "binDir": f"{runtime}/bin",
        "programs": {"nodeplane-cni": str(program)},
    }
    # JSON is YAML too.
    config.write_text(
        json.dumps(
            {
                "datastore": f"sqlite://{tmp_path}/ipam.sqlite",
                "install": install,
                "healthzBindAddress": HEALTHZ,
                "metricsBindAddress": METRICS,
            }
        )
    )
    with namespace("n1") as node:
        server = ServerInNamespace(node, tmp_path / "server", PORT)
        server.start()
        server.write(NODES, {"metadata": {"name": "n1"}})
        try:
            yield World(node, server, config, runtime)
        finally:
            server.kill()


def test_nothing_before_it_is_ready_and_everything_then(world: World) -> None:
    world.server.kill()
    with started_in(world.node, world.config, world.server.kubeconfig) as process:
        await_line(process, "no cluster state yet kind=Node reason=connection")
        eventually(lambda: world.page(HEALTHZ, "/readyz"), lambda page: page[1] != 0, within_s=LIMIT_S)
        assert world.page(HEALTHZ, "/readyz") == ("waiting for plugin, routes\n", 503)
        assert world.page(HEALTHZ, "/healthz") == ("ok\n", 200)
        assert world.installed() == []

        world.server.start()

        eventually(
            lambda: world.page(HEALTHZ, "/readyz"), lambda page: page == ("ok\n", 200), within_s=LIMIT_S
        )
        assert world.installed() == ["bin/nodeplane-cni", "conf/10-nodeplane.conflist"]
        [plugin] = json.loads((world.runtime / "conf/10-nodeplane.conflist").read_text())["plugins"]
        assert plugin["nodeName"] == "n1"
        condition = eventually(world.condition, lambda value: value is not None, within_s=LIMIT_S)
        assert condition is not None
        assert (condition["status"], condition["reason"]) == ("False", "NodeplaneIsUp")
        figures, status = world.page(METRICS, "/metrics")
        assert status == 200
        assert "nodeplane_agent_ready 1.0\n" in figures


def test_a_new_conflist_is_installed(world: World) -> None:
    """As soon as its source says something else and is right; a wrong one changes nothing."""
    source, target = world.config.with_name("conflist"), world.runtime / "conf/10-nodeplane.conflist"

    def say(**fields: Any) -> None:
        fresh = source.with_name("fresh")
        fresh.write_text(json.dumps({**CONFLIST, **fields}))
        fresh.rename(source)

    def installed_name() -> str:
        name: str = json.loads(target.read_text())["name"]
        return name

    with agent(world.node, "n1", world.config, None, world.server.kubeconfig) as process:
        eventually(target.exists, bool, within_s=LIMIT_S)
        say(name="second")
        eventually(installed_name, lambda name: name == "second")
        say(name="third", plugins=[])
        await_line(process, "expected one plugin of type nodeplane-cni, got none")
        assert installed_name() == "second"
        say(name="fourth")
        eventually(installed_name, lambda name: name == "fourth")
        # And is kept from now on.
        target.unlink()
        eventually(target.exists, bool)
        assert installed_name() == "fourth"


def test_the_end_removes_nothing(world: World) -> None:
    with agent(world.node, "n1", world.config, None, world.server.kubeconfig) as process:
        eventually(world.installed, lambda files: len(files) == 2, within_s=LIMIT_S)
        eventually(world.condition, lambda value: value is not None, within_s=LIMIT_S)
        before = world.condition()
        code, log = stop(process)

    assert code == 0, log
    assert world.installed() == ["bin/nodeplane-cni", "conf/10-nodeplane.conflist"]
    assert world.condition() == before
