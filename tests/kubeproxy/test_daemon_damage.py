"""The daemon and what fails, or what others do to its table: it is written again, counted, and told."""

import errno
import time
from collections.abc import Iterator

import pytest

from kubeproxy import audit_pace
from kubeproxy.rules.layout import SLOTS
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.monitor import Writer
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.daemon_stand import BACKING, SKELETON, WEB, Seen, frontends, until, with_daemon
from tests.kubeproxy.objects import additions, service


def test_damage_is_repaired() -> None:
    """Somebody's write is noticed without any change of the cluster (law 3)."""
    edge = FakeTable()

    async def scenario(source: Seen) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        state = edge.read(SKELETON)
        assert state is not None
        edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})
        source.watch.disturb()
        await until(lambda: edge.read(SKELETON) == state)

    with_daemon(edge, scenario)


def test_refused_change_is_followed_by_a_resync() -> None:
    """When the kernel is not what we believe, the next sync reads it and puts it right."""
    edge = FakeTable()

    async def scenario(source: Seen) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        edge.delete()
        source.deliver(diff_objects({}, {(other := service("other", "10.96.0.9")).key: other}))
        await until(lambda: frontends(edge) == 2)

    with_daemon(edge, scenario)


class RefusingTable(FakeTable):
    """A kernel that refuses to read the table as often as it is told."""

    def __init__(self, refusals: Iterator[int]) -> None:
        super().__init__()
        self._refusals = refusals

    def replace(self, *arguments: object) -> None:
        if next(self._refusals, None) is not None:
            raise KernelError("replace", errno.EBUSY)
        super().replace(*arguments)  # type: ignore[arg-type]  # as they came


def test_failures_are_counted_and_wait() -> None:
    """A sync that fails leaves the change waiting, for the health page to see; one that succeeds does not."""

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: seen.metrics.tally.sync_failures == 1)
        later_s = time.monotonic() + 61
        assert not seen.health.check(later_s).is_live
        assert seen.metrics.tally.service_changes_pending == 1
        await until(lambda: frontends(seen.edge) == 1)
        assert seen.health.check(later_s + 61).is_live
        assert seen.metrics.tally.service_changes_pending == 0

    with_daemon(RefusingTable(iter([1])), scenario)


def test_repairs_are_counted() -> None:
    """Damage that was repaired has a metric; looking and finding nothing has none."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        state = edge.read(SKELETON)
        assert state is not None
        assert seen.metrics.tally.repairs == 0
        edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})
        seen.watch.disturb()
        await until(lambda: seen.metrics.tally.repairs == 1)
        assert seen.metrics.tally.repaired_elements == len(state.elements[SLOTS])

    with_daemon(edge, scenario)


def damage_slots(edge: FakeTable) -> None:
    state = edge.read(SKELETON)
    assert state is not None
    edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})


@pytest.mark.parametrize(
    ("is_damaged", "repairs"),
    [
        pytest.param(False, 0, id="our own writes alone"),
        pytest.param(True, 1, id="another's among them"),
    ],
)
def test_lost_notifications(is_damaged: bool, repairs: int, caplog: pytest.LogCaptureFixture) -> None:
    """When notifications were lost, the kernel's generation says whether anybody but us wrote."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        if is_damaged:
            damage_slots(edge)
        seen.watch.disturb(is_lost=True)
        # Behind it, so that the first has been judged.
        seen.watch.disturb(Writer(7, "marker"))
        await until(lambda: seen.metrics.tally.repairs == repairs and "marker" in caplog.text)

    with caplog.at_level("INFO"):
        with_daemon(edge, scenario)
    assert ("notifications were lost" in caplog.text) == is_damaged


def test_damage_names_its_author(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which process has written to our tables."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        damage_slots(edge)
        seen.watch.disturb(Writer(4711, "nft"))
        await until(lambda: seen.metrics.tally.repairs == 1)

    with_daemon(edge, scenario)
    assert "damage by another program repaired elements=1 process=nft pid=4711" in caplog.text


def test_a_rival_is_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kubeproxy that undoes what this one does is an error that says so, once."""
    monkeypatch.setattr(audit_pace, "FIRST_S", 0.001)
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        for number in range(1, 5):
            damage_slots(edge)
            seen.watch.disturb(Writer(4711, "kubeproxy"))
            await until(lambda: seen.metrics.tally.repairs == number)  # noqa: B023  # awaited here

    with_daemon(edge, scenario)
    assert caplog.text.count("another kubeproxy seems to run in this network namespace") == 1
