"""Words of the configuration to values; what a word must be is said with the field that it stands in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

from kubeproxy.config.duration import parse_duration
from kubeproxy.rules.addresses import Address, Network
from nodeplane.runtime.listen import ListenAddress, parse_listen_address

FieldPath = tuple[str, ...]

_INTERFACE_NAME_BYTES = 15  # linux/if.h IFNAMSIZ, with the closing zero


class FieldError(ValueError):
    """A field's value is wrong; whoever knows the file or the flag makes a line for its author of it."""

    def __init__(self, path: FieldPath, expected: str) -> None:
        super().__init__(f"{'.'.join(path)}: {expected}")
        self.path = path
        self.expected = expected


def read_duration_s(path: FieldPath, text: str, *, is_positive: bool = False) -> float:
    """Read a duration, in seconds; never below 0, and with `is_positive` never 0."""
    with _told(path):
        duration_ns = parse_duration(text)
    if duration_ns < 0 or (is_positive and not duration_ns):
        raise FieldError(
            path, "expected a duration above 0" if is_positive else "expected no negative duration"
        )
    return duration_ns / 1e9


def read_listen_address(path: FieldPath, text: str, default_port: int) -> ListenAddress:
    """Read an address to listen on."""
    with _told(path):
        return parse_listen_address(text, default_port)


def read_address(path: FieldPath, text: str) -> Address:
    """Read an IP address."""
    try:
        return ip_address(text)
    except ValueError as exc:
        raise FieldError(path, "expected an IP address") from exc


def read_networks(path: FieldPath, texts: Sequence[str]) -> tuple[Network, ...]:
    """Read CIDRs; host bits are dropped, as upstream does."""
    networks: list[Network] = []
    for text in texts:
        if "/" not in text:
            raise FieldError(path, f"expected a CIDR such as 10.0.0.0/8, got {text!r}")
        try:
            networks.append(ip_network(text.strip(), strict=False))
        except ValueError as exc:
            raise FieldError(path, f"expected a CIDR such as 10.0.0.0/8, got {text!r}") from exc
    return tuple(networks)


def read_interface(path: FieldPath, text: str, mode: str) -> str:
    """Read the name of an interface, or how such names begin, which a mode needs."""
    if not text or len(text.encode()) > _INTERFACE_NAME_BYTES or "/" in text or not text.isprintable():
        raise FieldError(
            path, f"expected an interface name of 1 to {_INTERFACE_NAME_BYTES} bytes with mode {mode}"
        )
    return text


@contextmanager
def _told(path: FieldPath) -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        raise FieldError(path, str(exc)) from exc
