"""The program on the wire, as real clients see it: cookies, streams, TLS, transfers, restarts."""

import json
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import dns.edns
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from tests.coredns_lite.running import LIMIT_S, Cluster, free_port, own_address, publish, running
from tests.kube.certificates import Authority

COOKIE = dns.edns.OptionType.COOKIE
WEB = "web.default.svc.cluster.local"


def make(directory: Path, plugins: str = "", scheme: str = "") -> Cluster:
    """Write a Corefile for cluster.local with these plugins, one a line."""
    address = own_address()
    cluster = Cluster(directory / "manifests", directory / "Corefile", address, free_port(address))
    cluster.manifests.mkdir()
    publish(cluster.manifests, "a.yaml", web="10.96.0.1")
    write_corefile(cluster, plugins, scheme)
    return cluster


def write_corefile(cluster: Cluster, plugins: str, scheme: str = "") -> None:
    cluster.corefile.write_text(
        f"{scheme}cluster.local:{cluster.port} {{\n bind {cluster.address}\n errors\n {plugins}\n"
        f" kubernetes {{\n  manifests {cluster.manifests}\n  ttl 7\n }}\n}}\n"
    )


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S).stdout


@pytest.mark.parametrize(
    ("plugins", "first", "second"),
    [
        pytest.param("", "NOERROR", "NOERROR", id="given to whoever has one"),
        pytest.param("cookies require", "BADCOOKIE", "NOERROR", id="required"),
    ],
)
def test_cookies(tmp_path: Path, plugins: str, first: str, second: str) -> None:
    """The first reply brings the server's cookie, which is then good; whoever sends none needs none."""
    cluster = make(tmp_path, plugins)
    client = b"12345678"

    def ask(cookie: bytes) -> tuple[str, bytes]:
        query = dns.message.make_query(WEB, "A", use_edns=0, options=[dns.edns.GenericOption(COOKIE, cookie)])
        reply = dns.query.udp(query, cluster.address, LIMIT_S, cluster.port)
        (option,) = reply.options
        return dns.rcode.to_text(reply.rcode()), option.to_wire() or b""

    with running(cluster):
        rcode, cookie = ask(client)
        assert (rcode, cookie[:8], len(cookie)) == (first, client, 24)
        assert ask(cookie) == (second, cookie)
        assert ask(cookie[:-1] + bytes((cookie[-1] ^ 1,)))[0] == first
        assert cluster.ask(WEB).rcode() == dns.rcode.NOERROR
        # dig shows the cookie again by itself.
        assert cluster.dig(WEB, "+cookie") == ("NOERROR", "10.96.0.1")
        assert ask_raw(cluster, b"123").rcode() == dns.rcode.FORMERR


