"""The echo server and the client, over a kernel's raw sockets."""

import threading
from pathlib import Path

import pytest

from netns_lab.scenarios.request import Outcome, Target, ask
from netns_lab.workload import EchoServer
from nodeplane.datapath import netns
from tests.netns_fixture import namespace, veth_pair

pytestmark = pytest.mark.netns

IDENTITY = {"pod": "web", "namespace": "default", "node": "n1"}


@pytest.mark.parametrize(
    ("near", "far"),
    [
        pytest.param("10.9.0.1", "10.9.0.2", id="IPv4"),
        pytest.param("fd09::1", "fd09::2", id="IPv6"),
    ],
)
def test_ask(near: str, far: str) -> None:
    length = 64 if ":" in near else 24
    with (
        namespace("near") as client,
        namespace("far") as pod,
        veth_pair(client, "va", pod, "vb", address_a=f"{near}/{length}", address_b=f"{far}/{length}"),
        netns.inside(pod),
    ):
        server = EchoServer(IDENTITY, [("SCTP", 7), ("TCP", 8)])
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(server, over))
        thread.start()
        try:
            # The first packets meet an address that is not yet known to be nobody else's (RFC 4862).
            answered = _ask(client, Target("sctp", far, 7))
            refused = _ask(client, Target("sctp", far, 9))
        finally:
            over.set()
            thread.join()
            server.close()

    assert (answered.by, answered.source, answered.error) == ("default/web", near, "")
    assert refused.error == "the association was refused"


def _serve(server: EchoServer, over: threading.Event) -> None:
    while not over.is_set():
        server.serve_once(0.05)


def _ask(place: Path, target: Target) -> Outcome:
    with netns.inside(place):
        return ask(target, 30.0)
