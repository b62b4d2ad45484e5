"""The resolver's settings of a file in resolv.conf's form (resolv.conf(5)), as a CNI result has them."""

from pathlib import Path

from nodeplane.cniresult import Dns
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

_COMMENT = ("#", ";")


def read_resolv_conf(path: str, field: str) -> Dns:
    """Read a file; what it says twice counts as resolv.conf(5) says.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as exc:
        raise ConfigError(PLACE, field, f"expected a readable file: {exc.strerror}, got {path!r}") from exc
    return decode_resolv_conf(text)


def decode_resolv_conf(text: str) -> Dns:
    """Decode the lines that a result has a place for; the others are the resolver's own."""
    nameservers: list[str] = []
    options: list[str] = []
    domain = ""
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        words = tuple(line.split())
        if len(words) < 2 or words[0].startswith(_COMMENT):
            continue
        match words[0]:
            case "nameserver":
                nameservers.append(words[1])
            case "domain":
                domain = words[1]
            case "search":
                # Of several, the last counts; options add up.
                search = words[1:]
            case "options":
                options += words[1:]
    return Dns(tuple(nameservers), domain, search, tuple(options))
