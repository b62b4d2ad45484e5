"""The plugins of a cluster's Corefile that are about the program: pages, reload, lameduck, loop."""

import os
import re
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import msgspec

from tests.coredns_lite.running import LIMIT_S, PROGRAM, SERVICE, free_port, own_address
from tests.netns_fixture import eventually

WEB = "web.default.svc.cluster.local"
COREFILE = """
.:{port} {{
    bind {address}
    errors
    health {address}:{health} {{
        lameduck {lameduck}
    }}
    ready {address}:{ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        manifests {manifests}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl {ttl}
    }}
    prometheus {address}:{metrics}
    forward . {upstream}
    cache 30
    loop
    reload 2s 1s
    loadbalance
}}
"""


def free_tcp_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


class Program(msgspec.Struct):
    """A running program and where it answers."""

    corefile: Path
    address: str
    ports: dict[str, int]
    process: subprocess.Popen[bytes]
    log: Path

    def write(self, ttl: int, extra: str = "") -> None:
        write_corefile(self.corefile, self.address, self.ports, ttl=ttl, extra=extra)

    def page(self, name: str, path: str) -> tuple[int, str]:
        try:
            url = f"http://{self.address}:{self.ports[name]}{path}"
            with urllib.request.urlopen(url, timeout=LIMIT_S) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def metric(self, line: str) -> float | None:
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.page("metrics", "/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def ttl(self) -> int:
        query = dns.message.make_query(WEB, "A")
        reply = dns.query.udp(query, self.address, LIMIT_S, self.ports["port"])
        return int(reply.answer[0].ttl)


def write_corefile(
    corefile: Path,
    address: str,
    ports: dict[str, int],
    *,
    ttl: int = 7,
    lameduck: str = "0s",
    extra: str = "",
) -> None:
    # Nobody answers there: the loop's question goes unanswered, which is no loop.
    upstream = f"{address}:{ports['upstream']}"
    text = COREFILE.format(
        address=address,
        manifests=corefile.with_name("manifests"),
        ttl=ttl,
        lameduck=lameduck,
        **{**ports, "upstream": upstream},
    )
    draft = corefile.with_name("draft")
    draft.write_text(text + extra)
    draft.rename(corefile)


@contextmanager
def started(folder: Path, *, loops: bool = False, lameduck: str = "0s") -> Iterator[Program]:
    address = own_address()
    names = ("health", "ready", "metrics")
    ports = {name: free_tcp_port(address) for name in names}
    ports |= {name: free_port(address) for name in ("port", "upstream")}
    if loops:
        ports["upstream"] = ports["port"]
    (folder / "manifests").mkdir()
    (folder / "manifests" / "a.yaml").write_text(SERVICE.format(name="web", address="10.96.0.1"))
    corefile, log = folder / "Corefile", folder / "log"
    write_corefile(corefile, address, ports, lameduck=lameduck)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, log.open("wb") as stderr:
        ready.bind(str(folder / "notify"))
        ready.settimeout(LIMIT_S)
        process = subprocess.Popen(
            [PROGRAM, "run", "--conf", corefile],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stderr=stderr,
        )
        try:
            assert ready.recv(64) == b"READY=1", log.read_text()
            yield Program(corefile, address, ports, process, log)
        finally:
            process.kill()
            process.wait()


class Asking(threading.Thread):
    """A client that asks all the time and counts what it gets no answer to."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.answered = 0
        self.lost = 0
        self.ttls: set[int] = set()
        self._program = program
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                self.ttls.add(self._program.ttl())
                self.answered += 1
            except (OSError, dns.exception.DNSException, IndexError):
                self.lost += 1

    def end(self) -> None:
        self._is_over.set()
        self.join()


def test_reload_loses_no_query(tmp_path: Path) -> None:
    """A changed Corefile is adopted under questions, a bad one is refused with one line and a count."""
    with started(tmp_path) as program:
        assert program.page("health", "/health") == (200, "OK")
        assert program.page("ready", "/ready") == (200, "OK")
        assert program.page("ready", "/other")[0] == 404
        assert program.metric("coredns_reload_failed_total") == 0
        assert 'coredns_build_info{goversion="python' in program.page("metrics", "/metrics")[1]
        asking = Asking(program)
        asking.start()
        eventually(lambda: asking.ttls, {7}.__eq__, within_s=LIMIT_S)
        for ttl in (8, 9, 10):
            program.write(ttl)
            program.process.send_signal(signal.SIGUSR1)
            eventually(program.ttl, ttl.__eq__, within_s=LIMIT_S)
            assert program.page("ready", "/ready") == (200, "OK")
        program.write(11, "nonsense")
        # The plugin looks for itself: every 2 to 3 s.
        eventually(lambda: program.metric("coredns_reload_failed_total"), (1.0).__eq__, within_s=LIMIT_S)
        assert program.ttl() == 10
        program.write(12)
        eventually(program.ttl, (12).__eq__, within_s=LIMIT_S)
        # The other client asks, too, before it ends.
        eventually(lambda: 12 in asking.ttls, bool, within_s=LIMIT_S)
        asking.end()

        assert (asking.lost, asking.ttls) == (0, {7, 8, 9, 10, 12})
        assert asking.answered > 10
        enabled = (
            f'coredns_plugin_enabled{{name="reload",server="dns://{program.address}:{program.ports["port"]}"'
        )
        assert program.metric(f'{enabled},view="",zone="."}}') == 1
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT_S) == 0
        errors = [line for line in program.log.read_text().splitlines() if "not reloaded" in line]
        assert len(errors) == 1
        assert "nonsense: expected '{' after the zones of a server block" in errors[0]
        assert "Traceback" not in program.log.read_text()


def test_a_port_that_is_taken_keeps_the_old_configuration(tmp_path: Path) -> None:
    with started(tmp_path) as program, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((program.address, 0))
        block = f"example.:{taken.getsockname()[1]} {{\n bind {program.address}\n}}\n"
        program.write(8, block)
        program.process.send_signal(signal.SIGUSR1)
        eventually(lambda: program.metric("coredns_reload_failed_total"), (1.0).__eq__, within_s=LIMIT_S)

        assert program.ttl() == 7
        assert "Address already in use" in program.log.read_text()


def test_lameduck(tmp_path: Path) -> None:
    """After SIGTERM queries are answered while the page says what is to come; a second one ends it."""
    with started(tmp_path, lameduck="1h") as program:
        program.process.send_signal(signal.SIGTERM)
        eventually(lambda: program.page("ready", "/ready"), (503, "lameduck").__eq__, within_s=LIMIT_S)
        assert program.page("health", "/health") == (200, "OK")
        assert program.ttl() == 7
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(LIMIT_S) == 0


def test_a_loop_ends_the_program(tmp_path: Path) -> None:
    """What is forwarded to ourselves is found out, named, and the exit code says so."""
    with started(tmp_path, loops=True) as program:
        assert program.process.wait(LIMIT_S) == 1
        last = program.log.read_text().splitlines()[-1]

        assert f'loop (dns://{program.address}:{program.ports["port"]}) found for zone "."' in last
        assert "HINFO" in last
