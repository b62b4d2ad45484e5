"""Says how clients' DNS cookies (RFC 7873) are dealt with.

Syntax:

    cookies [require] [secret HEX]

Every client that sends a cookie is given one of ours, also without this plugin. With `require`, a client over
UDP that sends its cookie alone, or with one that is not ours, gets BADCOOKIE and ours, and shows that the
next time: so nobody else is sent answers in its name. Clients without cookies are answered as before, as RFC
7873 section 5.2.1 advises while most have none. `secret`, 16 bytes as 32 hexadecimal digits, is what several
servers behind one address share; else each start makes one.

```corefile
example.org {
    cookies require secret 000102030405060708090a0b0c0d0e0f
    kubernetes example.org {
        manifests /etc/nodeplane/manifests
    }
}
```

Metrics: none.

CoreDNS has no such plugin: it sends the client's cookie back as it came.
"""

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Handler, Surroundings
from coredns_lite.wire.cookie import SECRET_BYTES

REPEATS = False


class Cookies(msgspec.Struct, frozen=True):
    """The plugin's line, decoded."""

    is_required: bool = False
    secret: bytes | None = None


def decode(directive: Directive, _zones: tuple[str, ...]) -> Cookies:
    """Decode `cookies [require] [secret HEX]`."""
    refuse_block(directive)
    cookies = Cookies()
    words = iter(directive.args)
    for word in words:
        if word.text == "require":
            cookies = msgspec.structs.replace(cookies, is_required=True)
        elif word.text == "secret":
            digits = next(words, word)
            try:
                secret = bytes.fromhex(digits.text)
            except ValueError:
                secret = b""
            if len(secret) != SECRET_BYTES:
                raise digits.error(f"expected {2 * SECRET_BYTES} hexadecimal digits after secret")
            cookies = msgspec.structs.replace(cookies, secret=secret)
        else:
            raise word.error("expected require or secret")
    return cookies


def build(_config: Cookies, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: cookies are dealt with where replies are rendered."""
    return following
