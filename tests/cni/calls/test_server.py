"""The agent's socket: turns, deadlines, whose calls are taken, takeover, an end that finishes what it has."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cni.calls.metrics import CallMetrics
from cni.calls.protocol import DECLINED, decode_answer, render_answer, render_call
from cni.calls.server import Answer, CallServer
from cni.calls.stats import CallStats, StatsSender
from nodeplane.datapath import netns
from nodeplane.errors import KernelError
from tests.netns_fixture import namespace

Reply = tuple[int, bytes]
CONFIG = b'{"cniVersion":"1.0.0","name":"x"}'


class World:
    """A server in a loop, and what callers see."""

    def __init__(self, path: Path, answer: Answer, deadline_s: float = 60.0, uid: int = 0) -> None:
        self.registry = CollectorRegistry()
        self.path = path
        self.server = CallServer(path, answer, CallMetrics(self.registry), deadline_s=deadline_s, uid=uid)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.server.run())
        await until(self.path.exists)

    def end(self) -> None:
        assert self._task is not None
        self._task.cancel()

    async def stop(self) -> None:
        self.end()
        assert self._task is not None
        await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, data: bytes) -> bytes:
        """Send bytes, end the sending side, and return all that comes back."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            writer.write(data)
            await writer.drain()
            if len(data) < 12:
                writer.write_eof()
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def call(self, command: str, container: str = "c1", **more: str) -> Reply:
        return (await self.call_all(command, container, **more))[:2]

    async def call_all(self, command: str, container: str = "c1", **more: str) -> tuple[int, bytes, bytes]:
        environ = {"CNI_COMMAND": command, "CNI_CONTAINERID": container, **more}
        return decode_answer(await self.send(render_call(environ, CONFIG)))

    def figure(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"nodeplane_cni_{name}", labels) or 0.0


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.005)


def play(world: World, scene: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await world.start()
        try:
            await scene()
        finally:
            await world.stop()

    asyncio.run(run())


class Gate:
    """An answer that waits until it is let go, and knows who is inside."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.most: dict[str, int] = {}
        self.done: list[str] = []
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def __call__(self, environ: Mapping[str, str], config: bytes) -> Reply:
        name = environ["CNI_CONTAINERID"]
        self.inside.append(name)
        self.most[name] = max(self.most.get(name, 0), self.inside.count(name))
        self._open.wait(60)
        self.inside.remove(name)
        self.done.append(name)
        return 0, name.encode()


def echo(environ: Mapping[str, str], config: bytes) -> Reply:
    return 0, json.dumps([environ["CNI_COMMAND"], config.decode()]).encode()


def always(verdict: int, stdout: bytes) -> Answer:
    def answer(environ: Mapping[str, str], config: bytes) -> Reply:
        return verdict, stdout

    return answer


def test_a_call_is_answered(agent_socket: Path) -> None:
    world = World(agent_socket, echo)

    async def scene() -> None:
        assert await world.call("ADD") == (0, json.dumps(["ADD", CONFIG.decode()]).encode() + b"\n")
        assert agent_socket.stat().st_mode & 0o777 == 0o600

    play(world, scene)
    assert not agent_socket.exists()
    assert world.figure("requests_total", command="ADD", code="0") == 1
    assert world.figure("request_duration_seconds_count", command="ADD") == 1


@pytest.mark.parametrize(
    ("command", "reply", "code"),
    [
        ("ADD", (1, b'{"code":11,"msg":"full"}'), "11"),
        ("DEL", (1, b"no JSON"), "0"),
        ("MOVE", (1, b'{"code":4}'), "4"),
    ],
)
def test_failures_are_counted_by_code(agent_socket: Path, command: str, reply: Reply, code: str) -> None:
    world = World(agent_socket, always(*reply))

    async def scene() -> None:
        assert await world.call(command) == (reply[0], reply[1] + b"\n")

    play(world, scene)
    label = command if command != "MOVE" else "other"
    assert world.figure("requests_total", command=label, code=code) == 1


def test_a_defect_is_answered(agent_socket: Path) -> None:
    def broken(environ: Mapping[str, str], config: bytes) -> Reply:
        raise ZeroDivisionError

    world = World(agent_socket, broken)

    async def scene() -> None:
        verdict, stdout, stderr = await world.call_all("ADD")
        assert verdict == 1
        assert json.loads(stdout) == {
            "cniVersion": "1.0.0",
            "code": 999,
            "msg": "internal error",
            "details": "ZeroDivisionError()",
        }
        assert stderr.startswith(b"defect in a CNI call command=ADD\nTraceback (most recent call last):\n")
        assert stderr.endswith(b"ZeroDivisionError\n")

    play(world, scene)


def test_calls_for_one_container_wait_for_one_another(agent_socket: Path) -> None:
    gate = Gate()
    world = World(agent_socket, gate)

    async def scene() -> None:
        calls = [asyncio.create_task(world.call("ADD", name)) for name in ("c1", "c1", "c2", "c1", "c3")]
        await until(lambda: sorted(gate.inside) == ["c1", "c2", "c3"])
        gate.open()
        assert [stdout for _, stdout in await asyncio.gather(*calls)] == [
            b"c1\n", b"c1\n", b"c2\n", b"c1\n", b"c3\n"
        ]  # fmt: skip

    play(world, scene)
    assert gate.most == {"c1": 1, "c2": 1, "c3": 1}


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("CHECK", 11), ("STATUS", 50)])
def test_a_call_that_takes_too_long(agent_socket: Path, command: str, code: int) -> None:
    """It goes on, and its container's next call waits for it."""
    gate = Gate()
    world = World(agent_socket, gate, deadline_s=0.1)

    async def scene() -> None:
        verdict, stdout = await world.call(command)
        expected = f"cni-agent: {command} is not done within 0.1 s"
        assert (verdict, json.loads(stdout)) == (1, {"cniVersion": "1.0.0", "code": code, "msg": expected})
        assert gate.inside == ["c1"]
        assert (await world.call(command))[0] == 1
        assert gate.inside == ["c1"]
        gate.open()
        await until(lambda: gate.done == ["c1", "c1"])
        assert await world.call(command) == (0, b"c1\n")

    play(world, scene)


def test_the_end_finishes_what_is_there_and_declines_the_rest(agent_socket: Path) -> None:
    gate = Gate()
    world = World(agent_socket, gate)

    async def scene() -> None:
        running = asyncio.create_task(world.call("ADD", "c1"))
        await until(lambda: gate.inside == ["c1"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
            late.connect(str(agent_socket))
            late.setblocking(False)
            world.end()
            await until(lambda: not agent_socket.exists())
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(late, render_call({"CNI_COMMAND": "ADD"}, CONFIG))
            async with asyncio.timeout(60):
                received = await loop.sock_recv(late, 64)
            assert received == render_answer(DECLINED, b"")
        gate.open()
        assert await running == (0, b"c1\n")

    play(world, scene)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"NPC1", id="half a head"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"NPC1" + b"\xff" * 8, id="huge"),
        pytest.param(b"NPC1\0\0\0\x01\0\0\0\0A", id="variables without an end"),
    ],
)
def test_garbage_gets_no_answer_and_harms_nobody(agent_socket: Path, data: bytes) -> None:
    world = World(agent_socket, echo)

    async def scene() -> None:
        assert await world.send(data) == b""
        assert (await world.call("ADD"))[0] == 0

    play(world, scene)
    assert world.figure("requests_dropped_total") == 1