def ask_raw(cluster: Cluster, cookie: bytes) -> dns.message.Message:
    query = dns.message.make_query(WEB, "A", use_edns=0, options=[dns.edns.GenericOption(COOKIE, cookie)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT_S)
        sock.sendto(query.to_wire(), (cluster.address, cluster.port))
        return dns.message.from_wire(sock.recv(4096))


def test_nothing_grows_for_unknown_zones(tmp_path: Path) -> None:
    """A refusal is no longer than what it refuses, whatever EDNS says."""
    cluster = make(tmp_path)
    with running(cluster), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(LIMIT_S)
        kinds: tuple[list[dns.edns.Option], ...] = (
            [],
            [dns.edns.GenericOption(COOKIE, b"12345678")],
            [dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")],
        )
        for options in kinds:
            query = dns.message.make_query("example.org", "ANY", use_edns=0, options=options).to_wire()
            sock.sendto(query, (cluster.address, cluster.port))
            reply = sock.recv(4096)
            assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED
            assert len(reply) <= len(query)


def test_transfer(tmp_path: Path) -> None:
    """Peers have the zone, and dnspython makes one of it; others, and UDP, are refused."""
    cluster = make(tmp_path, f"transfer {{\n to {own_address()}/32\n }}")
    with running(cluster):
        where, port = cluster.address, cluster.port
        zone = dns.zone.from_xfr(
            dns.query.xfr(
                where, "cluster.local", port=port, lifetime=LIMIT_S, source=where, relativize=False
            ),
            relativize=False,
            # Without an address to name there is no NS record, on loopback as here.
            check_origin=False,
        )
        assert str(zone.find_rdataset(WEB + ".", "A")[0]) == "10.96.0.1"
        assert "status" not in run("dig", f"@{where}", "-b", where, "-p", str(port), "axfr", "cluster.local")
        output = run("dig", f"@{where}", "-b", "127.0.0.1", "-p", str(port), "axfr", "cluster.local")
        assert "Transfer failed" in output
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((where, 0))
            sock.settimeout(LIMIT_S)
            sock.sendto(dns.message.make_query("cluster.local", "AXFR").to_wire(), (where, port))
            assert dns.message.from_wire(sock.recv(4096)).rcode() == dns.rcode.REFUSED
        serial = zone.get_soa().serial
        assert [ixfr(cluster, serial, tcp=tcp) for tcp in (False, True)] == [["SOA"], ["SOA"]]
        assert ixfr(cluster, serial - 1, tcp=False) == ["SOA"]
        assert ixfr(cluster, serial - 1, tcp=True) == ["SOA", "TXT", "A", "SOA"]
        assert ixfr(cluster, None, tcp=True) == ["FORMERR"]


def ixfr(cluster: Cluster, serial: int | None, *, tcp: bool) -> list[str]:
    """Ask for what has changed since a version; return the types of the records, or the error."""
    query = dns.message.make_query("cluster.local", "IXFR")
    if serial is not None:
        soa = f". . {serial} 0 0 0 0"
        query.authority.append(dns.rrset.from_text("cluster.local.", 0, "IN", "SOA", soa))
    ask = dns.query.tcp if tcp else dns.query.udp
    where = cluster.address
    reply = ask(query, where, LIMIT_S, cluster.port, source=where, one_rr_per_rrset=True)
    if reply.rcode() != dns.rcode.NOERROR:
        return [dns.rcode.to_text(reply.rcode())]
    return [dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.answer]


@pytest.fixture
def authority() -> Authority:
    return Authority()


def test_tls(tmp_path: Path, authority: Authority) -> None:
    """kdig and Python ask over TLS; a new certificate is served without a restart, a bad one is not."""
    cluster = make(tmp_path, f"tls {tmp_path}/tls.crt {tmp_path}/tls.key", "tls://")
    (tmp_path / "ca.crt").write_bytes(authority.pem)

    def issue(name: str) -> None:
        certificate, key = authority.issue(name, (cluster.address, "dns.test"))
        (tmp_path / "tls.key").write_bytes(key)
        (tmp_path / "tls.crt").write_bytes(certificate)

    def served_name() -> str:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        with (
            socket.create_connection((cluster.address, cluster.port), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname="dns.test") as sock,
        ):
            subject = (sock.getpeercert() or {})["subject"]
            return str(subject[0][0][1])

    issue("first")
    with running(cluster):
        query = dns.message.make_query(WEB, "A")
        reply = dns.query.tls(
            query,
            cluster.address,
            LIMIT_S,
            cluster.port,
            server_hostname="dns.test",
            verify=str(tmp_path / "ca.crt"),
        )
        assert str(reply.answer[0][0]) == "10.96.0.1"
        output = run(
            "kdig",
            f"@{cluster.address}",
            "-p",
            str(cluster.port),
            f"+tls-ca={tmp_path}/ca.crt",
            "+tls-hostname=dns.test",
            "+short",
            WEB,
        )
        assert output == "10.96.0.1\n"
        assert served_name() == "first"
        issue("second")
        assert served_name() == "second"
        (tmp_path / "tls.crt").write_text("no certificate")
        assert served_name() == "second"


def test_tls_garbage(tmp_path: Path, authority: Authority) -> None:
    """Who speaks no TLS harms nobody."""
    cluster = make(tmp_path, f"tls {tmp_path}/tls.crt {tmp_path}/tls.key", "tls://")
    certificate, key = authority.issue("dns.test", (cluster.address,))
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    with running(cluster) as log:
        for _ in range(5):
            with socket.create_connection((cluster.address, cluster.port), LIMIT_S) as sock:
                sock.sendall(b"\0\x20" + bytes(32))
        query = dns.message.make_query(WEB, "A")
        verify = str(tmp_path / "ca.crt")
        assert dns.query.tls(query, cluster.address, LIMIT_S, cluster.port, verify=verify).answer

    assert not [line for line in log if "Traceback" in line]


def test_clients_over_tcp(tmp_path: Path) -> None:
    """dig keeps a connection, and pipelines nothing; dnspython's stream is the same program's."""
    cluster = make(tmp_path)
    with running(cluster):
        where = (f"@{cluster.address}", "-p", str(cluster.port))
        assert run("dig", *where, "+tcp", "+keepopen", "+short", WEB, WEB) == "10.96.0.1\n" * 2
        assert run("kdig", *where, "+tcp", "+short", WEB) == "10.96.0.1\n"
        query = dns.message.make_query(WEB, "A")
        assert dns.query.tcp(query, cluster.address, LIMIT_S, cluster.port).answer


def test_metrics(tmp_path: Path) -> None:
    """Each query is counted once, from whatever cache it was answered."""
    page = free_port(own_address())
    cluster = make(tmp_path, f"prometheus {own_address()}:{page}")
    with running(cluster):
        for _ in range(3):
            cluster.ask(WEB)
        cluster.ask(WEB, "AAAA")
        query = dns.message.make_query(WEB, "A", want_dnssec=True)
        dns.query.tcp(query, cluster.address, LIMIT_S, cluster.port)
        text = (
            urllib.request.urlopen(f"http://{own_address()}:{page}/metrics", timeout=LIMIT_S).read().decode()
        )

    found = {
        tuple(re.findall(r'(?:proto|type)="(\w+)"', line)): float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("coredns_dns_requests_total{")
    }
    assert found == {("udp", "A"): 3, ("udp", "AAAA"): 1, ("tcp", "A"): 1}
    assert re.search(r"^coredns_dns_do_requests_total{.*} 1.0$", text, re.MULTILINE)
    assert re.search(r'^coredns_dns_responses_total{.*rcode="NOERROR".*} 5.0$', text, re.MULTILINE)


def test_restarts_lose_no_query(tmp_path: Path) -> None:
    """New processes take over from old ones while a client asks, from a new port each time."""
    cluster = make(tmp_path)
    query = dns.message.make_query(WEB, "A").to_wire()
    lost: list[int] = []
    asked = 0
    is_over = threading.Event()

    def ask() -> None:
        nonlocal asked
        while not is_over.is_set():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(LIMIT_S / 6)
                for number in range(20):
                    sock.sendto(struct.pack("!H", number) + query[2:], (cluster.address, cluster.port))
                for number in range(20):
                    asked += 1
                    try:
                        assert dns.message.from_wire(sock.recv(4096)).answer
                    except TimeoutError:
                        lost.append(number)

    with ExitStack() as stack:
        held = ExitStack()
        held.enter_context(running(cluster))
        client = threading.Thread(target=ask)
        client.start()
        stack.callback(client.join)
        stack.callback(is_over.set)
        for _ in range(3):
            new = ExitStack()
            new.enter_context(running(cluster))
            held.close()
            held = new
        is_over.set()
        client.join()
        held.close()

    assert asked > 0
    assert lost == []


@pytest.mark.bench
def test_fuzz(tmp_path: Path) -> None:
    """50,000 mutated packets: the program lives, does not grow, and answers rightly in between."""
    output = subprocess.run(
        [sys.executable, "-m", "bench.dns_fuzz", "--quick"],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    ).stdout
    met = {figure["figure"]: figure["met"] for figure in map(json.loads, output.splitlines())}

    assert met == {"dns_fuzz_alive": True, "dns_fuzz_wrong_answers": True, "dns_fuzz_growth": True}


def test_getent_walks_the_search_path(tmp_path: Path) -> None:
    """glibc finds a Service by its short name, as in a pod: three domains to search, ndots:5."""
    cluster = make(tmp_path)
    cluster.port = 53
    write_corefile(cluster, "")
    resolv, hosts = tmp_path / "resolv.conf", tmp_path / "nsswitch.conf"
    resolv.write_text(
        f"nameserver {cluster.address}\nsearch other.svc.cluster.local svc.cluster.local cluster.local\n"
        "options ndots:5\n"
    )
    hosts.write_text("hosts: dns\n")
    script = (
        f"mount --bind {resolv} /etc/resolv.conf && mount --bind {hosts} /etc/nsswitch.conf && "
        'getent ahosts "$1"'
    )
    with running(cluster):
        for name in ("web.default", "web.default.svc", WEB):
            output = run("unshare", "--mount", "sh", "-c", script, "sh", name)
            assert "10.96.0.1" in output
        assert run("unshare", "--mount", "sh", "-c", script, "sh", "nope.default") == ""
