"""The lines of `forward` in a Corefile, and the files that they name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugins import forward
from coredns_lite.plugins.forward import Forward, HealthCheck, Tls
from coredns_lite.plugins.forward.targets import Target, TargetFile, decode_resolv_conf, read_targets
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.reply import Rcode
from nodeplane.errors import ConfigError

NINE = Target("10.0.0.9", 53)


def decode(line: str) -> Forward:
    (block,) = parse_corefile(f". {{\n{line}\n}}", "Corefile")
    return forward.decode(block.directives[0], (".",))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.9", NINE),
        ("10.0.0.9:1053", Target("10.0.0.9", 1053)),
        ("dns://10.0.0.9", NINE),
        ("fd00::9", Target("fd00::9", 53)),
        ("[fd00::9]", Target("fd00::9", 53)),
        ("[fd00::9]:1053", Target("fd00::9", 1053)),
        ("fe80::1%eth0", Target("fe80::1%eth0", 53)),
        ("[fe80::1%eth0]:54", Target("fe80::1%eth0", 54)),
        ("tls://9.9.9.9", Target("9.9.9.9", 853, is_tls=True)),
        ("tls://[2620:fe::9]:8853", Target("2620:fe::9", 8853, is_tls=True)),
        ("tls://9.9.9.9%dns.quad9.net", Target("9.9.9.9", 853, True, "dns.quad9.net")),
        ("tls://9.9.9.9%dns.quad9.net:10853", Target("9.9.9.9", 10853, True, "dns.quad9.net")),
        ("/etc/resolv.conf", TargetFile(Path("/etc/resolv.conf"), "Corefile:2")),
    ],
)
def test_target(text: str, target: Target | TargetFile) -> None:
    assert decode(f"forward . {text}") == Forward((".",), (target,))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("except a.example b.example", {"excepted": ("a.example.", "b.example.")}),
        ("force_tcp", {"force_tcp": True}),
        ("prefer_udp", {"prefer_udp": True}),
        ("expire 1m30s", {"expire_s": 90.0}),
        ("max_fails 0", {"max_fails": 0}),
        ("max_concurrent 1000", {"max_concurrent": 1000}),
        ("policy round_robin", {"policy": "round_robin"}),
        ("health_check 5s", {"health_check": HealthCheck(5.0)}),
        (
            "health_check 5s no_rec domain example.org",
            {"health_check": HealthCheck(5.0, False, encode_name("example.org"))},
        ),
        ("tls", {"tls": Tls("Corefile:3")}),
        ("tls ca", {"tls": Tls("Corefile:3", authority=Path("ca"))}),
        ("tls cert key", {"tls": Tls("Corefile:3", Path("cert"), Path("key"))}),
        ("tls cert key ca", {"tls": Tls("Corefile:3", Path("cert"), Path("key"), Path("ca"))}),
        ("tls_servername dns.quad9.net", {"tls_servername": "dns.quad9.net"}),
        ("next NXDOMAIN refused", {"next": frozenset({Rcode.NXDOMAIN, Rcode.REFUSED})}),
        ("failover SERVFAIL", {"failover": frozenset({Rcode.SERVFAIL})}),
        ("failfast_all_unhealthy_upstreams", {"failfast": True}),
    ],
)
def test_option(options: str, line: dict[str, object]) -> None:
    assert decode(f"forward . 10.0.0.9 {{\n{options}\n}}") == Forward((".",), (NINE,), **line)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        ("Corp.Example", ("corp.example.",)),
        ("10.0.0.0/15", ("0.10.in-addr.arpa.", "1.10.in-addr.arpa.")),
    ],
)
def test_from(text: str, zones: tuple[str, ...]) -> None:
    assert decode(f"forward {text} 10.0.0.9") == Forward(zones, (NINE,))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("forward", "Corefile:2: forward: expected a zone and at least one upstream after it"),
        ("forward .", "Corefile:2: forward: expected a zone and at least one upstream after it"),
        ("forward a..b 10.0.0.9", "Corefile:2: a..b: expected a zone such as cluster.local"),
        ("forward . https://1.1.1.1", "Corefile:2: https://1.1.1.1: expected one of the transports dns, tls"),
        *(
            (
                f"forward . {text}",
                f"Corefile:2: {text}: expected an IP address, maybe with a port, or the path of a file",
            )
            for text in ("dns.google", "10.0.0.256", "fd00::9:99999", "[10.0.0.9", "tls://a%b.c")
        ),
        *(
            (
                f"forward . {text}",
                f"Corefile:2: {text}: expected a port from 1 to 65535 after the address",
            )
            for text in ("10.0.0.9:", "10.0.0.9:0", "10.0.0.9:65536", "[fd00::9]:x")
        ),
        ("forward . tls://1.1.1.1%_", "Corefile:2: tls://1.1.1.1%_: expected the server's name behind '%'"),
        *(
            (f"forward . 10.0.0.9 {{\n{option}\n}}", f"Corefile:3: {error}")
            for option, error in [
                ("except", "except: expected at least one zone after it"),
                ("force_tcp yes", "yes: expected nothing after force_tcp"),
                ("expire 0s", "0s: expected a duration above 0"),
                ("expire soon", "soon: expected a duration such as 500ms, 30s or 1h30m"),
                ("max_fails -1", "-1: expected a count from 0 to 1000000"),
                ("policy best", "best: expected one of the policies random, round_robin, sequential"),
                ("health_check", "health_check: expected a duration after it"),
                ("health_check 1s twice", "twice: expected no_rec, or domain and a name"),
                ("health_check 1s domain", "domain: expected no_rec, or domain and a name"),
                ("tls a b c d", "tls: expected at most three files after it: CERT KEY CA"),
                ("next", "next: expected at least one code such as NXDOMAIN after it"),
            ]
        ),
        (
            "forward . 10.0.0.9 {\nforce_tcp\nforce_tcp\n}",
            "Corefile:4: force_tcp: expected each option once",
        ),
    ],
)
def test_refused(line: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(line)

    assert str(caught.value) == error


def test_unknown_option_and_code() -> None:
    with pytest.raises(ConfigError, match=r"^Corefile:3: spray: expected an option of forward: except, "):
        decode("forward . 10.0.0.9 {\nspray\n}")
    with pytest.raises(ConfigError, match=r"^Corefile:3: OOPS: expected one of the codes NOERROR, FORMERR, "):
        decode("forward . 10.0.0.9 {\nnext OOPS\n}")


def test_resolv_conf(tmp_path: Path) -> None:
    """The file's servers stand in its place, each once."""
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 10.0.0.1\nsearch example\nnameserver 10.0.0.9\n  nameserver\tfe80::1%eth0 # home\n"
        "nameserver\nnameserver nobody\noptions ndots:5\n"
    )
    file = TargetFile(path, "Corefile:2")

    assert read_targets([Target("10.0.0.1", 53), file, NINE]) == (
        Target("10.0.0.1", 53),
        NINE,
        Target("fe80::1%eth0", 53),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "expected a readable file: No such file or directory"),
        ("search example\n", "expected at least one line `nameserver ADDRESS`"),
    ],
)
def test_resolv_conf_refused(text: str | None, error: str, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_targets([TargetFile(path, "Corefile:2")])

    assert str(caught.value) == f"Corefile:2: {path}: {error}"


def test_too_many_upstreams() -> None:
    with pytest.raises(ConfigError, match="expected at most 15 upstreams, got 16"):
        read_targets(Target(f"10.0.0.{number}", 53) for number in range(16))


@given(st.text())
def test_any_resolv_conf(text: str) -> None:
    decode_resolv_conf(text)
