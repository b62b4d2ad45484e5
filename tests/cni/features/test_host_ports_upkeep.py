"""What becomes of host ports and masquerade after kills, wipes and a crowd; and beside kube-proxy's table."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from cni.features.host_port_rules import FAMILIES
from cni.features.node_table import NAME, NODE_TABLE
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.cnispec import decode_request
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.objects import EndpointPort, ServicePort
from tests.cni.agent_process import agent
from tests.cni.call_agent import call_agent
from tests.cni.conftest import IN_PROCESS, Node
from tests.cni.echo_pod import echoing
from tests.cni.faults import die_at
from tests.cni.host_port_world import NODE, OUTSIDE, POOLS, World, run, tcp, world
from tests.kubeproxy.matrix.asking import ask
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.netns

IPAMCTL = str(Path(plugin.__file__).parents[1] / ".venv/bin/ipamctl")


@pytest.fixture
def way() -> str:
    return IN_PROCESS


@pytest.fixture
def there(node: Node) -> Iterator[World]:
    with world(node) as built:
        yield built


def udp(port: int) -> dict[str, Any]:
    return {"hostPort": port, "containerPort": 8080, "protocol": "udp"}


@contextmanager
def running(there: World, folder: Path) -> Iterator[None]:
    """Run the node's agent, which shims are not told of: calls go on in their own processes."""
    config = folder / "agent.yaml"
    config.write_text(f"datastore: {there.node.datastore}\n")
    with agent(there.node.path, "n1", config, None):
        yield


def answerer(there: World, port: int = 80, version: int = 4) -> object:
    return ask(there.outside, "tcp", NODE[version], port, version, patience_s=5).answer


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_killed_at_any_step(there: World, shims: dict[str, Path], agent_socket: Path, command: str) -> None:
    """The next ADD completes what is left; a DEL removes it, and so does GC."""
    asked = (tcp(80), udp(81))
    shimmed = there._replace(node=there.node._replace(program=str(next(iter(shims.values())))))
    here(there, "ADD", *asked)
    here(there, "DEL")
    steps, is_killed = 0, True
    while is_killed:
        if command == "DEL":
            here(there, "ADD", *asked)
        with call_agent(there.node.path, agent_socket, partial(die_at, steps)) as server:
            shimmed.call(command, "c1", *asked)
            server.join(0.02)
            is_killed = not server.is_alive()
        if command == "ADD" and steps % 2:
            here(there, "ADD", *asked)
            elements = {f"host-ports-any-{family}": 2 for family in FAMILIES}
            elements |= {f"host-port-pods-{family}": 1 for family in FAMILIES}
            assert there.host_ports() == elements
        if steps % 3:
            here(there, "DEL")
        else:
            here(there, "GC", **{"cni.dev/valid-attachments": []})
        assert there.host_ports() == {}
        assert not agent_socket.with_name("host-ports.json").exists()
        steps += 1
    assert steps > (25 if command == "ADD" else 5)


