"""What `show` prints in mode nftables, as plain rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from kubeproxy.published import Published, Remembered, pool_number
from kubeproxy.rules.layout import Frontend
from kubeproxy.rules.pool_value import DROP, KIND_MASK, REJECT, WITHOUT_KIND, as_classid, describe, kind_of
from nodeplane.runtime.output import Row

_NONE: Mapping[int, int] = {}
_NOBODY = {REJECT: "rejected: no endpoint", DROP: "dropped: no endpoint on this node"}


def describe_services(
    published: Collection[Published],
    connections: Mapping[Frontend, int],
    remembered: Mapping[int, int] = _NONE,
) -> list[Row]:
    """Return a row for each frontend in the kernel, two for policy Local: for this node, and for others.

    Args:
        published: The frontends.
        connections: How many new connections have come to each, from anywhere.
        remembered: How many clients session affinity remembers, by number of pool.
    """
    rows: list[Row] = []
    local = {each.frontend for each in published if each.is_outside}
    for each in published:
        value = each.value & WITHOUT_KIND
        nobody = _NOBODY.get(value)
        number = pool_number(value)
        inside = "this node" if each.frontend in local else "anywhere"
        rows.append(
            {
                "frontend": str(each.frontend),
                "kind": _describe_kind(each.value),
                "client": "elsewhere" if each.is_outside else inside,
                "pool": "" if nobody else as_classid(value),
                "choice": "" if nobody else describe(value),
                "connections": connections.get(each.frontend, 0),
                "remembered": 0 if number is None else remembered.get(number, 0),
                "endpoints": [nobody] if nobody else [str(endpoint) for endpoint in each.endpoints],
            }
        )
    return rows


def describe_clients(
    published: Iterable[Published], remembered: Mapping[int, Sequence[Remembered]]
) -> list[Row]:
    """Return a row for each client that session affinity remembers, with the frontends that it counts for."""
    frontends: defaultdict[int, list[str]] = defaultdict(list)
    for each in published:
        number = pool_number(each.value)
        if number is not None:
            frontends[number].append(str(each.frontend))
    return [
        {
            "client": str(client.client),
            "endpoint": str(client.endpoint),
            "seconds": round(client.seconds),
            "frontends": frontends.get(number, []),
        }
        for number, clients in sorted(remembered.items())
        for client in clients
    ]


def _describe_kind(value: int) -> str:
    try:
        return kind_of(value).name.lower().replace("_", "-")
    except ValueError:
        # Somebody else's writing.
        return as_classid(value & KIND_MASK)
