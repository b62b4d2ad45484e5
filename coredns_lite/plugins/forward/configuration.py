"""What a line of `forward` and the options in its block say."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_duration, decode_number, decode_rcode, one_value, refuse_args
from coredns_lite.plugins.forward.forwarder import POLICIES
from coredns_lite.plugins.forward.targets import Target, TargetFile, decode_target
from coredns_lite.wire.names import NameFormatError, encode_name
from coredns_lite.wire.reply import Rcode
from coredns_lite.zones import decode_zones

MAX_COUNT = 1_000_000


class Tls(msgspec.Struct, frozen=True):
    """The files of the option `tls`; `place` is its line."""

    place: str
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


class HealthCheck(msgspec.Struct, frozen=True):
    """The option `health_check`; the domain is a wire name."""

    interval_s: float = 0.5
    is_recursive: bool = True
    domain: bytes = b"\0"


class Forward(msgspec.Struct, frozen=True):
    """One line of the plugin, decoded."""

    zones: tuple[str, ...]
    targets: tuple[Target | TargetFile, ...]
    excepted: tuple[str, ...] = ()
    force_tcp: bool = False
    prefer_udp: bool = False
    expire_s: float = 10.0
    max_fails: int = 2
    max_concurrent: int = 0
    policy: str = "random"
    health_check: HealthCheck = HealthCheck()
    tls: Tls | None = None
    tls_servername: str = ""
    next: frozenset[Rcode] = frozenset()
    failover: frozenset[Rcode] = frozenset()
    failfast: bool = False


def decode(directive: Directive, _zones: tuple[str, ...]) -> Forward:
    """Decode `forward FROM TO... { option... }`."""
    if len(directive.args) < 2:
        raise directive.name.error("expected a zone and at least one upstream after it")
    origin, *targets = directive.args
    values: dict[str, Any] = {}
    for option in directive.block or ():
        found = _OPTIONS.get(option.name.text)
        if found is None:
            raise option.name.error(f"expected an option of forward: {', '.join(_OPTIONS)}")
        field, decode_option = found
        if field in values:
            raise option.name.error("expected each option once")
        values[field] = decode_option(option)
    line = Forward(decode_zones(origin), tuple(decode_target(token) for token in targets))
    return msgspec.structs.replace(line, **values)


def _decode_zones(option: Directive) -> tuple[str, ...]:
    if not option.args:
        raise option.name.error("expected at least one zone after it")
    return tuple(zone for token in option.args for zone in decode_zones(token))


def _decode_flag(option: Directive) -> bool:
    refuse_args(option)
    return True


def _decode_positive_duration(token: Token) -> float:
    duration_s = decode_duration(token)
    if not duration_s:
        raise token.error("expected a duration above 0")
    return duration_s


def _decode_count(option: Directive) -> int:
    return decode_number(one_value(option), "a count", 0, MAX_COUNT)


def _decode_policy(option: Directive) -> str:
    token = one_value(option)
    if token.text not in POLICIES:
        raise token.error(f"expected one of the policies {', '.join(POLICIES)}")
    return token.text


def _decode_health_check(option: Directive) -> HealthCheck:
    if not option.args:
        raise option.name.error("expected a duration after it")
    interval, *rest = option.args
    interval_s = _decode_positive_duration(interval)
    is_recursive, domain = True, b"\0"
    words = iter(rest)
    for token in words:
        if token.text == "no_rec":
            is_recursive = False
        elif token.text == "domain" and (name := next(words, None)):
            try:
                domain = encode_name(name.text)
            except NameFormatError as exc:
                raise name.error(str(exc)) from exc
        else:
            raise token.error("expected no_rec, or domain and a name")
    return HealthCheck(interval_s, is_recursive, domain)


def _decode_tls(option: Directive) -> Tls:
    place = f"{option.name.file}:{option.name.line}"
    files = [Path(token.text) for token in option.args]
    if len(files) > 3:
        raise option.name.error("expected at most three files after it: CERT KEY CA")
    authority = files.pop() if len(files) in (1, 3) else None
    certificate, key = files or (None, None)
    return Tls(place, certificate, key, authority)


def _decode_rcodes(option: Directive) -> frozenset[Rcode]:
    if not option.args:
        raise option.name.error("expected at least one code such as NXDOMAIN after it")
    return frozenset(decode_rcode(token) for token in option.args)


_OPTIONS: Mapping[str, tuple[str, Callable[[Directive], Any]]] = {
    "except": ("excepted", _decode_zones),
    "expire": ("expire_s", lambda option: _decode_positive_duration(one_value(option))),
    "failfast_all_unhealthy_upstreams": ("failfast", _decode_flag),
    "failover": ("failover", _decode_rcodes),
    "force_tcp": ("force_tcp", _decode_flag),
    "health_check": ("health_check", _decode_health_check),
    "max_concurrent": ("max_concurrent", _decode_count),
    "max_fails": ("max_fails", _decode_count),
    "next": ("next", _decode_rcodes),
    "policy": ("policy", _decode_policy),
    "prefer_udp": ("prefer_udp", _decode_flag),
    "tls": ("tls", _decode_tls),
    "tls_servername": ("tls_servername", lambda option: one_value(option).text),
}
