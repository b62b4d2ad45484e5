"""`coredns-lite run` on loopback, and its laws; dig, dnspython and plain sockets are the clients."""

import asyncio
import gc
import os
import random
import shutil
import signal
import socket
import sys
import weakref
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import pytest

from coredns_lite import probation
from coredns_lite.daemon import Daemon
from coredns_lite.plugins import kubernetes
from coredns_lite.plugins.kubernetes.facts import Scope
from coredns_lite.plugins.kubernetes.index import Index
from nodeplane.errors import ConfigError
from nodeplane.kube.objects import Object
from nodeplane.kube.source import Batch
from tests.coredns_lite import upstreams
from tests.coredns_lite.objects import additions, service
from tests.coredns_lite.running import LIMIT_S, Cluster, make_cluster, publish, running
from tests.netns_fixture import eventually

WEB = "web.default.svc.cluster.local"
API = "api.default.svc.cluster.local"


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return make_cluster(tmp_path)


def test_a_change_reaches_the_answers(cluster: Cluster) -> None:
    """A Service is added, moved and removed under the eyes of dig; SIGTERM then ends the program cleanly."""
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    with running(cluster) as log:
        assert cluster.dig(WEB) == ("NOERROR", "10.96.0.1")
        assert cluster.dig(API) == ("NXDOMAIN", "-")
        assert cluster.dig(WEB, "-t", "AAAA") == ("NOERROR", "-")

        publish(cluster.manifests, "b.yaml", api="10.96.0.9")
        eventually(lambda: cluster.dig(API), ("NOERROR", "10.96.0.9").__eq__)
        for number in range(2, 7):
            publish(cluster.manifests, "a.yaml", web=f"10.96.0.{number}")
            eventually(lambda: cluster.dig(WEB), ("NOERROR", f"10.96.0.{number}").__eq__)
        (cluster.manifests / "a.yaml").unlink()
        eventually(lambda: cluster.dig(WEB), ("NXDOMAIN", "-").__eq__)
        assert cluster.dig(API) == ("NOERROR", "10.96.0.9")

    assert not [line for line in log if "Traceback" in line or " ERROR " in line]
    assert "defects=0" in log[-1]


def test_wire_options(cluster: Cluster) -> None:
    """What dig asks for by default and on purpose is served: EDNS, a cookie that is ignored, DO, BADVERS."""
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    with running(cluster):
        for options in (
            ["+noedns"],
            ["+cookie"],
            ["+dnssec"],
            ["+bufsize=512"],
            ["+ednsopt=65001:abcd"],
            ["+cdflag"],
        ):
            assert cluster.dig(WEB, *options) == ("NOERROR", "10.96.0.1")
        assert cluster.dig(WEB, "+edns=1", "+noednsnegotiation") == ("BADVERS", "-")
        assert cluster.dig(WEB, "-c", "CH") == ("REFUSED", "-")
        assert cluster.dig(WEB, "+opcode=notify") == ("NOTIMP", "-")
        assert cluster.dig(WEB, "+header-only", "+nocookie") == ("FORMERR", "-")
        # RFC 7873 section 5.4: dig shows a cookie of its own, and gets ours.
        assert cluster.dig(WEB, "+header-only") == ("NOERROR", "-")
        assert cluster.dig("example.org") == ("REFUSED", "-")


def test_a_restart_answers_the_same(cluster: Cluster) -> None:
    """Nothing is kept but the manifests (law 2)."""
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    for _ in range(2):
        with running(cluster):
            assert cluster.dig(WEB) == ("NOERROR", "10.96.0.1")
            assert cluster.dig(API) == ("NXDOMAIN", "-")


def test_a_bad_manifest_keeps_the_last_good_one(cluster: Cluster) -> None:
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    with running(cluster) as log:
        (cluster.manifests / "a.yaml").write_text("kind: [")
        # The next file shows that the bad one was seen.
        publish(cluster.manifests, "b.yaml", api="10.96.0.9")
        eventually(lambda: cluster.dig(API), ("NOERROR", "10.96.0.9").__eq__)
        assert cluster.dig(WEB) == ("NOERROR", "10.96.0.1")

    assert [line for line in log if "/a.yaml:" in line and " ERROR " in line]