def test_other_users_are_refused(agent_socket: Path) -> None:
    """The file's mode keeps them out; this is for one who was given the socket."""
    world = World(agent_socket, echo, uid=os.geteuid() + 1)

    async def scene() -> None:
        assert await world.send(render_call({"CNI_COMMAND": "ADD"}, CONFIG)) == b""

    play(world, scene)
    assert world.figure("requests_dropped_total") == 1


@pytest.mark.netns
def test_calls_of_another_node_are_declined(agent_socket: Path) -> None:
    """A lab has several nodes on one file system."""
    world = World(agent_socket, echo)

    async def scene() -> None:
        with namespace("other") as other:
            assert await asyncio.to_thread(call_from, other, agent_socket) == (DECLINED, b"")
            assert (await world.call("ADD"))[0] == 0

    play(world, scene)


@pytest.mark.parametrize(
    ("variables", "verdict"),
    [
        ({"CNI_PATH": "/a::/b", "CNI_NETNS": ""}, 0),
        ({"CNI_PATH": "/a:./bin"}, DECLINED),
        ({"CNI_NETNS": "ns/1"}, DECLINED),
    ],
    ids=["absolute", "CNI_PATH", "CNI_NETNS"],
)
def test_relative_paths_are_the_callers_own(
    agent_socket: Path, variables: dict[str, str], verdict: int
) -> None:
    """`CNI_PATH=./bin cnitool` means a folder of where it was typed."""
    world = World(agent_socket, echo)

    async def scene() -> None:
        assert (await world.call("ADD", **variables))[0] == verdict

    play(world, scene)


def test_a_command_that_is_no_text_is_counted() -> None:
    """As any other that is none: the thread that answers goes on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        StatsSender(theirs).count_call("\udcff", 0, b"", 0.0)
        assert msgspec.json.decode(ours.recv(1 << 12), type=CallStats) == CallStats("other")


def call_from(node: Path, path: Path) -> Reply:
    """Call from a process in a node's namespace."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        with netns.inside(node), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            # What the kernel tells of a caller is its first thread's namespace.
            connection.connect(str(path))
            connection.sendall(render_call({"CNI_COMMAND": "ADD"}, CONFIG))
            theirs.sendall(connection.recv(1 << 16))
        os._exit(0)
    theirs.close()
    with ours:
        answer = ours.recv(1 << 16)
    os.waitpid(child, 0)
    return decode_answer(answer)[:2]


def leave_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


def leave_file(path: Path) -> None:
    path.write_text("not a socket")


@pytest.mark.parametrize("leave", [leave_dead_socket, leave_file])
def test_what_a_killed_agent_left_is_replaced(agent_socket: Path, leave: Callable[[Path], None]) -> None:
    leave(agent_socket)
    world = World(agent_socket, echo)

    async def scene() -> None:
        await until(agent_socket.is_socket)
        async with asyncio.timeout(60):
            while True:
                try:
                    assert (await world.call("ADD"))[0] == 0
                except ConnectionRefusedError:
                    await asyncio.sleep(0.005)
                else:
                    return

    play(world, scene)


def test_a_second_agent_takes_over_and_the_first_leaves_its_socket(agent_socket: Path) -> None:
    first = World(agent_socket, always(0, b"first"))
    second = World(agent_socket, always(0, b"second"))

    async def scene() -> None:
        before = agent_socket.stat().st_ino
        await second.start()
        await until(lambda: agent_socket.stat().st_ino != before)
        assert await second.call("ADD") == (0, b"second\n")
        await first.stop()
        assert await second.call("ADD") == (0, b"second\n")
        await second.stop()
        assert not agent_socket.exists()

    play(first, scene)


def test_a_folder_that_can_not_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    server = CallServer(tmp_path / "file" / "cni.sock", echo, CallMetrics(CollectorRegistry()))

    with pytest.raises(KernelError) as caught:
        asyncio.run(server.run())

    assert str(caught.value).startswith(f"listen on {tmp_path}/file/cni.sock: ")