def here(there: World, command: str, *mappings: dict[str, Any], **config: Any) -> None:
    """Do a call as the plugin does without an agent, without the start of an interpreter."""
    runtime = {"runtimeConfig": {"portMappings": list(mappings)}}
    ipam = {**there.node.config["ipam"], "pools": list(POOLS)}
    environ = there.node.environ(command, there.pods["c1"], args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=c1")
    given = json.dumps({**there.node.config, "ipam": ipam, **runtime, **config}).encode()
    with netns.inside(there.node.path):
        plugin.commands()[command](decode_request(environ, given))


def test_a_wiped_table_is_back_at_once(there: World, tmp_path: Path) -> None:
    """Without any call: the agent hears of it. Its elements and rules are what they were."""
    there.add("c1", tcp(80), udp(81), ipam=masqueraded(there))
    with running(there, tmp_path):
        before = eventually(there.table, lambda state: state is not None and state.holds(NODE_TABLE))
        took_s = []
        for damage in (
            f"delete table inet {NAME}",
            "flush ruleset",
            f"flush chain inet {NAME} host-ports",
            f"flush map inet {NAME} host-ports-any-ip",
            f"flush set inet {NAME} masqueraded-ip",
            f"add element inet {NAME} host-ports-any-ip {{ tcp . 999 : 10.0.0.1 . 1 }}",
        ):
            started_s = time.monotonic()
            run(there.node.path, f"nft {damage}")
            eventually(there.table, lambda state: state == before)
            took_s.append(time.monotonic() - started_s)
        assert answerer(there) == ("c1", OUTSIDE[4])
    assert sorted(took_s)[0] < 30


def test_what_came_and_went_without_the_agent(there: World, tmp_path: Path) -> None:
    """Its start is a resync, and writes nothing to a table that is right."""
    there.add("c1", tcp(80), ipam=masqueraded(there))
    with netns.inside(there.node.path), KernelTable("inet", NAME) as table:
        before = table.generation()
        with running(there, tmp_path):
            assert there.call("CHECK", "c1", tcp(80), prevResult=there.add("c1", tcp(80))).code == 0
            run(
                there.node.path, f"nft add element inet {NAME} host-ports-any-ip {{ tcp . 9 : 10.0.0.1 . 1 }}"
            )
            eventually(there.host_ports, lambda found: found["host-ports-any-ip"] == 1)
            # The stranger's element, and our taking it out again.
            assert table.generation() == before + 2


def test_pools_follow_the_datastore(there: World, tmp_path: Path) -> None:
    """What is switched on, off or deleted by ipamctl comes and goes without a call."""
    there.add("c1", tcp(80))
    with running(there, tmp_path):

        def masqueraded_count() -> int:
            state = there.table()
            return 0 if state is None else len(state.elements["masqueraded-ip"])

        for is_on in (True, False, True):
            pool = {**POOLS[0], "natOutgoing": is_on}
            file = tmp_path / "pools.yaml"
            file.write_text(json.dumps({"pools": [pool]}))
            done = run_in(
                there.node.path, IPAMCTL, "pools", "apply", str(file), "--datastore", there.node.datastore
            )
            assert done.returncode == 0, done.stderr
            eventually(masqueraded_count, int(is_on).__eq__)


def test_many_at_once(there: World) -> None:
    """Several make the table at the same moment, each with its ports, in processes of their own."""
    with ThreadPoolExecutor(2) as callers:
        answers = list(
            callers.map(lambda name: there.call("ADD", name, tcp(80 if name == "c1" else 81)), ("c1", "c2"))
        )

    assert [answer.code for answer in answers] == [0, 0]
    state = there.table()
    assert state is not None
    assert state.holds(NODE_TABLE)
    assert (answerer(there, 80), answerer(there, 81)) == (("c1", OUTSIDE[4]), ("c2", OUTSIDE[4]))


def test_one_of_two_gets_the_port(there: World) -> None:
    with ThreadPoolExecutor(2) as callers:
        answers = list(callers.map(lambda name: there.call("ADD", name, tcp(80)), ("c1", "c2")))

    assert sorted(answer.code for answer in answers) == [0, 1]
    assert [answer.body["code"] for answer in answers if answer.code] == [106]


def test_a_udp_client_that_never_stops(there: World) -> None:
    """Its flow follows: from the node's own server to the pod, and back to nobody when the pod is gone."""
    # Flows are tracked from the first table on.
    there.add("c2", tcp(80))
    with echoing(there.node.path, "node", 81), netns.inside(there.outside):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(5)
            client.connect((NODE[4], 81))

            def answer() -> str:
                client.send(b"?")
                return client.recv(64).decode().split()[0]

            assert answer() == "node"
            there.add("c1", udp(81))
            assert answer() == "c1"
            there.call("DEL", "c1")
            assert answer() == "node"


def test_a_service_goes_first(there: World) -> None:
    """A node port of the same number wins, as kube-proxy's do, and leaves the host port when it goes."""
    there.add("c1", tcp(30080))
    there.add("c2")
    assert answerer(there, 30080) == ("c1", OUTSIDE[4])
    with netns.inside(there.node.path), KernelTable("ip", TABLE) as table:
        proxier = Proxier("n1", [FamilyProxier("ip", table)])
        ports = (ServicePort(port=80, name="web", node_port=30080),)
        proxier.take(
            additions(
                service("web", "10.96.0.10", type="NodePort", ports=ports),
                endpoint_slice(endpoint(there.addresses["c2"][4]), ports=(EndpointPort("web", "TCP", 8080),)),
            )
        )
        proxier.sync(full=True)

        # Masqueraded, as policy Cluster has it.
        by_service = answerer(there, 30080)

        assert isinstance(by_service, tuple)
        assert by_service[0] == "c2"
        assert ask(there.outside, "udp", NODE[4], 30080, 4, patience_s=5).answer == "refuse"
        table.delete()
    assert answerer(there, 30080) == ("c1", OUTSIDE[4])


def masqueraded(there: World) -> dict[str, Any]:
    """Return an IPAM section whose pools say natOutgoing."""
    return {**there.node.config["ipam"], "pools": [{**pool, "natOutgoing": True} for pool in POOLS]}
