"""Both shims against agents that answer, decline, are silent, talk nonsense, or are not there."""

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from cni.calls.protocol import (
    CALL_HEAD_BYTES,
    CONFIG_BYTES,
    DECLINED,
    STDERR_BYTES,
    STDOUT_BYTES,
    decode_call,
    decode_call_head,
    render_answer,
)
from nodeplane.cnispec import render_versions
from tests.cni.shim_programs import KINDS, Outcome, build_shims, call, write_program
from tests.netns_fixture import eventually

# Says that it ran, with what it was given.
PLUGIN = '#!/bin/sh\nprintf "plugin %s " "$CNI_COMMAND"\nexec cat\n'
SOON_S = 0.3
CONFIG = b'{"cniVersion": "0.4.0", "name": "x"}'


def said(code: int, message: str = "cni-agent does not answer", version: str = "0.4.0") -> Outcome:
    return Outcome(1, f'{{"cniVersion":"{version}","code":{code},"msg":"{message}"}}\n'.encode())


def ran(command: str, config: bytes = CONFIG) -> Outcome:
    return Outcome(0, f"plugin {command} ".encode() + config)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("shims")
    return build_shims(directory, write_program(directory / "plugin", PLUGIN))


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Path:
    return programs[request.param]


Talk = Callable[[socket.socket], None]


