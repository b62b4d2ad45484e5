"""The state of a node's BGP sessions, out of what bird says of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import msgspec

from cni.bgp.control import BirdError, Reply, ask_once
from ipam.model import Address

COMMANDS = ("show protocols all", "show bfd sessions")
ESTABLISHED = "Established"

Role = Literal["node", "client", "reflector", "peer"]

_PROTOCOL, _DETAIL, _BFD = 1002, 1006, 1020
# Name, protocol, table, state, since, what it says of itself.
_HEAD = re.compile(r"(?P<name>\S+)\s+BGP\s+\S+\s+(?P<state>\S+)\s+(?P<since>[\d.]+)\s+(?P<info>\S*)")
_ROUTES = re.compile(r"(\d+) imported, (?:(\d+) filtered, )?(\d+) exported")
_DESCRIPTION = re.compile(r"(?P<role>node|client|reflector|peer) (?P<name>\S+)")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as bird sees it.

    Attributes:
        name: The node's or the peer's name.
        state: The state of the finite state machine (RFC 4271 section 8.2.2), Down when it is switched off.
        since_s: Since when bird's protocol has been in its state, in seconds since the epoch.
        imported: Prefixes taken from the neighbour.
        exported: Prefixes announced to it.
        bfd: The state of its BFD session; empty if it has none.
        last_error: Why it ended last, or was not established; empty if never.
    """

    name: str
    role: Role
    protocol: str
    address: Address
    as_number: int
    state: str
    since_s: float
    imported: int = 0
    exported: int = 0
    bfd: str = ""
    last_error: str = ""

    @property
    def is_up(self) -> bool:
        """Whether routes are exchanged."""
        return self.state == ESTABLISHED


def read_sessions(path: Path) -> list[Session]:
    """Read the sessions of the bird at a control socket, in bird's order.

    Raises:
        BirdError: there is none, or it does not answer.
    """
    return parse_sessions(ask_once(path, COMMANDS))


def parse_sessions(replies: Iterable[Reply]) -> list[Session]:
    """Parse the replies to `COMMANDS`.

    Raises:
        BirdError: bird refused one of them.
    """
    protocols, bfd = replies
    if protocols.is_error:
        raise BirdError(f"bird: {protocols.message}")
    # Without a BFD protocol the second is refused.
    bfd_states = {} if bfd.is_error else dict(_bfd_states(bfd))
    sessions = (_session(lines, bfd_states) for lines in _by_protocol(protocols))
    return [session for session in sessions if session is not None]


def _by_protocol(reply: Reply) -> Iterator[list[str]]:
    """Yield the lines of each protocol, its head first."""
    lines: list[str] = []
    for code, text in reply.lines:
        if code == _PROTOCOL:
            if lines:
                yield lines
            lines = [text]
        elif code == _DETAIL and lines:
            lines.append(text)
    if lines:
        yield lines


def _session(lines: list[str], bfd: Mapping[Address, str]) -> Session | None:
    head = _HEAD.match(lines[0])
    fields = _fields(lines[1:])
    described = _DESCRIPTION.fullmatch(fields.get("Description", ""))
    if head is None or described is None or "Neighbor address" not in fields:
        return None
    # A link-local address names its link.
    address = ip_address(fields["Neighbor address"].partition("%")[0])
    routes = _ROUTES.match(fields.get("Routes", ""))
    return Session(
        name=described["name"],
        role=msgspec.convert(described["role"], type=Role),
        protocol=head["name"],
        address=address,
        as_number=int(fields.get("Neighbor AS", "0")),
        state=fields.get("BGP state", "Down"),
        since_s=float(head["since"]),
        imported=int(routes[1]) if routes else 0,
        exported=int(routes[3]) if routes else 0,
        bfd=bfd.get(address, ""),
        last_error=fields.get("Last error", ""),
    )


def _fields(lines: Iterable[str]) -> dict[str, str]:
    """Return the first value of each field."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.strip().partition(":")
        if colon:
            fields.setdefault(name, value.strip())
    return fields


def _bfd_states(reply: Reply) -> Iterator[tuple[Address, str]]:
    for code, text in reply.lines:
        words = text.split()
        if code == _BFD and len(words) >= 3 and words[0] != "IP" and not text.endswith(":"):
            yield ip_address(words[0].partition("%")[0]), words[2]
