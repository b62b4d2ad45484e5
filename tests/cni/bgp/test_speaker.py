"""When a node's bird is given a configuration, and which; with a bird that only takes it."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cni.bgp.bird import CONFIG_NAME, RefusedError
from cni.bgp.config import BgpConfig, Peer, Timers
from cni.bgp.control import BirdError, Reply
from cni.bgp.metrics import BgpMetrics
from cni.bgp.speaker import Speaker
from ipam.model import Pool
from nodeplane.errors import ConfigError
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeStatus
from nodeplane.kube.source import Change

NOWHERE = Path("/nowhere")
POOLS = (Pool("default", ip_network("10.244.0.0/16"), 26, mode="bgp"),)


class FakeBird:
    """Takes configurations, but those that hold a word."""

    log_file = None
    is_running = True

    def __init__(self, *_: object) -> None:
        self.taken: list[str] = []
        self.refuses = "nothing of this kind"

    async def configure(self, text: str) -> None:
        if self.refuses in text:
            raise RefusedError("bird: no")
        self.taken.append(text)

    async def is_recovering(self) -> bool:
        return False

    async def ask(self, _command: str) -> Reply:
        raise BirdError("nothing to tell")

    async def run(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def bird(monkeypatch: pytest.MonkeyPatch) -> FakeBird:
    fake = FakeBird()
    monkeypatch.setattr("cni.bgp.speaker.Bird", lambda *_: fake)
    monkeypatch.setattr("cni.bgp.speaker._MIN_INTERVAL_S", 0.0)
    return fake


def added(name: str, address: str) -> Change:
    node = Node(
        metadata=Metadata(name=name), status=NodeStatus(addresses=(NodeAddress("InternalIP", address),))
    )
    return Change(node.key, None, node)


def run(config: BgpConfig, *steps: Callable[[Speaker], object], folder: Path = NOWHERE) -> bool:
    """Let a speaker live through some steps, each to its end; say whether it was ready."""
    ready = asyncio.Event()

    async def work() -> None:
        speaker = Speaker(
            "n1",
            msgspec.structs.replace(config, directory=folder),
            BgpMetrics(CollectorRegistry()),
            ready.set,
        )
        task = asyncio.create_task(speaker.run(None))
        for step in steps:
            step(speaker)
            # A sync of this speaker waits for nothing but turns of the loop.
            for _ in range(20):
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    return ready.is_set()


def known(speaker: Speaker) -> None:
    speaker.take_nodes((added("n1", "10.0.0.1"), added("n2", "10.0.0.2")))
    speaker.take_pools(POOLS)
    speaker.take_announced(())


MESH = BgpConfig(as_number=64512)


def test_nothing_before_all_is_known(bird: FakeBird) -> None:
    """Nodes alone, or pools alone, would be taken for all there is."""
    steps = (lambda s: s.take_nodes((added("n1", "10.0.0.1"),)), lambda s: s.take_pools(POOLS))
    assert not run(MESH, *steps)
    assert bird.taken == []


def test_the_same_again_is_not_told(bird: FakeBird) -> None:
    assert run(MESH, known, known)
    assert len(bird.taken) == 1


def test_a_refused_one_is_not_repeated(bird: FakeBird) -> None:
    """The next that differs is tried."""
    bird.refuses = "10.0.0.3"
    third = (added("n3", "10.0.0.3"),)
    run(MESH, known, lambda s: s.take_nodes(third), lambda s: s.take_nodes((added("n3", "10.0.0.4"),)))
    assert ["10.0.0.3" in text for text in bird.taken] == [False, False]
    assert "neighbor 10.0.0.4 " in bird.taken[1]


def test_router_id_outlives_the_agent(bird: FakeBird, tmp_path: Path) -> None:
    """That of the configuration that lies there, though the node has another address by now."""
    (tmp_path / CONFIG_NAME).write_text("# something\nrouter id 10.0.0.77;\n")
    run(MESH, known, folder=tmp_path)
    assert "router id 10.0.0.77;\n" in bird.taken[0]


class TestPasswords:
    """One file that is gone is no reason to leave the rest as it was."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        found = {name: tmp_path / name for name in ("one", "other")}
        for name, path in found.items():
            path.write_text(f"{name}-secret\n")
        return found

    def config(self, files: dict[str, Path]) -> BgpConfig:
        peers = tuple(
            Peer(name=name, address=address, as_number=65001, timers=Timers(password_file=files[name]))
            for name, address in zip(files, map(ip_address, ("10.0.0.8", "10.0.0.9")), strict=True)
        )
        return msgspec.structs.replace(MESH, peers=peers)

    def test_the_last_one_stays_in_force(
        self, bird: FakeBird, files: dict[str, Path], caplog: pytest.LogCaptureFixture
    ) -> None:
        def lose(_: Speaker) -> None:
            files["one"].unlink()
            files["other"].write_text("changed\n")

        run(self.config(files), known, lose, lambda s: s.take_nodes((added("n3", "10.0.0.3"),)))
        last = bird.taken[-1]
        assert [word in last for word in ("one-secret", '"changed"', "neighbor 10.0.0.3 ")] == [True] * 3
        [line] = [item.getMessage() for item in caplog.records if "password" in item.getMessage()]
        assert line.startswith("password file not read, the last password stays in force error='")
        assert str(files["one"]) in line

    @pytest.mark.usefixtures("bird")
    def test_at_the_start_it_is_an_error(self, files: dict[str, Path]) -> None:
        files["other"].unlink()
        with pytest.raises(ConfigError, match="expected a readable password file"):
            run(self.config(files), known)
