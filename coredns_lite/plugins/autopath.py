"""Walks a pod's search path for it, so that it has its answer in one round trip.

Syntax:

    autopath [ZONE...] RESOLV_CONF|@kubernetes

With `ndots:5` a pod asks for `example.com` as `example.com.ns.svc.cluster.local`, then with the rest of its
search path, and last as it is: with A and AAAA ten questions, eight of which are denied. Here the first of
them is enough: where the answer is NXDOMAIN the other names are looked for, and what is found is given with a
CNAME in front of it that leads there from the name that was asked. Nothing is found: the first denial is the
answer.

`@kubernetes` takes the search path from the namespace of the pod that asks: `ns.svc.ZONE`, `svc.ZONE`, `ZONE`
and what the server's own /etc/resolv.conf searches. It needs `pods verified` in the plugin kubernetes. Only a
question for a name below the pod's own `ns.svc.ZONE` is walked; a client that is no pod, or shares its node's
address, is answered as if this plugin were not there. RESOLV_CONF is a file whose `search` line holds for
everybody. ZONEs are those in which names are walked, by default those of the server block.

```corefile
. {
    autopath @kubernetes
    kubernetes cluster.local {
        kubeconfig in-cluster
        pods verified
    }
    forward . /etc/resolv.conf
    cache 30
}
```

What is answered depends on the pod that asks. So nothing of it is kept whole by the server: a question takes
about as long as one that nobody has asked before, a walk as long as its steps. With `multisocket` the program
answers, not its processes.

Metrics: `coredns_autopath_success_total{server}`.

Differs from CoreDNS: it stands in front of the cache, which keeps the parts and not the whole. So an answer
with a CNAME never outlives the pod whose address asked for it, and never hides a Service that has come
meanwhile.
"""

from pathlib import Path

import msgspec
from prometheus_client import Counter

from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.plugins.kubernetes import served_zones
from coredns_lite.plugins.kubernetes.zone import Zone
from coredns_lite.wire.names import (
    MAX_NAME_BYTES,
    ROOT,
    NameFormatError,
    encode_label,
    encode_name,
    lower_name,
)
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION, RecordType, name_record
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import ZoneTable, decode_zones, zone_set
from nodeplane.errors import ConfigError

REPEATS = False

_RESOLV_CONF = Path("/etc/resolv.conf")
_SVC = encode_label(b"svc")

SUCCESSES = Counter(
    "coredns_autopath_success",
    "Questions that were answered further down the path",
    ["server"],
    registry=REGISTRY,
)

SearchPath = tuple[bytes, ...]


class Autopath(msgspec.Struct, frozen=True):
    """The plugin's line, decoded; no file stands for @kubernetes."""

    zones: tuple[str, ...]
    file: Path | None = None


def decode(directive: Directive, zones: tuple[str, ...]) -> Autopath:
    """Decode `autopath [ZONE...] RESOLV_CONF|@kubernetes`."""
    refuse_block(directive)
    if not directive.args:
        raise directive.name.error("expected @kubernetes or a file with a search path after it")
    *own, origin = directive.args
    if origin.text.startswith("@") and origin.text != "@kubernetes":
        raise origin.error("expected @kubernetes or a file with a search path")
    named = tuple(dict.fromkeys(zone for token in own for zone in decode_zones(token)))
    return Autopath(named or zones, None if origin.text == "@kubernetes" else Path(origin.text))