def test_losing_the_directory_keeps_the_last_state(cluster: Cluster) -> None:
    """Names stay while their source is away, and follow it once it is back (law 4)."""
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    log_file = cluster.corefile.with_name("log")
    with running(cluster):
        cluster.manifests.rename(cluster.manifests.with_name("away"))
        shutil.rmtree(cluster.manifests.with_name("away"))
        eventually(
            log_file.read_text, lambda text: "WARNING nodeplane.kube.manifests" in text, within_s=LIMIT_S
        )
        for _ in range(3):
            assert cluster.dig(WEB) == ("NOERROR", "10.96.0.1")

        cluster.manifests.mkdir()
        publish(cluster.manifests, "a.yaml", web="10.96.0.2")
        eventually(lambda: cluster.dig(WEB), ("NOERROR", "10.96.0.2").__eq__, within_s=LIMIT_S)


def test_garbage_harms_nobody(cluster: Cluster) -> None:
    """Right answers come between random packets, and none of those is taken for a defect."""
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    source = random.Random(0)
    good = dns.message.make_query(WEB, "A").to_wire()
    with running(cluster) as log, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20):
            for _ in range(50):
                sender.sendto(source.randbytes(source.randrange(100)), (cluster.address, cluster.port))
                mutant = bytearray(good)
                mutant[source.randrange(2, len(mutant))] = source.randrange(256)
                sender.sendto(mutant, (cluster.address, cluster.port))
            assert [str(rrset) for rrset in cluster.ask(WEB).answer] == [f"{WEB}. 7 IN A 10.96.0.1"]

    assert "defects=0" in log[-1]


def test_query_log(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path, "log")
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    with running(cluster) as log:
        cluster.ask(WEB)

    (line,) = [line for line in log if "coredns_lite.query_log" in line]
    assert f'"A IN {WEB}. udp 47 false 512" NOERROR qr,aa,rd 63 ' in line


