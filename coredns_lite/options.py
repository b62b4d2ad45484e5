"""What directives and options of a Corefile take: one value, a number, a duration, nothing."""

import re

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.wire.record import record_type
from coredns_lite.wire.reply import Rcode
from nodeplane.runtime.listen import ListenAddress, parse_listen_address

_NUMBER = re.compile(r"[0-9]{1,9}")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9.]+)(ms|us|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def one_value(option: Directive) -> Token:
    """Return the only argument of an option.

    Raises:
        ConfigError: there is none, an empty one, or more.
    """
    if len(option.args) != 1:
        raise option.name.error(f"expected one value after it, got {len(option.args)}")
    if not option.args[0].text:
        raise option.args[0].error("expected a value")
    return option.args[0]


def decode_number(token: Token, what: str, low: int, high: int) -> int:
    """Decode a whole number from `low` to `high`; `what` is its unit or meaning, for the error.

    Raises:
        ConfigError: it is none.
    """
    if not _NUMBER.fullmatch(token.text) or not low <= int(token.text) <= high:
        raise token.error(f"expected {what} from {low} to {high}")
    return int(token.text)


def decode_duration(token: Token) -> float:
    """Decode a duration as Go writes it (`1m30s`, `500ms`), or a number of seconds; return seconds.

    Raises:
        ConfigError: it is none.
    """
    if _NUMBER.fullmatch(token.text):
        return float(token.text)
    if not _DURATION.fullmatch(token.text):
        raise token.error("expected a duration such as 500ms, 30s or 1h30m")
    return sum(float(count) * _SECONDS[unit] for count, unit in _DURATION_PART.findall(token.text))


def refuse_args(directive: Directive) -> None:
    """Refuse arguments.

    Raises:
        ConfigError: there is one.
    """
    if directive.args:
        raise directive.args[0].error(f"expected nothing after {directive.name.text}")


def refuse_block(directive: Directive) -> None:
    """Refuse a block.

    Raises:
        ConfigError: there is one.
    """
    if directive.block is not None:
        raise directive.name.error("expected no block, it has no options")


def read_options(directive: Directive, *names: str) -> dict[str, Directive]:
    """Return the options in a directive's block by name, each of which it may have once.

    Raises:
        ConfigError: another option, or one twice.
    """
    found: dict[str, Directive] = {}
    for option in directive.block or ():
        if option.name.text not in names:
            raise option.name.error(f"expected an option of {directive.name.text}: {', '.join(names)}")
        if option.name.text in found:
            raise option.name.error("expected each option once")
        found[option.name.text] = option
    return found


def decode_listen_address(directive: Directive, default: ListenAddress) -> ListenAddress:
    """Decode the only argument of a directive, where a page is: `:8080`, `localhost:8080`, `[::1]:8080`.

    Raises:
        ConfigError: it is none, or there are more.
    """
    if not directive.args:
        return default
    if len(directive.args) > 1:
        raise directive.args[1].error("expected nothing after the address")
    token = directive.args[0]
    try:
        return parse_listen_address(token.text.replace("localhost:", "127.0.0.1:"))
    except ValueError as exc:
        raise token.error("expected an IP address and a port, such as :8080 or 127.0.0.1:8080") from exc


def decode_record_type(token: Token) -> int:
    """Decode the name of a record type, `TYPE4711` for those without one here.

    Raises:
        ConfigError: it is none.
    """
    try:
        return record_type(token.text)
    except ValueError as exc:
        raise token.error("expected a record type such as AAAA") from exc


def decode_rcode(token: Token) -> Rcode:
    """Decode the name of a response code.

    Raises:
        ConfigError: it is none.
    """
    try:
        return Rcode[token.text.upper()]
    except KeyError:
        raise token.error(f"expected one of the codes {', '.join(Rcode.__members__)}") from None