def build(config: Autopath, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that walks.

    Raises:
        ConfigError: no search path in the file, or no Kubernetes zone that knows its pods.
    """
    fixed: SearchPath = ()
    zones: ZoneTable[Zone] = ZoneTable({})
    if config.file is not None:
        fixed = (*read_search_path(config.file), ROOT)
    else:
        verified = {
            name: zone
            for name, zone in served_zones(surroundings).items()
            if isinstance(zone, Zone) and zone.options.pods == "verified"
        }
        zones = ZoneTable(verified)
        if not verified:
            raise ConfigError(
                f"{surroundings.server} {surroundings.zone}",
                "autopath",
                "expected the plugin kubernetes with `pods verified` in its server block",
            )
    own = read_search_path(_RESOLV_CONF) if config.file is None and _RESOLV_CONF.is_file() else ()
    return _Link(config, surroundings.server, fixed, Pods(zones, (*own, ROOT)), following)


def read_search_path(file: Path) -> SearchPath:
    """Read the search path of a resolv.conf: its last `search` or `domain` line (resolv.conf(5)).

    Raises:
        ConfigError: the file can't be read, or has what is no name.
    """
    path: SearchPath = ()
    try:
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            word, *names = line.split() or [""]
            if word in {"search", "domain"}:
                path = tuple(lower_name(encode_name(name)) for name in names)
    except OSError as exc:
        raise ConfigError(str(file), "", f"expected a readable file: {exc.strerror}") from exc
    except NameFormatError as exc:
        raise ConfigError(str(file), "search", str(exc)) from exc
    # The root among them ends a path: it is asked for last anyway.
    return tuple(name for name in path if name != ROOT)


class Pods:
    """Finds the search path of whoever asks."""

    def __init__(self, zones: ZoneTable[Zone], rest: SearchPath) -> None:
        self._zones = zones
        self._rest = rest

    def find(self, name: bytes, client: Client) -> SearchPath:
        """Return the search path of the pod with the client's address; none if that tells no pod."""
        zone = self._zones.find(name)
        if zone is None:
            return ()
        pods = zone.index.pods_at(client.address.packed)
        if len(pods) != 1 or pods[0].is_on_host:
            return ()
        services = _SVC + zone.origin
        namespace = encode_label(pods[0].metadata.namespace.encode())
        return (namespace + services, services, zone.origin, *self._rest)


class _Link:
    def __init__(
        self, config: Autopath, server: str, fixed: SearchPath, pods: Pods, following: Handler
    ) -> None:
        self._zones = zone_set(config.zones)
        self._fixed = fixed
        self._pods = pods
        self._counter = SUCCESSES.labels(server)
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        if self._zones.find_zone(query.name) is None:
            return self._following.answer(query, client)
        path = self._fixed or self._pods.find(query.name, client)
        first = self._following.answer(query, client)
        if not path or not query.name.endswith(path[0]) or query.name == path[0]:
            # Another client may get more of the same question.
            return first if self._fixed else after(first, _for_this_client)
        base = query.name[: len(query.name) - len(path[0])]
        names = [base + suffix for suffix in path[1:] if len(base + suffix) <= MAX_NAME_BYTES]
        if isinstance(first, Answer):
            return self._walk(query, client, first, names)
        later = first

        async def wait() -> Answer:
            outcome = self._walk(query, client, await later, names)
            return outcome if isinstance(outcome, Answer) else await outcome

        return wait()

    def _walk(self, query: Query, client: Client, first: Answer, names: list[bytes]) -> Outcome:
        """Look for the names until one is not denied."""
        if first.rcode != Rcode.NXDOMAIN:
            return _for_this_client(first)
        if not names:
            return _for_this_client(first)
        name, *rest = names
        outcome = self._following.answer(_ask_for(query, name), client)
        if isinstance(outcome, Answer):
            if outcome.rcode != Rcode.NXDOMAIN:
                return self._lead(query, name, outcome)
            return self._walk(query, client, first, rest)
        later = outcome

        async def wait() -> Answer:
            found = await later
            if found.rcode != Rcode.NXDOMAIN:
                return self._lead(query, name, found)
            further = self._walk(query, client, first, rest)
            return further if isinstance(further, Answer) else await further

        return wait()

    def _lead(self, query: Query, name: bytes, found: Answer) -> Answer:
        """Put the CNAME in front that leads to what was found."""
        if found.rcode == Rcode.NOERROR:
            self._counter.inc()
        answers = tuple(
            msgspec.structs.replace(record, owner=name) if record.owner == OF_QUESTION else record
            for record in found.answers
        )
        if answers and query.qtype != RecordType.CNAME:
            answers = (name_record(RecordType.CNAME, name, answers[0].ttl_s), *answers)
        return msgspec.structs.replace(found, answers=answers, is_lasting=False, is_cacheable=False)


def _ask_for(query: Query, name: bytes) -> Query:
    return msgspec.structs.replace(query, question=name + query.question[-4:], name=name)


def _for_this_client(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, is_lasting=False)
