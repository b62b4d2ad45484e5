"""What a fault of the API server does to the kernel's table: nothing. docs/faults.md has a row for each id.

Server, kubeproxy and table are the real ones. While a fault lasts the table is read all the time: a Service
that exists on the server with ready endpoints is there with endpoints of its own, always.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.node import Node, endpoints, frontend, running_node
from tests.faults.tampering_proxy import LIMIT_S, Spoil, cut, pause, send_instead

pytestmark = pytest.mark.netns

DOCUMENT = Path(__file__).parents[2] / "docs/faults.md"
Fault = Callable[[Node], None]

CHANGED = b'"type":"MODIFIED"'
LISTED = b'"type":"ADDED"'


def kill_and_restart(node: Node) -> None:
    node.server.kill()
    node.await_log("cluster state lost")
    node.server.start()


def restart_on_other_data(node: Node) -> None:
    """Service 10 as it was, 11 elsewhere, 12 gone, 13 new; and a history that knows nothing of all that."""
    for address in (112, 113, 11):
        # More versions than the other server has.
        node.set(11, address)
        node.settle()
    other = node.prepare_other_server((10, 10), (11, 111), (13, 13))
    node.server.kill()
    node.await_log("cluster state lost")
    after = {key: value for key, value in node.services.items() if key != frontend(12)}
    node.expect({**after, frontend(11): endpoints(111), frontend(13): endpoints(13)})
    node.server = other
    node.server.start()
    node.settle()


def restart_kubeproxy_without_server(node: Node) -> None:
    node.server.kill()
    node.kill_kubeproxy()
    node.run_kubeproxy(await_ready=False)
    node.await_log("no cluster state yet")
    node.server.start()


def spoil_change(spoil: Spoil) -> Fault:
    """Spoil the event of a change on its way."""

    def fault(node: Node) -> None:
        assert node.proxy is not None
        node.proxy.arm(CHANGED, spoil)
        node.set(11, 11, 111)
        assert node.proxy.done.wait(LIMIT_S)
        node.settle()

    return fault


def spoil_list(spoil: Spoil) -> Fault:
    """Spoil the list that follows a lost connection."""

    def fault(node: Node) -> None:
        assert node.proxy is not None
        node.proxy.arm(LISTED, spoil)
        node.proxy.hang_up()
        assert node.proxy.done.wait(LIMIT_S)

    return fault


def write_big_objects(node: Node) -> None:
    """A Service and a slice of 1 MB each appear and change."""
    node.set(13, 13, text="x" * 1_000_000)
    node.settle()
    node.set(13, 13, 113, text="y" * 1_000_000)
    node.settle()


def stop_for_10_s(node: Node) -> None:
    process = node.server.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    # The fault itself is this long.
    time.sleep(10)
    os.kill(process.pid, signal.SIGCONT)


def change_certificate(node: Node) -> None:
    """The server comes back with another authority's certificate; kubeproxy hears of it later."""
    node.server.kill()
    for name in ("ca.crt", "server.crt", "server.key"):
        (node.server.directory / name).unlink()
    node.server.start()
    node.await_log("CERTIFICATE_VERIFY_FAILED")
    node.give_kubeconfig()


def rotate_token(node: Node) -> None:
    """The server comes back with another token; kubeproxy hears of it later."""
    node.server.kill()
    (node.server.directory / "token").unlink()
    node.server.start()
    node.await_log("401 Unauthorized")
    node.give_kubeconfig()


BAD_GATEWAY = b"<html>502 Bad Gateway</html>\n"
FAULTS = [
    pytest.param(kill_and_restart, False, "cluster state lost", id="server-killed-and-restarted"),
    pytest.param(restart_on_other_data, False, "cluster state lost", id="server-restarted-on-other-data"),
    pytest.param(
        restart_kubeproxy_without_server,
        False,
        "no cluster state yet",
        id="kubeproxy-restarted-without-server",
    ),
    pytest.param(spoil_change(cut()), True, "cluster state lost", id="half-an-event-then-cut"),
    pytest.param(
        spoil_change(send_instead()), True, "in the middle of an event", id="half-an-event-then-the-end"
    ),
    pytest.param(spoil_change(send_instead(BAD_GATEWAY)), True, "expected an event", id="no-event-but-html"),
    pytest.param(spoil_list(cut()), True, "cluster state lost", id="list-cut-in-the-middle"),
    pytest.param(write_big_objects, False, "", id="objects-of-1-mb"),
    pytest.param(spoil_change(pause(10)), True, "", id="pause-of-10-s-in-an-event"),
    pytest.param(spoil_list(pause(10)), True, "cluster state lost", id="pause-of-10-s-in-a-list"),
    pytest.param(stop_for_10_s, False, "", id="server-stands-still-for-10-s"),
    pytest.param(change_certificate, False, "CERTIFICATE_VERIFY_FAILED", id="certificate-changed"),
    pytest.param(rotate_token, False, "401 Unauthorized", id="token-rotated"),
]


@pytest.mark.parametrize(("fault", "has_proxy", "said"), FAULTS)
def test_fault(fault: Fault, has_proxy: bool, said: str, tmp_path: Path) -> None:
    """Nothing wrong is programmed while it lasts, and what changes afterwards arrives."""
    with running_node(tmp_path, has_proxy=has_proxy) as node:
        fault(node)
        reads = node.watcher.reads

        node.set(11, 11, 201)
        node.settle()

        assert node.is_kubeproxy_running
        log = node.log()
    assert list(node.watcher.wrong) == []
    assert reads > 0
    assert said in log if said else "cluster state lost" not in log
    assert "Traceback" not in log


def test_every_fault_is_in_the_table() -> None:
    """The page names the tests, each once, in their order."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT.read_text(), re.MULTILINE)

    assert rows == [param.id for param in FAULTS]
