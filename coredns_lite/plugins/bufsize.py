"""Caps the size of replies over UDP.

Syntax:

    bufsize [SIZE]

SIZE is from 512 to 4096 bytes, 1232 by default. A reply takes as many bytes as the client's EDNS and SIZE
both allow; what is longer is cut off and marked (TC), so that the client asks again over TCP.

```corefile
. {
    bufsize 1100
}
```

Metrics: none.

Differs from CoreDNS: no reply over UDP is longer than 1232 bytes, without this plugin or with a SIZE above,
since longer ones come in fragments, which get lost (DNS flag day 2020).
"""

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_number, one_value, refuse_block
from coredns_lite.plugin import Handler, Surroundings
from coredns_lite.wire.query import MIN_REPLY_BYTES
from coredns_lite.wire.reply import MAX_UDP_REPLY_BYTES

REPEATS = False

_MAX_SIZE_BYTES = 4096


def decode(directive: Directive, _zones: tuple[str, ...]) -> int:
    """Decode `bufsize [SIZE]` into the largest reply."""
    refuse_block(directive)
    if not directive.args:
        return MAX_UDP_REPLY_BYTES
    size_bytes = decode_number(one_value(directive), "bytes", MIN_REPLY_BYTES, _MAX_SIZE_BYTES)
    return min(size_bytes, MAX_UDP_REPLY_BYTES)


def build(_config: int, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: `coredns_lite.chain` hands the size on to whoever writes replies."""
    return following
