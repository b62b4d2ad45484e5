"""Programs: which ones run as planned, and how they are started."""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netns_lab.commands import bare_module
from netns_lab.launch import start
from netns_lab.processes import Process, lab_processes, namespace_id, read_process, stop
from netns_lab.programs import Program, ProgramRecord, exit_codes, forget, missing, running, to_stop
from netns_lab.state import StateDirectory
from nodeplane.errors import NodeplaneError
from tests import netns_fixture
from tests.netns_fixture import eventually

LAB = f"t{os.getpid()}{secrets.token_hex(2)}"


@pytest.mark.parametrize(
    ("processes", "stopped"),
    [
        pytest.param([], {}, id="nothing runs"),
        pytest.param([(3, "lab/done")], {}, id="what a command that has ended well has left running"),
        pytest.param([(1, "lab/a")], {}, id="kept"),
        pytest.param([(1, "lab/a"), (2, "lab/a")], {}, id="a child of a kept one"),
        pytest.param([(1, "lab/b"), (2, "lab/b")], {"b": [1, 2]}, id="not kept, with its children"),
        pytest.param([(1, "lab/cni/lab.x.y")], {"cni/lab.x.y": [1]}, id="what a killed command has left"),
        pytest.param([(1, ""), (2, "other/b")], {}, id="a person's, another lab's"),
        pytest.param([(1, "lab/b"), (9, "lab/b")], {"b": [1]}, id="what outlives its program"),
    ],
)
def test_to_stop(processes: list[tuple[int, str]], stopped: dict[str, list[int]]) -> None:
    present = [Process(pid, 1, (0, 0), mark) for pid, mark in processes]

    unwanted = to_stop("lab", {"a", "done"}, present, {9})

    assert {name: [process.pid for process in group] for name, group in unwanted.items()} == stopped


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    """Yield a lab's directory; end what was started for the lab."""
    directory = StateDirectory(LAB, tmp_path)
    directory.path.mkdir()
    yield directory
    stop(lab_processes(LAB, []))


@pytest.fixture
def namespace() -> Iterator[Path]:
    """Yield a namespace of its own."""
    with netns_fixture.namespace() as path:
        yield path


def shell(namespace: Path, script: str, name: str = "job") -> Program:
    """Return a pod's command."""
    return Program(name, namespace.name, bare_module("netns_lab.job", "sh", "-c", script))


def echo(namespace: Path) -> Program:
    """Return a program that says when it is ready."""
    return Program("echo", namespace.name, bare_module("netns_lab.workload", '{"identity": {}, "ports": []}'))


def read_running(state: StateDirectory, *programs: Program) -> dict[str, Process]:
    """Return what runs as planned."""
    return dict(running(state, programs, lab_processes(LAB, [])))


@pytest.mark.netns
def test_start(state: StateDirectory, namespace: Path) -> None:
    """Started programs run in their namespace, under the lab's mark, in sessions of their own."""
    programs = (echo(namespace), shell(namespace, "exec sleep 600"))
    before = read_running(state, *programs)

    start(state, programs)

    found = read_running(state, *programs)
    assert before == {}
    assert {name: (process.namespace, process.mark) for name, process in found.items()} == {
        "echo": (namespace_id(namespace), f"{LAB}/echo"),
        "job": (namespace_id(namespace), f"{LAB}/job"),
    }
    assert all(os.getsid(process.pid) == process.pid for process in found.values())


@pytest.mark.netns
def test_running_as_planned(state: StateDirectory, namespace: Path) -> None:
    """What has another plan, another namespace, no record or has ended does not count."""
    programs = {name: shell(namespace, "exec sleep 600", name) for name in "abcdef"}
    start(state, list(programs.values()))
    found = read_running(state, *programs.values())
    changed = msgspec.structs.replace(programs["b"], inputs=(b"new",))
    forget(state, [program for name, program in programs.items() if name != "c"])
    stop([found["d"]])
    # Its process is about to end.
    state.exit_file(programs["f"].digest).parent.mkdir(exist_ok=True)
    state.exit_file(programs["f"].digest).write_text("0")
    elsewhere = msgspec.structs.replace(found["e"], namespace=(0, 0))
    state.save_record("programs/e", ProgramRecord(programs["e"].digest, elsewhere))

    assert found.keys() == programs.keys()
    assert read_running(state, *({**programs, "b": changed}).values()) == {"a": found["a"]}


@pytest.mark.netns
@pytest.mark.parametrize(
    ("program", "error"),
    [
        pytest.param(
            Program("p", "{ns}", ("sh", "-c", "echo first; echo last; exit 3")),
            "p ended with exit code 3 before it was ready: last; see {log}",
            id="ended",
        ),
        pytest.param(
            Program("p", "{ns}", ("sh", "-c", "exec sleep 600")),
            "not ready after 0.3 s: p; see {logs}",
            id="late",
        ),
        pytest.param(
            Program("p", "{ns}", ("/no/such/program",)),
            "p: can't start /no/such/program: No such file or directory",
            id="not there",
        ),
    ],
)
def test_start_that_fails(program: Program, error: str, state: StateDirectory, namespace: Path) -> None:
    there = msgspec.structs.replace(program, namespace=namespace.name)

    with pytest.raises(NodeplaneError) as caught:
        start(state, [there], limit_s=0.3 if "not ready" in error else 60)

    logs = state.path / "logs"
    assert str(caught.value) == error.format(log=logs / "p.log", logs=logs)
    assert read_running(state, there) == {}


@pytest.mark.netns
def test_one_that_fails_does_not_keep_the_others_from_starting(
    state: StateDirectory, namespace: Path
) -> None:
    programs = (Program("p", namespace.name, ("false",)), echo(namespace), shell(namespace, "exec sleep 600"))

    with pytest.raises(NodeplaneError, match="p ended with exit code 1"):
        start(state, programs)

    assert read_running(state, *programs).keys() == {"echo", "job"}


@pytest.mark.netns
@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        pytest.param("exit 0", 0, [], id="ended well: done"),
        pytest.param("exit 3", 3, ["job running: ended with code 3"], id="failed"),
        pytest.param("kill -9 $$", 137, ["job running: ended with code 137"], id="killed"),
    ],
)
def test_a_job_leaves_its_exit_code(
    script: str, code: int, words: list[str], state: StateDirectory, namespace: Path
) -> None:
    """However short, it counts as started; changed, it is another job, and the old code is forgotten."""
    job = shell(namespace, script)

    start(state, [job])

    codes = eventually(lambda: exit_codes(state, [job]), bool)
    changed = shell(namespace, f"{script} # changed")
    assert codes == {"job": code}
    assert missing([job], {}, codes) == words
    assert exit_codes(state, [changed]) == {}
    forget(state, [changed])
    assert exit_codes(state, [job]) == {}


@pytest.mark.netns
def test_nobody_speaks_for_another(state: StateDirectory, namespace: Path) -> None:
    """A child's READY=1 is not its parent's: the kernel says who has sent it."""
    # A child on purpose: with `exec` it would be the program itself.
    sender = "from nodeplane.runtime.sd_notify import notify; notify('READY=1')"
    script = '"$0" -c "$1"; sleep 600'
    program = Program("p", namespace.name, ("sh", "-c", script, sys.executable, sender))

    with pytest.raises(NodeplaneError, match="not ready"):
        start(state, [program], limit_s=2)


@pytest.mark.netns
def test_own_process_is_never_the_lab_s(namespace: Path) -> None:
    own = read_process(os.getpid())
    assert own is not None

    assert os.getpid() not in [process.pid for process in lab_processes(LAB, [own.namespace])]
