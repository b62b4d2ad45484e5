"""Says over HTTP whether all plugins have what they need.

Syntax:

    ready [ADDRESS] {
        monitor until-ready|continuously
    }

`/ready` at ADDRESS (`:8181` by default) is answered with 200 and `OK` once every plugin is ready, before that
with 503 and the names of those that are not, separated by commas. From SIGTERM to the end it is 503 with
`lameduck`. A plugin that was ready stays so, with either value of `monitor`: losing the source of names keeps
the last ones in force, and a reload takes over only when its plugins are ready.

```corefile
. {
    ready :8181
}
```

Metrics: none.
"""

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_listen_address, one_value, read_options
from coredns_lite.plugin import Handler, Surroundings
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.page import Request, Response

REPEATS = False

DEFAULT_ADDRESS = ListenAddress("", 8181)
_MONITORS = ("until-ready", "continuously")


class Ready(msgspec.Struct, frozen=True):
    """Where the page is."""

    address: ListenAddress = DEFAULT_ADDRESS


def decode(directive: Directive, _zones: tuple[str, ...]) -> Ready:
    """Decode `ready [ADDRESS] { monitor MODE }`."""
    monitor = read_options(directive, "monitor").get("monitor")
    if monitor and one_value(monitor).text not in _MONITORS:
        raise monitor.args[0].error(f"expected one of {', '.join(_MONITORS)}")
    return Ready(decode_listen_address(directive, DEFAULT_ADDRESS))


def build(config: Ready, surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers."""

    def show(_request: Request) -> Response:
        unready = surroundings.unready()
        return Response(",".join(unready).encode(), 503) if unready else Response(b"OK")

    surroundings.serve_page(config.address, "/ready", show)
    return following
