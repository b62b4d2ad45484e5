"""Says on which addresses of this machine a server block listens.

Syntax:

    bind ADDRESS...

IPv4 and IPv6 addresses; several of these lines add up. Without it a server block listens on every address,
of IPv6 too where there is any.

```corefile
. {
    bind 10.96.0.10 fd00::10
}
```

Metrics: none.

Differs from CoreDNS: names of interfaces and `except` are not there.
"""

from ipaddress import ip_address

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Handler, Surroundings

REPEATS = True


def decode(directive: Directive, _zones: tuple[str, ...]) -> tuple[str, ...]:
    """Decode `bind ADDRESS...`."""
    refuse_block(directive)
    if not directive.args:
        raise directive.name.error("expected at least one IP address after it")
    return tuple(_decode_address(token) for token in directive.args)


def build(_config: tuple[str, ...], _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers."""
    return following


def _decode_address(token: Token) -> str:
    try:
        return str(ip_address(token.text))
    except ValueError as exc:
        raise token.error("expected an IP address") from exc
