"""Forked programs: seen, placed and ended like others."""

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns_lab.commands import bare_module, program_path
from netns_lab.launcher.client import ForkServer
from netns_lab.launcher.entry import find_entry
from netns_lab.launcher.messages import Start
from netns_lab.processes import MARK, read_process
from tests.netns_fixture import eventually, namespace

ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", MARK: "forks/launcher"}
ECHO = bare_module("netns_lab.workload", json.dumps({"identity": {"pod": "a"}, "ports": [["TCP", 8080]]}))

_OWN_LIMIT_KIB = 1900

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(ENVIRONMENT) as found:
        yield found


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with namespace("fork") as path:
        yield path.name


def start(command: tuple[str, ...], place: str, log: Path, **variables: str) -> Start:
    entry = find_entry(command)
    assert entry is not None
    environment = {"PATH": os.environ["PATH"], MARK: "forks/program", **variables}
    return Start(entry, command, environment, place, str(log))


def words(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/{name}").read_text().rstrip("\0").split("\0")


@pytest.fixture(scope="module")
def lean_server() -> Iterator[ForkServer]:
    with ForkServer(ENVIRONMENT, "workloads") as found:
        yield found


@pytest.fixture
def echo(server: ForkServer, place: str, tmp_path: Path) -> Iterator[int]:
    """Start an echo server, wait until it says that it is ready, and return its process id."""
    with echoing(server, place, tmp_path) as pid:
        yield pid


@contextmanager
def echoing(server: ForkServer, place: str, tmp_path: Path) -> Iterator[int]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(path)
        notifications.settimeout(60)
        pid = server.start(start(ECHO, place, tmp_path / "log", NOTIFY_SOCKET=path))
        assert pid is not None
        assert notifications.recv(64) == b"READY=1"
    try:
        yield pid
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
            server.exit_code(pid)


def test_it_is_seen_like_any_other(echo: int, place: str, tmp_path: Path) -> None:
    assert words(echo, "cmdline") == list(ECHO)
    assert sorted(words(echo, "environ")) == sorted(
        [f"PATH={os.environ['PATH']}", f"{MARK}=forks/program", f"NOTIFY_SOCKET={tmp_path / 'notify'}"]
    )
    assert Path(f"/proc/{echo}/comm").read_text() == f"{Path(sys.executable).name}\n"
    process = read_process(echo)
    assert process is not None
    assert process.mark == "forks/program"


def test_it_is_where_it_belongs(echo: int, place: str, tmp_path: Path) -> None:
    """In its namespace and in a session of its own, and it holds nothing of the fork server."""
    assert os.stat(f"/proc/{echo}/ns/net").st_ino == os.stat(f"/run/netns/{place}").st_ino
    assert os.getsid(echo) == echo
    assert os.readlink(f"/proc/{echo}/cwd") == "/"
    assert {os.readlink(f"/proc/{echo}/fd/{number}") for number in (1, 2)} == {str(tmp_path / "log")}
    # That by which it has said READY is closed a moment later.
    eventually(lambda: _sockets(echo) - _listening(echo), lambda others: not others)
    assert _sockets(echo)


def _sockets(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    names = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {name[len("socket:[") : -1] for name in names if name.startswith("socket:")}


def _listening(pid: int) -> set[str]:
    """Return the inodes of the TCP sockets in a process's namespace."""
    tables = (Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
    return {line.split()[9] for table in tables for line in table}


def test_what_a_workload_has_to_itself(lean_server: ForkServer, place: str, tmp_path: Path) -> None:
    """A lab has thousands; as a fork of the programs' server it takes 2.3 MiB."""
    # What the server goes on to write, it leaves to the fork before.
    with echoing(lean_server, place, tmp_path) as pid, other_fork(lean_server, place, tmp_path):
        own = re.findall(
            r"^Private_\w+: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
        )

    assert sum(map(int, own)) < _OWN_LIMIT_KIB


@contextmanager
def other_fork(server: ForkServer, place: str, tmp_path: Path) -> Iterator[None]:
    pid = server.start(start(ECHO, place, tmp_path / "log"))
    assert pid is not None
    yield
    os.kill(pid, signal.SIGKILL)
    server.exit_code(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_end_is_told(server: ForkServer, echo: int, number: signal.Signals) -> None:
    handle = os.pidfd_open(echo)
    os.kill(echo, number)

    assert server.exit_code(echo) == -number
    os.close(handle)


def test_streams(server: ForkServer, place: str, tmp_path: Path) -> None:
    """A command with input and output, as the CNI plugin is called."""
    reader, writer = os.pipe()
    with open(os.devnull, "rb") as nothing:
        pid = server.start(
            start((program_path("netns-lab"), "schema"), place, tmp_path / "log"), (nothing.fileno(), writer)
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        schema = json.loads(output.read())

    assert pid is not None
    assert server.exit_code(pid) == 0
    assert "$defs" in schema


def test_an_error_is_in_the_log(server: ForkServer, place: str, tmp_path: Path) -> None:
    pid = server.start(start((program_path("kubeproxy"), "run", "--nonsense"), place, tmp_path / "log"))

    assert pid is not None
    assert server.exit_code(pid) == 2
    assert "No such option '--nonsense'" in (tmp_path / "log").read_text()


def test_no_room_for_a_long_command(server: ForkServer, place: str, tmp_path: Path) -> None:
    """It is started in the usual way then."""
    assert server.start(start((*ECHO, "x" * 5000), place, tmp_path / "log")) is None


def test_programs_outlive_the_server(place: str, tmp_path: Path) -> None:
    """And the server ends with whoever has started it, however that ends: nothing is at the other end."""
    with ForkServer(ENVIRONMENT) as server:
        pid = server.start(start(ECHO, place, tmp_path / "log"))
        assert pid is not None
    try:
        assert Path(f"/proc/{pid}").exists()
    finally:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: read_process(pid), lambda found: found is None)
