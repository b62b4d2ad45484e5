"""Logs each query and what became of it.

Syntax:

    log [NAME...] [FORMAT] {
        class CLASS...
    }

NAMEs are zones: only queries for names in them are logged, all by default. Several of these lines may stand
in a server block; the first that a name fits decides.

FORMAT is `{common}` (the default), `{combined}` (with the opcode behind it) or a text with placeholders, in
quotes if it has blanks: `{remote}` and `{port}` (the client's; addresses of IPv6 in brackets), `{type}`,
`{class}`, `{name}`, `{proto}` (udp or tcp), `{size}` (the query's bytes), `{rcode}`, `{rsize}` (the reply's
bytes), `{duration}`, `{>id}`, `{>opcode}`, `{>do}`, `{>bufsize}`, `{>rflags}`. Another placeholder becomes a
dash.

CLASS is `success`, `denial` (NXDOMAIN and NODATA), `error` (SERVFAIL, REFUSED and the like) or `all` (the
default).

```corefile
. {
    log example.org example.net "{remote} {name} {type} {rcode}" {
        class denial error
    }
    log . {combined}
}
```

Metrics: none.
"""

import re

from coredns_lite.corefile.parser import Directive
from coredns_lite.plugin import Handler, Surroundings
from coredns_lite.query_log import COMMON, FORMATS, LogRule, ResponseClass
from coredns_lite.zones import decode_zones

REPEATS = True

_PLACEHOLDER = re.compile(r"\{.+\}")


def decode(directive: Directive, _zones: tuple[str, ...]) -> LogRule:
    """Decode `log [NAME...] [FORMAT] { class CLASS... }`."""
    names = list(directive.args)
    format_text = COMMON
    if names and _PLACEHOLDER.search(names[-1].text):
        token = names.pop()
        format_text = FORMATS.get(token.text, token.text)
    zones = [zone for token in names for zone in decode_zones(token)]
    classes: set[ResponseClass] = set()
    for option in directive.block or ():
        if option.name.text != "class":
            raise option.name.error("expected an option of log: class")
        if not option.args:
            raise option.name.error(f"expected some of {', '.join(ResponseClass)} after it")
        for token in option.args:
            if token.text not in list(ResponseClass):
                raise token.error(f"expected one of {', '.join(ResponseClass)}")
            classes.add(ResponseClass(token.text))
    return LogRule(
        tuple(dict.fromkeys(zones)) or (".",), format_text, frozenset(classes or {ResponseClass.ALL})
    )


def build(_config: LogRule, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: the sockets' loops write the lines (`coredns_lite.query_log`)."""
    return following
