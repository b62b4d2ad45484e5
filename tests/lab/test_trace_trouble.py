"""Traces through a lab that something is wrong with; nothing of a trace stays behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from netns_lab.topology import PodSpec
from netns_lab.trace.run import trace
from netns_lab.trace.target import parse_target
from nodeplane.errors import NodeplaneError
from tests.lab.labs import COMMAND, LabUnderTest, run
from tests.lab.trace_lab import TraceLab
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.lab


@contextmanager
def _stopped(lab: LabUnderTest, program: str) -> Iterator[None]:
    """Freeze a program of the lab."""
    mark = f"NETNS_LAB={lab.name}/{program}".encode()
    found = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, mark)
    ]
    assert found, program
    for pid in found:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def _has(folder: Path, mark: bytes) -> bool:
    try:
        return mark in (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_a_missing_route(traced: TraceLab) -> None:
    """cni-agent would put it back at once: it is held meanwhile."""
    node = traced.lab.node("n1")
    routes = run_in(node, "ip", "-4", "route", "show", "proto", "110").stdout.splitlines()
    block = next(route.split() for route in routes if " via " in route)
    with _stopped(traced.lab, "nodes/n1/cni-agent"):
        assert run_in(node, "ip", "route", "del", *block, "proto", "110").returncode == 0
        try:
            found = traced.trace("client", f"tcp:{traced.pods['default/web-1'][0]}:8080")
        finally:
            assert run_in(node, "ip", "route", "add", *block, "proto", "110").returncode == 0

    assert found.verdict == "lost"
    assert found.reason.startswith(f"no route to block {block[0]} of node n2 in node n1")


@pytest.mark.parametrize("kind", ["blackhole", "prohibit"])
def test_a_route_that_ends_packets(traced: TraceLab, kind: str) -> None:
    node, web = traced.lab.node("n1"), traced.pods["default/web-1"][0]
    assert run_in(node, "ip", "route", "add", kind, web).returncode == 0
    try:
        found = traced.trace("client", f"tcp:{web}:8080")
    finally:
        assert run_in(node, "ip", "route", "del", kind, web).returncode == 0

    assert found.verdict == "lost"
    assert found.reason.startswith(f"{kind} route to block ")
    assert found.reason.endswith(" of node n2 in node n1")


def test_a_stopped_workload(traced: TraceLab) -> None:
    with _stopped(traced.lab, "pods/default/web-1"):
        http = traced.trace("client", "http://web/", 4)
        udp = traced.trace("client", "udp:web:7", 4)

    assert (http.verdict, http.reason) == (
        "unanswered",
        "the kernel of pod default/web-1 took the connection, its program does not answer",
    )
    assert (udp.verdict, udp.reason) == (
        "unanswered",
        "pod default/web-1 got it on udp port 7 and does not answer",
    )


def test_a_link_that_is_down(traced: TraceLab) -> None:
    web, fabric = traced.pods["default/web-1"][0], traced.lab.node("fabric")
    assert run_in(fabric, "ip", "link", "set", "to-n2", "down").returncode == 0
    try:
        found = traced.trace("client", f"tcp:{web}:8080")
    finally:
        assert run_in(fabric, "ip", "link", "set", "to-n2", "up").returncode == 0

    assert (found.verdict, found.reason) == ("lost", "link eth0 of node n2 is up, but its other end is down")
    eventually(lambda: traced.trace("client", f"tcp:{web}:8080").verdict, lambda word: word == "answered")


def test_a_source_that_is_not_the_pod_s(traced: TraceLab) -> None:
    pod, web = traced.lab.pod("default/client"), traced.pods["default/web-1"][0]
    for command in (
        "address add 192.0.2.7/32 dev eth0",
        f"route add {web} via 169.254.1.1 dev eth0 src 192.0.2.7",
    ):
        assert run_in(pod, "ip", *command.split()).returncode == 0
    try:
        found = traced.trace("client", f"tcp:{web}:8080")
    finally:
        for command in (f"route del {web}", "address del 192.0.2.7/32 dev eth0"):
            assert run_in(pod, "ip", *command.split()).returncode == 0

    assert found.verdict == "dropped"
    assert (
        "dropped by the source check of node n1: 192.0.2.7 is no address of the pod behind npl"
        in found.reason
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(
            ["partition", "n1", "n2"],
            "dropped in fabric by a fault or an impairment of the lab's own, chain through",
            id="on the bridge",
        ),
        pytest.param(
            ["loss", "n1", "100"],
            "dropped in node n1 by a fault or an impairment of the lab's own, chain out-eth0",
            id="on the way out",
        ),
    ],
)
def test_a_fault(fault: list[str], reason: str, traced: TraceLab) -> None:
    web = traced.pods["default/web-1"][0]
    run("fault", *fault, "--lab", traced.lab.name)
    try:
        found = traced.trace("client", f"tcp:{web}:8080")
    finally:
        run("fault", "clear", "--lab", traced.lab.name)

    assert (found.verdict, found.reason) == ("dropped", reason)


def test_without_the_api_server(traced: TraceLab) -> None:
    """The packet does not need it, so neither does the trace; whose the address is, nobody can say."""
    run("fault", "freeze", "api-server", "--lab", traced.lab.name)
    try:
        found = traced.trace("client", "http://nobody/", 4)
    finally:
        run("fault", "clear", "--lab", traced.lab.name)

    assert (found.verdict, found.reason) == (
        "refused",
        "refused by kubeproxy of node n1 (reset): nobody there: reset",
    )
    assert found.report["incomplete"] == ["no Services are known: API server: frozen by a fault"]


def test_a_place_that_is_gone(traced: TraceLab) -> None:
    """A crash takes a node's pods along; they are not said to lack a resolv.conf."""
    topology = traced.lab.state.load_topology()
    assert topology is not None
    gone = PodSpec(name="gone", node="n2")
    topology = replace(topology, pods=(*topology.pods, gone))
    with pytest.raises(NodeplaneError, match=r"^pod default/gone is not there: its namespace is gone$"):
        trace(traced.lab.state, topology, gone, parse_target("http://web/"), limit_s=1)


def _tables(lab: LabUnderTest) -> list[str]:
    places = [lab.node("n1"), lab.node("n2"), lab.pod("default/client")]
    return [line for place in places for line in run_in(place, "nft", "list", "tables").stdout.splitlines()]


def test_nothing_stays_behind(traced: TraceLab) -> None:
    """Also of a trace that is killed while it waits."""
    web = traced.pods["default/web-1"][0]
    command = [str(COMMAND), "trace", "--lab", traced.lab.name, "client", f"sctp:{web}:80", "--timeout", "60"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as tracing:
        try:
            eventually(
                lambda: sum("netns-lab-trace" in table for table in _tables(traced.lab)),
                lambda count: count == 3,
            )
            again = run("trace", "--lab", traced.lab.name, "client", "http://web/", "-4", check=False)
        finally:
            tracing.kill()

    assert (again.returncode, again.stdout) == (1, "")
    assert "another trace is running" in again.stderr
    eventually(lambda: _tables(traced.lab), lambda tables: not any("trace" in table for table in tables))
    assert traced.trace("client", "http://web/", 4).verdict == "answered"
    assert not any("trace" in table for table in _tables(traced.lab))
