"""Serves a server block over TLS (RFC 7858), port 853.

Syntax:

    tls CERTIFICATE KEY [CA]

Files in PEM form, for server blocks whose zones begin with `tls://`. With a CA, clients have to show a
certificate that it signed. When the files change, new connections get the new certificate, without a restart;
files that do not fit together leave the old one in force, as the log says.

```corefile
tls://cluster.local {
    tls /etc/coredns/tls.crt /etc/coredns/tls.key
    kubernetes {
        manifests /etc/nodeplane/manifests
    }
}
```

Metrics: none.

Differs from CoreDNS: there a new certificate needs a reload of the Corefile.
"""

from pathlib import Path

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Handler, Surroundings

REPEATS = False


class TlsFiles(msgspec.Struct, frozen=True):
    """Where the certificate with its chain is, its key, and maybe the authority that clients need."""

    certificate: Path
    key: Path
    authority: Path | None = None


def decode(directive: Directive, _zones: tuple[str, ...]) -> TlsFiles:
    """Decode `tls CERTIFICATE KEY [CA]`."""
    refuse_block(directive)
    if not 2 <= len(directive.args) <= 3:
        raise directive.name.error("expected CERTIFICATE KEY [CA] after it")
    return TlsFiles(*(Path(token.text) for token in directive.args))


def build(_config: TlsFiles, _surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers."""
    return following