@contextmanager
def agent(path: Path, talk: Talk) -> Iterator[None]:
    """Take one connection and do as told with it; then listen on in silence."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def receive_call(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    with connection.makefile("rb") as stream:
        head = decode_call_head(stream.read(CALL_HEAD_BYTES))
        return decode_call(head, stream.read(head.environment_bytes + head.config_bytes))


def reply(data: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        receive_call(connection)
        connection.sendall(data)

    return talk


def reply_and_hold(data: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        receive_call(connection)
        connection.sendall(data)
        # Until the shim gives up.
        connection.recv(1)

    return talk


def hang_up(connection: socket.socket) -> None:
    """Close without a word, with the call unread."""


def in_pieces(connection: socket.socket) -> None:
    receive_call(connection)
    for byte in render_answer(0, b"slowly"):
        connection.sendall(bytes([byte]))


BIG = b"x" * (1 << 20)
WARNED = render_answer(0, b"whole", b"careful\n")


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        pytest.param(reply(render_answer(0, b'{"ips":[]}\n')), Outcome(0, b'{"ips":[]}\n'), id="a result"),
        pytest.param(reply(render_answer(0, b"")), Outcome(0, b""), id="no result"),
        pytest.param(reply(render_answer(1, b'{"code":7}\n')), Outcome(1, b'{"code":7}\n'), id="an error"),
        pytest.param(reply(render_answer(0, BIG)), Outcome(0, BIG), id="more than a pipe holds"),
        pytest.param(in_pieces, Outcome(0, b"slowly"), id="byte by byte"),
        pytest.param(reply(render_answer(DECLINED, b"")), ran("ADD"), id="declined"),
        pytest.param(hang_up, said(11), id="hangs up at once"),
        pytest.param(reply(b""), said(11), id="hangs up after the call"),
        pytest.param(reply(b"\0\0\0\0"), said(11), id="half a head"),
        pytest.param(reply(WARNED), Outcome(0, b"whole", b"careful\n"), id="with a warning"),
        pytest.param(
            reply(render_answer(1, b"", BIG[:STDERR_BYTES])),
            Outcome(1, b"", BIG[:STDERR_BYTES]),
            id="with many",
        ),
        pytest.param(
            reply(render_answer(0, b"whole", BIG[: STDERR_BYTES + 1])),
            Outcome(0, b"whole"),
            id="with too many",
        ),
        pytest.param(reply(WARNED[:-1]), Outcome(0, b"whole"), id="a warning cut off"),
        pytest.param(reply(WARNED[:-9]), Outcome(0, b"whole"), id="half the size of a warning"),
        pytest.param(reply(WARNED[:13]), Outcome(0, b"whole"), id="an agent of before"),
        pytest.param(reply(WARNED[:12]), said(11), id="cut off"),
        pytest.param(reply(b"HTTP/1.1 400 Bad Request\r\n\r\n"), said(11), id="another protocol"),
        pytest.param(
            reply(bytes(4) + (STDOUT_BYTES + 1).to_bytes(4, "big")), said(11), id="more than there may be"
        ),
        pytest.param(reply_and_hold(b""), said(11), id="silent"),
        pytest.param(reply_and_hold(WARNED[:12]), said(11), id="silent in the middle"),
    ],
)
def test_answers_to_add(program: Path, agent_socket: Path, talk: Talk, expected: Outcome) -> None:
    with agent(agent_socket, talk):
        outcome = call(program, {"CNI_COMMAND": "ADD"}, CONFIG, deadline_s=SOON_S if expected.code else 60)

    assert outcome == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ADD", said(11)),
        ("CHECK", said(11)),
        ("GC", said(11)),
        ("STATUS", said(50)),
        ("DEL", ran("DEL")),
        ("VERSION", ran("VERSION")),
    ],
)
@pytest.mark.parametrize("talk", [reply(b""), reply_and_hold(b"")], ids=["hangs up", "silent"])
def test_an_agent_without_an_answer(
    program: Path, agent_socket: Path, talk: Talk, command: str, expected: Outcome
) -> None:
    with agent(agent_socket, talk):
        assert call(program, {"CNI_COMMAND": command}, CONFIG, deadline_s=SOON_S) == expected


def test_a_closed_stdin(program: Path, agent_socket: Path) -> None:
    """Is an empty configuration: whoever does the call has the words for that."""
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(receive_call(connection)[1])
        connection.sendall(render_answer(1, b"why"))

    with agent(agent_socket, listen):
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" <&-', program],
            env={**os.environ, "CNI_COMMAND": "ADD"}, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    assert (heard, done.returncode, done.stdout, done.stderr) == ([b""], 1, b"why", b"")


def test_a_caller_that_was_stopped_goes_on(program: Path, agent_socket: Path) -> None:
    """SIGSTOP, as the freezer, ends a wait that has a limit (signal(7))."""

    def stop_and_answer(connection: socket.socket) -> None:
        receive_call(connection)
        pid, _, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        state = Path(f"/proc/{pid}/stat")
        for number, wanted in ((signal.SIGSTOP, "T"), (signal.SIGCONT, "S")):
            os.kill(pid, number)
            eventually(lambda: state.read_text().rpartition(") ")[2][0], partial(eq, wanted))
        connection.sendall(render_answer(0, b"done"))

    with agent(agent_socket, stop_and_answer):
        assert call(program, {"CNI_COMMAND": "ADD"}, CONFIG) == Outcome(0, b"done")


def no_agent(path: Path) -> None:
    """Leave nothing there."""


def dead_agent(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


def other_file(path: Path) -> None:
    path.write_text("no socket")


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"])
@pytest.mark.parametrize("leave", [no_agent, dead_agent, other_file])
def test_without_an_agent_the_plugin_runs(
    program: Path, agent_socket: Path, leave: Callable[[Path], None], command: str
) -> None:
    leave(agent_socket)

    assert call(program, {"CNI_COMMAND": command}, CONFIG) == ran(command)


@pytest.mark.parametrize("config", [b"", b"\0\xff", b"x" * (CONFIG_BYTES + 1)], ids=["none", "bytes", "huge"])
def test_any_configuration_reaches_the_plugin(program: Path, agent_socket: Path, config: bytes) -> None:
    assert call(program, {"CNI_COMMAND": "ADD"}, config) == ran("ADD", config)


def test_what_no_frame_holds_goes_past_the_agent(program: Path, agent_socket: Path) -> None:
    config = b"x" * (CONFIG_BYTES + 1)
    with agent(agent_socket, hang_up):
        assert call(program, {"CNI_COMMAND": "ADD"}, config) == ran("ADD", config)
        # The agent of the test waits for one.
        call(program, {"CNI_COMMAND": "ADD"})


def test_a_call_by_hand_is_the_plugins(program: Path, agent_socket: Path) -> None:
    """No CNI_COMMAND: the plugin says what it is, and stdin is left alone."""
    assert call(program, {}, b"left") == ran("", b"left")


def test_a_path_that_no_socket_has(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODEPLANE_CNI_SOCKET", "/" + "x" * 200)

    assert call(program, {"CNI_COMMAND": "ADD"}, CONFIG) == ran("ADD")


@pytest.mark.parametrize(
    "config", [b"", b"{}", CONFIG, b"x" * CONFIG_BYTES], ids=["none", "{}", "some", "most"]
)
def test_the_call_arrives_whole(program: Path, agent_socket: Path, config: bytes) -> None:
    """Every variable, those that are no UTF-8 too: an IPAM plugin that is run gets them."""
    heard: list[tuple[dict[str, str], bytes]] = []

    def listen(connection: socket.socket) -> None:
        heard.append(receive_call(connection))
        connection.sendall(render_answer(0, b""))

    environ = {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=\udcff", "OTHER": "", "X": "a=b"}
    with agent(agent_socket, listen):
        assert call(program, environ, config) == Outcome(0, b"")

    ((variables, stdin),) = heard
    assert stdin == config
    assert environ.items() <= variables.items()


@pytest.mark.parametrize(
    ("config", "version"),
    [
        pytest.param(b'{"cniVersion":"1.0.0"}', "1.0.0", id="tight"),
        pytest.param(b'{"name":"x",\n\t"cniVersion" :\r\n "0.3.1"}', "0.3.1", id="loose"),
        pytest.param(b"{}", "1.1.0", id="none"),
        pytest.param(b"", "1.1.0", id="no configuration"),
        pytest.param(b'{"cniVersion":7}', "1.1.0", id="a number"),
        pytest.param(b'{"cniVersion":""}', "1.1.0", id="empty"),
        pytest.param(b'{"cniVersion":"1.0.0\\u0022"}', "1.1.0", id="an escape"),
        pytest.param(b'{"cniVersion":"1.0', "1.1.0", id="cut off"),
        pytest.param(b'{"cniVersion":"1111111111111111"}', "1.1.0", id="too long"),
    ],
)
def test_the_version_of_an_error(program: Path, agent_socket: Path, config: bytes, version: str) -> None:
    with agent(agent_socket, hang_up):
        assert call(program, {"CNI_COMMAND": "ADD"}, config) == said(11, version=version)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("command", "code"), [("ADD", 11), ("CHECK", 11), ("DEL", 11), ("GC", 11), ("STATUS", 50)]
)
def test_neither_agent_nor_plugin(
    tmp_path: Path, agent_socket: Path, kind: str, command: str, code: int
) -> None:
    """A DEL that succeeded would lose the release of the address: the runtime calls again."""
    program = build_shims(tmp_path, tmp_path / "gone")[kind]

    expected = said(code, f"cni-agent is not there, and neither is {tmp_path}/gone")
    assert call(program, {"CNI_COMMAND": command}, CONFIG) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("config", "version"), [(CONFIG, "0.4.0"), (b"{}", "1.1.0"), (b"", "1.1.0")])
def test_version_with_neither_agent_nor_plugin(
    tmp_path: Path, agent_socket: Path, kind: str, config: bytes, version: str
) -> None:
    program = build_shims(tmp_path, tmp_path / "gone")[kind]

    outcome = call(program, {"CNI_COMMAND": "VERSION"}, config)

    assert outcome == Outcome(0, render_versions(version) + b"\n")


def test_the_python_shim_loads_nothing_else() -> None:
    """Pod start-up waits for it: what it imports is built in, and no path of the site's is looked at."""
    source = Path("cni/calls/shim.py").read_text()

    assert source.startswith("#!/usr/bin/python3 -IS\n")
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert imports == ["import _socket", "import posix"]


def test_the_launcher_stays_small() -> None:
    assert len(Path("cni/calls/launcher.c").read_text().splitlines()) <= 150