class GatedSource:
    """A source whose batches a test hands out."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Batch | Exception] = asyncio.Queue()
        self.is_read = asyncio.Event()
        """All that was handed out has been taken in."""

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        assert set(kinds) == set(Scope().kinds)
        while True:
            self.is_read.set()
            batch = await self.queue.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> GatedSource:
    """Take the place of every cluster."""
    gated = GatedSource()
    monkeypatch.setattr(kubernetes, "open_cluster", lambda *_: gated)
    return gated


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listen for what this process says of its readiness."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def switch_interval() -> Iterator[None]:
    """Put back what the daemon sets for its process."""
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


async def rcode(cluster: Cluster, name: str) -> str:
    reply = await asyncio.get_running_loop().run_in_executor(None, cluster.ask, name)
    return dns.rcode.to_text(reply.rcode())


@pytest.mark.usefixtures("switch_interval")
@pytest.mark.parametrize("startup_timeout", ["0s", "1h"])
def test_nothing_is_denied_before_the_first_snapshot(
    startup_timeout: str, cluster: Cluster, notified: socket.socket, source: GatedSource
) -> None:
    """The start waits for the snapshot, if not for ever; until it is there, names are SERVFAIL (law 4).

    And the program is not ready, though it answers.
    """
    text = cluster.corefile.read_text()
    cluster.corefile.write_text(text.replace("ttl 7", f"ttl 7\n        startup_timeout {startup_timeout}"))

    async def scenario() -> None:
        program = Daemon(cluster.corefile)
        task = asyncio.create_task(program.run())
        loop = asyncio.get_running_loop()
        await source.is_read.wait()
        if startup_timeout == "0s":
            await upstreams.eventually(lambda: program._force)
            for _ in range(2):
                said = [await rcode(cluster, name) for name in (WEB, API, "example.org")]
                assert said == ["SERVFAIL", "SERVFAIL", "REFUSED"]
        with pytest.raises(BlockingIOError):
            notified.recv(64)

        source.is_read.clear()
        source.queue.put_nowait(additions(service("web", "10.96.0.1")))
        await source.is_read.wait()
        assert await loop.sock_recv(notified, 64) == b"READY=1"
        said = [await rcode(cluster, name) for name in (WEB, API, "example.org")]
        assert said == ["NOERROR", "NXDOMAIN", "REFUSED"]

        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


@pytest.mark.usefixtures("switch_interval")
def test_a_failing_source_ends_the_daemon(cluster: Cluster, source: GatedSource) -> None:
    """The packet loops end too, and the error comes out."""
    source.queue.put_nowait(ConfigError("a.yaml:1", "", "expected better"))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(Daemon(cluster.corefile).run())

    assert [str(error) for error in flat(caught.value)] == ["a.yaml:1: expected better"]


class Reloading:
    """A daemon whose Corefile has a TTL that a test sets, and a source of its own for each reading."""

    def __init__(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.sources: list[GatedSource] = []
        self.indexes: list[weakref.ref[Index]] = []
        self._cluster = cluster
        self._corefile = cluster.corefile.read_text()
        self._caplog = caplog
        caplog.set_level("INFO", "coredns_lite.daemon")
        monkeypatch.setattr(kubernetes, "open_cluster", self._open)
        monkeypatch.setattr(kubernetes, "Index", self._make_index)

    async def read(self, ttl_s: int) -> GatedSource:
        """Have the Corefile read with a TTL, in which nobody waits for the cluster; return its source."""
        text = self._corefile.replace("ttl 7", f"ttl {ttl_s}\nstartup_timeout 0s")
        self._cluster.corefile.write_text(text)
        known = len(self.sources)
        self._caplog.clear()
        os.kill(os.getpid(), signal.SIGUSR1)
        await upstreams.eventually(lambda: len(self.sources) > known)
        return self.sources[-1]

    async def result(self) -> str:
        """Return what is said of the Corefile that was read."""
        await upstreams.eventually(self._said)
        return self._said()[-1]

    async def answer(self) -> list[str]:
        """Ask for the Service."""
        reply = await asyncio.get_running_loop().run_in_executor(None, self._cluster.ask, WEB)
        return [dns.rcode.to_text(reply.rcode()), *map(str, reply.answer)]

    def _said(self) -> list[str]:
        records = self._caplog.records
        return [record.getMessage() for record in records if record.name == "coredns_lite.daemon"]

    def _open(self, *_: object) -> GatedSource:
        self.sources.append(GatedSource())
        return self.sources[-1]

    def _make_index(self, scope: Scope) -> Index:
        index = Index(scope)
        self.indexes.append(weakref.ref(index))
        return index


@pytest.mark.usefixtures("switch_interval")
def test_a_reload_waits_for_the_cluster(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What knows nothing takes no one's place; what is replaced, or did not come up, is gone from memory."""
    reloading = Reloading(cluster, monkeypatch, caplog)
    web = additions(service("web", "10.96.0.1"))

    async def scenario() -> None:
        program = Daemon(cluster.corefile)
        task = asyncio.create_task(program.run())
        await upstreams.eventually(lambda: reloading.sources)
        reloading.sources[0].queue.put_nowait(web)
        await upstreams.eventually(lambda: program._force)
        assert await reloading.answer() == ["NOERROR", f"{WEB}. 7 IN A 10.96.0.1"]

        with monkeypatch.context() as patch:
            patch.setattr(probation, "_READY_LIMIT_S", 0.05)
            await reloading.read(8)
            assert (await reloading.result()).endswith("error='not ready within 0 s: kubernetes'")
        assert await reloading.answer() == ["NOERROR", f"{WEB}. 7 IN A 10.96.0.1"]
        assert [ref() is not None for ref in reloading.indexes] == [True, False]

        source = await reloading.read(9)
        await source.is_read.wait()
        # Its own patience is long over: it is asked for none.
        assert await reloading.answer() == ["NOERROR", f"{WEB}. 7 IN A 10.96.0.1"]
        source.queue.put_nowait(web)
        assert (await reloading.result()).startswith("reloaded ")
        assert await reloading.answer() == ["NOERROR", f"{WEB}. 9 IN A 10.96.0.1"]
        assert [ref() is not None for ref in reloading.indexes] == [False, False, True]

        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def flat(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from flat(error)
        else:
            yield error
