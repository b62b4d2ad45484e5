"""What is wrong with a link, as packets see it; nothing of it is left behind."""

import math
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netns_lab.impairments.kernel import RECORDS, is_there, need_netem, sync_impairments
from netns_lab.impairments.rules import Impairment
from netns_lab.state import StateDirectory
from netns_lab.topology import LinkSpec
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.errors import SetupError
from tests.netns_fixture import answers, namespace, run_in, veth_pair

pytestmark = pytest.mark.netns

SENT = 2000
PORT = 9
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


class Pair:
    """Two namespaces and a link: `near` sends, `far` receives."""

    def __init__(self, near: Path, far: Path, state: StateDirectory) -> None:
        self.near, self.far, self.state = near, far, state

    def impair(self, link: LinkSpec | None) -> list[str]:
        """Make the near end's way out so; return what was reported."""
        said: list[str] = []
        desired = {} if link is None else {self.near.name: Impairment({"va": link})}
        sync_impairments(self.state, desired, lambda action, what: said.append(f"{action} {what}"))
        return said


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        near, far = (stack.enter_context(namespace(label)) for label in ("near", "far"))
        stack.enter_context(
            veth_pair(near, "va", far, "vb", address_a="10.9.0.1/24", address_b="10.9.0.2/24")
        )
        yield Pair(near, far, StateDirectory("lab", tmp_path_factory.mktemp("state")))


def arrivals(pair: Pair) -> int:
    """Send datagrams and count those that arrive."""
    with netns.inside(pair.far):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with netns.inside(pair.near):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        # All have passed the link when they have been sent: a veth hands them over at once.
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
        receiver.bind(("10.9.0.2", PORT))
        for _ in range(SENT):
            sender.sendto(b"x", ("10.9.0.2", PORT))
        receiver.settimeout(1)
        count = 0
        try:
            while True:
                receiver.recv(16)
                count += 1
                # What comes has come; the end is waited for once.
                receiver.settimeout(0.2)
        except TimeoutError:
            return count


@pytest.mark.parametrize(
    ("link", "share"),
    [
        pytest.param(LinkSpec(loss=30), 0.7, id="loss"),
        pytest.param(LinkSpec(loss=100), 0.0, id="all is lost"),
        pytest.param(LinkSpec(duplicate=25), 1.25, id="duplicates"),
        pytest.param(LinkSpec(duplicate=100), 2.0, id="all comes twice, and no more often"),
        pytest.param(LinkSpec(), 1.0, id="nothing wrong"),
    ],
)
def test_share_that_arrives(link: LinkSpec, share: float, pair: Pair) -> None:
    """Within 5 standard deviations (binomial)."""
    pair.impair(link)

    part = abs(share - 1) % 1
    assert abs(arrivals(pair) - SENT * share) <= 5 * math.sqrt(SENT * part * (1 - part))


def test_rate(pair: Pair) -> None:
    """What is sent takes its time, but for what the bucket holds."""
    pair.impair(LinkSpec(rate="2mbit"))
    size_bytes, burst_bytes = 100_000, 10_000
    with netns.inside(pair.far):
        server = socket.create_server(("10.9.0.2", PORT))
    with netns.inside(pair.near):
        sender = socket.create_connection(("10.9.0.2", PORT), timeout=30)
    with server, sender:
        receiver, _ = server.accept()
        with receiver:
            started = time.monotonic()
            sender.sendall(b"x" * size_bytes)
            sender.shutdown(socket.SHUT_WR)
            while receiver.recv(1 << 16):
                pass
            took_s = time.monotonic() - started

    assert took_s >= (size_bytes - burst_bytes) * 8 / 2e6


def test_twice_changes_nothing(pair: Pair) -> None:
    link = LinkSpec(loss=1, rate="10mbit")

    assert pair.impair(link) == [f"made impairments in {pair.near.name}"]
    assert pair.impair(link) == []
    assert pair.impair(None) == [f"removed impairments in {pair.near.name}"]
    assert pair.impair(None) == []


def damage_table(pair: Pair) -> None:
    run_in(pair.near, "nft", "delete", "table", "netdev", "netns-lab")


def damage_bucket(pair: Pair) -> None:
    run_in(pair.near, "tc", "qdisc", "del", "dev", "va", "root")


def damage_link(pair: Pair) -> None:
    """Make the link anew: what hung on it has gone with it."""
    with open_rtnl(pair.near) as rtnl:
        rtnl.delete_link("va")
        rtnl.add_veth("va", "vb", pair.far)


@pytest.mark.parametrize("damage", [damage_table, damage_bucket, damage_link])
def test_damage_is_repaired(damage: Callable[[Pair], None], tmp_path: Path) -> None:
    impairment = Impairment({"va": LinkSpec(loss=1, rate="10mbit")})
    with namespace("near") as near, namespace("far") as far:
        with open_rtnl(near) as rtnl:
            rtnl.add_veth("va", "vb", far)
        pair = Pair(near, far, StateDirectory("lab", tmp_path))
        pair.impair(impairment.links["va"])

        damage(pair)

        assert not is_there(near.name, impairment)
        assert pair.impair(impairment.links["va"]) == [f"made impairments in {near.name}"]
        assert is_there(near.name, impairment)


def test_nothing_is_left(pair: Pair) -> None:
    """What was recorded before it was made, too: a killed command's."""
    pair.impair(LinkSpec(loss=1, rate="10mbit"))
    pair.impair(None)

    assert run_in(pair.near, "nft", "list", "tables").stdout == ""
    assert " tbf " not in run_in(pair.near, "tc", "qdisc", "show").stdout
    assert pair.state.records(RECORDS) == set()


def test_namespace_that_has_gone(pair: Pair, tmp_path: Path) -> None:
    state = StateDirectory("lab", tmp_path)
    state.save_record(f"{RECORDS}/npt-no-such-namespace", Impairment({"va": LinkSpec(loss=1)}))

    sync_impairments(state, {}, lambda _action, _what: None)

    assert state.records(RECORDS) == set()


def test_killed_command_leaves_what_can_be_found(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names every link that has or had anything."""
    state = StateDirectory("lab", tmp_path)
    old, new = Impairment({"va": LinkSpec(rate="1mbit")}), Impairment({"lo": LinkSpec(rate="1mbit")})
    sync_impairments(state, {pair.near.name: old}, lambda _action, _what: None)

    def die(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", die)
        with pytest.raises(KeyboardInterrupt):
            sync_impairments(state, {pair.near.name: new}, lambda _action, _what: None)
    sync_impairments(state, {}, lambda _action, _what: None)

    assert " tbf " not in run_in(pair.near, "tc", "qdisc", "show").stdout


def test_delay(pair: Pair) -> None:
    """Where the kernel has netem, packets take their time; elsewhere it is said before anything is made."""
    link = LinkSpec(delay="50ms", jitter="1ms", rate="10mbit")
    netem = run_in(pair.near, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    if netem.returncode != 0:
        with pytest.raises(SetupError, match="this kernel has no netem"):
            need_netem("npt")
        return
    need_netem("npt")
    pair.impair(link)
    started = time.monotonic()
    assert answers(pair.near, "10.9.0.2", 30)
    took_s = time.monotonic() - started

    assert took_s >= 0.049
    assert pair.impair(link) == []
    pair.impair(LinkSpec(loss=1))
    assert "netem" not in run_in(pair.near, "tc", "qdisc", "show", "dev", "va").stdout
