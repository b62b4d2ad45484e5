"""What an API server holds against what it should: what to delete, to write, and what is in the way. Pure.

What says that it is the lab's (`cluster.owner`) is written again when it is not as it should be, and deleted
when nobody wants it any more. Everything else on the server is somebody else's and stays.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from netns_lab.cluster import marks, owner
from netns_lab.loader import Manifest
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import KINDS, EndpointSlice, Namespace, Node, ObjectKey, Pod, Service

Json: TypeAlias = dict[str, Any]
Live: TypeAlias = Mapping[ObjectKey, Json]

# What the endpoints controller has made comes and goes with its Service.
_CONTROLLED_LABEL = "endpointslice.kubernetes.io/managed-by"

# Nothing is written before what it needs: a namespace first, a pod when its node is known.
_WRITE_ORDER = (Namespace, Node, Service, EndpointSlice, Pod)
_STATUS_KINDS = (Node, Pod)


class Write(msgspec.Struct, frozen=True):
    """An object to write: all but its status, or its status alone."""

    key: ObjectKey
    value: Json
    subresource: str = ""


class Removal(msgspec.Struct, frozen=True):
    """An object to delete, and no other of its name."""

    key: ObjectKey
    uid: str


class ClusterDelta(msgspec.Struct, frozen=True):
    """Deletions, and then groups of writes, one group after the other; falsy when there is nothing to do."""

    remove: tuple[Removal, ...]
    write: tuple[tuple[Write, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.write)


def differences(delta: ClusterDelta, live: Live, moving: Collection[ObjectKey] = ()) -> list[str]:
    """Return, in words, each fact about the server's objects that should hold and does not.

    The status of what is `moving` changes behind the server's back, and it may go: only `up` looks at that.
    """
    writes = [
        write.key
        for group in delta.write
        for write in group
        if not (write.subresource and write.key in moving)
    ]
    surplus = [removal.key for removal in delta.remove if removal.key not in {*writes, *moving}]
    return [
        *(
            f"{key} on the API server{' as asked for' if key in live else ''}"
            for key in dict.fromkeys(writes)
        ),
        *(f"{key} not on the API server" for key in surplus),
    ]


def key_of(value: Json) -> ObjectKey:
    """Return who an object is."""
    metadata = value["metadata"]
    return ObjectKey(
        KINDS[value["apiVersion"], value["kind"]], metadata.get("namespace", ""), metadata["name"]
    )


def is_ours(lab: str, value: Json) -> bool:
    """Say whether a lab has made this object."""
    return owner(lab, key_of(value)).items() <= (value["metadata"].get("annotations") or {}).items()


def diff_cluster(lab: str, desired: Iterable[Manifest], live: Live, *, is_own: bool = True) -> ClusterDelta:
    """Say what turns what is there into what is wanted; `is_own`: the server is the lab's own.

    Raises:
        NodeplaneError: an object that is wanted is there and somebody else's, on a server that is not ours.
    """
    wanted = {manifest.item.key: manifest.raw for manifest in desired}
    for key in () if is_own else wanted:
        if key.kind is not Namespace and key in live and _is_foreign(lab, live[key]):
            raise NodeplaneError(
                f"{key}: is on the API server and was not made by lab {lab}; delete it there first"
            )
    doomed = {key for key in live if key not in wanted and _is_removable(lab, key, live)}
    doomed |= {
        key for key, value in wanted.items() if key in live and _must_be_made_anew(key, value, live[key])
    }
    there = {key: value for key, value in live.items() if key not in doomed}
    remove = tuple(
        Removal(key, live[key]["metadata"].get("uid", ""))
        for key in sorted(doomed, key=_write_rank, reverse=True)
    )
    return ClusterDelta(remove, tuple(_groups(wanted, there, lab)))


def unsettled(lab: str, live: Live) -> list[ObjectKey]:
    """Return the lab's Services with a selector whose slices do not hold just the pods that it selects."""
    pods = [value for key, value in live.items() if key.kind is Pod]
    slices = [
        value
        for key, value in live.items()
        if key.kind is EndpointSlice and _CONTROLLED_LABEL in _labels(value)
    ]
    return [
        key
        for key, value in live.items()
        if key.kind is Service
        and is_ours(lab, value)
        and _selector(value)
        and _selected(key, value, pods) != _endpoints(key, slices)
    ]


