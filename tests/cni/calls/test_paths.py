"""From a shim through the agent to links and addresses: kills at every step, many at once, the real agent."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cni import plugin
from cni.call_lock import lock_file, locked
from nodeplane.cnispec import decode_request
from nodeplane.datapath import netns
from tests.cni.agent_process import agent
from tests.cni.call_agent import call_agent
from tests.cni.conftest import IN_PROCESS, Answer, Node, address_of, held
from tests.cni.faults import KILLED, die_at
from tests.cni.shim_programs import KINDS
from tests.netns_fixture import answers, eventually, namespace
from tests.ready_process import stop

pytestmark = pytest.mark.netns

GATEWAY = "169.254.1.1"
NO_ANSWER = Answer(1, {"cniVersion": "1.1.0", "code": 11, "msg": "cni-agent does not answer"})


@pytest.fixture
def shimmed(node: Node, shims: dict[str, Path]) -> Node:
    """The node with the quickest shim there is, and without an agent."""
    return node._replace(program=str(shims[KINDS[0]]))


def test_an_agent_killed_at_any_step_of_add(shimmed: Node, pod: Path, agent_socket: Path) -> None:
    """What it leaves is completed by the next ADD and removed by a DEL, whoever does them."""
    steps = 0
    while killed(shimmed, pod, agent_socket, "ADD", steps):
        with call_agent(shimmed.path, agent_socket):
            result = shimmed.add(pod)
            assert (len(shimmed.links()), held(shimmed)) == (1, {("c1", "eth0", address_of(result))})
            eventually(lambda: answers(pod, GATEWAY), bool)
            delete_and_find_nothing(shimmed, pod)

        assert killed(shimmed, pod, agent_socket, "ADD", steps)
        in_this_process(shimmed, pod, "DEL")
        assert (shimmed.links(), held(shimmed)) == (set(), set())
        steps += 1
    assert steps > 10


def test_an_agent_killed_at_any_step_of_del(shimmed: Node, pod: Path, agent_socket: Path) -> None:
    """The shim does the DEL itself then, at once."""
    steps = 0
    while True:
        in_this_process(shimmed, pod, "ADD")
        with call_agent(shimmed.path, agent_socket, partial(die_at, steps)) as server:
            assert shimmed.call("DEL", pod) == Answer(0, None)
            assert (shimmed.links(), held(shimmed)) == (set(), set())
            if server.is_alive():
                break
        steps += 1
    assert steps > 2


def killed(node: Node, pod: Path, agent_socket: Path, command: str, steps: int) -> bool:
    """Call an agent that ends after some steps; False, and everything undone, when it got through."""
    with call_agent(node.path, agent_socket, partial(die_at, steps)) as server:
        answer = node.call(command, pod)
        if answer.code == 0:
            in_this_process(node, pod, "DEL")
            return False
        server.join()
        assert (answer, server.exitcode) == (NO_ANSWER, KILLED)
    return True


def in_this_process(node: Node, pod: Path, command: str) -> None:
    """Do a call as the plugin does without an agent, without the start of an interpreter."""
    request = decode_request(node.environ(command, pod), json.dumps(node.config).encode())
    with netns.inside(node.path):
        plugin.commands()[command](request)


def delete_and_find_nothing(node: Node, pod: Path) -> None:
    assert node.call("DEL", pod) == Answer(0, None)
    assert (node.links(), held(node)) == (set(), set())


@pytest.mark.parametrize("kind", [IN_PROCESS, *KINDS])
def test_three_dels_of_a_runtime(
    shimmed: Node, shims: dict[str, Path], pod: Path, agent_socket: Path, kind: str
) -> None:
    """containerd sends one with CNI_NETNS and two without, and an interface that is there no more."""
    with ExitStack() as stack:
        node = shimmed
        if kind != IN_PROCESS:
            stack.enter_context(call_agent(node.path, agent_socket))
            node = node._replace(program=str(shims[kind]))
        node.add(pod)
        delete_and_find_nothing(node, pod)
        for _ in range(2):
            assert node.call("DEL", "") == Answer(0, None)
        # The names are free at once.
        node.add(pod)
        delete_and_find_nothing(node, pod)


def test_an_add_after_a_del_in_no_time(shimmed: Node, pod: Path, agent_socket: Path) -> None:
    """The kernel still frees the last link's memory when the next one of its name is made."""
    with call_agent(shimmed.path, agent_socket):
        for _ in range(10):
            shimmed.add(pod)
            assert shimmed.call("DEL", pod) == Answer(0, None)


def test_many_at_once(shimmed: Node, agent_socket: Path) -> None:
    """Each gets an address of its own, and nothing is left; some for one container too."""
    with pods(16) as paths, call_agent(shimmed.path, agent_socket), ThreadPoolExecutor(8) as callers:

        def add(number: int) -> Any:
            return shimmed.add(paths[number % 16], container=f"c{number % 16}", args="")

        results = list(callers.map(add, range(32)))
        assert len({address_of(result) for result in results}) == 16
        assert results[:16] == results[16:]
        assert (len(shimmed.links()), len(held(shimmed))) == (16, 16)

        def delete(number: int) -> Answer:
            return shimmed.call("DEL", paths[number % 16], container=f"c{number % 16}", args="")

        assert set(callers.map(delete, range(32))) == {Answer(0, None)}
        assert (shimmed.links(), held(shimmed)) == (set(), set())


@contextmanager
def pods(count: int) -> Iterator[list[Path]]:
    with ExitStack() as stack:
        yield [stack.enter_context(namespace(f"pod{number}")) for number in range(count)]


def test_agent_and_plugin_never_work_on_one_container_at_once(
    shimmed: Node, pod: Path, agent_socket: Path
) -> None:
    """While this process holds the lock, as a plugin does, the agent's ADD waits; another's does not."""
    with (
        namespace("other") as other,
        call_agent(shimmed.path, agent_socket),
        ThreadPoolExecutor(1) as caller,
    ):
        with locked(lock_file(agent_socket), "c1"):
            waiting = caller.submit(shimmed.add, pod)
            shimmed.add(other, container="c2", args="")
            assert not waiting.done()
            assert len(shimmed.links()) == 1
        waiting.result()
        assert len(shimmed.links()) == 2


@pytest.mark.parametrize("signalled", ["SIGTERM", "SIGKILL"])
def test_the_agent_serves_calls(
    shimmed: Node, pod: Path, tmp_path: Path, agent_socket: Path, signalled: str
) -> None:
    """The whole program; when it is gone, pods come and go without it."""
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: {shimmed.datastore}\nsocket: {agent_socket}\n")
    with agent(shimmed.path, "n1", config, None) as process:
        first = shimmed.add(pod)
        assert shimmed.add(pod) == first
        if signalled == "SIGTERM":
            code, _ = stop(process)
            assert (code, agent_socket.exists()) == (0, False)
        else:
            process.kill()
            process.wait()
            # The process that answers for it sees that, and takes the socket away.
            eventually(lambda: not agent_socket.exists(), bool)
        assert shimmed.add(pod) == first
        delete_and_find_nothing(shimmed, pod)
