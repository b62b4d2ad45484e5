"""coredns-lite as a process, unbound or another coredns-lite as its upstream; dig is the client."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from tests.coredns_lite.running import (
    LIMIT_S,
    Cluster,
    free_port,
    make_cluster,
    own_address,
    publish,
    running,
)
from tests.netns_fixture import eventually

RECORDS = [
    "example. 3600 SOA ns.example. root.example. 1 2 3 4 60",
    "a.example. 300 A 10.1.2.3",
    "b.example. 300 A 10.1.2.4",
    *(f"many.example. 300 A 10.1.3.{number}" for number in range(200)),
]


@contextmanager
def unbound(directory: Path, address: str, port: int) -> Iterator[None]:
    """Run unbound with these records until the end; yields once it answers."""
    config = directory / "unbound.conf"
    lines = [
        f"interface: {address}", f"port: {port}", "do-daemonize: no", 'username: ""', 'chroot: ""',
        f'directory: "{directory}"', 'pidfile: ""', "use-syslog: no", "access-control: 127.0.0.0/8 allow",
        'local-zone: "example." static', *(f"local-data: '{record}'" for record in RECORDS),
    ]  # fmt: skip
    config.write_text("server:\n" + "".join(f"    {line}\n" for line in lines))
    with (directory / "unbound.log").open("w") as log:
        process = subprocess.Popen(["/usr/sbin/unbound", "-c", config], stderr=log)
    try:
        query = dns.message.make_query("a.example", "A")

        def answers() -> bool:
            try:
                return bool(dns.query.udp(query, address, 0.2, port).answer)
            except (dns.exception.Timeout, OSError):
                return False

        eventually(answers, bool, within_s=LIMIT_S)
        yield
    finally:
        process.kill()
        process.wait()


def forwarding(directory: Path, port: int, options: str = "") -> Cluster:
    """Write the Corefile of a server that forwards to a port of this process's own address."""
    directory.mkdir(exist_ok=True)
    address = own_address()
    cluster = Cluster(directory, directory / "Corefile", address, free_port(address))
    cluster.corefile.write_text(
        f".:{cluster.port} {{\n    bind {address}\n    errors\n    cache 30\n"
        f"    forward . {address}:{port} {{\n{options}\n}}\n}}\n"
    )
    return cluster


def test_unbound(tmp_path: Path) -> None:
    """What it says is passed on and kept; what it cuts short comes over TCP; it may go and come back."""
    port = free_port(own_address())
    cluster = forwarding(tmp_path, port, "health_check 50ms domain example\nmax_fails 1")
    with running(cluster) as log:
        with unbound(tmp_path, cluster.address, port):
            assert cluster.dig("A.example") == ("NOERROR", "10.1.2.3")
            assert cluster.dig("none.example") == ("NXDOMAIN", "-")
            assert cluster.dig("a.example", "-t", "AAAA") == ("NOERROR", "-")
            many = dns.message.make_query("many.example", "A")
            cut = dns.query.udp(many, cluster.address, LIMIT_S, cluster.port)
            whole = dns.query.tcp(many, cluster.address, LIMIT_S, cluster.port)
            assert (bool(cut.flags & dns.flags.TC), len(whole.answer[0])) == (True, 200)
            assert cluster.dig("many.example", "+tcp")[1].count("10.1.3.") == 200

        # It is gone: what is kept goes on, for the rest nobody can be asked.
        assert cluster.dig("a.example") == ("NOERROR", "10.1.2.3")
        assert cluster.dig("none.example") == ("NXDOMAIN", "-")
        reply = dns.query.udp(
            dns.message.make_query("b.example", "A"), cluster.address, LIMIT_S, cluster.port
        )
        assert reply.rcode() == dns.rcode.SERVFAIL
        with unbound(tmp_path, cluster.address, port):
            eventually(lambda: cluster.dig("b.example"), ("NOERROR", "10.1.2.4").__eq__, within_s=LIMIT_S)
            written = cluster.corefile.with_name("log").read_text
            eventually(written, lambda text: "upstream is well again" in text, within_s=LIMIT_S)

    assert not [line for line in log if "Traceback" in line or ("defect" in line and "defects=0" not in line)]
    assert any("upstream fails its health check" in line for line in log)


def test_another_coredns_lite(tmp_path: Path) -> None:
    """A node's cache before a cluster's DNS; force_tcp, as NodeLocal DNSCache has it."""
    cluster = make_cluster(tmp_path)
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    near = forwarding(tmp_path / "near", cluster.port, "force_tcp")
    with running(cluster), running(near):
        for _ in range(2):
            assert near.dig("WEB.default.svc.cluster.local") == ("NOERROR", "10.96.0.1")
        assert near.dig("none.default.svc.cluster.local") == ("NXDOMAIN", "-")
        assert near.dig("example.org") == ("REFUSED", "-")