def is_covered(wanted: Any, live: Any, *, whole_lists: bool = False) -> bool:
    """Say whether what is there says all that is wanted; a server and others add fields and entries.

    With `whole_lists` an entry more is a difference: such a list belongs to one writer alone.
    """
    if isinstance(wanted, dict):
        fields = live if isinstance(live, dict) else {}
        return all(
            is_covered(value, fields.get(name), whole_lists=whole_lists) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and all(isinstance(entry, dict) for entry in wanted):
        there = live if isinstance(live, list) else []
        fits = len(wanted) == len(there) or not whole_lists
        return fits and all(
            any(is_covered(entry, other, whole_lists=whole_lists) for other in there) for entry in wanted
        )
    # Nothing written is nothing wanted: an empty clusterIP is one for the server to choose.
    return wanted in (None, "") or wanted == live


def _groups(wanted: Mapping[ObjectKey, Json], live: Live, lab: str) -> Iterator[tuple[Write, ...]]:
    for kind in _WRITE_ORDER:
        values = {key: value for key, value in wanted.items() if key.kind is kind}
        stale = [
            Write(key, {name: part for name, part in value.items() if name != "status"})
            for key, value in values.items()
            if not _is_written(key, value, live, lab)
        ]
        if kind is Service:
            # Addresses that were asked for first: the server must not give them to others meanwhile.
            asking = [write for write in stale if write.value["spec"].get("clusterIP")]
            yield from _nonempty(asking)
            stale = [write for write in stale if write not in asking]
        yield from _nonempty(stale)
        if kind in _STATUS_KINDS:
            yield from _nonempty(
                Write(key, _status_alone(value), "status")
                for key, value in values.items()
                if not is_covered(value["status"], live.get(key, {}).get("status"))
            )


def _nonempty(writes: Iterable[Write]) -> Iterator[tuple[Write, ...]]:
    group = tuple(writes)
    if group:
        yield group


def _is_written(key: ObjectKey, value: Json, live: Live, lab: str) -> bool:
    there = live.get(key)
    if there is None:
        return False
    if key.kind is Namespace and not is_ours(lab, there):
        # The server's own (default, kube-system), or a person's: a namespace is there to be shared.
        return True
    written = {name: part for name, part in value.items() if name != "status"}
    # Of our kinds the one whose lists are atomic (k8s.io/api, +listType).
    return is_covered(written, there, whole_lists=key.kind is EndpointSlice)


def _status_alone(value: Json) -> Json:
    metadata = {name: value["metadata"][name] for name in ("name", "namespace") if name in value["metadata"]}
    return {name: value[name] for name in ("apiVersion", "kind", "status")} | {"metadata": metadata}


def _is_foreign(lab: str, value: Json) -> bool:
    """Say whether nothing tells that the lab has made this object: people change labels and annotations."""
    return not is_ours(lab, value) and not marks(lab).items() <= _labels(value).items()


def _is_removable(lab: str, key: ObjectKey, live: Live) -> bool:
    if not is_ours(lab, live[key]):
        return False
    if key.kind is Namespace:
        # With a namespace goes all that is in it, so not while a person's objects are.
        inside = (other for where, other in live.items() if where.namespace == key.name)
        return all(is_ours(lab, other) or _CONTROLLED_LABEL in _labels(other) for other in inside)
    return True


def _must_be_made_anew(key: ObjectKey, value: Json, live: Json) -> bool:
    """Say whether an object differs in what may not change once it is there."""
    spec, there = value.get("spec") or {}, live.get("spec") or {}
    if key.kind is Pod:
        return not is_covered(spec, there)
    if key.kind is Service:
        types = {spec.get("type") or "ClusterIP", there.get("type") or "ClusterIP"}
        return not is_covered(spec.get("clusterIP"), there.get("clusterIP")) or (
            len(types) > 1 and "ExternalName" in types
        )
    return key.kind is EndpointSlice and not is_covered(value.get("addressType"), live.get("addressType"))


def _selected(key: ObjectKey, service: Json, pods: Collection[Json]) -> set[str]:
    """Return the addresses of the pods that the endpoints controller makes endpoints of."""
    families = service["spec"].get("ipFamilies") or ["IPv4"]
    return {
        address
        for pod in pods
        if pod["metadata"].get("namespace") == key.namespace
        and _selector(service).items() <= _labels(pod).items()
        and (status := pod.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}
        for address in (entry["ip"] for entry in status.get("podIPs") or ())
        if ("IPv6" if ":" in address else "IPv4") in families
    }


def _endpoints(service: ObjectKey, slices: Collection[Json]) -> set[str]:
    own = (
        piece
        for piece in slices
        if piece["metadata"].get("namespace") == service.namespace
        and _labels(piece).get("kubernetes.io/service-name") == service.name
    )
    return {endpoint["addresses"][0] for piece in own for endpoint in piece.get("endpoints") or ()}


def _selector(service: Json) -> Mapping[str, str]:
    spec = service.get("spec") or {}
    return {} if spec.get("type") == "ExternalName" else spec.get("selector") or {}


def _labels(value: Json) -> Mapping[str, str]:
    return value["metadata"].get("labels") or {}


def _write_rank(key: ObjectKey) -> tuple[int, str, str]:
    return _WRITE_ORDER.index(key.kind), key.namespace, key.name
