"""Debian's name servers with the same records as coredns-lite's bench, one process with one worker each."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.message
import dns.query

TTL_S = 5


class Service(NamedTuple):
    """A Service with one named port."""

    name: str
    """Its whole name, without the final dot."""
    address: str


class Running(NamedTuple):
    """A server that answers."""

    pid: int
    address: str
    port: int


@contextmanager
def serve_peer(peer: str, directory: Path, services: Sequence[Service], zone: str) -> Iterator[Running]:
    """Run a peer over the services; yield it once it answers."""
    address = f"127.{os.getpid() >> 8 & 127}.{os.getpid() & 255}.54"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    command = PEERS[peer](directory, services, zone, address, port)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_answer(process, services[-1], address, port)
        yield Running(process.pid, address, port)
    finally:
        process.terminate()
        process.wait()


def wait_for_answer(process: subprocess.Popen[bytes], service: Service, address: str, port: int) -> None:
    """Ask for the last service until it is there."""
    query = dns.message.make_query(service.name, "A")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args!r} ended"
        try:
            answer = dns.query.udp(query, address, 0.2, port).answer
        except (dns.exception.Timeout, OSError):
            continue
        if answer:
            assert str(answer[0][0]) == service.address
            return
    raise AssertionError(f"{process.args!r} does not answer")


def _dnsmasq(
    directory: Path, services: Sequence[Service], zone: str, address: str, port: int
) -> list[str | Path]:
    hosts, conf = directory / "dnsmasq.hosts", directory / "dnsmasq.conf"
    hosts.write_text("".join(f"{service.address} {service.name}\n" for service in services))
    srv = "".join(f"srv-host=_http._tcp.{service.name},{service.name},80\n" for service in services)
    conf.write_text(
        f"port={port}\nlisten-address={address}\nbind-interfaces\nno-resolv\nno-hosts\naddn-hosts={hosts}\n"
        f"local=/{zone}/\nlocal-ttl={TTL_S}\nuser=root\npid-file=\n{srv}"
    )
    return ["dnsmasq", "--keep-in-foreground", f"--conf-file={conf}"]


def _zone_file(directory: Path, services: Sequence[Service], zone: str) -> Path:
    path = directory / "zone.txt"
    lines = [f"{zone}. {TTL_S} SOA ns.dns.{zone}. hostmaster.{zone}. 1 7200 1800 86400 {TTL_S}"]
    lines += [f"{zone}. {TTL_S} NS ns.dns.{zone}."]
    for name, address in services:
        lines += [f"{name}. {TTL_S} A {address}", f"_http._tcp.{name}. {TTL_S} SRV 0 100 80 {name}."]
    path.write_text("\n".join(lines) + "\n")
    return path


def _nsd(
    directory: Path, services: Sequence[Service], zone: str, address: str, port: int
) -> list[str | Path]:
    conf = directory / "nsd.conf"
    conf.write_text(
        f"server:\n server-count: 1\n ip-address: {address}\n port: {port}\n zonesdir: {directory}\n"
        f' username: root\n pidfile: ""\n xfrdfile: ""\n zonelistfile: {directory}/nsd.list\n database: ""\n'
        " rrl-ratelimit: 0\nremote-control:\n control-enable: no\n"
        f"zone:\n name: {zone}\n zonefile: {_zone_file(directory, services, zone)}\n"
    )
    return ["nsd", "-d", "-c", conf]


def _unbound(
    directory: Path, services: Sequence[Service], zone: str, address: str, port: int
) -> list[str | Path]:
    conf = directory / "unbound.conf"
    data = "".join(
        f' local-data: "{line}"\n' for line in _zone_file(directory, services, zone).read_text().splitlines()
    )
    conf.write_text(
        f"server:\n num-threads: 1\n interface: {address}\n port: {port}\n directory: {directory}\n"
        ' username: ""\n chroot: ""\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n'
        f" access-control: 127.0.0.0/8 allow\n local-zone: {zone} static\n{data}"
        "remote-control:\n control-enable: no\n"
    )
    return ["unbound", "-d", "-p", "-c", conf]


PEERS = {"dnsmasq": _dnsmasq, "nsd": _nsd, "unbound": _unbound}
