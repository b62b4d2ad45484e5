"""Says in class CHAOS which server this is, what it runs and who wrote it.

Syntax:

    chaos [VERSION] [AUTHORS...]

VERSION is `coredns-lite-` and the version by default, AUTHORS is `nodeplane` alone. Questions of type TXT and
class CH are answered for `version.bind` and `version.server` (VERSION), `authors.bind` (a record for each
author), `hostname.bind` and `id.server` (the host's name), with a TTL of 0; every other question of that
class is refused, as all are without this plugin.

```corefile
. {
    chaos coredns-lite info@example.org
}
```

Metrics: none.
"""

import socket

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import CLASS_CH, RecordType, txt_record
from coredns_lite.wire.reply import CONFIGURATION, Answer, Rcode
from nodeplane.runtime.version import NODEPLANE_VERSION

REPEATS = False

_REFUSED = Answer(Rcode.REFUSED, is_authoritative=False, about=CONFIGURATION)
_ALL_TYPES = (RecordType.TXT, RecordType.ANY)


class Chaos(msgspec.Struct, frozen=True):
    """What is said."""

    version: str = f"coredns-lite-{NODEPLANE_VERSION}"
    authors: tuple[str, ...] = ("nodeplane",)


def decode(directive: Directive, _zones: tuple[str, ...]) -> Chaos:
    """Decode `chaos [VERSION] [AUTHORS...]`."""
    refuse_block(directive)
    version, *authors = [token.text for token in directive.args] or [Chaos().version]
    return Chaos(version, tuple(dict.fromkeys(authors)) or Chaos().authors)


def build(config: Chaos, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that answers class CH."""
    return _Link(config, socket.gethostname(), following)


class _Link:
    def __init__(self, config: Chaos, host: str, following: Handler) -> None:
        texts = {
            "version.bind": (config.version,),
            "version.server": (config.version,),
            "authors.bind": config.authors,
            "hostname.bind": (host,),
            "id.server": (host,),
        }
        self._answers = {
            encode_name(name): Answer(
                answers=tuple(txt_record(text.encode(), 0, rclass=CLASS_CH) for text in said),
                is_authoritative=False,
                about=CONFIGURATION,
            )
            for name, said in texts.items()
        }
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        if query.qclass != CLASS_CH:
            return self._following.answer(query, client)
        if query.qtype not in _ALL_TYPES:
            return _REFUSED
        return self._answers.get(query.name, _REFUSED)
