"""Answers with several processes, so that more than one core is used.

Syntax:

    multisocket [NUM_SOCKETS]

UDP queries to each address and port of the server block come to NUM_SOCKETS sockets (by default as many as
there are CPUs that the program may use, at most 1024), among which the kernel spreads clients (SO_REUSEPORT).
With two addresses after `bind` these are twice as many, as in CoreDNS.
Each has a process of its own with the replies that it has given before; what it does not have it asks the
program, which follows the cluster, has all plugins, and tells every process what a change makes untrue. So
there is one watch, one `cache` and one limit of `forward` however many processes there are; and a process
takes about 18 MB. A process that ends, or hangs for 5 s, is replaced, and what has come to its socket
meanwhile is answered. All end with the program.

Queries over TCP and TLS, and those for what has no lasting reply (names of upstreams, `acl`, `autopath`),
are answered by the program itself. While a thousand queries of a process wait for it, more get SERVFAIL.
A change is told to one process after the other: for some milliseconds two may differ, then no old answer is
given any more. With NUM_SOCKETS 1 there is no other process. Of several server blocks on
one address and port the first one's number counts.

```corefile
. {
    multisocket 2
    forward . 10.0.0.9
}
```

Metrics: `coredns_lite_worker_restarts_total`. All others have the sums over the processes, which report each
second; those of `process_...` are the program's own.

Differs from CoreDNS, where each socket is read by the same process and TCP has as many.
"""

import os

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_number, refuse_block
from coredns_lite.plugin import Handler, Surroundings

REPEATS = False

# CoreDNS's (plugin/multisocket/multisocket.go).
MAX_SOCKETS = 1024


def decode(directive: Directive, _zones: tuple[str, ...]) -> int:
    """Decode `multisocket [NUM_SOCKETS]`."""
    refuse_block(directive)
    if len(directive.args) > 1:
        raise directive.args[1].error("expected nothing after the number of sockets")
    for token in directive.args:
        return decode_number(token, "sockets", 1, MAX_SOCKETS)
    return len(os.sched_getaffinity(0))


def build(size: int, surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers: have the processes started, once for all zones of a server."""
    if size == 1 or surroundings.server.startswith("tls://"):
        return following
    surroundings.shared(("multisocket", surroundings.server), lambda: _hire(size, surroundings))
    return following


def _hire(size: int, surroundings: Surroundings) -> object:
    # Late: what it needs of the program is built from the plugins.
    from coredns_lite.workers.crew import Crew

    crew = Crew(size)
    is_ready = surroundings.wait_for("multisocket")
    surroundings.run(lambda: crew.keep_running(is_ready))
    surroundings.serve_by(crew)
    return crew
