"""Names this server in replies to those who ask for it (NSID, RFC 5001).

Syntax:

    nsid [DATA]

DATA is the host's name by default; in quotes if it has blanks. A query with an empty NSID option of EDNS gets
a reply with DATA in that option, which `dig +nsid` shows.

```corefile
. {
    nsid "rack 7"
}
```

Metrics: none.
"""

import socket

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Handler, Surroundings

REPEATS = False

# What the text may take of a reply of 512 bytes.
_MAX_BYTES = 255


def decode(directive: Directive, _zones: tuple[str, ...]) -> bytes:
    """Decode `nsid [DATA]`."""
    refuse_block(directive)
    if not directive.args:
        return socket.gethostname().encode()
    # CoreDNS joins them too (plugin/nsid/setup.go).
    data = " ".join(token.text for token in directive.args).encode()
    if not 0 < len(data) <= _MAX_BYTES:
        raise directive.args[0].error(f"expected a text of 1 to {_MAX_BYTES} bytes")
    return data


def build(_config: bytes, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: `coredns_lite.chain` hands the text on to whoever writes replies."""
    return following
