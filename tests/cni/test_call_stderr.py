"""What a call says on stderr reaches its caller, wherever the work is done."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from cni.call_stderr import CallerHandler, kept, stderr_for_child
from cni.calls.protocol import STDERR_BYTES
from tests.cni.conftest import WAYS, Node
from tests.cni.shim_programs import Outcome, call
from tests.cni.stub_ipam import StubIpam, install_stub

log = logging.getLogger(__name__)


@pytest.fixture
def handler() -> CallerHandler:
    return CallerHandler()


def warn(handler: CallerHandler, text: str) -> None:
    handler.handle(logging.makeLogRecord({"msg": "text=%s", "args": (text,), "levelno": logging.WARNING}))


def test_a_thread_keeps_its_own(handler: CallerHandler) -> None:
    inside, other = threading.Event(), threading.Event()
    found: list[bytes] = []

    def serve() -> None:
        with kept() as stderr:
            inside.set()
            other.wait(60)
            warn(handler, "mine")
            found.append(bytes(stderr))

    thread = threading.Thread(target=serve)
    thread.start()
    inside.wait(60)
    warn(handler, "nobody's")
    with kept() as stderr:
        warn(handler, "another's")
        other.set()
        thread.join()
        assert (found, bytes(stderr)) == ([b"text=mine\n"], b"text=another's\n")


def test_a_child_writes_into_it(handler: CallerHandler) -> None:
    with kept() as stderr:
        warn(handler, "before")
        with stderr_for_child() as descriptor:
            assert descriptor is not None
            os.write(descriptor, b"child\n")
        warn(handler, "after")

    assert stderr == b"text=before\nchild\ntext=after\n"


def test_what_a_frame_does_not_hold_is_left_out(handler: CallerHandler) -> None:
    with kept() as stderr:
        with stderr_for_child() as descriptor:
            assert descriptor is not None
            os.write(descriptor, b"x" * (STDERR_BYTES + 9))
        warn(handler, "late")

    assert stderr == b"x" * STDERR_BYTES


def test_a_process_of_its_own_has_its_own() -> None:
    with stderr_for_child() as descriptor:
        assert descriptor is None


@pytest.fixture
def stub(tmp_path: Path) -> StubIpam:
    """An IPAM plugin that has something to say."""
    stub = install_stub(tmp_path / "bin")
    program = stub.folder / "stub"
    program.write_text(program.read_text() + 'echo "stub: $CNI_COMMAND" >&2\n')
    stub.give("c1", "10.244.0.5")
    return stub


@pytest.mark.netns
@pytest.mark.parametrize("way", WAYS)
def test_a_warning_and_an_ipam_plugins_words(node: Node, pod: Path, stub: StubIpam) -> None:
    def run(command: str, ipam: dict[str, str]) -> Outcome:
        config = json.dumps({**node.config, "ipam": ipam}).encode()
        environ = node.environ(command, pod, CNI_PATH=str(stub.folder))
        return call(Path(node.program), environ, config, node=node.path)

    added = run("ADD", stub.config)
    assert (added.code, added.stderr) == (0, b"stub: ADD\n")
    assert run("DEL", stub.config) == Outcome(0, b"", b"stub: DEL\n")
    warning = b"configuration without IPAM plugin: no address is released container=c1\n"
    assert run("DEL", {}) == Outcome(0, b"", warning)
